"""Rows as alike as another embedding says: what a vector becomes, what a pair weighs, and what the loss is."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

from mscon import Categorical, MSConLoss, Teacher
from mscon.errors import RecipeError, TableError
from mscon.method.kernels import contrast, dispatch
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.teacher import LEAST_TEMPERATURE
from reference import supcon_loops

F64 = torch.float64


def vectors(rows: int, dim: int, seed: int = 0) -> Tensor:
    return torch.randn(rows, dim, generator=torch.Generator().manual_seed(seed), dtype=F64)


def cosines(x: Tensor) -> Tensor:
    unit = normalize(x, dim=1)
    return unit @ unit.T


def others(rows: int) -> Tensor:
    return ~torch.eye(rows, dtype=torch.bool)


@pytest.mark.parametrize("dim", [1, 2, 64, 1536])
def test_weights_are_the_cosines_softmax_weights(dim):
    x, teacher = vectors(40, dim), Teacher("clip", 0.1)
    codes = teacher.encode_tensor(x * torch.linspace(0.01, 1e6, 40, dtype=F64)[:, None])  # lengths do not matter
    pairs = teacher.compare(codes, codes)
    measured = 1 + 0.1 * pairs.weight.double().log()
    torch.testing.assert_close(measured, cosines(x), rtol=0, atol=2e-3)
    assert pairs.known.all()


@pytest.mark.parametrize("precision", ["highest", "medium"])
def test_a_pair_is_the_same_from_both_sides_in_any_block_and_precision(precision):
    teacher = Teacher("clip", 0.1)
    codes = teacher.encode_tensor(vectors(70, 700))
    whole = teacher.compare(codes, codes).weight
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision(precision)
    try:
        with torch.autocast("cpu", torch.bfloat16):
            blocks = [teacher.compare(codes[i : i + 9], codes).weight for i in range(0, 70, 9)]
    finally:
        torch.set_float32_matmul_precision(before)
    assert torch.equal(torch.cat(blocks), whole)
    assert torch.equal(whole, whole.T)
    assert (whole.diagonal() == 1).all()


def test_a_row_of_nan_is_missing():
    x = vectors(5, 3)
    x[2] = math.nan
    teacher = Teacher("clip")
    codes = teacher.encode_tensor(x)
    assert teacher.missing(codes).tolist() == [False, False, True, False, False]
    known = teacher.compare(codes, codes).known
    assert not known[2].any()
    assert not known[:, 2].any()
    assert known.sum() == 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda x: x[1].fill_(0), "labels 'clip' must be vectors, got in row 1 only zeros"),
        (lambda x: x[3, 1].fill_(math.nan), "labels 'clip' must be vectors, got in row 3 NaN in a part"),
        (lambda x: x[0, 0].fill_(math.inf), "labels 'clip' must be finite"),
    ],
)
def test_vectors_without_a_direction_are_refused(change, message):
    x = vectors(5, 3)
    change(x)
    with pytest.raises(ValueError, match=message):
        Teacher("clip").encode_tensor(x)


def test_labels_that_are_no_vectors_are_refused(as_users_run_it):
    with pytest.raises(ValueError, match=r"must have shape \(rows, any\), a vector a row, got \(5,\)"):
        Teacher("clip").encode_tensor(torch.ones(5))


@pytest.mark.parametrize("temperature", [0.0, 0.5 * LEAST_TEMPERATURE, -1.0, math.nan, math.inf, "0.1"])
def test_a_temperature_must_leave_weights(temperature, as_users_run_it):
    with pytest.raises(ValueError, match=r"target_temperature must be a number of at least 0\.02"):
        Teacher("clip", temperature)
    with pytest.raises(RecipeError, match=r"'clip': target_temperature must be a number"):
        Teacher.fit("clip", ["1 2", "3 4"], [2, 3], target_temperature=temperature)


def test_at_the_least_temperature_weights_are_normal_numbers_beside_any_other_row():
    """A sum of weights that has vanished would be no target."""
    teacher = Teacher("clip", LEAST_TEMPERATURE)
    x = torch.eye(3)
    weight = teacher.compare(teacher.encode_tensor(x), teacher.encode_tensor(x)).weight
    assert (weight[others(3)] > torch.finfo(torch.float32).tiny).all()
    assert weight[0, 1].item() == pytest.approx(math.exp(-1 / LEAST_TEMPERATURE), rel=1e-4)


@pytest.mark.parametrize("cell", ["[0.5, -1, 2e1]", "0.5 -1 20", "[0.5 -1.\n 20]", " 0.5,-1,20 "])
def test_a_cell_may_hold_a_vector(cell):
    codes = Teacher("clip").encode([cell, None])
    torch.testing.assert_close(codes[0], Teacher("clip").encode_tensor([[0.5, -1.0, 20.0]])[0])
    assert codes[1].isnan().all()


def test_cells_that_hold_none_are_told_with_their_lines():
    for cells, message in (
        (["1 2", "shoe", None, "[1, nan]"], "2 of 3 cells are not lists of numbers: line 3 'shoe', line 5 '[1, nan]'"),
        (["1 2", "[0, 0]", "3 4"], "1 of 3 cells is zero: line 3 '[0, 0]'"),
        (["1 2", "1 2 3", "3 4", "7"], "2 of 4 cells are not of 2 numbers, as most are: line 3 '1 2 3', line 5 '7'"),
    ):
        with pytest.raises(TableError) as caught:
            Teacher.fit("clip", cells, range(2, 2 + len(cells)))
        assert message in str(caught.value)


# The loss ------------------------------------------------------------------------------------------


def x_clr(z: Tensor, x: Tensor, temperature: float, target_temperature: float) -> Tensor:
    """Cross-entropy between the two softmaxes, each over all others, by torch's own function."""
    without_self = torch.where(others(len(z)), 0.0, -1e30)
    targets = (cosines(x) / target_temperature + without_self).softmax(dim=1)
    return cross_entropy(cosines(z) / temperature + without_self, targets, reduction="none")


@pytest.mark.parametrize("rows", [2, 17, 64])
def test_the_loss_is_the_cross_entropy_between_targets_and_similarities(rows):
    x, z = vectors(rows, 6), vectors(rows, 4, seed=1)
    criterion = MSConLoss([Teacher("clip", 0.2)], 0.3, "equal")
    total = criterion({"clip": z}, {"clip": x})
    torch.testing.assert_close(total, x_clr(z, x, 0.3, 0.2).mean(), rtol=2e-3, atol=1e-4)
    (of_clip,) = criterion.summary()
    logits = (cosines(x) / 0.2).masked_fill(~others(rows), -torch.inf)
    entropy = torch.distributions.Categorical(logits=logits).entropy().mean()
    assert of_clip.floor == pytest.approx(entropy.item(), abs=5e-3)
    assert of_clip.ceiling == pytest.approx(math.log(max(rows - 1, 1)))
    assert of_clip.positive_share == 1


def test_it_is_at_its_floor_where_projections_are_the_teachers_vectors():
    x = vectors(50, 5)
    criterion = MSConLoss([Teacher("clip", 0.2)], 0.2, "equal")
    total = criterion({"clip": x}, {"clip": x})
    assert total.item() == pytest.approx(criterion.summary()[0].floor, abs=1e-4)
    assert criterion.summary()[0].relative_excess == pytest.approx(0, abs=1e-4)


def test_two_views_of_a_row_are_each_others_likest_candidates():
    """Cosine 1: with rows that are far apart the other view has nearly all of the target, as in SimCLR."""
    x, z = torch.eye(6, dtype=F64), vectors(12, 4).view(6, 2, 4)
    criterion = MSConLoss([Teacher("clip", 0.05), "same_row"], 0.5, "equal")
    criterion({"clip": z, "same_row": z}, {"clip": x})
    of_clip, of_rows = criterion.summary()
    assert of_clip.loss == pytest.approx(of_rows.loss, abs=1e-5)


def test_a_row_without_a_vector_is_as_good_as_absent():
    x, z = vectors(20, 6), vectors(20, 4, seed=1).requires_grad_()
    gone = torch.arange(20) % 4 == 1
    holed = x.masked_fill(gone[:, None], math.nan)
    criterion = MSConLoss([Teacher("clip", 0.2)], 0.3, "equal")
    total = criterion({"clip": z}, {"clip": holed})
    torch.testing.assert_close(total, criterion({"clip": z[~gone]}, {"clip": x[~gone]}))
    (gradient,) = torch.autograd.grad(total, z)
    assert (gradient[gone] == 0).all()
    assert (gradient[~gone] != 0).any()


@pytest.mark.parametrize("rows", [30, 400])
def test_blocks_and_all_pairs_at_once_are_the_loops(rows, monkeypatch):
    """With holes, other candidates, and vectors that point away from all others; also the gradient."""
    teacher = Teacher("clip", 0.05)
    x = vectors(rows + 7, 8)
    x[::5] = math.nan
    codes = teacher.encode_tensor(x)
    z = normalize(vectors(rows + 7, 4, seed=1), dim=1).requires_grad_()
    ids = torch.arange(rows + 7)
    pairs = LazyPairs(teacher.compare, codes[:rows], codes, ids[:rows], ids, is_partition=False)
    losses, gradients = [], []
    for most in (10**9, 0):
        monkeypatch.setattr(dispatch, "_MOST_DENSE_PAIRS", {"cpu": most})
        losses.append(contrast(z[None, :rows], z[None], [pairs], temperature=0.1)[0])
        gradients.append(torch.autograd.grad(losses[-1].sum(), z)[0])
    dense = pairs.dense()
    expected = supcon_loops(
        z.detach().numpy()[:rows], z.detach().numpy(), dense.weight.numpy(), dense.known.numpy(), 0.1
    )
    for loss in losses:
        torch.testing.assert_close(loss, torch.as_tensor(expected), rtol=1e-6, atol=1e-6)
    torch.testing.assert_close(*gradients, rtol=1e-5, atol=1e-7)


def test_the_gradient_is_that_of_the_formula():
    x, labels = vectors(6, 3), torch.tensor([0, 1, 0, -1, 1, 0])
    criterion = MSConLoss([Categorical("make"), Teacher("clip", 0.2)], 0.5, "equal")
    z = vectors(12, 3, seed=2).view(6, 2, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda p: criterion({"make": p, "clip": p}, {"make": labels, "clip": x}), (z,))


def test_a_memory_remembers_vectors():
    """Two batches, the second of which meets the first: as the loops say of both together."""
    x, z = vectors(12, 5), vectors(12, 4, seed=3)
    criterion = MSConLoss([Teacher("clip", 0.2)], 0.3, "equal", memory_size=6)
    criterion({"clip": z[:6]}, {"clip": x[:6]})
    total = criterion({"clip": z[6:]}, {"clip": x[6:]})
    teacher = Teacher("clip", 0.2)
    codes = teacher.encode_tensor(x)
    pairs = teacher.compare(codes, codes)
    unit = normalize(z, dim=1).numpy()
    expected = supcon_loops(unit, unit, pairs.weight.numpy(), (pairs.known & others(12)).numpy(), 0.3)
    assert total.item() == pytest.approx(expected[6:].mean(), rel=1e-6)


def test_vectors_come_by_name_as_tensors_arrays_or_lists(as_users_run_it):
    x, z = vectors(6, 3), vectors(6, 4)
    criterion = MSConLoss([Teacher("clip")], weighting="equal")
    expected = criterion({"clip": z}, {"clip": x})
    for labels in (x.float(), np.asarray(x), x.tolist()):
        torch.testing.assert_close(criterion({"clip": z}, {"clip": labels}), expected, rtol=1e-4, atol=1e-4)
    with pytest.raises(ValueError, match=r"missing \['clip'\]"):
        criterion({"clip": z})
