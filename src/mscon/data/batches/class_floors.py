"""Floors: which classes a balanced batch is to hold enough rows of, for every kind of similarity.

A class here is a set of rows that are alike to each other: whoever is in a batch with another row of its class has a
positive there.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float, Int

from mscon.method.similarities.base import Cell, Similarity


def floor_classes(similarity: Similarity, cells: Sequence[Cell], at_least: int) -> Int[np.ndarray, " rows"]:
    """A class number a row, -1 where nothing is demanded of it.

    Classes, and levels of an order, are what they are; of a hierarchy the finest level. Of numbers, runs of near
    values: see `near_values`. Of sets of labels, one label a row: see `shared_label`. Of a similarity that says nothing
    of its targets rows of equal codes are a class. Rows without a label are -1.

    Args:
        similarity: fitted.
        cells: of some rows, as the similarity reads them.
        at_least: rows that a class is to have in a batch.
    """
    kind = similarity.target_kind
    if kind in ("class", "rank"):
        target = similarity.target(cells).astype(np.float64)
        return np.where(np.isfinite(target), target, -1).astype(np.int64)
    if kind == "number":
        return near_values(similarity.target(cells), at_least, float(getattr(similarity, "width", 0.0)))
    if kind == "labels":
        target = similarity.target(cells)
        return shared_label(np.nan_to_num(target) > 0.5, at_least)
    codes = similarity.encode(cells)
    _, same = np.unique(codes.reshape(len(cells), -1).numpy(), axis=0, return_inverse=True)
    return np.where(similarity.missing(codes).numpy(), -1, same.reshape(-1))


def near_values(values: Float[np.ndarray, " rows"], at_least: int, width: float) -> Int[np.ndarray, " rows"]:
    """Runs of values in their order, each as short as it can be of `at_least` rows, or else no wider than `width`.

    So rows of a run lie within `width` where the column has rows that near; in sparse regions they are the nearest
    there are. Equal values are of one run. NaN is -1.
    """
    classes = np.full(values.size, -1, dtype=np.int64)
    order = np.argsort(values, kind="stable")
    order = order[np.isfinite(values[order])]
    run, start = 0, 0
    for place, row in enumerate(order):
        apart, size = values[row] - values[order[start]], place - start
        if size >= at_least and apart > width and values[row] != values[order[place - 1]]:
            run, start = run + 1, place
        classes[row] = run
    if run and order.size - start < at_least:
        classes[order[start:]] = run - 1
    return classes


def shared_label(has: Bool[np.ndarray, "rows labels"], at_least: int) -> Int[np.ndarray, " rows"]:
    """One label of each row, the rarest that `at_least` rows have chosen: so rows of a class share a label.

    Labels choose in turn, the rarest first, among the rows that none has chosen yet. Rows that none chooses are -1.
    """
    classes = np.full(len(has), -1, dtype=np.int64)
    for label in np.argsort(has.sum(axis=0), kind="stable"):
        mine = has[:, label] & (classes < 0)
        if mine.sum() >= at_least:
            classes[mine] = label
    return classes
