"""What every objective of the catalogue keeps to. A new file is tested the moment it exists."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
import torch
from torch import Tensor

from batches import LARGE_NAMINGS, SIGNED_NAMINGS, around
from decoupled import DCL
from mscon.method import catalogue
from mscon.method.objectives.base import Comparison, Losses, Objective
from mscon.method.objectives.supcon import SupCon
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.hierarchical import Hierarchical

SIMILARITIES = (Categorical("a", ("x", "y")), Categorical("b", ("p", "q", "r")))
DIM = 6


@pytest.fixture(params=[*catalogue.names("objective"), "supcon, decoupled", "decoupled:DCL"])
def objective(request) -> Objective:
    torch.manual_seed(0)
    name, decoupled, _ = request.param.partition(", decoupled")
    made = catalogue.build("objective", name, {"denominator": "negatives"} if decoupled else {})
    made.prepare(SIMILARITIES, DIM)
    return made.double()


def batch(rows: int = 14) -> tuple[Tensor, list[Tensor]]:
    generator = torch.Generator().manual_seed(3)
    z = torch.randn(2, rows, DIM, generator=generator, dtype=torch.float64)
    return z, [torch.randint(-1, k, (rows,), generator=generator) for k in (2, 3)]


def losses_of(objective: Objective, z: Tensor, codes: Sequence[Tensor]) -> Losses:
    ids = torch.arange(z.shape[1])
    pairs = [LazyPairs(s.compare, c, c, ids, ids, s.is_partition) for s, c in zip(SIMILARITIES, codes, strict=True)]
    return objective(Comparison.of(z, None, pairs))


def test_the_order_of_rows_does_not_matter(objective):
    z, codes = batch()
    order = torch.randperm(z.shape[1], generator=torch.Generator().manual_seed(1))
    shuffled = losses_of(objective, z[:, order], [c[order] for c in codes])
    torch.testing.assert_close(shuffled.per_anchor, losses_of(objective, z, codes).per_anchor[:, order])


def test_a_missing_label_is_as_good_as_an_absent_row(objective):
    z, codes = batch()
    codes = [c.clone() for c in codes]
    codes[0][5], codes[1][5] = -1, -1
    kept = torch.arange(z.shape[1]) != 5
    with_hole, without = losses_of(objective, z, codes), losses_of(objective, z[:, kept], [c[kept] for c in codes])
    torch.testing.assert_close(with_hole.per_anchor[:, kept], without.per_anchor)
    torch.testing.assert_close(with_hole.floor, without.floor)
    torch.testing.assert_close(with_hole.ceiling, without.ceiling)


def test_rows_without_a_label_get_exactly_zero_and_no_gradient(objective):
    z, codes = batch()
    codes = [torch.where(torch.arange(14) < 3, -1, c) for c in codes]
    z.requires_grad_()
    losses = losses_of(objective, z, codes)
    assert (losses.per_anchor[:, :3] == 0).all()
    assert not losses.counted[:, :3].any()
    losses.per_anchor.sum().backward()
    assert (z.grad[:, :3] == 0).all()


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_a_similarity_without_labels_is_absent_and_finite(objective):
    z, codes = batch()
    codes[1] = torch.full_like(codes[1], -1)
    z.requires_grad_()
    with torch.autograd.detect_anomaly(check_nan=True):
        losses = losses_of(objective, z, codes)
        losses.per_anchor.sum().backward()
    assert losses.present.tolist() == [True, False]
    assert z.grad.isfinite().all()
    assert (z.grad[1] == 0).all()


def test_gradients_are_those_of_finite_differences(objective):
    z, codes = batch(rows=7)
    z.requires_grad_()
    assert torch.autograd.gradcheck(lambda v: losses_of(objective, v, codes).per_anchor, (z,))


def test_no_loss_is_below_its_floor(objective):
    z, codes = batch()
    for scale in (1e-3, 1.0, 30.0):
        losses = losses_of(objective, z * scale, codes)
        mean = losses.per_anchor.sum(dim=1) / losses.counted.sum(dim=1)
        assert (mean >= losses.floor - 1e-9).all()
        assert (losses.ceiling > losses.floor).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_rounds_nothing(objective, dtype):
    z, codes = batch()
    objective, z = objective.float(), z.float()
    expected = losses_of(objective, z, codes).per_anchor
    with torch.autocast("cpu", dtype=dtype):
        assert torch.equal(losses_of(objective, z, codes).per_anchor, expected)


def test_half_precision_projections_agree_within_their_rounding(objective):
    z, codes = batch()
    objective = objective.float()
    exact = losses_of(objective, z.bfloat16().float(), codes).per_anchor
    torch.testing.assert_close(
        losses_of(objective, z.bfloat16(), codes).per_anchor.float(), exact, rtol=1e-2, atol=1e-2
    )


def same_losses(one: Losses, other: Losses) -> None:
    for field in dataclasses.fields(Losses):
        torch.testing.assert_close(getattr(one, field.name), getattr(other, field.name))


@pytest.mark.parametrize("naming", [*SIGNED_NAMINGS, *LARGE_NAMINGS])
def test_only_which_codes_are_equal_matters_not_their_size_or_type(objective, naming):
    if not objective.compares and naming in LARGE_NAMINGS:
        pytest.skip("its codes are numbers of classes")
    z, codes = batch()
    same_losses(losses_of(objective, z, [naming(c) for c in codes]), losses_of(objective, z, codes))


@pytest.mark.parametrize("naming", [*SIGNED_NAMINGS, *LARGE_NAMINGS])
@pytest.mark.parametrize("name", [n for n in catalogue.names("objective") if n != "cross_entropy"])
def test_the_same_is_true_of_the_levels_of_a_hierarchy(name, naming):
    objective = catalogue.build("objective", name, {})
    kind = Hierarchical("h", (("a", "x"), ("a", "y"), ("b", "x")))
    z, codes = batch()
    levels = torch.stack([codes[0], torch.where(codes[0] < 0, -1, codes[1])], dim=1)
    objective.prepare([kind], DIM)
    ids = torch.arange(z.shape[1])

    def losses(codes: Tensor) -> Losses:
        return objective(
            Comparison.of(z[:1], None, [LazyPairs(kind.compare, codes, codes, ids, ids, kind.is_partition)])
        )

    same_losses(losses(naming(levels)), losses(levels))


def test_ids_of_any_size_leave_out_the_pairs_that_small_ones_do(objective):
    z, codes = batch()
    views = torch.arange(z.shape[1]) // 2

    def losses(ids: Tensor) -> Losses:
        pairs = [LazyPairs(s.compare, c, c, ids, ids, True) for s, c in zip(SIMILARITIES, codes, strict=True)]
        return objective(Comparison.of(z, None, pairs))

    same_losses(losses(around(2**53, views)), losses(views))


def test_a_decoupled_supcon_is_the_loss_of_its_paper():
    z, codes = batch()
    same_losses(losses_of(SupCon(denominator="negatives"), z, codes), losses_of(DCL(), z, codes))
