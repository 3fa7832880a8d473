"""MulSupCon: against one SupCon a label; its weights; which kinds it takes."""

from __future__ import annotations

import math

import pytest
import torch
from tests.batches import draw
from torch import Tensor
from torch.nn.functional import normalize

from mscon import Categorical, Continuous, MSConLoss, MultiLabel
from mscon.errors import RecipeError
from mscon.method.comparison import Comparison
from mscon.method.kernels import contrast
from mscon.method.objectives import base
from mscon.method.objectives.mulsupcon import MulSupCon
from mscon.method.objectives.supcon import SupCon
from mscon.method.pairs import LazyPairs

F64 = torch.float64
SETS = torch.tensor([[1, 1, 0, 0], [1, 0, 0, 0], [0, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0], [0, 0, 1, 1], [0, 1, 0, 0]])


def sets(codes: Tensor = SETS, alike: str = "jaccard") -> LazyPairs:
    kind, ids = MultiLabel("tags", codes.shape[1], alike=alike), torch.arange(len(codes))
    return LazyPairs(kind.compare, codes.byte(), codes.byte(), ids, ids, is_partition=False)


def embedded(rows: int = len(SETS)) -> Tensor:
    return torch.randn(1, rows, 5, dtype=F64, generator=torch.Generator().manual_seed(0))


def test_it_is_the_mean_over_the_labels_of_an_anchor_of_a_supcon_each():
    z = embedded()
    losses = MulSupCon(0.2)(Comparison.of(z, None, [sets()]))
    unit, missing = normalize(z[0], dim=1), ~SETS.bool().any(1)
    for i in range(len(SETS)):
        others = [j for j in range(len(SETS)) if j != i and not missing[j]]
        log_sum = math.log(sum(math.exp(float(unit[i] @ unit[j]) / 0.2) for j in others))
        terms = []
        for label in range(SETS.shape[1]):
            alike = [j for j in others if SETS[i, label] and SETS[j, label]]
            if alike:
                terms.append(sum(log_sum - float(unit[i] @ unit[j]) / 0.2 for j in alike) / len(alike))
        expected = sum(terms) / len(terms) if terms and not missing[i] else 0.0
        assert losses.per_anchor[0, i].item() == pytest.approx(expected, rel=1e-5)
    assert losses.counted.tolist() == [[True, True, True, True, False, True, True]]


def test_by_similarity_and_dissimilarity_further_labels_of_a_positive_make_it_count_less():
    z = embedded()
    losses = MulSupCon(0.2, "similarity_dissimilarity")(Comparison.of(z, None, [sets()]))
    weight = torch.zeros(7, 7, dtype=F64)
    for i, one in enumerate(SETS.tolist()):
        for j, other in enumerate(SETS.tolist()):
            shared = sum(a and b for a, b in zip(one, other, strict=True))
            weight[i, j] = shared / max(1, sum(one)) / (1 + sum(other) - shared) if i != j else 0
    assert weight[0, 3] > weight[0, 1] > weight[0, 2]  # the same set; one of its labels; one of its labels and another
    pairs = sets().dense()
    unit = normalize(z, dim=2)
    expected = contrast(unit, None, [type(pairs)(weight, pairs.known)], temperature=0.2)
    torch.testing.assert_close(losses.per_anchor, expected)


@pytest.mark.parametrize("weights", ["per_label", "similarity_dissimilarity"])
def test_on_classes_it_is_supcon_as_codes_or_as_sets_of_one(weights):
    batch = draw(12, seed=3)
    comparison = Comparison.of(batch.anchors, None, batch.pairs)
    one, other = MulSupCon(0.2, weights)(comparison), SupCon(0.2)(comparison)
    torch.testing.assert_close(one.per_anchor, other.per_anchor)
    codes = batch.pairs[1].anchors
    single = torch.nn.functional.one_hot(codes.clamp_min(0), 4) * (codes >= 0)[:, None]
    of_sets = MulSupCon(0.2, weights)(Comparison.of(batch.anchors[1:2], None, [sets(single)]))
    torch.testing.assert_close(of_sets.per_anchor, other.per_anchor[1:2], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("weights", ["per_label", "similarity_dissimilarity"])
def test_bounds_gradient_and_blocks(weights, monkeypatch):
    z = embedded()
    comparison = Comparison.of(z, None, [sets()])
    losses = MulSupCon(0.2, weights)(comparison)
    assert losses.floor < losses.per_anchor.sum() / losses.counted.sum()
    coinciding = MulSupCon(0.2, weights)(Comparison.of(torch.ones_like(z), None, [sets()]))
    mean = coinciding.per_anchor.sum(1) / coinciding.counted.sum(1)
    torch.testing.assert_close(mean, losses.ceiling.to(F64), rtol=1e-6, atol=1e-6)
    monkeypatch.setattr(base, "_AT_ONCE", 15)
    assert torch.autograd.gradcheck(
        lambda v: MulSupCon(0.2, weights)(Comparison.of(v, None, [sets()])).per_anchor, (z.requires_grad_(),)
    )
    torch.testing.assert_close(MulSupCon(0.2, weights)(comparison).per_anchor, losses.per_anchor)


def test_it_trains_in_a_loop_of_ones_own():
    criterion = MSConLoss([MultiLabel("tags"), Categorical("make")], objective="mulsupcon")
    z = {name: torch.randn(7, 5, requires_grad=True) for name in ("tags", "make")}
    criterion(z, {"tags": SETS, "make": torch.tensor([0, 0, 1, 1, 2, 2, -1])}).backward()
    assert all(v.grad is not None and v.grad.abs().max() > 0 for v in z.values())


def test_kinds_that_it_cannot_use_are_refused_with_what_would_do():
    with pytest.raises(
        RecipeError, match=r"'mulsupcon' needs sets of labels or classes.*Continuous.*Use objective 'supcon'"
    ):
        MSConLoss([Continuous("price", width=1.0)], objective="mulsupcon")
    with pytest.raises(RecipeError, match=r"alike = \"all\".*Set alike = \"jaccard\""):
        MSConLoss([MultiLabel("tags", alike="all")], objective="mulsupcon")
