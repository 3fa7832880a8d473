"""The triplet loss of conditional similarity networks, and what it is beyond triplets."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import csn_accuracy_loops, csn_loss_loops, triplet_margin_loops
from torch import Tensor

from mscon.data.batches.triplet_dataset import TripletRule
from mscon.method.objectives import triplet_margin as module
from mscon.method.objectives.base import Comparison
from mscon.method.objectives.triplet_margin import TripletMargin, triplet_margin
from mscon.method.pairs import LazyPairs, Pairs

F64 = torch.float64
seeds = st.integers(0, 10_000)


def graded(rows: int, candidates: int, seed: int, levels: int = 3) -> tuple[Tensor, Tensor, Pairs]:
    """Embeddings, and weights of a few levels, a fifth of them unknown."""
    g = torch.Generator().manual_seed(seed)
    a, c = (torch.randn(n, 4, dtype=F64, generator=g) for n in (rows, candidates))
    weight = torch.randint(levels, (rows, candidates), generator=g).double() / (levels - 1)
    return a, c, Pairs(weight, torch.rand(rows, candidates, generator=g) > 0.2)


def codes_of(condition: Tensor, number: int) -> Tensor:
    part = torch.arange(3).repeat_interleave(len(condition))
    return torch.stack([torch.arange(len(condition)).where(condition == number, -1).repeat(3), part], dim=1)


@given(st.integers(1, 6), st.integers(1, 7), seeds, st.floats(0.01, 3), st.sampled_from([2, 3, 5]))
def test_it_reads_the_formula_as_the_loops_do(rows, candidates, seed, margin, levels):
    a, c, pairs = graded(rows, candidates, seed, levels)
    expected = triplet_margin_loops(a.numpy(), c.numpy(), pairs.weight.numpy(), pairs.known.numpy(), margin)
    torch.testing.assert_close(triplet_margin(a, c, pairs, margin=margin), torch.from_numpy(expected))


@given(st.integers(2, 7), seeds)
def test_in_batch_it_is_the_mean_over_all_positives_and_negatives(rows, seed):
    a, _, pairs = graded(rows, rows, seed, levels=2)
    expected = triplet_margin_loops(a.numpy(), a.numpy(), pairs.weight.numpy(), pairs.known.numpy(), 0.2)
    torch.testing.assert_close(triplet_margin(a, None, pairs), torch.from_numpy(expected))


@given(st.integers(1, 12), st.integers(1, 3), seeds)
def test_on_triplets_it_is_the_loss_of_conditional_similarity_networks(triplets, conditions, seed):
    """Mean over all triplets, as the authors take it: the means of the conditions by their share of the batch."""
    g = torch.Generator().manual_seed(seed)
    condition = torch.randint(conditions, (triplets,), generator=g)
    z = torch.randn(conditions, 3 * triplets, 5, dtype=F64, generator=g)
    ids = torch.arange(3 * triplets)
    codes = [codes_of(condition, c) for c in range(conditions)]
    pairs = [LazyPairs(TripletRule("c").compare, k, k, ids, ids, False) for k in codes]
    losses = TripletMargin(0.2)(Comparison.of(z, None, pairs))
    anchor, near, far = z.unflatten(1, (3, triplets)).unbind(1)
    code = tuple(part[condition, torch.arange(triplets)].numpy() for part in (anchor, near, far))
    assert int(losses.counted.sum()) == triplets
    assert (losses.per_anchor.sum() / triplets).item() == pytest.approx(csn_loss_loops(*code, margin=0.2))
    assert (losses.correct.sum() / triplets).item() == pytest.approx(csn_accuracy_loops(*code))
    assert losses.floor.tolist() == [0.0] * conditions
    there = [0.2 if (condition == c).any() else 0.0 for c in range(conditions)]
    assert losses.ceiling.tolist() == pytest.approx(there)


def test_embeddings_that_coincide_cost_the_margin_and_are_moved_by_nothing_infinite():
    z = torch.ones(4, 3, requires_grad=True)
    pairs = Pairs(torch.eye(4).roll(1, 1), ~torch.eye(4, dtype=torch.bool))
    losses = triplet_margin(z, None, pairs, margin=0.7)
    assert losses.tolist() == pytest.approx([0.7] * 4)
    losses.sum().backward()
    assert (z.grad == 0).all()


def test_a_margin_that_is_kept_costs_nothing():
    a, c = torch.tensor([[0.0, 0.0]]), torch.tensor([[0.3, 0.4], [0.0, 0.75]])  # at distances 0.5 and 0.75
    near_first = Pairs(torch.tensor([[1.0, 0.0]]), torch.ones(1, 2, dtype=torch.bool))
    assert triplet_margin(a, c, near_first, margin=0.25).item() == pytest.approx(0, abs=1e-6)
    assert triplet_margin(a, c, near_first, margin=0.35).item() == pytest.approx(0.1)
    far_first = Pairs(torch.tensor([[0.0, 1.0]]), torch.ones(1, 2, dtype=torch.bool))
    assert triplet_margin(a, c, far_first, margin=0.2).item() == pytest.approx(0.45)


def test_an_unknown_candidate_may_be_anything():
    a, c, pairs = graded(5, 6, 1)
    pairs.known[:, 2] = False
    expected = triplet_margin(a, c, pairs)
    c[2] = torch.nan
    assert torch.equal(triplet_margin(a, c, pairs), expected)


def test_gradients_are_those_of_finite_differences():
    a, c, pairs = graded(5, 6, 3)
    a.requires_grad_(), c.requires_grad_()
    assert torch.autograd.gradcheck(lambda x, y: triplet_margin(x, y, pairs, margin=1.0), (a, c))


def test_blocks_change_neither_value_nor_gradient(monkeypatch):
    results = []
    for at_once in (2**23, 100):
        monkeypatch.setattr(module, "_AT_ONCE", at_once)
        a, c, pairs = graded(7, 6, 4)
        a.requires_grad_(), c.requires_grad_()
        losses = triplet_margin(a, c, pairs)
        (losses * torch.arange(1.0, 8)).sum().backward()
        results.append((losses.detach(), a.grad, c.grad))
    for one, other in zip(*results, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("margin", [0.0, -1.0, float("nan"), float("inf")])
def test_a_margin_must_be_positive(margin):
    a, c, pairs = graded(2, 3, 0)
    with pytest.raises(ValueError, match="margin must be positive"):
        triplet_margin(a, c, pairs, margin=margin)
    with pytest.raises(ValueError, match="margin must be positive"):
        TripletMargin(margin)
