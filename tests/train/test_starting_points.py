"""Training from another run's weights, with the encoder frozen, and with each layer at a rate of its own."""

from __future__ import annotations

import pytest
import timm
import torch

from mscon.errors import RecipeError
from mscon.method.objectives.supcon import SupCon
from mscon.method.weightings.equal import Equal
from mscon.model.model import build_model, load_model
from mscon.run.run import Run
from mscon.train import optimiser
from mscon.train.fit import fit, resume


def encoder_of(run):
    return load_model(run).encoder.state_dict()


def heads_of(run):
    return load_model(run).heads.state_dict()


@pytest.mark.parametrize("mini_batch_size", [0, 5])
def test_a_frozen_encoder_is_the_other_runs_to_the_bit_while_heads_learn(recipe_with, table, tmp_path, mini_batch_size):
    first = fit(recipe_with("train.epochs=1"), table, tmp_path / "first", progress=False)
    frozen = [f"encoder.start_from={first.root}", "encoder.frozen=true", f"train.mini_batch_size={mini_batch_size}"]
    second = fit(recipe_with(*frozen, "train.seed=1"), table, tmp_path / "second", progress=False)
    theirs, ours = encoder_of(first), encoder_of(second)
    assert all(torch.equal(v, ours[k]) for k, v in theirs.items())
    torch.manual_seed(1)
    assert not torch.equal(heads_of(second)["weight"], build_model(recipe_with(), 3).heads.weight)


def test_a_penalty_of_the_heads_does_not_reach_a_frozen_encoder(recipe_with, table, tmp_path):
    """With cached gradients it is a gradient of features that have no graph."""
    recipe = recipe_with(
        "encoder.frozen=true", "heads.name=masks", "objective.name=triplet_margin", "weighting.name=equal",
        "train.epochs=1", "train.mini_batch_size=4",
    )  # fmt: skip
    fit(recipe, table, tmp_path / "run", progress=False)


def test_an_encoder_that_is_not_frozen_goes_on_from_there(recipe_with, table, tmp_path):
    first = fit(recipe_with("train.epochs=1"), table, tmp_path / "first", progress=False)
    second = fit(
        recipe_with(f"encoder.start_from={first.root}", "train.epochs=1", "train.learning_rate=1e-12"),
        table,
        tmp_path / "second",
        progress=False,
    )
    filters = "backbone.stages.0.0.weight"
    torch.testing.assert_close(encoder_of(first)[filters], encoder_of(second)[filters], rtol=1e-5, atol=1e-7)


def test_a_stopped_run_goes_on_without_the_other(recipe_with, table, tmp_path):
    first = fit(recipe_with("train.epochs=1"), table, tmp_path / "first", progress=False)
    frozen_start = [f"encoder.start_from={first.root}", "encoder.frozen=true"]
    whole = fit(recipe_with(*frozen_start), table, tmp_path / "whole", progress=False)
    part = fit(
        recipe_with(*frozen_start, "train.epochs=1", "train.schedule=constant"),
        table,
        tmp_path / "part",
        progress=False,
    )
    first.root.rename(tmp_path / "gone")
    part.write_recipe(recipe_with(*frozen_start, "train.schedule=constant"))
    resume(Run.open(part.root), progress=False)
    assert all(torch.equal(v, encoder_of(whole)[k]) for k, v in encoder_of(part).items())


def test_nothing_to_learn_is_said(recipe_with, table, tmp_path):
    recipe = recipe_with("encoder.frozen=true", "heads.name=identity", "weighting.name=equal")
    with pytest.raises(RecipeError, match="there is nothing to learn"):
        fit(recipe, table, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


# layer-wise learning rates ------------------------------------------------------------------------

VIT = ["encoder.name=vit_tiny_patch16_224", "data.image_size=32", "encoder.settings={depth=3}"]


def rates(recipe):
    model = build_model(recipe, 3)
    groups = optimiser.parameter_groups(model, SupCon(), Equal(3), recipe.train)
    rate = {id(p): g["lr"] for g in groups for p in g["params"]}
    decay = {id(p): g["weight_decay"] for g in groups for p in g["params"]}
    assert len(rate) == sum(len(g["params"]) for g in groups) == len(list(model.parameters()))
    return model, rate, decay


def test_each_layer_learns_at_a_multiple_of_the_next(recipe_with):
    model, rate, _ = rates(recipe_with(*VIT, "train.layer_decay=0.5", "train.learning_rate=1"))
    backbone = model.encoder.backbone
    assert rate[id(model.heads.weight)] == 1
    assert rate[id(backbone.norm.weight)] == 1
    of_blocks = [rate[id(block.mlp.fc1.weight)] for block in backbone.blocks]
    assert of_blocks[1] == 2 * of_blocks[0] and of_blocks[2] == 2 * of_blocks[1]
    assert rate[id(backbone.patch_embed.proj.weight)] == of_blocks[0] / 2


def test_they_are_the_rates_that_timm_gives(recipe_with):
    model, rate, _ = rates(recipe_with(*VIT, "train.layer_decay=0.7", "train.learning_rate=1"))
    for group in timm.optim.param_groups_layer_decay(model.encoder.backbone, layer_decay=0.7):
        for parameter in group["params"]:
            assert rate[id(parameter)] == pytest.approx(group["lr_scale"])


def test_what_decays_does_not_change_with_the_rates(recipe_with):
    torch.manual_seed(0)
    model, _, plain = rates(recipe_with(*VIT))
    torch.manual_seed(0)
    other, _, layered = rates(recipe_with(*VIT, "train.layer_decay=0.5"))
    for one, two in zip(model.parameters(), other.parameters(), strict=True):
        assert plain[id(one)] == layered[id(two)]


def test_without_it_groups_are_as_before(recipe_with):
    recipe = recipe_with(*VIT)
    groups = optimiser.parameter_groups(build_model(recipe, 3), SupCon(), Equal(3), recipe.train)
    assert [g["lr"] for g in groups] == [recipe.train.learning_rate] * 2


def test_an_encoder_without_known_layers_is_refused(recipe_with):
    with pytest.raises(RecipeError, match=r"layer_decay is 0\.5, but only encoders of timm"):
        rates(recipe_with("train.layer_decay=0.5"))
