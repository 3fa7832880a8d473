"""Nearest rows by cosine, exactly: a first pass in float32 keeps candidates, which float64 products rank."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

# Scores of one block of queries: 4 million are 16 MB in float32, and there are a few such arrays.
_BLOCK = 4_000_000
# Candidates beside those that are returned. With fewer, more queries would have to be compared in full.
_SPARE = 8
_LAST = np.iinfo(np.int64).max


def unit_length(vectors: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, "rows width"]:
    """Each row divided by its norm, in float64. A row of zeros stays zeros."""
    wide = vectors.astype(np.float64)
    # Scaled by the largest entry first, so that squares neither overflow nor vanish.
    largest = np.abs(wide).max(axis=1, keepdims=True, initial=0.0)
    wide = wide / np.where(largest > 0, largest, 1.0)
    norm = np.linalg.norm(wide, axis=1, keepdims=True)
    return wide / np.where(norm > 0, norm, 1.0)


class CosineNeighbours:
    """Rows that can be searched for the rows nearest to some of them.

    Args:
        vectors: scaled to unit length here. A row of zeros has cosine 0 with all others.
    """

    def __init__(self, vectors: Float[np.ndarray, "rows width"]) -> None:
        self._unit = unit_length(vectors)
        self._narrow = self._unit.astype(np.float32)

    def nearest(
        self, count: int, queries: Int[np.ndarray, " queries"] | None = None, *, block: int | None = None
    ) -> tuple[Int[np.ndarray, "queries count"], Float[np.ndarray, "queries count"]]:
        """The other rows with the highest cosine to each query, nearest first, and these cosines in float32.

        Of cosines that are equal in float32 the row of the lower number comes first. The block size changes nothing.

        Args:
            count: fewer come back where there are fewer other rows.
            queries: numbers of rows; None for all.
            block: queries compared at a time; bounds the memory.
        """
        rows, width = self._unit.shape
        count = max(0, min(count, rows - 1))
        numbers = np.arange(rows) if queries is None else queries
        near = np.zeros((numbers.size, count), dtype=np.int64)
        cosines = np.zeros((numbers.size, count), dtype=np.float32)
        # The vectors of the candidates are gathered, so of many candidates a full comparison is faster.
        compare = self._screened if 8 * (count + _SPARE) < rows else self._compared
        size = block or max(1, _BLOCK // max(rows, (count + _SPARE) * width))
        for start in range(0, numbers.size if count else 0, size):
            part = slice(start, start + size)
            near[part], cosines[part] = compare(numbers[part], count)
        return near, cosines

    def _screened(
        self, queries: Int[np.ndarray, " queries"], count: int
    ) -> tuple[Int[np.ndarray, "queries count"], Float[np.ndarray, "queries count"]]:
        """By float32 products first; queries for which these decide nothing are compared in full."""
        scores = self._narrow[queries] @ self._narrow.T
        scores[np.arange(queries.size), queries] = -np.inf
        screened = count + _SPARE
        candidates = np.argpartition(scores, -screened, axis=1)[:, -screened:]
        bound = np.take_along_axis(scores, candidates, axis=1).min(axis=1)  # no other row has more in float32
        exact = np.einsum("qd,qkd->qk", self._unit[queries], self._unit[candidates]).astype(np.float32)
        order = np.lexsort((candidates, -exact), axis=1)[:, :count]
        near, cosines = np.take_along_axis(candidates, order, axis=1), np.take_along_axis(exact, order, axis=1)
        # A float32 product of rows of unit length is off by so much at most.
        slack = (self._unit.shape[1] + 4) * 2.0**-23
        unsure = np.flatnonzero(cosines[:, -1] <= bound + slack)
        if unsure.size:
            near[unsure], cosines[unsure] = self._compared(queries[unsure], count)
        return near, cosines

    def _compared(
        self, queries: Int[np.ndarray, " queries"], count: int
    ) -> tuple[Int[np.ndarray, "queries count"], Float[np.ndarray, "queries count"]]:
        """By a full comparison in float64."""
        # Kept in float32, so that copies of a row, whose products may differ in the last bits by where they stand in
        # the matrix, are ties.
        scores = (self._unit[queries] @ self._unit.T).astype(np.float32)
        # One whole number holds score and row number, so one partition ranks by both: the bits of a float32 sort
        # like its value once those of negative numbers are turned round. Subtracting from 0, not negating, gives no -0.
        bits = (np.float32(0) - scores).view(np.int32).astype(np.int64)
        bits = np.where(bits < 0, bits ^ 0x7FFFFFFF, bits)
        keys = (bits << 32) | np.arange(len(self._unit))
        keys[np.arange(queries.size), queries] = _LAST
        near = np.sort(np.partition(keys, count - 1, axis=1)[:, :count], axis=1) & 0xFFFFFFFF
        return near, np.take_along_axis(scores, near, axis=1)
