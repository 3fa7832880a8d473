"""CACR: against its formula; what weights do; its bounds."""

from __future__ import annotations

import math

import pytest
import torch
from tests.batches import draw
from torch.nn.functional import normalize

from mscon.method.comparison import Comparison
from mscon.method.objectives.cacr import CACR
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class

F64 = torch.float64
SETTINGS = {"t_positive": 1.5, "t_negative": 0.9, "alpha": 0.7, "beta": 2.0}


def loops(anchors: torch.Tensor, candidates: torch.Tensor, weight: torch.Tensor, known: torch.Tensor) -> list[float]:
    losses = []
    for i, anchor in enumerate(normalize(anchors, dim=1)):
        squared = [float((anchor - other).square().sum()) for other in normalize(candidates, dim=1)]
        near = {
            j: float(weight[i, j]) * math.exp(1.5 * d)
            for j, d in enumerate(squared)
            if known[i, j] and weight[i, j] > 0
        }
        far = {j: math.exp(-0.9 * d) for j, d in enumerate(squared) if known[i, j] and weight[i, j] <= 0}
        if not near or not far:
            losses.append(0.0)
            continue
        attraction = sum(share * squared[j] for j, share in near.items()) / sum(near.values())
        repulsion = sum(share * squared[j] for j, share in far.items()) / sum(far.values())
        losses.append(0.7 * attraction - 2.0 * repulsion)
    return losses


@pytest.mark.parametrize("graded", [False, True])
@pytest.mark.parametrize("detach_weights", [False, True])
def test_it_is_its_formula(graded, detach_weights):
    batch = draw(11, 9, graded=graded, ids="shared", seed=4)
    losses = CACR(**SETTINGS, detach_weights=detach_weights)(
        Comparison.of(batch.anchors, batch.candidates, batch.pairs)
    )
    for h, (a, c, pairs) in enumerate(zip(batch.anchors, batch.others, batch.pairs, strict=True)):
        dense = pairs.dense()
        expected = torch.tensor(loops(a, c, dense.weight, dense.known), dtype=F64)
        torch.testing.assert_close(losses.per_anchor[h], expected)


def losses_of(z: torch.Tensor, codes: torch.Tensor, objective: CACR) -> torch.Tensor:
    ids = torch.arange(len(codes))
    losses = objective(Comparison.of(z[None], None, [LazyPairs(same_class, codes, codes, ids, ids, is_partition=True)]))
    per_anchor: torch.Tensor = losses.per_anchor[0]
    return per_anchor


def test_with_one_positive_attraction_is_the_squared_distance():
    z = normalize(torch.randn(6, 4, dtype=F64, generator=torch.Generator().manual_seed(0)), dim=1)
    codes = torch.arange(6) % 3
    near = losses_of(z, codes, CACR(t_positive=1.0)) - losses_of(z, codes, CACR(t_positive=7.0))
    torch.testing.assert_close(near, torch.zeros(6, dtype=F64))
    more = losses_of(z, codes, CACR(alpha=3.0)) - losses_of(z, codes, CACR(alpha=2.0))
    torch.testing.assert_close(more, (z - z.roll(3, 0)).square().sum(dim=1))


def test_without_a_gradient_of_the_weights_far_positives_are_drawn_by_their_weights():
    """The gradient is that of a weighted mean of squared distances; with weights' gradient it is more."""
    angles = torch.tensor([0.0, 0.3, 1.2, 2.5], dtype=F64)
    codes = torch.tensor([0, 0, 0, 1])
    gradients = {}
    for detach in (False, True):
        z = torch.stack([angles.cos(), angles.sin()], dim=1).requires_grad_()
        losses_of(z, codes, CACR(detach_weights=detach))[0].backward()
        assert z.grad is not None
        gradients[detach] = z.grad[2].norm().item()
    squared = (2 - 2 * (angles[1:3]).cos()).tolist()
    share = math.exp(squared[1]) / sum(map(math.exp, squared))
    # d squared / d angle = 2 sin(angle), and the embedding has length 1.
    assert gradients[True] == pytest.approx(share * 2 * math.sin(1.2))
    assert gradients[False] > gradients[True]


def test_its_bounds_are_reached():
    codes, ids = torch.arange(8) % 2, torch.arange(8)
    pairs = [LazyPairs(same_class, codes, codes, ids, ids, is_partition=True)]
    best = torch.where(codes == 0, 1.0, -1.0).to(F64)[None, :, None]
    for z, name in ((best, "floor"), (torch.ones_like(best), "ceiling")):
        losses = CACR(beta=3.0)(Comparison.of(z, None, pairs))
        torch.testing.assert_close(losses.per_anchor.mean(dim=1), getattr(losses, name).to(F64))


@pytest.mark.parametrize("name", ["t_positive", "t_negative", "alpha", "beta"])
def test_settings_that_are_not_positive_are_refused(name):
    with pytest.raises(ValueError, match=f"{name} must be positive"):
        CACR(**{name: 0.0})
