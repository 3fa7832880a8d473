"""Ranges: numbers as classes, so that they are judged as classes are."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from mscon.data.table.cell_text import number_text

# Ranges of about as many rows each. A wrong number that falls into the right range is not found.
_RANGES = 20


def ranges_of(numbers: Float[np.ndarray, " rows"]) -> tuple[Int[np.ndarray, " rows"], tuple[str, ...]]:
    """Codes of ranges of numbers, and the median of each as text."""
    known = np.isfinite(numbers)
    if not known.any():
        return np.full(len(numbers), -1), ()
    edges = np.unique(np.quantile(numbers[known], np.arange(1, _RANGES) / _RANGES))
    codes = np.where(known, np.searchsorted(edges, numbers, side="right"), -1)
    _, dense = np.unique(codes[known], return_inverse=True)
    codes[known] = dense
    medians = (float(np.median(numbers[codes == code])) for code in range(int(dense.max()) + 1))
    return codes.astype(np.int64), tuple(number_text(median, 6) for median in medians)
