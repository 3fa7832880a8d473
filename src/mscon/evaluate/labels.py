"""Cells of a label column as class codes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Int


def codes_of(cells: Sequence[str | None]) -> tuple[Int[np.ndarray, " rows"], tuple[str, ...]]:
    """Class codes, -1 where the cell is empty, and the names of the classes in order."""
    classes = tuple(sorted({cell for cell in cells if cell is not None}))
    index = {name: code for code, name in enumerate(classes)}
    return np.array([-1 if cell is None else index[cell] for cell in cells], dtype=np.int64), classes


def among_largest(
    codes: Int[np.ndarray, " rows"], train: Int[np.ndarray, " train"], largest: int
) -> Bool[np.ndarray, " rows"]:
    """Rows of the `largest` classes with most train rows; of equally large ones the first by name."""
    sizes = Counter(train[train >= 0].tolist())
    classes = sorted(sizes, key=lambda code: (-sizes[code], code))[:largest]
    return np.isin(codes, classes)
