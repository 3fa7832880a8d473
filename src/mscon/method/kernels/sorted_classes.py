"""Rows sorted by class: positives become rectangles of the pair matrix and no mask is stored. Knows no embedding."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mscon.method.pairs import LazyPairs, renumbered

PairIndex = tuple[Int[Tensor, " pairs"], Int[Tensor, " pairs"]]
TilePairIndex = tuple[Int[Tensor, " some"], Int[Tensor, " some"]]

# Where more classes meet in one tile, comparing labels is faster than a slice for each.
_MOST_RECTANGLES = 16


@dataclass(frozen=True, slots=True)
class Tile:
    """A square of the sorted pair matrix; at the edges a rectangle.

    Attributes:
        row, column: which strip of rows, which of columns.
        self_pairs: positions, within the tile, of pairs with equal ids; None where there are none.
        is_diagonal: its rows are its columns; only in a symmetric matrix.
    """

    row: int
    column: int
    self_pairs: TilePairIndex | None
    is_diagonal: bool


@dataclass(frozen=True, slots=True)
class SortedClasses:
    """One partition's rows with a label, sorted by class; rows without one are cut off.

    Attributes:
        anchor_order, candidate_order: where each sorted row stood before.
        anchors, candidates: classes of the sorted rows, renumbered 0, 1, ... without gaps.
        anchor_starts, candidate_starts: where each class begins, and the end of the last.
        self_pairs: pairs of equal ids, as positions among the sorted rows.
        self_pairs_by_tile: the same for each tile that has any, counted from its corner.
        bias: what is added to the logits of each sorted row as an anchor, and as a candidate; None for nothing.
        is_symmetric: the candidates are the anchors.
        size: rows and columns of a tile.
    """

    anchor_order: Int[Tensor, " anchors"]
    candidate_order: Int[Tensor, " candidates"]
    anchors: Int[Tensor, " anchors"]
    candidates: Int[Tensor, " candidates"]
    anchor_starts: list[int]
    candidate_starts: list[int]
    self_pairs: PairIndex
    self_pairs_by_tile: dict[tuple[int, int], TilePairIndex]
    is_symmetric: bool
    size: int
    bias: tuple[Float[Tensor, " anchors"], Float[Tensor, " candidates"]] | None = None

    @classmethod
    def of(cls, pairs: LazyPairs, *, is_symmetric: bool, size: int) -> SortedClasses:
        candidates, candidate_order = _sorted(pairs.candidates)
        anchors, anchor_order = (candidates, candidate_order) if is_symmetric else _sorted(pairs.anchors)
        anchors, candidates, classes = renumbered(anchors, candidates)
        bounds = torch.arange(classes + 1, device=anchors.device)
        ids = pairs.candidate_ids[candidate_order]
        self_pairs = _equal_ids(ids if is_symmetric else pairs.anchor_ids[anchor_order], ids)
        return cls(
            anchor_order=anchor_order,
            candidate_order=candidate_order,
            anchors=anchors.int(),
            candidates=candidates.int(),
            anchor_starts=torch.searchsorted(anchors, bounds).tolist(),
            candidate_starts=torch.searchsorted(candidates, bounds).tolist(),
            self_pairs=self_pairs,
            self_pairs_by_tile=_by_tile(self_pairs, size),
            is_symmetric=is_symmetric,
            size=size,
            bias=None if pairs.bias is None else (pairs.bias[0][anchor_order], pairs.bias[1][candidate_order]),
        )

    @property
    def classes(self) -> int:
        return len(self.anchor_starts) - 1

    def tiles(self) -> Iterator[Tile]:
        """Tiles that cover every pair once; of a symmetric matrix the upper triangle."""
        rows, columns = (-(-starts[-1] // self.size) for starts in (self.anchor_starts, self.candidate_starts))
        for i in range(rows):
            for j in range(i if self.is_symmetric else 0, columns):
                yield Tile(i, j, self.self_pairs_by_tile.get((i, j)), self.is_symmetric and i == j)

    def alike(self, tile: Tile) -> list[tuple[slice, slice]] | Bool[Tensor, "rows columns"]:
        """The positives of a tile, own pairs among them: a rectangle a class, or a mask where classes are many."""
        rows, columns = (
            _span(tile.row, self.size, self.anchor_starts),
            _span(tile.column, self.size, self.candidate_starts),
        )
        first = max(_class_at(rows.start, self.anchor_starts), _class_at(columns.start, self.candidate_starts))
        last = min(_class_at(rows.stop - 1, self.anchor_starts), _class_at(columns.stop - 1, self.candidate_starts))
        if last - first >= _MOST_RECTANGLES:
            return self.anchors[rows, None] == self.candidates[None, columns]
        return [
            (_within(rows, self.anchor_starts, k), _within(columns, self.candidate_starts, k))
            for k in range(first, last + 1)
        ]


def _sorted(labels: Int[Tensor, " rows"]) -> tuple[Int[Tensor, " labelled"], Int[Tensor, " labelled"]]:
    values, order = labels.sort(stable=True)
    missing = int((values < 0).sum())
    return values[missing:], order[missing:]


def _span(strip: int, size: int, starts: list[int]) -> slice:
    """The rows of a strip."""
    return slice(strip * size, min((strip + 1) * size, starts[-1]))


def _class_at(row: int, starts: list[int]) -> int:
    return bisect_right(starts, row) - 1


def _within(span: slice, starts: list[int], k: int) -> slice:
    """The part of a span that class k takes, counted from the span's beginning."""
    return slice(max(starts[k], span.start) - span.start, min(starts[k + 1], span.stop) - span.start)


def _equal_ids(anchors: Int[Tensor, " anchors"], candidates: Int[Tensor, " candidates"]) -> PairIndex:
    """Every pair of an anchor and a candidate with the same id."""
    if anchors is candidates and torch.unique(anchors).shape[0] == anchors.shape[0]:
        rows = torch.arange(anchors.shape[0], device=anchors.device)  # everyone with itself
        return rows, rows
    ids, order = candidates.sort(stable=True)
    first = torch.searchsorted(ids, anchors)
    count = torch.searchsorted(ids, anchors, right=True) - first
    rows = torch.arange(len(anchors), device=anchors.device).repeat_interleave(count)
    nth = torch.arange(len(rows), device=anchors.device) - (count.cumsum(0) - count)[rows]
    return rows, order[first[rows] + nth]


def _by_tile(self_pairs: PairIndex, size: int) -> dict[tuple[int, int], TilePairIndex]:
    """Pairs grouped by the tile they lie in, counted from its corner."""
    rows, columns = self_pairs
    across = int(columns.max()) // size + 1 if len(columns) else 1
    key, order = (rows // size * across + columns // size).sort()
    keys, counts = torch.unique_consecutive(key, return_counts=True)
    sizes = counts.tolist()
    groups = zip(keys.tolist(), (rows % size)[order].split(sizes), (columns % size)[order].split(sizes), strict=True)
    return {divmod(k, across): (r, c) for k, r, c in groups}
