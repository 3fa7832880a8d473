"""Which class was taken for which, as a table that can be read without colour."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

MOST_CLASSES = 30
_STEPS = 8


@dataclass(frozen=True, slots=True)
class Entry:
    """One cell: rows, their share of the true class, and which of nine shades it gets."""

    rows: int
    share: float
    shade: int
    right: bool


@dataclass(frozen=True, slots=True)
class Mistake:
    """A class taken for another."""

    true: str
    predicted: str
    rows: int
    share: float


@dataclass(frozen=True, slots=True)
class Confusion:
    """Confusion of one column; no table (only mistakes) above 30 classes."""

    column: str
    classes: tuple[str, ...]
    table: tuple[tuple[Entry, ...], ...]
    mistakes: tuple[Mistake, ...]
    wide: bool


def confusion(column: str, classes: Sequence[str], counts: Int[np.ndarray, "true predicted"]) -> Confusion:
    """Counts [true, predicted] as shares of the true class, and the most frequent mistakes."""
    per_class = np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shares = counts / per_class
    table = tuple(
        tuple(
            Entry(int(counts[t, p]), float(shares[t, p]), int(np.ceil(_STEPS * shares[t, p])), t == p)
            for p in range(len(classes))
        )
        for t in range(len(classes))
    )
    wrong = counts - np.diag(np.diag(counts))
    order = np.argsort(-wrong, axis=None, kind="stable")[:5]
    mistakes = tuple(
        Mistake(classes[t], classes[p], int(wrong[t, p]), float(shares[t, p]))
        for t, p in (np.unravel_index(flat, wrong.shape) for flat in order)
        if wrong[t, p] > 0
    )
    fits = len(classes) <= MOST_CLASSES
    return Confusion(column, tuple(classes), table if fits else (), mistakes, len(classes) > 12)
