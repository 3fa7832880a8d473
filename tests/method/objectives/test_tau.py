"""Temperature as uncertainty: against slow loops of the formula; its limits; what a length says of a row."""

from __future__ import annotations

import math

import pytest
import torch
from tests.batches import draw
from torch.nn.functional import normalize

from mscon import DCL, Continuous, MSConLoss, SupCon, TaU
from mscon.method.comparison import Comparison, SampleOrigin
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class

F64 = torch.float64


def of_views(seed: int = 0) -> tuple[torch.Tensor, LazyPairs, SampleOrigin]:
    """Two views each of four rows, of classes 0, 0, 1 and missing; each projection of another length."""
    z = torch.randn(1, 8, 5, dtype=F64, generator=torch.Generator().manual_seed(seed))
    classes, ids = torch.tensor([0, 0, 1, -1, 0, 0, 1, -1]), torch.arange(8)
    origin = SampleOrigin.of_views(torch.arange(4), [0, 0])
    return z, LazyPairs(same_class, classes, classes, ids, ids, is_partition=True), origin


@pytest.mark.parametrize("own_row", [False, True])
def test_it_is_the_formula_of_the_paper_with_the_length_as_temperature(own_row):
    z, pairs, origin = of_views()
    losses = TaU(0.2, own_row)(Comparison(z, None, [pairs], origin, origin))
    unit, classes, rows = normalize(z[0], dim=1), pairs.anchors.tolist(), origin.rows.tolist()
    for i in range(8):
        if classes[i] < 0:
            assert losses.per_anchor[0, i] == 0
            continue
        sigmoid = 1 / (1 + math.exp(-math.log(float(z[0, i].norm()))))
        others = [a for a in range(8) if a != i and classes[a] >= 0]
        s = {a: float(unit[i] @ unit[a]) * sigmoid / 0.2 for a in others}
        log_sum = math.log(sum(math.exp(s[a]) for a in others if own_row or rows[a] != rows[i]))
        alike = [a for a in others if classes[a] == classes[i]]
        assert losses.per_anchor[0, i].item() == pytest.approx(sum(log_sum - s[a] for a in alike) / len(alike))
        assert TaU.uncertainty(z[0])[i].item() == pytest.approx(1 / sigmoid)
    mean = losses.per_anchor.sum() / losses.counted.sum()
    assert losses.floor < mean


def test_of_one_length_it_is_supcon_at_another_temperature_and_of_views_of_great_length_dcl():
    batch = draw(12, graded=True, seed=3)
    comparison = Comparison.of(3 * normalize(batch.anchors, dim=2), None, batch.pairs)
    expected = SupCon(0.2 * 4 / 3)(comparison)
    for field in ("per_anchor", "ceiling"):
        actual = getattr(TaU(0.2, own_row=True)(comparison), field)
        torch.testing.assert_close(actual, getattr(expected, field).to(F64), rtol=1e-5, atol=1e-5)
    z, _, origin = of_views(1)
    rows, ids = origin.rows, torch.arange(8)
    views = LazyPairs(same_class, rows, rows, ids, ids, is_partition=True)
    far = Comparison(1e8 * z, None, [views], origin, origin)
    torch.testing.assert_close(TaU(0.2)(far).per_anchor, DCL(0.2)(far).per_anchor)


def test_an_uncertain_row_counts_less_and_its_length_learns():
    z, pairs, origin = of_views()
    z = z.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: TaU(0.2)(Comparison(v, None, [pairs], origin, origin)).per_anchor, (z,))
    (gradient,) = torch.autograd.grad(TaU(0.2)(Comparison(z, None, [pairs], origin, origin)).per_anchor.sum(), z)
    along = (gradient * z).sum(dim=2)[0]  # of cosines alone it would be 0
    assert (along[:3].abs() > 1e-3).all()
    short = z.detach().clone()
    short[0, 0] *= 1e-6  # the anchor itself now says nothing
    losses = TaU(0.2)(Comparison(short, None, [pairs], origin, origin))
    assert losses.per_anchor[0, 0].item() == pytest.approx(math.log(4), abs=1e-4)  # of four samples of other rows


def test_it_takes_every_kind_and_trains():
    criterion = MSConLoss(["make", Continuous("size", width=1.0), "same_row"], objective="tau")
    z = torch.randn(3, 6, 2, 5, requires_grad=True)
    criterion(z, {"make": torch.tensor([0, 0, 1, 1, 2, -1]), "size": torch.arange(6.0)}).backward()
    assert z.grad is not None
    assert (z.grad.flatten(1).abs().amax(dim=1) > 0).all()
