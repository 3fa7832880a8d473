"""Rank-N-Contrast: against the equation, pair by pair; and what it is on classes."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference import rank_n_contrast_loops
from torch import Tensor

from mscon.method.objectives import base
from mscon.method.objectives.base import Comparison
from mscon.method.objectives.rank_n_contrast import RankNContrast, rank_n_contrast
from mscon.method.pairs import LazyPairs, Pairs
from mscon.method.similarities.categorical import same_class
from mscon.method.similarities.continuous import Continuous

F64 = torch.float64
seeds = st.integers(0, 10_000)


def drawn(rows: int, seed: int, *, holes: bool, values: int = 6) -> tuple[Tensor, list[str | None], LazyPairs]:
    """Embeddings, cells of a number column with many equal ones, and their pairs."""
    g = torch.Generator().manual_seed(seed)
    z = torch.randn(rows, 3, dtype=F64, generator=g, requires_grad=True)
    cells: list[str | None] = [str(v) for v in torch.randint(values, (rows,), generator=g).tolist()]
    if holes:
        cells = [None if u < 0.25 else c for c, u in zip(cells, torch.rand(rows, generator=g).tolist(), strict=True)]
    kind = Continuous("y", width=2.0, centre=0.0)
    codes, ids = kind.encode(cells), torch.arange(rows)
    return z, cells, LazyPairs(kind.compare, codes, codes, ids, ids, is_partition=False)


def of_the_paper(z: Tensor, cells: list[str | None], temperature: float) -> Tensor:
    """By differences of the numbers themselves: no weight, no width, no order of weights."""
    y = np.array([math.nan if c is None else float(c) for c in cells])
    apart, there = np.abs(y[:, None] - y[None, :]), ~np.isnan(y)
    pairs = there[:, None] & there[None, :] & ~np.eye(len(y), dtype=bool)
    further = (apart[:, None, :] >= apart[:, :, None]) & pairs[:, None, :] & pairs[:, :, None]
    return rank_n_contrast_loops(z, z, further, pairs, temperature)


@given(st.integers(1, 8), seeds, st.floats(0.2, 5), st.booleans())
@settings(deadline=None, derandomize=True)
def test_it_is_the_equation_of_the_paper_with_its_gradient_also_under_ties_and_holes(rows, seed, temperature, holes):
    z, cells, pairs = drawn(rows, seed, holes=holes)
    expected, values = of_the_paper(z, cells, temperature), rank_n_contrast(z, None, pairs, temperature=temperature)
    torch.testing.assert_close(values, expected)
    factors = torch.arange(1.0, rows + 1, dtype=F64)
    (ours,) = torch.autograd.grad((values * factors).sum(), z, allow_unused=True)
    (theirs,) = torch.autograd.grad((expected * factors).sum(), z, allow_unused=True)
    torch.testing.assert_close(ours, theirs)


def test_the_width_of_the_kernel_does_not_matter():
    z, cells, _ = drawn(9, 2, holes=True, values=4)
    codes = [Continuous("y", width, 0.0).encode(cells) for width in (0.5, 2.0, 7.0)]
    ids = torch.arange(9)
    first, *others = (
        rank_n_contrast(z, None, LazyPairs(Continuous("y", 1.0, 0.0).compare, c, c, ids, ids, False)) for c in codes
    )
    for other in others:
        torch.testing.assert_close(other, first)


def test_on_classes_it_is_supcon_with_distances():
    z = torch.randn(8, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    codes, ids = torch.tensor([0, 0, 1, 1, 1, 2, -1, 0]), torch.arange(8)
    pairs = LazyPairs(same_class, codes, codes, ids, ids, is_partition=True).dense()
    logits = (-torch.cdist(z, z) / 2).masked_fill(~pairs.known, -torch.inf)
    share = pairs.weight * pairs.known / (pairs.weight * pairs.known).sum(1, keepdim=True).clamp_min(1)
    expected = -(share * logits.log_softmax(1).masked_fill(share == 0, 0)).sum(1)
    torch.testing.assert_close(rank_n_contrast(z, None, pairs), expected)


def test_embeddings_that_coincide_meet_the_ceiling_and_a_perfect_line_comes_near_the_floor():
    cells: list[str | None] = ["0", "1", "1", "2", "5"]
    kind, ids = Continuous("y", 1.0, 0.0), torch.arange(5)
    codes = kind.encode(cells)
    pairs = [LazyPairs(kind.compare, codes, codes, ids, ids, is_partition=False)]
    losses = RankNContrast()(Comparison.of(torch.ones(1, 5, 3, dtype=F64), None, pairs))
    torch.testing.assert_close(losses.per_anchor.mean(1), losses.ceiling.double())
    line = torch.tensor([[float(c)] for c in cells if c], dtype=F64)[None] * 500
    losses = RankNContrast()(Comparison.of(line, None, pairs))
    torch.testing.assert_close(losses.per_anchor.mean(1), losses.floor.double())
    assert losses.floor.item() > 0  # ties share, so some of it cannot be had


def test_blocks_change_neither_value_nor_gradient(monkeypatch):
    results = []
    for at_once in (2**22, 30):
        monkeypatch.setattr(base, "_AT_ONCE", at_once)
        z, _, pairs = drawn(11, 4, holes=True)
        losses = rank_n_contrast(z, None, pairs)
        (losses * torch.arange(1.0, 12)).sum().backward()
        results.append((losses.detach(), z.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


def test_what_is_unknown_may_be_anything():
    z = torch.randn(4, 3, dtype=F64)
    weight, known = torch.rand(4, 4), ~torch.eye(4, dtype=torch.bool)
    known[:, 2] = False
    expected = rank_n_contrast(z, z.clone(), Pairs(weight, known))
    other = z.clone()
    other[2] = 1e9
    torch.testing.assert_close(rank_n_contrast(z, other, Pairs(torch.where(known, weight, 0.9), known)), expected)


@pytest.mark.parametrize("temperature", [0.0, -1.0, float("nan"), float("inf")])
def test_a_temperature_must_be_positive(temperature):
    with pytest.raises(ValueError, match="temperature must be positive"):
        RankNContrast(temperature)
    with pytest.raises(ValueError, match="temperature must be positive"):
        rank_n_contrast(torch.ones(2, 2), None, Pairs(torch.eye(2), torch.ones(2, 2) > 0), temperature=temperature)
