"""Doubt: how far the label of a row differs from those of the rows that a column's own space puts nearest."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int

from mscon.search.explorer.columns import Column

NEAREST = 10
_BLOCK = 1_024


@dataclass(frozen=True, eq=False, slots=True)
class Doubt:
    """Of each row, against the nearest rows that have a label.

    Attributes:
        difference: mean difference to them: 0 or 1 a neighbour for classes, the share not in common for sets and
            paths, the share of the scale for levels, and the distance in the column's unit for numbers. NaN where
            the row has no label, or none of them has.
        known: how many of the nearest have a label.
    """

    difference: Float[np.ndarray, " rows"]
    known: Int[np.ndarray, " rows"]


def nearest(vectors: Float[np.ndarray, "rows dim"], count: int = NEAREST) -> Int[np.ndarray, "rows count"]:
    """The nearest other rows of each row by cosine, the nearest first; fewer than `count` if there are fewer rows."""
    count = min(count, len(vectors) - 1)
    found = np.zeros((len(vectors), max(count, 0)), dtype=np.int64)
    if count < 1:
        return found
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK]
        cosines = block @ vectors.T
        own = np.arange(len(block))
        cosines[own, start + own] = -np.inf
        some = np.argpartition(cosines, -count, axis=1)[:, -count:]
        order = np.argsort(-np.take_along_axis(cosines, some, axis=1), axis=1, kind="stable")
        found[start : start + len(block)] = np.take_along_axis(some, order, axis=1)
    return found


def doubt(column: Column, near: Int[np.ndarray, "rows count"]) -> Doubt:
    """The doubt about every row of a column.

    Args:
        column: of any kind but "name".
        near: of each row its neighbours, as `nearest` gives them, in the space of that column.
    """
    difference = differences(column, near)
    known = ~np.isnan(difference)
    total = np.where(known, difference, 0.0).sum(axis=1)
    count = known.sum(axis=1)
    return Doubt(np.divide(total, count, out=np.full(len(total), np.nan), where=count > 0), count)


def differences(column: Column, near: Int[np.ndarray, "rows count"]) -> Float[np.ndarray, "rows count"]:
    """How far each row differs from each of its neighbours, NaN where that is not known."""
    if column.kind == "number":
        return np.abs(column.values[:, None] - column.values[near])
    own, other = np.broadcast_arrays(column.codes[:, None], column.codes[near])
    missing = (own < 0) | (other < 0)
    if column.kind == "levels":
        apart = np.abs(own - other) / max(len(column.labels) - 1, 1)
    elif column.kind == "labels":
        apart = _sets_apart(column)[own, other]
    elif column.kind == "path":
        apart = _paths_apart(column)[own, other]
    else:
        apart = (own != other).astype(np.float64)
    return np.where(missing, np.nan, apart)


def _sets_apart(column: Column) -> Float[np.ndarray, "codes codes"]:
    """1 - labels in common over labels that either has."""
    has = np.zeros((len(column.sets), len(column.labels)), dtype=np.float64)
    for row, numbers in enumerate(column.sets):
        has[row, list(numbers)] = 1
    shared = has @ has.T
    size = has.sum(axis=1)
    return 1 - shared / np.maximum(size[:, None] + size[None, :] - shared, 1)


def _paths_apart(column: Column) -> Float[np.ndarray, "codes codes"]:
    """The share of levels from the one on where two paths part; NaN where they agree as far as both say."""
    parts = np.array(column.parts, dtype=object).reshape(len(column.parts), -1)
    count, levels = parts.shape
    together, going, known = np.zeros((count, count)), np.ones((count, count), bool), np.ones((count, count), bool)
    for level in range(levels):
        names = {name: i for i, name in enumerate(dict.fromkeys(parts[:, level]))}
        here = np.array([-1 if name is None else names[name] for name in parts[:, level]])
        said = (here[:, None] >= 0) & (here[None, :] >= 0)
        known &= ~going | said
        going &= said & (here[:, None] == here[None, :])
        together += going
    return np.where(known, 1 - together / max(levels, 1), np.nan)
