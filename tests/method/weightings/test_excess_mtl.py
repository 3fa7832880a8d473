"""ExcessMTL: its formula, step by step, and what it does with a similarity that has converged."""

from __future__ import annotations

import math

import pytest
import torch

from mscon.method.weightings.base import BatchLosses, FeatureGradients
from mscon.method.weightings.excess_mtl import ExcessMTL

FLOATS = torch.float64


def batch(gains: torch.Tensor, present: list[bool] | None = None) -> BatchLosses:
    count = len(gains)
    anchors = torch.tensor([8.0 * here for here in present or [True] * count], dtype=FLOATS)
    gains = gains * (anchors > 0)[:, None]
    flat = torch.full((count,), 3.0, dtype=FLOATS)
    return BatchLosses(flat, flat - 1, flat + 1, anchors, FeatureGradients(gains @ gains.T, gains))


def slow(steps: list[list[list[float]]], step_size: float, warm_up: int) -> list[float]:
    """Eq. 6, 7 and 9 of the paper with its normalisation, in loops: log of the weights, which sum to 1."""
    count, width = len(steps[0]), len(steps[0][0])
    squares = [[0.0] * width for _ in range(count)]
    first, weights = [0.0] * count, [1 / count] * count
    for number, gains in enumerate(steps):
        excess = []
        for c in range(count):
            risk = 0.0
            for j in range(width):
                squares[c][j] += gains[c][j] ** 2
                risk += gains[c][j] ** 2 / math.sqrt(squares[c][j] + 1e-7)
            excess.append(risk)
        if number < warm_up:
            first = [f + e / warm_up for f, e in zip(first, excess, strict=True)]
            continue
        weights = [w * math.exp(step_size * e / f) for w, e, f in zip(weights, excess, first, strict=True)]
        weights = [w / sum(weights) for w in weights]
    return weights


@pytest.mark.parametrize(("step_size", "warm_up"), [(0.5, 1), (1.0, 3), (0.01, 2)])
def test_weights_are_those_of_the_paper(step_size, warm_up):
    gains = torch.randn(12, 3, 5, dtype=FLOATS, generator=torch.Generator().manual_seed(0))
    weighting = ExcessMTL(3, step_size, warm_up).double()
    for step in gains:
        weights = weighting(batch(step)).weights
    expected = torch.tensor(slow(gains.tolist(), step_size, warm_up), dtype=FLOATS)
    torch.testing.assert_close(weights, 3 * expected)
    assert expected.std() > 1e-4


def test_what_has_converged_loses_weight_and_a_high_loss_alone_earns_none():
    weighting = ExcessMTL(2, step_size=0.1, warm_up=2).double()
    gains = torch.randn(40, 2, 6, dtype=FLOATS, generator=torch.Generator().manual_seed(1))
    gains[2:, 1] *= 0.01  # as of noise that cannot be learnt, of which the gradients cancel
    for step in gains:
        here = batch(step)
        weighted = weighting(
            BatchLosses(torch.tensor([0.1, 9.0]).double(), here.floor, here.ceiling, here.anchors, here.gradients)
        )
    assert weighted.weights[0] > 1.2 > 0.8 > weighted.weights[1]
    torch.testing.assert_close(weighted.weights.sum(), torch.tensor(2.0, dtype=FLOATS))


def test_a_similarity_that_was_absent_for_long_has_neither_gained_nor_lost():
    weighting = ExcessMTL(3, step_size=1.0, warm_up=1).double()
    gains = torch.randn(30, 3, 4, dtype=FLOATS, generator=torch.Generator().manual_seed(2))
    weighting(batch(gains[0]))
    for step in gains[1:]:
        weighting(batch(step, [True, True, False]))
    assert weighting.log_weight[2] == 0
    torch.testing.assert_close(weighting.log_weight.sum(), torch.tensor(0.0, dtype=FLOATS))
    assert weighting.log_weight[0].abs() > 0.1
    assert weighting.steps.tolist() == [30, 30, 1]


def test_without_gradients_weights_are_used_and_stay():
    weighting = ExcessMTL(2, step_size=1.0, warm_up=1).double()
    for step in torch.randn(5, 2, 4, dtype=FLOATS, generator=torch.Generator().manual_seed(3)):
        here = batch(step)
        before = weighting(here).weights
    state = {name: value.clone() for name, value in weighting.state_dict().items()}
    weighted = weighting(BatchLosses(here.loss, here.floor, here.ceiling, here.anchors))
    torch.testing.assert_close(weighted.weights, before)
    assert all(torch.equal(state[name], value) for name, value in weighting.state_dict().items())


@pytest.mark.parametrize("settings", [{"step_size": 0.0}, {"step_size": math.nan}, {"warm_up": 0}])
def test_settings_out_of_range_are_refused(settings):
    with pytest.raises(ValueError, match="must be"):
        ExcessMTL(2, **settings)
