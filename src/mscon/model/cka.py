"""Centred kernel alignment: how far two sets of vectors, or two columns of classes, tell rows apart alike."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import numpy as np
from jaxtyping import Float

# One-hot labels of more classes than this are no reference that is worth its memory.
_MOST_CLASSES = 2_000

Matrix = tuple[tuple[float | None, ...], ...]


def linear_cka(a: Float[np.ndarray, "rows p"], b: Float[np.ndarray, "rows q"]) -> float | None:
    """Linear centred kernel alignment: how far two sets of vectors of the same rows have the same geometry.

    1 for spaces that are turned, mirrored or scaled copies of each other, near 0 for spaces that tell rows apart by
    unrelated things. Does not depend on the order of dimensions or on where the centre lies.

    Returns:
        A number in [0, 1]; None if all rows of either lie in one place, where it has no value.

    Source: Kornblith et al. 2019, "Similarity of Neural Network Representations Revisited", eq. 7,
        https://arxiv.org/abs/1905.00414.
    """
    x, y = (_centred(vectors) for vectors in (a, b))
    if x is None or y is None:
        return None
    within = float(np.linalg.norm(x.T @ x) * np.linalg.norm(y.T @ y))
    return min(1.0, float(np.linalg.norm(y.T @ x)) ** 2 / within)


def cka_matrix(spaces: Sequence[Float[np.ndarray, "rows _"]]) -> Matrix:
    """Linear CKA of every pair of spaces; None in the rows and columns of spaces that are one point."""
    values: dict[tuple[int, int], float | None] = {
        (i, j): linear_cka(spaces[i], spaces[j]) for i, j in combinations(range(len(spaces)), 2)
    }
    # A space is like itself, unless it is a point.
    values |= {(i, i): None if _centred(space) is None else 1.0 for i, space in enumerate(spaces)}
    return tuple(tuple(values[min(i, j), max(i, j)] for j in range(len(spaces))) for i in range(len(spaces)))


def label_cka(first: Sequence[str | None] | None, second: Sequence[str | None] | None) -> float | None:
    """CKA of two columns' cells as classes, over rows that have both: how alike spaces may be without a fault.

    None where one is no column of the table (same row), or has too many different cells to be classes.
    """
    if first is None or second is None:
        return None
    both = [(a, b) for a, b in zip(first, second, strict=True) if a is not None and b is not None]
    hots = []
    for cells in zip(*both, strict=True):
        names, codes = np.unique(np.array(cells, dtype=object).astype(str), return_inverse=True)
        if len(names) > min(_MOST_CLASSES, max(2, len(codes) // 2)):
            return None
        hots.append(np.eye(len(names))[codes])
    return linear_cka(*hots) if hots else None


def _centred(vectors: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "rows dim"] | None:
    """Double precision, mean 0, largest entry 1; None where the rows differ by no more than rounding."""
    wide = vectors.astype(np.float64)
    centred = wide - wide.mean(axis=0)
    largest = np.abs(centred).max(initial=0.0)
    return centred / largest if largest > 1e-6 * np.abs(wide).max(initial=0.0) else None
