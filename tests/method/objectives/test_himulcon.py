"""HiMulCon: level by level against loops, and the hierarchical constraint."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference import himulcon_loops
from torch.nn.functional import normalize

from mscon.errors import RecipeError
from mscon.method.objectives.base import Comparison
from mscon.method.objectives.himulcon import HiMulCon
from mscon.method.objectives.supcon import SupCon
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.base import joined
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.continuous import Continuous
from mscon.method.similarities.hierarchical import Hierarchical

F64 = torch.float64
LETTERS = st.sampled_from(["a", "b", ""])
ROWS = st.lists(st.tuples(LETTERS, LETTERS, LETTERS), min_size=2, max_size=9)


def fitted(rows: list[tuple[str, ...]]) -> tuple[Hierarchical, list[tuple[str, ...]], LazyPairs]:
    """A hierarchy of three columns, what each row says up to its first hole, and the pairs."""
    whole = [("a", "a", "a"), ("b", "a", "a"), *rows]
    cells = joined([[row[level] or None for row in whole] for level in range(3)])
    kind = Hierarchical.fit("c", cells, list(range(len(cells))), under=["a", "b"])
    codes, ids = kind.encode(cells), torch.arange(len(cells))
    paths = [row[: row.index("")] if "" in row else row for row in whole]
    return kind, paths, LazyPairs(kind.compare, codes, codes, ids, ids, is_partition=False)


@given(ROWS, st.integers(0, 999), st.booleans())
@settings(deadline=None, derandomize=True)
def test_it_is_the_sum_over_levels_that_the_loops_take(rows, seed, is_constrained):
    _, paths, pairs = fitted(rows)
    z = torch.randn(1, len(paths), 4, dtype=F64, generator=torch.Generator().manual_seed(seed))
    losses = HiMulCon(0.5, "anchor" if is_constrained else "none")(Comparison.of(z, None, [pairs]))
    expected = himulcon_loops(normalize(z[0], dim=1).numpy(), paths, 0.5, is_constrained)
    torch.testing.assert_close(losses.per_anchor[0], torch.tensor(expected, dtype=F64))


@given(ROWS, st.integers(0, 99))
@settings(deadline=None, derandomize=True)
def test_no_descent_gets_below_the_floor(rows, seed):
    _, paths, pairs = fitted(rows)
    g = torch.Generator().manual_seed(seed)
    z = (10 ** torch.rand(1, generator=g)) * torch.randn(1, len(paths), 3, dtype=F64, generator=g)
    for constraint in ("anchor", "none"):
        losses = HiMulCon(0.05, constraint)(Comparison.of(z, None, [pairs]))
        mean = losses.per_anchor.sum() / losses.counted.sum().clamp_min(1)
        assert mean >= losses.floor - 1e-6
        assert losses.ceiling >= losses.floor - 1e-6


@pytest.mark.parametrize("constraint", ["anchor", "none"])
def test_gradients_are_those_of_finite_differences(constraint):
    _, paths, pairs = fitted([("a", "a", "b"), ("a", "b", ""), ("b", "a", "a"), ("a", "a", "a")])
    z = torch.randn(1, len(paths), 3, dtype=F64, generator=torch.Generator().manual_seed(2), requires_grad=True)
    assert torch.autograd.gradcheck(
        lambda v: HiMulCon(0.5, constraint)(Comparison.of(v, None, [pairs])).per_anchor, (z,)
    )


def test_the_floor_is_reached_where_an_anchor_has_one_candidate_of_each_kind():
    """One anchor, candidates free on a sphere and a high temperature: the best softmax is v / sum v."""
    kind = Hierarchical.fit("c", ["a/x", "a/y", "b/x"], [1, 2, 3])
    anchor, compared = kind.encode(["a/x"]), kind.encode(["a/x", "a/y", "b/x"])
    pairs = LazyPairs(kind.compare, anchor, compared, torch.tensor([9]), torch.arange(3), is_partition=False)
    z = torch.tensor([[[1.0, 0.0]]], dtype=F64)
    angles = torch.tensor([0.1, 1.0, 3.0], dtype=F64, requires_grad=True)
    optimiser = torch.optim.Adam([angles], lr=0.02)
    for _ in range(400):
        optimiser.zero_grad()
        others = torch.stack([angles.cos(), angles.sin()], dim=1)[None]
        losses = HiMulCon(0.1, "none")(Comparison.of(z, others, [pairs]))
        losses.per_anchor.sum().backward()
        optimiser.step()
    assert losses.per_anchor.item() == pytest.approx(losses.floor.item(), abs=1e-4)


def test_the_floor_of_an_anchor_with_a_candidate_known_on_one_level_only_can_be_reached():
    kind = Hierarchical.fit("c", joined([["a", "a", "b"], ["x", None, "y"]]), [1, 2, 3], under=["coarse"])
    codes = kind.encode(joined([["a", "a", "a", "b"], ["x", "x", None, "y"]]))
    pairs = LazyPairs(kind.compare, codes[:1], codes[1:], torch.tensor([9]), torch.arange(3), is_partition=False)
    z, others = torch.tensor([[[1.0, 0.0]]]), torch.tensor([[[1.0, 0.0], [1.0, 0.0], [-1.0, 0.0]]])
    losses = HiMulCon(0.05)(Comparison.of(z.double(), others.double(), [pairs]))
    assert losses.floor.item() == pytest.approx(2**0.5 / 2 * math.log(2))
    assert losses.per_anchor.item() == pytest.approx(losses.floor.item())


def test_classes_and_a_single_level_are_plain_supcon():
    z = torch.randn(2, 6, 3, dtype=F64, generator=torch.Generator().manual_seed(0))
    cells = ["a", "b", "a", None, "b", "a"]
    kinds = [kind.fit("c", cells, range(6)) for kind in (Categorical, Hierarchical)]
    ids = torch.arange(6)
    codes = [kind.encode(cells) for kind in kinds]
    pairs = [LazyPairs(k.compare, c, c, ids, ids, k.is_partition) for k, c in zip(kinds, codes, strict=True)]
    ours, theirs = (o(Comparison.of(z, None, pairs)) for o in (HiMulCon(0.1), SupCon(0.1)))
    torch.testing.assert_close(ours.per_anchor, theirs.per_anchor)
    torch.testing.assert_close(ours.floor, theirs.floor)
    torch.testing.assert_close(ours.ceiling, theirs.ceiling)
    assert torch.equal(ours.counted, theirs.counted)


def test_levels_and_classes_share_a_batch():
    kind, paths, pairs = fitted([("a", "a", "b"), ("a", "a", "a"), ("b", "a", "")])
    codes, ids = torch.tensor([0, 1, 0, 1, -1]), torch.arange(5)
    other = LazyPairs(Categorical("x", ("p", "q")).compare, codes, codes, ids, ids, is_partition=True)
    z = torch.randn(2, 5, 3, dtype=F64, requires_grad=True)
    objective = HiMulCon()
    objective.prepare([kind, Categorical("x", ("p", "q"))], 3)
    together = objective(Comparison.of(z, None, [pairs, other]))
    alone = [objective(Comparison.of(z[i : i + 1], None, [p])) for i, p in enumerate((pairs, other))]
    for name in ("per_anchor", "floor", "ceiling", "counted"):
        torch.testing.assert_close(getattr(together, name), torch.cat([getattr(a, name) for a in alone]))
    assert len(paths) == 5


def test_what_has_neither_levels_nor_classes_is_refused():
    with pytest.raises(RecipeError, match="needs levels or classes, but similarity 'heel' is of kind Continuous"):
        HiMulCon().prepare([Continuous("heel", 1.0, 0.0)], 3)
    with pytest.raises(ValueError, match="temperature must be positive"):
        HiMulCon(0.0)
