"""Triplets: who may be anchor, near and far, and what follows from the seed."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from mscon.data.batches.triplets import Triplets, draw
from mscon.errors import TableError
from mscon.method.pairs import Pairs
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.same_row import SameRow

SIMILARITIES = (Categorical("kind", ("a", "b")), Categorical("shade", ("x", "y", "z")))
seeds = st.integers(0, 2**32 - 1)


@dataclass(frozen=True)
class Number(Similarity):
    """Alike as numbers are near; NaN is missing. Every weight is positive."""

    column: str = "heel"
    is_partition: ClassVar[bool] = False

    @classmethod
    def fit(cls, column, cells, lines, **settings):
        return cls(column)

    def encode(self, cells):
        return torch.tensor([float("nan") if c is None else float(c) for c in cells])

    def compare(self, anchors, candidates):
        distance = (anchors[:, None] - candidates[None, :]).abs()
        return Pairs((-distance).exp().nan_to_num(0), ~distance.isnan())

    def missing(self, codes):
        return codes.isnan()

    def to_json(self):
        return {"column": self.column}

    @classmethod
    def from_json(cls, state):
        return cls(state["column"])


@st.composite
def labelled(draw_of: st.DrawFn) -> tuple[list[Tensor], Tensor]:
    """Codes of two columns with holes, in which triplets can be drawn from some of the rows."""
    rest = draw_of(st.integers(0, 30))
    kinds = [0, 0, 1, *draw_of(st.lists(st.integers(-1, 1), min_size=rest, max_size=rest))]
    shades = [2, 0, 2, *draw_of(st.lists(st.integers(-1, 2), min_size=rest, max_size=rest))]
    others = draw_of(st.sets(st.integers(3, 2 + rest))) if rest else set()
    return [torch.tensor(kinds), torch.tensor(shades)], torch.tensor(sorted({0, 1, 2} | others))


def same(a: Triplets, b: Triplets) -> bool:
    return all(torch.equal(getattr(a, n), getattr(b, n)) for n in ("anchor", "near", "far", "condition"))


@given(labelled(), st.integers(0, 90), seeds)
def test_near_has_the_anchors_label_and_far_another_one(table, count, seed):
    codes, rows = table
    drawn_triplets = draw(SIMILARITIES, codes, rows, count, seed)
    assert len(drawn_triplets) == count
    share = Counter(drawn_triplets.condition.tolist())
    assert [share[0], share[1]] == [count - count // 2, count // 2]
    among = set(rows.tolist())
    for a, n, f, c in zip(
        *(
            t.tolist()
            for t in (drawn_triplets.anchor, drawn_triplets.near, drawn_triplets.far, drawn_triplets.condition)
        ),
        strict=True,
    ):
        labels = codes[c].tolist()
        assert {a, n, f} <= among
        assert len({a, n, f}) == 3
        assert labels[a] == labels[n] != labels[f]
        assert -1 not in (labels[a], labels[f])


@given(st.lists(st.one_of(st.none(), st.floats(-3, 3)), min_size=3, max_size=25), seeds)
def test_of_a_graded_similarity_near_is_more_alike_than_far(cells, seed):
    similarity = Number()
    codes = similarity.encode(cells)
    try:
        drawn_triplets = draw([similarity], [codes], torch.arange(len(cells)), 40, seed)
    except TableError:
        known = codes[~codes.isnan()]
        weight = similarity.compare(known, known).weight
        apart = ~torch.eye(len(known), dtype=torch.bool)
        assert all(len(set(w[keep].tolist())) < 2 for w, keep in zip(weight, apart, strict=True))
        return
    weight = similarity.compare(codes, codes).weight
    assert (
        weight[drawn_triplets.anchor, drawn_triplets.near] > weight[drawn_triplets.anchor, drawn_triplets.far]
    ).all()
    assert (drawn_triplets.anchor != drawn_triplets.near).all() and (drawn_triplets.anchor != drawn_triplets.far).all()


@given(labelled(), seeds)
def test_the_seed_decides_everything(table, seed):
    codes, rows = table
    assert same(draw(SIMILARITIES, codes, rows, 50, seed), draw(SIMILARITIES, codes, rows, 50, seed))


def test_other_seeds_draw_others():
    codes = [torch.arange(40) % 2, torch.arange(40) % 3]
    one, other = (draw(SIMILARITIES, codes, torch.arange(40), 60, seed) for seed in (0, 1))
    assert not same(one, other)


def test_every_row_is_an_anchor_once_before_any_is_twice():
    codes = torch.tensor([0] * 6 + [1] * 3 + [-1] * 4)
    drawn_triplets = draw(SIMILARITIES[:1], [codes], torch.arange(13), 9 + 4, 0)
    assert sorted(drawn_triplets.anchor[:9].tolist()) == list(range(9))
    assert len(set(drawn_triplets.anchor[9:].tolist())) == 4


def test_near_and_far_are_drawn_evenly():
    """Chi-squared of 3,000 draws of one anchor: 4 near rows, 3 far ones."""
    codes = torch.tensor([0, 0, 0, 0, 0, 1, 1, 2])
    drawn_triplets = draw([Categorical("c", ("a", "b", "c"))], [codes], torch.arange(8), 21_000, 5)
    of_first = drawn_triplets.anchor == 0
    for rows, drawn in (((1, 2, 3, 4), drawn_triplets.near), ((5, 6, 7), drawn_triplets.far)):
        counts = Counter(drawn[of_first].tolist())
        assert set(counts) == set(rows)
        expected = of_first.sum().item() / len(rows)
        assert sum((counts[r] - expected) ** 2 / expected for r in rows) < 16  # p < 0.002 by 3 degrees of freedom


def test_what_cannot_be_drawn_is_said_for_all_columns_at_once():
    codes = [torch.zeros(9, dtype=torch.int64), torch.tensor([0, 1, 2] + [-1] * 6)]
    with pytest.raises(TableError) as raised:
        draw(SIMILARITIES, codes, torch.arange(9), 10, 0)
    text = str(raised.value)
    assert "column 'kind': no triplet can be drawn from 9 rows" in text
    assert "column 'shade': no triplet can be drawn" in text


def test_views_of_a_row_are_no_triplet():
    similarity = SameRow()
    with pytest.raises(TableError, match="column 'same_row': no triplet"):
        draw([similarity], [similarity.encode([None] * 5)], torch.arange(5), 10, 0)


def test_where_triplets_are_not_needed_a_column_without_any_is_left_out():
    codes = [torch.zeros(9, dtype=torch.int64), torch.arange(9) % 2]
    drawn_triplets = draw(SIMILARITIES, codes, torch.arange(9), 10, 0, needed=False)
    assert drawn_triplets.condition.tolist() == [1] * 10
    none = draw(SIMILARITIES, [codes[0], codes[0]], torch.arange(9), 10, 0, needed=False)
    assert len(none) == 0
    assert len(draw(SIMILARITIES, codes, torch.arange(0), 10, 0, needed=False)) == 0
