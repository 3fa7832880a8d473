"""Encoders of one's own, weights of another run, encoders that stay as they are."""

from __future__ import annotations

import os
from collections import OrderedDict

import pytest
import safetensors.torch
import timm
import torch
from torch import nn

from mscon.errors import RecipeError
from mscon.model.beside import starts_from_weights
from mscon.model.model import build_model, load_model
from mscon.run import recipe as recipes
from mscon.run.run import Run

RECIPE = """
[[similarity]]
column = "kind"
name = "categorical"
[data]
image_size = 16
channels = 1
[encoder]
width = 4
"""


class Flat(nn.Module):
    """Every pixel is a feature, times a weight."""

    mean = (0.25,)

    def __init__(self, size: int, gain: float = 1.0):
        super().__init__()
        if size < 1:
            raise ValueError("size must be positive")
        self.weight = nn.Parameter(torch.full((size * size,), gain))

    def forward(self, images):
        return images.flatten(1) * self.weight


class Maps(nn.Module):
    def forward(self, images):
        return images


class NotAModule:
    pass


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """This file as a module that a recipe can name."""
    monkeypatch.setitem(__import__("sys").modules, "own_encoders", __import__("sys").modules[__name__])


def parse(*overrides):
    return recipes.parse(RECIPE, overrides)


def recipe_of(name, *overrides):
    return parse(f"encoder.name=own_encoders:{name}", *overrides)


def save(model, root, recipe, **tensors):
    run = Run.create(root)
    run.write_recipe(recipe)
    run.write_checkpoint("last", {f"model.{k}": v for k, v in model.state_dict().items()} | tensors, {"epoch": 1})
    return run


def test_any_module_is_an_encoder_and_its_width_is_measured():
    model = build_model(recipe_of("Flat", "encoder.settings={size=16, gain=3.0}"), 1)
    assert model.encoder.width == 256
    images = torch.rand(2, 1, 16, 16)
    # Its own mean, and 0.5 where it says nothing.
    torch.testing.assert_close(model.encoder(images), 3 * ((images - 0.25) / 0.5).flatten(1))


def test_a_recipe_may_say_what_an_encoder_is_to_see():
    model = build_model(recipe_of("Flat", "encoder.settings={size=16}", "encoder.mean=[0.1]", "encoder.std=[0.2]"), 1)
    assert (model.encoder.mean.item(), model.encoder.std.item()) == pytest.approx((0.1, 0.2))
    timm = build_model(parse("encoder.name=resnet10t", "data.image_size=32", "encoder.mean=[0.3]"), 1)
    assert timm.encoder.mean.item() == pytest.approx(0.3)
    assert timm.encoder.std.item() != 0.3


def test_a_run_with_an_encoder_of_ones_own_loads_again(tmp_path):
    recipe = recipe_of("Flat", "encoder.settings={size=16, gain=3.0}")
    run = save(build_model(recipe, 1), tmp_path / "run", recipe)
    assert load_model(run).encoder.backbone.weight.eq(3).all()


@pytest.mark.parametrize(
    ("recipe", "words"),
    [
        (lambda: recipe_of("Flat"), r"cannot be built with its \[encoder.settings\].*size"),
        (lambda: recipe_of("Flat", "encoder.settings={size=0}"), "size must be positive"),
        (lambda: recipe_of("Flat", "encoder.settings={size=8}"), "does not take images of 16 pixels"),
        (lambda: recipe_of("Flat", "encoder.pretrained=true", "data.image_size=32"), "knows no published weights"),
        (lambda: recipe_of("Flat", "encoder.settings={size=16}", "data.channels=3"), "but images have 3 channels"),
        (lambda: recipe_of("Maps"), "not one vector of features"),
        (lambda: recipe_of("NotAModule"), "is no encoder: it must be a subclass of torch.nn"),
        (lambda: recipe_of("Gone"), "cannot import encoder 'own_encoders:Gone'"),
        (lambda: parse("encoder.mean=[0.1, 0.2]"), "mean has 2 values, but images have 1 channel"),
        (lambda: parse("encoder.settings={depth=3}"), "'small_cnn' takes none"),
        (lambda: parse("encoder.std=[0.0]"), "std must be a list, each a number above 0"),
        (lambda: parse("encoder.start_from=nowhere"), "start_from: 'nowhere' is not a run directory"),
    ],
)  # fmt: skip
def test_what_cannot_be_an_encoder_is_refused(recipe, words):
    with pytest.raises(RecipeError, match=words):
        build_model(recipe(), 1)


def test_settings_reach_models_of_timm():
    plain = build_model(parse("encoder.name=resnet10t", "data.image_size=32"), 1)
    wider = build_model(parse("encoder.name=resnet10t", "data.image_size=32", "encoder.settings={stem_width=8}"), 1)
    shapes = [next(m.encoder.backbone.parameters()).shape for m in (plain, wider)]
    assert shapes[0] != shapes[1]


@pytest.mark.parametrize("key", ["checkpoint_path", "pretrained_cfg", "num_classes"])
def test_what_reads_files_or_is_said_elsewhere_is_no_setting(key):
    with pytest.raises(RecipeError, match=f"'{key}' cannot be set here"):
        build_model(parse("encoder.name=resnet10t", "data.image_size=32", f"encoder.settings={{{key}='x'}}"), 1)


def test_a_setting_that_timm_does_not_know_is_the_recipes_fault():
    with pytest.raises(RecipeError, match="resnet10t"):
        build_model(parse("encoder.name=resnet10t", "data.image_size=32", "encoder.settings={stem_widht=8}"), 1)


# weights of another run ---------------------------------------------------------------------------


@pytest.fixture
def other(tmp_path):
    recipe = parse("encoder.mean=[0.3]")
    model = build_model(recipe, 1)
    model(torch.rand(8, 1, 16, 16))  # moves the running means
    return save(model, tmp_path / "other", recipe)


def test_an_encoder_begins_with_the_weights_and_the_preprocessing_of_another_run(other):
    theirs = load_model(other).encoder.state_dict()
    torch.manual_seed(7)
    model = build_model(parse(f"encoder.start_from={other.root}", "heads.output_dim=5"), 2)
    assert all(torch.equal(v, theirs[k]) for k, v in model.encoder.state_dict().items())
    assert model.encoder.mean.item() == pytest.approx(0.3)
    assert not model.encoder.is_frozen
    assert all(p.requires_grad for p in model.parameters())


def test_what_does_not_fit_is_said_tensor_by_tensor(other):
    with pytest.raises(
        RecipeError,
        match=r"does not fit this one, in \d+ tensors: 'backbone.*\[8, 1, 3, 3\] here, \[4, 1, 3, 3\] there",
    ) as raised:
        build_model(parse(f"encoder.start_from={other.root}", "encoder.width=8"), 1)
    assert "It is 'small_cnn' for 1 channel and 16 pixels" in str(raised.value)


def test_another_architecture_is_refused(other):
    with pytest.raises(RecipeError, match=r"does not fit this one, in .*is not there"):
        build_model(parse(f"encoder.start_from={other.root}", "encoder.name=resnet10t", "data.image_size=32"), 1)


def test_two_beginnings_are_one_too_many(other):
    recipe = parse(
        f"encoder.start_from={other.root}", "encoder.name=resnet10t", "data.image_size=32", "encoder.pretrained=true"
    )
    bare = build_model(parse("encoder.name=resnet10t", "data.image_size=32"), 1).encoder
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mscon.model.model.build_encoder", lambda *arguments: bare)
        with pytest.raises(RecipeError, match="start_from and pretrained both"):
            build_model(recipe, 1)


def test_the_other_run_is_not_needed_to_load_this_one(other, tmp_path):
    recipe = parse(f"encoder.start_from={other.root}")
    run = save(build_model(recipe, 1), tmp_path / "run", recipe)
    other.root.rename(tmp_path / "gone")
    load_model(run)


# frozen -------------------------------------------------------------------------------------------


def test_a_frozen_encoder_learns_nothing_and_its_means_stand_still():
    model = build_model(parse("encoder.frozen=true"), 1).train()
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    _, projections = model(torch.rand(8, 1, 16, 16))
    projections.square().sum().backward()
    assert all(torch.equal(v, before[k]) for k, v in model.encoder.state_dict().items())
    assert all(p.grad is None for p in model.encoder.parameters())
    assert all(p.grad is not None for p in model.heads.parameters())
    assert model.heads.training
    assert not any(m.training for m in model.encoder.modules())


def test_without_freezing_the_means_move():
    model = build_model(parse(), 1).train()
    before = {k: v.clone() for k, v in model.encoder.state_dict().items()}
    model(torch.rand(8, 1, 16, 16))
    assert not all(torch.equal(v, before[k]) for k, v in model.encoder.state_dict().items())


# what networks of other libraries return ----------------------------------------------------------


class Returning(nn.Module):
    """Returns the mean colour of an image and its negative, in the form that is asked for."""

    def __init__(self, form: str):
        super().__init__()
        self.form, self.gain = form, nn.Parameter(torch.ones(()))

    def forward(self, images):
        mean = torch.cat([images.mean(dim=(2, 3)), -images.mean(dim=(2, 3))], dim=1) * self.gain
        tokens = torch.stack([mean, mean + 1, mean + 2], dim=1)
        return {
            "tensor": mean,
            "half": mean.half(),
            "double": mean.double(),
            "bfloat16": mean.bfloat16(),
            "pooled to one pixel": mean[:, :, None, None],
            "open_clip, tuple": (mean, None, torch.ones(())),
            "open_clip, dict": {"image_features": mean, "text_features": mean + 1, "logit_scale": torch.ones(())},
            "transformers, tuple": (tokens, mean),
            "transformers, ModelOutput": OrderedDict(last_hidden_state=tokens, pooler_output=mean),
            "transformers, CLIP": OrderedDict(image_embeds=mean, last_hidden_state=tokens, pooler_output=mean + 1),
            "DINOv2": {"x_norm_clstoken": mean, "x_norm_patchtokens": tokens, "x_prenorm": tokens, "masks": None},
            "one of a name of one's own": {"mine": mean, "map": tokens},
            "tokens": {"last_hidden_state": tokens},
            "two": {"one": mean, "other": mean},
            "text": "mean",
        }[self.form]


FORMS = (
    "tensor", "half", "double", "bfloat16", "pooled to one pixel", "open_clip, tuple", "open_clip, dict",
    "transformers, tuple", "transformers, ModelOutput", "transformers, CLIP", "DINOv2", "one of a name of one's own",
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_features_are_found_in_what_other_libraries_return(form):
    model = build_model(
        recipe_of("Returning", f'encoder.settings={{form="{form}"}}', "encoder.mean=[0.0]", "encoder.std=[1.0]"), 1
    )
    assert model.encoder.width == 2
    images = torch.rand(3, 1, 16, 16)
    expected = torch.cat([images.mean(dim=(2, 3)), -images.mean(dim=(2, 3))], dim=1)
    tolerance = {"half": 1e-3, "bfloat16": 1e-2}.get(form, 1e-6)
    torch.testing.assert_close(model.encoder(images), expected, atol=tolerance, rtol=0)
    features, projections = model.eval().embed(images)
    assert features.dtype == projections.dtype == "float32"
    with torch.autocast("cpu", torch.bfloat16):
        trained = model(images)[1]
    trained.float().sum().backward()
    assert torch.isfinite(model.encoder.backbone.gain.grad)


@pytest.mark.parametrize(
    ("form", "words"),
    [("tokens", r"dict with last_hidden_state \[2, 3, 2\], of which none"), ("two", r"one \[2, 2\], other \[2, 2\]"),
     ("text", "returns str, not a tensor")],
)  # fmt: skip
def test_what_holds_no_features_is_refused_with_what_it_holds(form, words):
    with pytest.raises(RecipeError, match=words):
        build_model(recipe_of("Returning", f'encoder.settings={{form="{form}"}}'), 1)


# weights from a file ------------------------------------------------------------------------------


def save_file(path, tensors, form):
    if form == "safetensors":
        safetensors.torch.save_file({k: v.contiguous() for k, v in tensors.items()}, path)
    else:
        torch.save({"state_dict": tensors, "epoch": 3, "best": 0.5} if form == "training" else tensors, path)


@pytest.mark.parametrize("form", ["safetensors", "plain", "training"])
@pytest.mark.parametrize("prefix", ["", "module.", "module.backbone."])
def test_an_encoder_starts_from_a_file_of_weights(tmp_path, form, prefix):
    theirs = build_model(parse(), 1).encoder.backbone.state_dict()
    path = tmp_path / f"w.{'safetensors' if form == 'safetensors' else 'pth'}"
    others = {"head.weight": torch.ones(3, 4), "other.weight": torch.ones(2)} if prefix else {}
    save_file(path, {f"{prefix}{k}": v for k, v in theirs.items()} | others, form)
    mine = build_model(parse(f"encoder.weights={path}"), 1).encoder.backbone.state_dict()
    assert all(torch.equal(mine[name], tensor) for name, tensor in theirs.items())


def test_a_model_of_timm_takes_weights_of_colour_and_of_another_size(tmp_path):
    colour = timm.create_model("resnet10t", num_classes=7)
    save_file(tmp_path / "r.safetensors", colour.state_dict(), "safetensors")
    grey = build_model(
        parse("encoder.name=resnet10t", "data.image_size=32", f"encoder.weights={tmp_path / 'r.safetensors'}"), 1
    )
    images = torch.rand(2, 1, 32, 32)
    expected = colour.eval().forward_head(colour.forward_features(images.expand(2, 3, 32, 32)), pre_logits=True)
    torch.testing.assert_close(grey.eval().encoder.backbone(images), expected, rtol=1e-4, atol=1e-5)
    settings = {"patch_size": 8, "embed_dim": 16, "depth": 1, "num_heads": 2}
    large = timm.create_model("vit_tiny_patch16_224", img_size=48, num_classes=7, **settings)
    torch.save(large.state_dict(), tmp_path / "v.pth")
    small = build_model(
        parse(
            "encoder.name=vit_tiny_patch16_224",
            "data.image_size=32",
            "data.channels=3",
            f"encoder.weights={tmp_path / 'v.pth'}",
            "encoder.settings={patch_size=8, embed_dim=16, depth=1, num_heads=2}",
        ),
        1,
    )
    assert small.encoder.backbone.pos_embed.shape == (1, 17, 16)
    assert torch.equal(small.encoder.backbone.blocks[0].attn.qkv.weight, large.blocks[0].attn.qkv.weight)


class Harmful:
    def __init__(self, folder):
        self.folder = folder

    def __reduce__(self):
        return os.mkdir, (str(self.folder),)


def test_a_file_of_weights_executes_nothing_and_is_refused_by_name(tmp_path):
    path = tmp_path / "w.pth"
    torch.save({"state_dict": {"a": torch.ones(1)}, "more": Harmful(tmp_path / "executed")}, path)
    with pytest.raises(RecipeError, match=r"weights: '.*w\.pth' holds more than tensors"):
        build_model(parse(f"encoder.weights={path}"), 1)
    assert not (tmp_path / "executed").exists()
    torch.save(nn.Linear(2, 2), path)
    with pytest.raises(RecipeError, match=r"holds more than tensors(?s:.*)state_dict"):
        build_model(parse(f"encoder.weights={path}"), 1)
    good = build_model(parse(), 1).encoder.backbone.state_dict()
    (first, tensor), *_ = good.items()
    for content, words in (
        ({k: v for k, v in good.items() if k != first}, f"in 1 tensor of .*: '{first}' is not there"),
        ({**good, first: torch.ones(2)}, f"'{first}' has shape \\[2\\] there, \\{list(tensor.shape)}"[:-1]),
        ({"epoch": 3}, "holds no tensors by name"),
    ):
        torch.save(content, path)
        with pytest.raises(RecipeError, match=words):
            build_model(parse(f"encoder.weights={path}"), 1)
    path.write_bytes(b"nothing")
    with pytest.raises(RecipeError, match="weights: "):
        build_model(parse(f"encoder.weights={path}"), 1)
    with pytest.raises(RecipeError, match="does not exist"):
        build_model(parse("encoder.weights=none.safetensors"), 1)
    (tmp_path / "w.safetensors").write_bytes(b"nothing")
    with pytest.raises(RecipeError, match="cannot be read"):
        build_model(parse(f"encoder.weights={tmp_path / 'w.safetensors'}"), 1)


def test_two_kinds_of_weights_are_one_too_many_and_the_file_is_not_needed_later(tmp_path, other):
    path = tmp_path / "w.safetensors"
    save_file(path, load_model(other).encoder.backbone.state_dict(), "safetensors")
    with pytest.raises(RecipeError, match="weights and pretrained both"):
        build_model(parse(f"encoder.weights={path}", "encoder.pretrained=true", "data.image_size=32"), 1)
    with pytest.raises(RecipeError, match="start_from and weights both"):
        build_model(parse(f"encoder.weights={path}", f"encoder.start_from={other.root}"), 1)
    recipe = parse(f"encoder.weights={path}")
    assert starts_from_weights(recipe)
    run = save(build_model(recipe, 1), tmp_path / "run", recipe)
    path.unlink()
    load_model(run)
