"""SepCLR: against slow loops of its two losses; what its terms do; which similarities it serves."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mscon import Categorical, MSConLoss, SepCLR
from mscon.errors import RecipeError
from mscon.method.comparison import Comparison, SampleOrigin
from mscon.method.objectives import base
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class
from mscon.method.similarities.same_row import SameRow

F64 = torch.float64
FLAGS = (Categorical("state", ("healthy", "ill")), SameRow())
ROWS, STATES = torch.arange(4).repeat(2), torch.tensor([0, 1, 1, -1]).repeat(2)  # two views of each of four rows


def embedded() -> Tensor:
    return torch.randn(2, 8, 3, dtype=F64, generator=torch.Generator().manual_seed(0))


def comparison(z: Tensor, *, salient_first: bool = False) -> Comparison:
    ids, origin = torch.arange(8), SampleOrigin.of_views(torch.arange(4), [0, 0])
    pairs = [LazyPairs(same_class, codes, codes, ids, ids, is_partition=True) for codes in (ROWS, STATES)]
    if salient_first:
        z, pairs = z.flip(0), pairs[::-1]
    return Comparison(z, None, pairs, origin, origin)


def prepared(*, salient_first: bool = False, **settings: float) -> SepCLR:
    objective = SepCLR("healthy", **settings)
    objective.prepare(FLAGS if salient_first else FLAGS[::-1], 3)
    return objective


def kernel(one: Tensor, other: Tensor) -> float:
    return math.exp(-float((one - other).square().sum()) / (2 * 0.4))


@pytest.mark.parametrize("salient_first", [False, True])
def test_it_is_its_formula(salient_first):
    objective = prepared(common=0.3, salient=2.0, null=0.7, joint=0.5, spread=0.4, salient_first=salient_first)
    z = embedded()
    losses = objective(comparison(z, salient_first=salient_first))
    common, salient = losses.per_anchor.flip(0) if salient_first else losses.per_anchor
    c, s, states = normalize(z[0], dim=1), z[1], STATES.tolist()
    null = torch.where(STATES[:, None] == 0, 0.0, s)
    for i in range(8):
        view, others = (i + 4) % 8, [j for j in range(8) if j % 4 != i % 4]
        mean = (1 + sum(kernel(c[i], c[j]) for j in others)) / (1 + len(others))
        assert common[i].item() == pytest.approx(0.3 * (-math.log(kernel(c[i], c[view])) + 2 * math.log(mean)))
        if states[i] < 0:
            assert salient[i] == 0
            continue
        others = [j for j in others if states[j] >= 0]
        pull = -math.log(kernel(s[i], s[view])) if states[i] else 0.0
        alone = (1 + sum(kernel(null[i], null[j]) for j in others)) / (1 + len(others))
        both = (1 + sum(kernel(null[i], null[j]) * kernel(c[i], c[j]) for j in others)) / (1 + len(others))
        expected = 2.0 * (pull + 2 * math.log(alone)) + 0.5 * math.log(both)
        expected += 0.0 if states[i] else 0.7 * float(s[i].square().sum()) / 0.8
        assert salient[i].item() == pytest.approx(expected)


def test_bounds_are_those_of_spaces_that_spread_and_coincide(monkeypatch):
    objective, z = prepared(), embedded()
    far = z.clone()
    far[1, :4] = far[1, 4:] = 1e3 * torch.eye(4, 3, dtype=F64)
    far[1, STATES == 0] = 0
    losses = objective(comparison(far))
    mean = losses.per_anchor.sum(1) / losses.counted.sum(1)
    assert (mean >= losses.floor - 1e-9).all()
    assert mean[1].item() == pytest.approx(losses.floor[1].item(), rel=0.01)
    together = torch.ones_like(z)
    together[1] = 0
    coinciding = objective(comparison(together))
    torch.testing.assert_close(coinciding.per_anchor, torch.zeros_like(coinciding.per_anchor))
    torch.testing.assert_close(coinciding.ceiling, torch.zeros(2, dtype=coinciding.ceiling.dtype))
    whole = objective(comparison(z)).per_anchor
    monkeypatch.setattr(base, "_AT_ONCE", 24)
    torch.testing.assert_close(objective(comparison(z)).per_anchor, whole)
    assert torch.autograd.gradcheck(lambda v: objective(comparison(v)).per_anchor, (z.requires_grad_(),))


def test_training_puts_background_at_the_origin_and_targets_apart():
    torch.manual_seed(0)
    z = torch.randn(2, 8, 3, requires_grad=True)
    objective, optimiser = prepared(), torch.optim.Adam([z], lr=0.05)
    for _ in range(200):
        optimiser.zero_grad()
        losses = objective(comparison(z))
        losses.per_anchor.sum().backward()
        optimiser.step()
    length = z[1].detach().norm(dim=1)
    assert length[[0, 4]].max() < 0.05
    assert (z[1, 1] - z[1, 5]).norm() < 0.1 * (z[1, 1] - z[1, 2]).norm()
    assert length[[1, 2, 5, 6]].min() > 0.5


def test_it_trains_in_a_loop_of_ones_own():
    criterion = MSConLoss(["same_row", FLAGS[0]], objective="sepclr", background="healthy")
    z = torch.randn(2, 6, 2, 5, requires_grad=True)
    criterion(z, {"state": torch.tensor([0, 0, 1, 1, 1, -1])}).backward()
    assert z.grad is not None
    assert (z.grad.flatten(1).abs().amax(dim=1) > 0).all()


@pytest.mark.parametrize("similarities", [["same_row"], [FLAGS[0]], ["same_row", FLAGS[0], Categorical("sex", 2)]])
def test_other_similarities_than_its_two_are_one_message(similarities):
    with pytest.raises(RecipeError, match=r"'sepclr' serves two similarities together: one of kind same_row.*Here it"):
        MSConLoss(similarities, objective="sepclr", background="healthy")


def test_a_background_that_no_row_has_is_a_message_with_the_classes():
    with pytest.raises(RecipeError, match="background is 'well', but the classes of column 'state' are healthy, ill"):
        MSConLoss(["same_row", FLAGS[0]], objective="sepclr", background="well")
