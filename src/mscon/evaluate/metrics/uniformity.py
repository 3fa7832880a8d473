"""Uniformity and tolerance: how evenly vectors lie in all directions, and how near those of one class are.

Vectors of unit length; what a contrastive loss trades against each other (Wang and Liu 2021).
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int

from mscon.evaluate.metrics.nearest import unit_length

# Of more rows, evenly spaced ones: pairs grow with their square. 4,000 rows are 16 million pairs.
MOST_ROWS = 4_000
_BLOCK = 512


def uniformity(vectors: Float[np.ndarray, "rows width"], t: float = 2.0) -> float:
    """log of the mean of exp(-t |x - y|^2) over all pairs of different rows; NaN with fewer than two.

    0 if all rows coincide; the lower, the more evenly they are spread, down to about -2 t in many dimensions.

    Args:
        vectors: scaled to unit length here; of more than 4,000 rows, evenly spaced ones are compared.
        t: how quickly a pair counts less with its distance, > 0.

    Source: Wang and Isola 2020, https://arxiv.org/abs/2005.10242, with t = 2; as a score of features Wang and Liu 2021,
        https://arxiv.org/abs/2012.09740.
    """
    unit = unit_length(vectors[:: max(1, -(-len(vectors) // MOST_ROWS))])
    rows = len(unit)
    if rows < 2:
        return float("nan")
    total = 0.0
    for start in range(0, rows, _BLOCK):
        near = np.exp(2 * t * (np.minimum(unit[start : start + _BLOCK] @ unit.T, 1.0) - 1))
        total += float(near.sum()) - float(near[np.arange(len(near)), start + np.arange(len(near))].sum())
    return float(np.log(total / (rows * (rows - 1))))


def tolerance(vectors: Float[np.ndarray, "rows width"], classes: Int[np.ndarray, " rows"]) -> float:
    """Mean cosine over all pairs of different rows of one class; NaN where no class has two rows.

    1 if the rows of each class coincide.

    Args:
        vectors: scaled to unit length here.
        classes: numbers of classes; rows below 0 are left out.

    Source: Wang and Liu 2021, "Understanding the Behaviour of Contrastive Loss", https://arxiv.org/abs/2012.09740, from
        summaries of the paper. There pairs of different classes count as 0; here they are left out, so that the number
        does not depend on how many classes there are.
    """
    unit, known = unit_length(vectors[classes >= 0]), classes[classes >= 0]
    _, number, sizes = np.unique(known, return_inverse=True, return_counts=True)
    sums = np.zeros((len(sizes), vectors.shape[1]))
    np.add.at(sums, number, unit)
    pairs = int((sizes * (sizes - 1)).sum())
    return float(((sums**2).sum() - (unit**2).sum()) / pairs) if pairs else float("nan")
