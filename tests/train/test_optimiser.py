from __future__ import annotations

import pytest
import timm
import torch
from torch import nn

from mscon.method.objectives.cross_entropy import CrossEntropy
from mscon.method.objectives.supcon import SupCon
from mscon.method.similarities.categorical import Categorical
from mscon.method.weightings.equal import Equal
from mscon.method.weightings.uncertainty import Uncertainty
from mscon.model.model import build_model
from mscon.run.recipe import Train
from mscon.train import optimiser

SETTINGS = Train(learning_rate=0.1, weighting_learning_rate=0.02, weight_decay=0.5, momentum=0.7)


def settings(**values) -> Train:
    from dataclasses import replace

    return replace(SETTINGS, **values)


@pytest.fixture
def model(recipe):
    return build_model(recipe, 3)


def group_of(groups, parameter):
    (group,) = [g for g in groups if any(p is parameter for p in g["params"])]
    return group


def test_every_parameter_is_in_exactly_one_group(model):
    objective, weighting = CrossEntropy(), Uncertainty(3)
    objective.prepare([Categorical("a", ("x", "y"))] * 3, 32)
    groups = optimiser.parameter_groups(model, objective, weighting, SETTINGS)
    listed = [id(p) for g in groups for p in g["params"]]
    everything = {id(p) for m in (model, objective, weighting) for p in m.parameters()}
    assert len(listed) == len(set(listed))
    assert set(listed) == everything


def test_matrices_decay_and_biases_and_norms_do_not(model):
    groups = optimiser.parameter_groups(model, SupCon(), Equal(3), SETTINGS)
    for module in model.modules():
        for name, parameter in module.named_parameters(recurse=False):
            is_matrix = name == "weight" and not isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d)
            assert group_of(groups, parameter)["weight_decay"] == (0.5 if is_matrix else 0.0), (module, name)


def test_the_biases_of_all_heads_are_biases_though_they_form_a_tensor(model):
    groups = optimiser.parameter_groups(model, SupCon(), Equal(3), SETTINGS)
    assert model.heads.bias.dim() > 1
    assert group_of(groups, model.heads.bias)["weight_decay"] == 0


def test_log_variances_have_their_own_rate_and_no_decay(model):
    weighting = Uncertainty(3)
    group = group_of(optimiser.parameter_groups(model, SupCon(), weighting, SETTINGS), weighting.log_variance)
    assert (group["lr"], group["weight_decay"], len(group["params"])) == (0.02, 0.0, 1)


def test_positions_of_a_transformer_do_not_decay():
    vit = timm.create_model("vit_tiny_patch16_224", img_size=32, depth=1)
    groups = optimiser.parameter_groups(vit, SupCon(), Equal(1), SETTINGS)
    assert group_of(groups, vit.pos_embed)["weight_decay"] == 0
    assert group_of(groups, vit.patch_embed.proj.weight)["weight_decay"] == 0.5


def test_frozen_parameters_are_left_alone(model):
    model.encoder.requires_grad_(False)
    groups = optimiser.parameter_groups(model, SupCon(), Equal(3), SETTINGS)
    assert {id(p) for g in groups for p in g["params"]} == {id(p) for p in model.heads.parameters()}


def rates(model, steps=10, **values):
    """The learning rate of each group in each step."""
    built, schedule = optimiser.build(model, SupCon(), Uncertainty(3), settings(**values), steps)
    rates_of_steps = []
    for _ in range(steps):
        rates_of_steps.append([g["lr"] for g in built.param_groups])
        built.step()
        schedule.step()
    return torch.tensor(rates_of_steps)


def test_constant_is_constant(model):
    assert rates(model, schedule="constant").unique(dim=0).tolist() == [pytest.approx([0.1, 0.1, 0.02])]


def test_cosine_falls_from_the_rate_to_nearly_nothing(model):
    falling = rates(model, schedule="cosine", steps=100)
    assert falling[0].tolist() == pytest.approx([0.1, 0.1, 0.02])
    assert (falling.diff(dim=0) < 0).all()
    assert falling[-1, 0] < 0.001


def test_one_cycle_rises_to_the_rate_of_each_group_and_falls(model):
    cycle = rates(model, schedule="one_cycle", steps=100)
    assert cycle.max(dim=0).values.tolist() == pytest.approx([0.1, 0.1, 0.02])
    top = int(cycle[:, 0].argmax())
    assert 20 < top < 40
    assert cycle[0, 0] < 0.01
    assert cycle[-1, 0] < 0.001


@pytest.mark.parametrize("schedule", ["one_cycle", "cosine", "constant"])
@pytest.mark.parametrize("name", ["adamw", "sgd"])
@pytest.mark.parametrize("steps", [1, 2])
def test_the_shortest_trainings_work(model, schedule, name, steps):
    assert (rates(model, steps, schedule=schedule, optimiser=name) >= 0).all()


def test_sgd_keeps_the_momentum_of_the_recipe_through_the_cycle(model):
    sgd, schedule = optimiser.build(model, SupCon(), Equal(3), settings(optimiser="sgd"), 10)
    for _ in range(10):
        assert {g["momentum"] for g in sgd.param_groups} == {0.7}
        sgd.step()
        schedule.step()


def test_no_step_to_take_is_refused(model):
    with pytest.raises(ValueError, match="steps must be at least 1, got 0"):
        optimiser.build(model, SupCon(), Equal(3), SETTINGS, 0)
