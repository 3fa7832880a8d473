"""Nearest neighbours in feature space: of the rows nearest to a row, how many are alike; how far off is the nearest."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from mscon.evaluate.metrics.nearest import CosineNeighbours

# Comparisons of one block of queries: 4 million are 16 MB in float32, and there are a few such arrays.
_BLOCK = 4_000_000


@dataclass(frozen=True, slots=True)
class RetrievalResult:
    """How near the rows are that are alike, for each row: of its class, or with a label in common.

    Attributes:
        rows: positions of the rows that were scored.
        precision_at_1: 1 where the nearest other row is alike.
        r_precision: share of alike ones among the R nearest, R being how many other rows are alike.
        map_at_r: mean over ranks 1..R of the precision up to that rank where it holds an alike row,
            and 0 where it does not. Never above `r_precision`; their order counts too.
        left_out: labelled rows that were not scored, because no other row is alike. They are
            candidates all the same.
        chance: expected precision at 1, and R-precision, of rows in random order.
        map_at_r_chance: expected MAP@R of rows in random order.
    """

    rows: Int[np.ndarray, " scored"]
    precision_at_1: Float[np.ndarray, " scored"]
    r_precision: Float[np.ndarray, " scored"]
    map_at_r: Float[np.ndarray, " scored"]
    left_out: int
    chance: float
    map_at_r_chance: float


def retrieval(
    features: Float[np.ndarray, "rows width"],
    labels: Int[np.ndarray, " rows"],
    *,
    block: int | None = None,
) -> RetrievalResult:
    """Leave-one-out retrieval by cosine: each labelled row is compared with all other labelled rows.

    Only ranks count: a nearest row at a negative cosine is the nearest row. Equal cosines (to the precision of
    float32) are ranked by row number, the lower first. Ranks are exact, by a full comparison in blocks.

    Args:
        features: scaled to unit length here. A row of zeros has cosine 0 with all others.
        labels: class ids from 0, -1 where missing; such rows are neither queries nor candidates.
        block: queries compared at a time; bounds the memory, and changes nothing but the last digit of a sum.

    Returns:
        Scores of each row, in [0, 1]; `chance` is what to compare their means with.

    Raises:
        ValueError: if a feature is not finite, or no class has two rows.

    Source: precision@1, R-precision and MAP@R as Musgrave et al. 2020, "A Metric Learning Reality Check",
        https://arxiv.org/abs/2003.08505, section 3.2, and the AccuracyCalculator of pytorch-metric-learning.
    """
    if not np.isfinite(features).all():
        raise ValueError("features are not all finite.")
    labelled = np.flatnonzero(labels >= 0)
    y = labels[labelled]
    relevant = np.bincount(y, minlength=1)[y] - 1 if y.size else y
    if not (relevant > 0).any():
        raise ValueError("no class has two rows, so nothing can be found.")

    return _retrieved(features, labelled, relevant, lambda q, near: y[near] == y[q, None], block)


def label_retrieval(
    features: Float[np.ndarray, "rows width"], labels: Float[np.ndarray, "rows labels"], *, block: int | None = None
) -> RetrievalResult:
    """The same where rows have sets of labels: alike are those that have any label in common.

    Args:
        features: as in `retrieval`.
        labels: 1 where a row has a label, 0 where not; a whole row of NaN where missing, and such rows are
            neither queries nor candidates. A row known to have no label is a candidate, but no query.
        block: as in `retrieval`.

    Raises:
        ValueError: if a feature is not finite, or no two rows have a label in common.
    """
    if not np.isfinite(features).all():
        raise ValueError("features are not all finite.")
    labelled = np.flatnonzero(np.isfinite(labels).all(axis=1))
    has = (labels[labelled] > 0.5).astype(np.float32)
    size = block or max(1, _BLOCK // max(len(has), 1))
    shared = [(has[i : i + size] @ has.T > 0).sum(axis=1) for i in range(0, len(has), size)]
    self_pairs = has.any(axis=1).astype(np.int64)
    relevant = np.asarray(np.concatenate(shared).astype(np.int64) - self_pairs if shared else self_pairs)
    if not (relevant > 0).any():
        raise ValueError("no two rows have a label in common, so nothing can be found.")

    def alike(q: Int[np.ndarray, " queries"], near: Int[np.ndarray, "queries depth"]) -> Bool[np.ndarray, "q depth"]:
        return np.take_along_axis(has[q] @ has.T > 0, near, axis=1)

    return _retrieved(features, labelled, relevant, alike, block)


@dataclass(frozen=True, slots=True)
class DifferenceResult:
    """How far the number of the nearest row is from a row's own.

    Attributes:
        rows: positions of the rows that were scored: all that have a number.
        number, nearest: the number of each, and that of the row nearest to it.
        chance: expected absolute difference to another row drawn by chance.
    """

    rows: Int[np.ndarray, " scored"]
    number: Float[np.ndarray, " scored"]
    nearest: Float[np.ndarray, " scored"]
    chance: float

    @property
    def difference(self) -> Float[np.ndarray, " scored"]:
        """Absolute difference of each row to its nearest, in the unit of the column."""
        return np.abs(self.number - self.nearest)


def nearest_difference(
    features: Float[np.ndarray, "rows width"], numbers: Float[np.ndarray, " rows"], *, block: int | None = None
) -> DifferenceResult:
    """For each row with a number the number of the nearest other row by cosine; ties and blocks as in `retrieval`.

    Args:
        features: scaled to unit length here.
        numbers: NaN where missing; such rows are neither queries nor candidates.
        block: as in `retrieval`.

    Raises:
        ValueError: if a feature is not finite, or fewer than two rows have a number.
    """
    if not np.isfinite(features).all():
        raise ValueError("features are not all finite.")
    rows = np.flatnonzero(np.isfinite(numbers))
    if rows.size < 2:
        raise ValueError("fewer than two rows have a number, so nothing can be found.")
    values = numbers[rows].astype(np.float64)
    near, _ = CosineNeighbours(features[rows]).nearest(1, block=block)
    # Of n numbers in order the i-th, from 0, is the larger one of i pairs and the smaller one of n - 1 - i.
    ordered = np.sort(values)
    n = rows.size
    chance = 2 * float(((2 * np.arange(n) - (n - 1)) * ordered).sum()) / (n * (n - 1))
    return DifferenceResult(rows, values, values[near[:, 0]], chance)


# R nearest rows of a query, and which of them are alike.
_Alike = Callable[[Int[np.ndarray, " queries"], Int[np.ndarray, "queries depth"]], Bool[np.ndarray, "queries depth"]]


def _retrieved(
    features: Float[np.ndarray, "rows width"],
    labelled: Int[np.ndarray, " labelled"],
    relevant: Int[np.ndarray, " labelled"],
    alike: _Alike,
    block: int | None,
) -> RetrievalResult:
    queries, neighbours = np.flatnonzero(relevant > 0), CosineNeighbours(features[labelled])
    size = block or max(1, _BLOCK // labelled.size)
    parts = []
    for start in range(0, queries.size, size):
        asking = queries[start : start + size]
        r = relevant[asking]
        near, _ = neighbours.nearest(int(r.max()), asking)
        ranks = np.arange(1, near.shape[1] + 1)
        hits = alike(asking, near) & (ranks <= r[:, None])
        precision = np.cumsum(hits, axis=1) / ranks
        parts.append((hits[:, 0].astype(np.float64), hits.sum(axis=1) / r, (precision * hits).sum(axis=1) / r))
    precision_at_1, r_precision, map_at_r = (np.concatenate(score) for score in zip(*parts, strict=True))
    chance, map_at_r_chance = _chance(relevant[queries], candidates=labelled.size - 1)
    return RetrievalResult(
        rows=labelled[queries],
        precision_at_1=precision_at_1,
        r_precision=r_precision,
        map_at_r=map_at_r,
        left_out=int(labelled.size - queries.size),
        chance=chance,
        map_at_r_chance=map_at_r_chance,
    )


def _chance(relevant: Int[np.ndarray, " queries"], candidates: int) -> tuple[float, float]:
    """Expected R-precision and MAP@R of candidates in random order.

    With p = R / n the chance of a hit at a rank and q = (R - 1) / (n - 1) that of another given one, rank i adds
    p (1 + (i - 1) q) / i, so MAP@R is p (H_R + q (R - H_R)) / R with H_R = 1 + 1/2 + ... + 1/R.
    """
    p = relevant / candidates
    q = (relevant - 1) / max(candidates - 1, 1)
    harmonic = np.cumsum(1 / np.arange(1, relevant.max() + 1))[relevant - 1]
    return float(p.mean()), float((p * (harmonic + q * (relevant - harmonic)) / relevant).mean())
