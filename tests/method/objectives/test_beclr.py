"""BECLR's loss: against its formula; what carries no gradient; neighbours by clusters, also of the past."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mscon import MSConLoss, SameRow
from mscon.method.comparison import Comparison, SampleOrigin
from mscon.method.objectives.beclr import BECLR
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import Categorical

F64 = torch.float64
KIND = Categorical("a", ("x", "y", "z"))


def comparison_of(z: Tensor, labels: Tensor) -> Comparison:
    """Of vectors [views, rows, dim]."""
    views, rows, _ = z.shape
    codes, ids = labels.repeat(views), torch.arange(views * rows)
    origin = SampleOrigin.of_views(torch.arange(rows), [0] * views)
    pairs = [LazyPairs(KIND.compare, codes, codes, ids, ids, is_partition=True)]
    return Comparison(z.reshape(1, views * rows, -1), None, pairs, origin, origin)


def drawn(views: int = 2, rows: int = 6) -> Tensor:
    return torch.randn(views, rows, 4, dtype=F64, generator=torch.Generator().manual_seed(3))


def ready(**settings: float) -> BECLR:
    objective = BECLR(**settings)  # type: ignore[arg-type]
    objective.prepare([KIND], 4)
    return objective.double()


@pytest.mark.parametrize("labels", [torch.arange(6), torch.tensor([0, 1, 1, -1, 0, 2])])
@pytest.mark.parametrize("neighbours", [0, 2])
def test_it_is_its_formula(labels, neighbours):
    objective = ready(temperature=0.7, repulsion=0.3, neighbours=neighbours, clusters=3)
    objective.eval()
    z = drawn()
    losses = objective(comparison_of(z, labels))
    unit, codes, rows = normalize(z.reshape(12, 4), dim=1), labels.repeat(2), torch.arange(6).repeat(2)
    for i in range(12):
        known = [j for j in range(12) if j != i and codes[i] >= 0 and codes[j] >= 0]
        positives = [j for j in known if codes[j] == codes[i]]
        negatives = [j for j in known if codes[j] != codes[i]]
        if neighbours:
            cluster = (unit @ objective.directions[0].T).argmax(dim=1)
            near = [j for j in negatives if cluster[j] == cluster[i] and rows[j] != rows[i]]
            near = sorted(near, key=lambda j, i=i: -float(unit[i] @ unit[j]))[:neighbours]
            positives, negatives = positives + near, [j for j in negatives if j not in near]
        expected = 0.0
        if positives and negatives:
            repulsion = math.log(sum(math.exp(float(unit[i] @ unit[j]) / 0.7) for j in negatives) / len(negatives))
            expected = 0.3 * repulsion - sum(float(unit[i] @ unit[j]) for j in positives) / len(positives)
        assert losses.per_anchor[0, i].item() == pytest.approx(expected)


def test_positives_get_no_gradient_and_negatives_do():
    z = drawn().requires_grad_()
    ready()(comparison_of(z, torch.arange(6))).per_anchor[0, 0].backward()
    assert z.grad is not None
    assert (z.grad[1, 0] == 0).all()
    assert (z.grad[1, 1:] != 0).any(dim=1).all()
    assert (z.grad[0, 0] != 0).any()


def test_its_bounds_are_reached():
    opposite = torch.tensor([1.0, -1.0], dtype=F64)[None, :, None].expand(2, -1, 4)
    objective = ready(repulsion=0.3)
    for z, name in ((opposite, "floor"), (torch.ones_like(opposite), "ceiling")):
        losses = objective(comparison_of(z, torch.arange(2)))
        torch.testing.assert_close(losses.per_anchor.mean(dim=1), getattr(losses, name).to(F64))


def test_clusters_follow_what_they_are_given():
    """Three groups far apart: after some steps each has a cluster of its own, and neighbours are of the group."""
    centres = torch.eye(4, dtype=F64)[:3].repeat_interleave(4, dim=0)
    z = (centres + 0.05 * drawn(2, 12)).clone()
    objective = ready(neighbours=3, clusters=3, warm_up=1)
    comparison = comparison_of(z, torch.arange(12))
    before = objective(comparison).per_anchor
    with torch.no_grad():
        objective.after_step()
    for _ in range(60):
        losses = objective(comparison)
    nearest = (objective.directions[0] @ centres[::4].T).max(dim=0).values
    assert (nearest > 0.95).all()
    assert losses.per_anchor.mean() < before.mean()  # before the first step there are no neighbours
    state = objective.state_dict()
    again = ready(neighbours=3, clusters=3, warm_up=1)
    again.load_state_dict(state)
    again.eval()
    torch.testing.assert_close(again(comparison).per_anchor, objective.eval()(comparison).per_anchor)


def test_neighbours_may_be_past_samples():
    settings = {"neighbours": 1, "clusters": 2}
    rows, z = torch.arange(2), torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=F64)
    near = z + torch.tensor([0.0, 0.1], dtype=F64)
    losses = {}
    for memory_size in (0, 10):
        objective = BECLR(**settings)
        criterion = MSConLoss(
            [SameRow()], weighting="equal", objective=objective, dim=2, memory_size=memory_size
        ).double()
        objective.directions.copy_(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
        criterion(near[None, :, None].expand(-1, -1, 2, -1), rows=rows + 2)
        objective.directions.copy_(torch.tensor([[[1.0, 0.0], [0.0, 1.0]]]))
        losses[memory_size] = criterion(z[None, :, None].expand(-1, -1, 2, -1), rows=rows).item()
    # Without a memory the only positive is the other view, whose cosine is 1; with it also a sample of the past.
    assert losses[10] > losses[0]


def test_it_says_what_it_needs():
    with pytest.raises(ValueError, match=r"BECLR learns weights of its own: give dim="):
        MSConLoss(["make"], objective="beclr", neighbours=3)
    for settings, words in (
        ({"neighbours": -1}, "neighbours must be 0 or more"),
        ({"clusters": 1}, "clusters must be 2"),
    ):
        with pytest.raises(ValueError, match=words):
            BECLR(**settings)
