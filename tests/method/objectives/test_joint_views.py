"""MV-InfoNCE and MV-DHEL: against their formulas; what they are of two views; their bounds."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from mscon import MSConLoss
from mscon.method.comparison import Comparison, SampleOrigin
from mscon.method.objectives import base
from mscon.method.objectives.base import Losses, Objective
from mscon.method.objectives.mv_dhel import MVDHEL
from mscon.method.objectives.mv_infonce import MVInfoNCE
from mscon.method.objectives.supcon import SupCon
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class

F64 = torch.float64


def of_views(z: Tensor, labels: Tensor | None = None, objective: Objective | None = None) -> Losses:
    """Losses of vectors [views, rows, dim], of which those of a row, or of a label, are alike."""
    views, rows, _ = z.shape
    codes = (torch.arange(rows) if labels is None else labels).repeat(views)
    ids, origin = torch.arange(views * rows), SampleOrigin.of_views(torch.arange(rows), [0] * views)
    pairs = [LazyPairs(same_class, codes, codes, ids, ids, is_partition=True)]
    assert objective is not None
    losses: Losses = objective(Comparison(z.reshape(1, views * rows, -1), None, pairs, origin, origin))
    return losses


def drawn(views: int, rows: int = 5, seed: int = 0) -> Tensor:
    return torch.randn(views, rows, 4, dtype=F64, generator=torch.Generator().manual_seed(seed))


def infonce_loops(z: Tensor, labels: Tensor, temperature: float, same_view: bool = True) -> list[float]:
    unit, losses = normalize(z, dim=2), []
    samples = [*itertools.product(range(z.shape[0]), range(z.shape[1]))]
    for i in range(z.shape[1]):
        near = against = 0.0
        for view, (other, j) in itertools.product(range(z.shape[0]), samples):
            if (view, i) == (other, j) or labels[i] < 0 or labels[j] < 0:
                continue
            exponential = math.exp(float(unit[view, i] @ unit[other, j]) / temperature)
            near += exponential * bool(labels[i] == labels[j])
            against += exponential * (same_view or view != other or bool(labels[i] == labels[j]))
        losses.append(-math.log(near / against) if near else 0.0)
    return losses


def dhel_loops(z: Tensor, labels: Tensor, temperature: float) -> list[float]:
    """As the code of the authors, whose sums are of pairs of views in one order."""
    unit, losses = normalize(z, dim=2), []
    views, rows = range(z.shape[0]), range(z.shape[1])
    for i in rows:
        near, energy = 0.0, 1.0
        for view in views:
            positives = [(v, j) for v in views for j in rows if labels[i] == labels[j] >= 0 and (v, j) != (view, i)]
            negatives = [j for j in rows if labels[j] >= 0 and labels[j] != labels[i]]
            near += sum(math.exp(float(unit[view, i] @ unit[v, j]) / temperature) for v, j in positives) / 2
            energy *= sum(math.exp(float(unit[view, i] @ unit[view, j]) / temperature) for j in negatives)
        losses.append(-math.log(near / energy) if near and labels[i] >= 0 and energy else 0.0)
    return losses


@pytest.mark.parametrize("views", [2, 3, 4])
@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1, 1, -1, 0])])
def test_they_are_their_formulas(views, labels):
    z = drawn(views)
    classes = torch.arange(5) if labels is None else labels
    for objective, expected in (
        (MVInfoNCE(0.5), infonce_loops(z, classes, 0.5)),
        (MVInfoNCE(0.5, same_view=False), infonce_loops(z, classes, 0.5, same_view=False)),
        (MVDHEL(0.5), dhel_loops(z, classes, 0.5)),
    ):
        losses = of_views(z, labels, objective)
        torch.testing.assert_close(losses.per_anchor[0], torch.tensor(expected, dtype=F64).repeat(views))
        assert losses.counted[0].tolist() == (classes >= 0).tolist() * views


def test_with_two_views_mv_infonce_is_at_least_nt_xent_and_equals_it_where_both_views_meet_the_same():
    """The arithmetic mean of the two denominators in place of the geometric one."""
    for seed in range(5):
        z = drawn(2, seed=seed)
        each = of_views(z, objective=SupCon(0.2)).per_anchor.view(2, 5).mean(dim=0)
        joint = of_views(z, objective=MVInfoNCE(0.2)).per_anchor.view(2, 5)[0]
        assert (joint > each).all()
    z = drawn(1).expand(2, -1, -1)
    for objective in (SupCon(0.2), MVInfoNCE(0.2)):
        torch.testing.assert_close(
            of_views(z, objective=objective).per_anchor, of_views(z, objective=SupCon(0.2)).per_anchor
        )


def test_with_one_view_mv_infonce_of_labels_is_supcon_with_the_positives_inside():
    labels = torch.tensor([0, 1, 1, 2, 0, 2, 1])
    z = drawn(1, 7)
    inside = of_views(z, labels, SupCon(0.3, positives="inside"))
    positives = torch.tensor([(labels == label).sum() - 1 for label in labels], dtype=F64)
    joint = of_views(z, labels, MVInfoNCE(0.3))
    torch.testing.assert_close(joint.per_anchor[0], inside.per_anchor[0] - positives.log())


def test_mv_dhel_is_finite_where_a_product_of_sums_overflows():
    z = drawn(8).float()
    z[:, :, 0] += 10  # all near one another
    losses = of_views(z, objective=MVDHEL(0.02))
    assert losses.per_anchor.isfinite().all()
    assert losses.per_anchor.min() > math.log(torch.finfo(torch.float32).max)


@pytest.mark.parametrize("objective", [MVInfoNCE(0.2), MVInfoNCE(0.2, same_view=False), MVDHEL(0.2)])
def test_gradients_are_those_of_finite_differences_and_of_one_block(objective, monkeypatch):
    z = drawn(3, 4).requires_grad_()
    assert torch.autograd.gradcheck(lambda v: of_views(v, objective=objective).per_anchor, (z,))
    whole = of_views(z, objective=objective)
    (expected,) = torch.autograd.grad(whole.per_anchor.sum(), z)
    monkeypatch.setattr(base, "_AT_ONCE", 30)
    parts = of_views(z, objective=objective)
    torch.testing.assert_close(parts.per_anchor, whole.per_anchor)
    torch.testing.assert_close(torch.autograd.grad(parts.per_anchor.sum(), z)[0], expected)


@pytest.mark.parametrize("objective", [MVInfoNCE(0.2), MVInfoNCE(0.2, same_view=False), MVDHEL(0.2)])
@pytest.mark.parametrize("labels", [None, torch.tensor([0, 1])])
def test_their_bounds_are_reached(objective, labels):
    opposite = torch.tensor([1.0, -1.0], dtype=F64)[None, :, None].expand(3, -1, -1)  # two rows, as far as can be
    losses = of_views(opposite, labels, objective)
    torch.testing.assert_close(losses.per_anchor.mean(dim=1), losses.floor)
    losses = of_views(torch.ones_like(opposite), labels, objective)
    torch.testing.assert_close(losses.per_anchor.mean(dim=1), losses.ceiling)


@pytest.mark.parametrize("objective", [MVInfoNCE(0.2), MVInfoNCE(0.2, same_view=False), MVDHEL(0.2)])
def test_rows_of_one_process_among_those_of_all_have_the_losses_that_they_have_alone(objective):
    z = drawn(3, 6)
    whole = of_views(z, objective=objective).per_anchor.view(3, 6)
    ids, origin = torch.arange(18), SampleOrigin.of_views(torch.arange(6), [0] * 3)
    some = ids[origin.rows >= 2]
    codes = torch.arange(6).repeat(3)
    pairs = [LazyPairs(same_class, codes[some], codes, ids[some], ids, is_partition=True)]
    flat = z.reshape(1, 18, -1)
    losses = objective(Comparison(flat[:, some], flat, pairs, origin.select(some), origin))
    torch.testing.assert_close(losses.per_anchor[0], whole[:, 2:].reshape(-1))


def test_in_a_loop_of_ones_own_a_row_may_have_any_number_of_views():
    z = drawn(4, 6)
    for objective, expected in (
        ("mv_infonce", infonce_loops(z, torch.arange(6), 0.1)),
        ("mv_dhel", dhel_loops(z, torch.arange(6), 0.1)),
    ):
        loss = MSConLoss(["same_row"], objective=objective)(z.transpose(0, 1)[None])
        assert loss.item() == pytest.approx(sum(expected) / 6)
