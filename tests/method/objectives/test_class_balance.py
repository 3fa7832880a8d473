"""SupCon whose classes count alike: against slow loops, on every path, and over processes."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from batches import draw
from mscon import Categorical, Continuous, MSConLoss, SupCon
from mscon.errors import RecipeError
from mscon.method.class_balance import ClassBalance
from mscon.method.comparison import Comparison
from mscon.method.cores import AcrossInputs
from mscon.method.kernels.dense import Dense
from mscon.method.kernels.dispatch import contrast
from mscon.method.kernels.online import Online
from mscon.method.kernels.path import Competitors, Kernel, Positives, evaluate
from mscon.method.kernels.tiles import Tiles
from mscon.method.pairs import LazyPairs
from mscon.run import recipe as recipes
from mscon.testing import check_objective

F64 = torch.float64
LABELS = torch.tensor([0, 0, 1, 0, 2, -1, 1, 0, 2, 0, 3])
WAYS: list[tuple[Positives, Competitors]] = [("outside", "all"), ("outside", "negatives"), ("inside", "all")]


def loops(z: Tensor, y: list[int], t: float, positives: str, denominator: str) -> list[float]:
    u, losses = normalize(z, dim=1), []
    for i, label in enumerate(y):
        others = [j for j, other in enumerate(y) if other >= 0 and j != i]
        alike = [j for j in others if y[j] == label]
        rivals = [j for j in others if denominator == "all" or y[j] != label]
        if label < 0 or not alike or not rivals:
            losses.append(0.0)
            continue
        s = {j: float(u[i] @ u[j]) / t for j in others}
        log_d = math.log(sum(math.exp(s[j]) / y.count(y[j]) for j in rivals))
        inside = math.log(sum(math.exp(s[j]) for j in alike) / len(alike))
        losses.append(log_d - (inside if positives == "inside" else sum(s[j] for j in alike) / len(alike)))
    return losses


def lazy(labels: Tensor = LABELS) -> LazyPairs:
    ids = torch.arange(len(labels))
    return LazyPairs(Categorical("make", 4).compare, labels, labels, ids, ids, is_partition=True)


@pytest.mark.parametrize(("positives", "denominator"), WAYS)
def test_it_is_its_formula_within_its_bounds(positives, denominator):
    z = torch.randn(1, len(LABELS), 5, dtype=F64, generator=torch.Generator().manual_seed(0))
    objective = SupCon(0.3, positives=positives, denominator=denominator, balance="classes")
    losses = objective(Comparison.of(z, None, [lazy()]))
    expected = torch.tensor([loops(z[0], LABELS.tolist(), 0.3, positives, denominator)], dtype=F64)
    torch.testing.assert_close(losses.per_anchor, expected, rtol=1e-6, atol=1e-6)
    assert (losses.per_anchor[~losses.counted] == 0).all()
    assert (losses.per_anchor.sum(1) / losses.counted.sum(1) > losses.floor).all()
    coinciding = objective(Comparison.of(torch.ones_like(z), None, [lazy()]))
    torch.testing.assert_close(
        coinciding.per_anchor.sum(1) / coinciding.counted.sum(1), losses.ceiling.to(F64), rtol=1e-6, atol=1e-6
    )


def test_classes_of_one_size_make_no_difference_but_a_constant():
    z, labels = torch.randn(1, 8, 5, dtype=F64, generator=torch.Generator().manual_seed(0)), torch.arange(8) % 4
    comparison = Comparison.of(z, None, [lazy(labels)])
    one, other = SupCon(0.3, balance="classes")(comparison), SupCon(0.3)(comparison)
    torch.testing.assert_close(one.per_anchor, other.per_anchor - math.log(2), rtol=1e-6, atol=1e-6)
    for bound in ("floor", "ceiling"):
        assert getattr(one, bound).item() == pytest.approx(getattr(other, bound).item() - math.log(2), abs=1e-6)


def gradients(kernel: Kernel, z: Tensor, candidates: Tensor | None) -> list[Tensor]:
    anchors = z.clone().requires_grad_()
    others = None if candidates is None else candidates.clone().requires_grad_()
    losses = evaluate(kernel, anchors, others, torch.full((len(z),), 0.3, dtype=F64))
    weight = torch.randn(losses.shape, dtype=F64, generator=torch.Generator().manual_seed(1))
    inputs = (anchors,) if others is None else (anchors, others)
    return [losses, *torch.autograd.grad((weight * losses).sum(), inputs)]


@pytest.mark.parametrize("candidates", [None, 11])
@pytest.mark.parametrize("denominator", ["all", "negatives", "negatives_and_itself"])
def test_every_path_has_the_same_losses_and_gradients(candidates, denominator):
    batch = draw(13, candidates, dim=4, ids="sample", graded=False, missing=True, seed=3)
    pairs = [ClassBalance.of(p).pairs for p in batch.pairs]
    assert any((p.bias[0] != p.bias[0][0]).any() for p in pairs if p.bias is not None)
    ts = (0.3,) * len(pairs)
    dense = Dense.of(pairs, ts, 12.0, F64, inside=False, denominator=denominator)
    expected = gradients(dense, batch.anchors, batch.candidates)
    tiles = Tiles.of(pairs, ts, 12.0, is_square=candidates is None, size=3, denominator=denominator)
    for path in (tiles, Online(tuple(pairs), ts, inside=False, denominator=denominator, block=(3, 4))):
        for actual, of_dense in zip(gradients(path, batch.anchors, batch.candidates), expected, strict=True):
            torch.testing.assert_close(actual, of_dense, rtol=1e-6, atol=1e-6)
    unit = normalize(batch.anchors[:1], dim=2).requires_grad_()
    assert torch.autograd.gradcheck(
        lambda v: contrast(v, None, [lazy_balanced(13)], temperature=0.3, denominator=denominator), (unit,)
    )


def lazy_balanced(rows: int) -> LazyPairs:
    balanced = ClassBalance.of(lazy(torch.arange(rows) ** 2 % 5)).pairs
    assert balanced.bias is not None
    return replace(balanced, bias=(balanced.bias[0].double(), balanced.bias[1].double()))


def test_processes_have_for_their_rows_the_gradient_of_all():
    z = torch.nn.functional.normalize(
        torch.randn(1, 9, 4, dtype=F64, generator=torch.Generator().manual_seed(0)), dim=2
    )
    pairs, ts = lazy_balanced(9), (0.3,)
    whole = gradients(Dense.of([pairs], ts, 12.0, F64, inside=False), z, None)[1]
    weight = torch.randn((1, 9), dtype=F64, generator=torch.Generator().manual_seed(1))
    for build in ("dense", "tiles", "online"):
        told: list[Tensor] = []

        def exchange(numbers: Tensor, told: list[Tensor] = told) -> Tensor:
            told.append(numbers)
            return torch.cat(told[:2], dim=2) if len(told) > 2 else numbers.new_zeros(*numbers.shape[:2], 9)

        for part in (slice(0, 4), slice(4, 9)) * 2:
            assert pairs.bias is not None
            here = replace(
                pairs,
                anchors=pairs.anchors[part],
                anchor_ids=pairs.anchor_ids[part],
                exchange=exchange,
                bias=(pairs.bias[0][part], pairs.bias[1]),
            )
            kernel: Kernel
            if build == "dense":
                kernel = Dense.of([here], ts, 12.0, F64, inside=False)
            elif build == "tiles":
                kernel = Tiles.of([here], ts, 12.0, is_square=False, size=3)
            else:
                kernel = Online((here,), ts, inside=False, block=(3, 4))
            anchors = z[:, part].clone().requires_grad_()
            losses = evaluate(kernel, anchors, z, 0.3, exchange=exchange)
            (gradient,) = torch.autograd.grad((weight[:, part] * losses).sum(), anchors)
            if len(told) > 2:
                torch.testing.assert_close(gradient, whole[:, part], rtol=1e-6, atol=1e-8)


def test_it_keeps_the_contract():
    check_objective(SupCon(balance="classes"))


def test_it_takes_classes_only():
    with pytest.raises(RecipeError, match=r"counts the rows of classes, but similarity 'price' is of kind Continuous"):
        MSConLoss([Continuous("price", width=1.0)], objective=SupCon(balance="classes"))
    text = '[[similarity]]\ncolumn = "make"\n[objective]\nname = "supcon"\nbalance = "rows"\n'
    with pytest.raises(RecipeError, match=r"balance.*classes.*'rows'"):
        recipes.parse(text)
    assert "balance" not in recipes.parse(text.replace('balance = "rows"', "")).to_toml()
    with pytest.raises(ValueError, match="looks into codes"):
        AcrossInputs(SupCon(balance="classes"))
