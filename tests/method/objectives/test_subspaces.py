"""Subspace learners: against slow loops of the margin loss; centres that follow rows; what it refuses."""

from __future__ import annotations

import pytest
import torch
from tests.batches import draw
from torch.nn.functional import normalize

from mscon import Categorical, Continuous, MSConLoss, Subspaces
from mscon.errors import RecipeError
from mscon.method.comparison import Comparison
from mscon.method.objectives import base

F64 = torch.float64


def prepared(learners: int, dim: int = 6, **settings: float) -> Subspaces:
    torch.manual_seed(1)
    objective = Subspaces(learners, **settings)
    objective.prepare([Categorical(name) for name in "abc"], dim)
    return objective.double()


@pytest.mark.parametrize(("learners", "cutoff"), [(1, 0.5), (3, 0.5), (2, 1.5), (3, 0.01)])
def test_it_is_the_margin_loss_of_each_learner_on_its_rows(learners, cutoff, monkeypatch):
    objective = prepared(learners, margin=0.3, boundary=1.1, cutoff=cutoff)
    batch, width = draw(24, seed=4), 6 // learners
    losses = objective(Comparison.of(batch.anchors, None, batch.pairs))
    for number, pairs in enumerate(batch.pairs):
        z, written = batch.anchors[number], pairs.dense()
        centres = objective.centres[number].detach()
        learner = [int((normalize(z, dim=1)[i] - centres).norm(dim=1).argmin()) for i in range(24)]
        for i in range(24):
            part = slice(learner[i] * width, (learner[i] + 1) * width)
            unit = normalize(z[:, part], dim=1)
            others = [j for j in range(24) if written.known[i, j] and learner[j] == learner[i]]
            d = {j: float((unit[i] - unit[j]).norm()) for j in others}
            alike = [j for j in others if written.weight[i, j] > 0]
            unlike = sorted((j for j in others if written.weight[i, j] == 0), key=lambda j: (d[j] < cutoff, d[j]))
            hinges = [max(0.0, d[p] - 1.1 + 0.3) for p in alike]
            hinges += [max(0.0, 1.1 - d[n] + 0.3) for n in unlike[: len(alike)]]
            expected = sum(hinges) / max(1, sum(hinge > 0 for hinge in hinges))
            assert losses.per_anchor[number, i].item() == pytest.approx(expected, abs=1e-6)
            assert bool(losses.counted[number, i]) == bool(alike)
    assert (losses.counted.sum(dim=1) > 3).sum() >= 2
    monkeypatch.setattr(base, "_AT_ONCE", 100)
    torch.testing.assert_close(objective(Comparison.of(batch.anchors, None, batch.pairs)).per_anchor, losses.per_anchor)


def test_embeddings_that_coincide_have_the_ceiling_and_the_boundary_learns():
    objective, batch = prepared(2), draw(24, seed=4)
    losses = objective(Comparison.of(torch.ones_like(batch.anchors), None, batch.pairs))
    mean = losses.per_anchor.sum(1) / losses.counted.sum(1)
    torch.testing.assert_close(mean, losses.ceiling, rtol=1e-3, atol=1e-3)
    assert losses.per_anchor.max().item() == pytest.approx(1.4, abs=1e-3)
    objective(Comparison.of(batch.anchors, None, batch.pairs)).per_anchor.sum().backward()
    assert all(b.grad is not None and b.grad != 0 for b in list(objective.boundaries)[:2])


def test_centres_come_to_lie_among_the_rows_of_their_clusters():
    """Two groups of rows, and two centres on the far side of them, one of which is nearest to all rows at first."""
    torch.manual_seed(0)
    first, second = torch.tensor([1.0, 0, 0, 0]), torch.tensor([0.0, 1, 0, 0])
    z = torch.cat([first.expand(10, 4), second.expand(10, 4)]) + 0.05 * torch.randn(20, 4)
    objective = Subspaces(2)
    objective.prepare([Categorical("a")], 4)
    with torch.no_grad():
        objective.centres[0].copy_(torch.tensor([[0.5, 0.4, 0, 0], [0, 0, 1.0, 0]]))
    labels = torch.arange(20) % 2
    ids = torch.arange(20)
    pairs = [draw(20).pairs[0].__class__(Categorical("a").compare, labels, labels, ids, ids, is_partition=True)]
    optimiser = torch.optim.SGD(objective.centres.parameters(), lr=0.5)
    for _ in range(600):
        optimiser.zero_grad()
        losses = objective(Comparison.of(z[None], None, pairs))
        (losses.per_anchor.sum() / 20).backward()
        optimiser.step()
    distance = torch.cdist(objective.centres[0].detach(), torch.stack([first, second]))
    assert distance.min(dim=0).values.max() < 0.1  # each group has a centre


def test_it_trains_and_refuses_what_it_cannot_cut_or_compare():
    criterion = MSConLoss(["make", "type"], objective="subspaces", dim=8, learners=2)
    z = torch.randn(2, 16, 8, requires_grad=True)
    criterion(z, torch.stack([torch.arange(16) % 2, torch.arange(16) % 3], dim=1)).backward()
    assert all(p.grad is not None for p in (z, *criterion.parameters()))
    with pytest.raises(RecipeError, match="cuts projections into 4 parts, but they have 3 dimensions"):
        MSConLoss(["make"], objective="subspaces", dim=3)
    with pytest.raises(RecipeError, match=r"'subspaces' compares with rows that are not alike in anything"):
        MSConLoss([Continuous("price", width=1.0)], objective="subspaces", dim=8)
    with pytest.raises(ValueError, match="learners must be at least 1"):
        Subspaces(0)


def test_learners_double_by_schedule_from_the_whole_projection_and_divide_the_rows_of_one():
    growing, batch = prepared(3, grow_every=2), draw(24, seed=4)
    comparison = Comparison.of(batch.anchors, None, batch.pairs)
    before = [centres.detach().clone() for centres in growing.centres]
    numbers = []
    for _ in range(6):
        numbers.append(growing.active)
        fixed = prepared(growing.active)
        for centres, of_growing in zip(fixed.centres, growing.centres, strict=True):
            centres.data.copy_(of_growing[: growing.active])
        for name in ("per_anchor", "counted", "floor", "ceiling"):
            torch.testing.assert_close(getattr(growing(comparison), name), getattr(fixed(comparison), name))
        with torch.no_grad():
            growing.after_step()
    assert numbers == [1, 1, 2, 2, 3, 3]
    for centres, first in zip(growing.centres, before, strict=True):
        torch.testing.assert_close(centres[0], first[0])
        for new, parent in ((1, 0), (2, 0)):
            assert 0 < (centres[new] - centres[parent]).norm() < 0.2
    again = prepared(3, grow_every=2)
    again.load_state_dict(growing.state_dict())
    assert again.active == 3
    assert "steps" not in prepared(3).state_dict()  # checkpoints of before have none
    with pytest.raises(ValueError, match="grow_every must be at least 0"):
        Subspaces(grow_every=-1)
