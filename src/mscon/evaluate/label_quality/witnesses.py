"""Witnesses: what the other label columns say of a row, as numbers beside its features."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float, Float32, Int

from mscon.evaluate.label_quality.out_of_fold import standardised, with_products
from mscon.evaluate.label_quality.ranges import ranges_of
from mscon.evaluate.targets import ProbeTarget, codes_of

# Of more classes the largest, so that a column of names does not outweigh all features.
_MOST_CLASSES = 100
# A column that follows from another in such a share of the rows was made from it, with its wrong labels.
_COPY = 0.99


def read_columns_of(column: ProbeTarget) -> frozenset[str]:
    """The columns of the table whose cells a similarity reads."""
    return frozenset({column.column, *(column.similarity.columns if column.similarity is not None else ())})


def others(column: ProbeTarget, columns: Sequence[ProbeTarget]) -> list[ProbeTarget]:
    """The columns that may testify about one: those that read none of its cells, and that it does not follow from.

    A column from which it follows in 99 % of the rows, such as a copy or a finer class, repeats its wrong labels.
    """
    codes = _codes(column)
    return [
        other
        for other in columns
        if not read_columns_of(other) & read_columns_of(column) and not _follows(codes, _codes(other))
    ]


def _codes(column: ProbeTarget) -> Int[np.ndarray, " rows"]:
    return ranges_of(column.target())[0] if column.kind == "number" else codes_of(column.cells)[0]


def _follows(codes: Int[np.ndarray, " rows"], other: Int[np.ndarray, " rows"]) -> bool:
    """Whether codes are nearly always the same where another column's are, among values that half of the rows share."""
    known = (codes >= 0) & (other >= 0)
    pairs, counts = np.unique(np.stack([other[known], codes[known]]), axis=1, return_counts=True)
    _, value = np.unique(pairs[0], return_inverse=True)
    rows, majority = np.bincount(value, counts), np.zeros(int(value.max(initial=-1)) + 1)
    np.maximum.at(majority, value, counts)
    shared = rows >= 2
    return bool(2 * rows[shared].sum() >= known.sum() > 0 and majority[shared].sum() >= _COPY * rows[shared].sum())


def inputs_of(
    space: Float32[np.ndarray, "rows width"], columns: Sequence[ProbeTarget]
) -> Float32[np.ndarray, "rows inputs"]:
    """What the models of a column learn from: features, and what other columns say of each row."""
    return np.concatenate([with_products(space), testimony(columns, len(space))], axis=1)


def testimony(columns: Sequence[ProbeTarget], rows: int) -> Float32[np.ndarray, "rows numbers"]:
    """What columns say of each row, standardised; a missing cell is the mean of what is known.

    A class, level, label or place in a hierarchy becomes a number that is 1 or 0; a number stays one.
    """
    parts = [part for column in columns for part in _numbers(column)]
    return standardised(np.column_stack(parts)) if parts else np.zeros((rows, 0), dtype=np.float32)


def _numbers(column: ProbeTarget) -> list[Float[np.ndarray, " rows ..."]]:
    if column.kind == "class":
        return [_one_hot(codes) for codes, _ in column.class_levels()]
    target = column.target().astype(np.float64)
    if column.kind == "rank":
        return [_one_hot(np.where(np.isnan(target), -1, target).astype(np.int64))]
    if column.kind == "labels":
        largest = np.argsort(-np.nansum(target, axis=0), kind="stable")[:_MOST_CLASSES]
        return [_with_mean(target[:, largest])]
    return [_with_mean(target[:, None])] if column.kind == "number" else []


def _one_hot(codes: Int[np.ndarray, " rows"]) -> Float[np.ndarray, "rows classes"]:
    classes, counts = np.unique(codes[codes >= 0], return_counts=True)
    largest = classes[np.argsort(-counts, kind="stable")[:_MOST_CLASSES]]
    hot = (codes[:, None] == largest).astype(np.float64)
    hot[codes < 0] = np.nan
    return _with_mean(hot)


def _with_mean(values: Float[np.ndarray, "rows numbers"]) -> Float[np.ndarray, "rows numbers"]:
    known = ~np.isnan(values)
    mean = np.where(known, values, 0.0).sum(axis=0) / np.maximum(known.sum(axis=0), 1)
    return np.where(known, values, mean)
