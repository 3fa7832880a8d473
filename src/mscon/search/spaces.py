"""Spaces: the projections of all similarities side by side, and the exact nearest rows under any mix of them.

With x_c the unit vector of a row in space c, and weights w that add up to 1, its score for a query q is

    sum_c w_c <q_c, x_c>  =  <(w_1 q_1, w_2 q_2, ...), (x_1, x_2, ...)>,

one inner product of the stored row with a rescaled query. So one matrix serves every mix. The search has two passes.
The first multiplies the whole matrix, a block of rows at a time, in whichever arithmetic is fast here, and keeps rows
that might be among the best given how far that can be off. The second scores these few anew in float64. What comes out
is exact for the vectors as stored, and does not depend on block size, threads or processor.

Knows no run, no label and no file.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mscon.errors import RunError, first_few

# Scores that are held at a time, of all queries together: 4 MB.
_SCORES = 2**20

# Rows that are widened to float32 at a time: 8,192 rows of 96 numbers are 3 MB, which stays in cache.
_WIDENED = 8_192

# Of the scores held, those of so many rows are looked at first, since a bound from few rows spares ordering many.
_FIRST = (8_192, 65_536, 524_288)

# Rows whose highest score is looked at before each of theirs is.
_GROUP = 256

# Queries that are multiplied at a time. Rows are then looked at 2**20 / 64 at a time.
_QUERIES = 64

# Rows that are asked whether float16 products here are accurate and fast; and rows that are scored at a time.
_SAMPLE = 4_096

_HALF = 2.0**-11  # half a unit in the last place of float16, relative
_SINGLE = 2.0**-24  # the same of float32


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The nearest rows, best first; of equal scores the lower row first.

    Attributes:
        rows: their numbers.
        scores: under the mix, in [-1, 1].
        by_space: in each space alone, in [-1, 1]; `scores` is their weighted mean.
    """

    rows: Int[np.ndarray, " found"]
    scores: Float[np.ndarray, " found"]
    by_space: Float[np.ndarray, "found spaces"]

    def __len__(self) -> int:
        return len(self.rows)


class Spaces:
    """The vectors of all rows in all spaces.

    Args:
        projections: [spaces, rows, dim], of unit length, or of zeros where a row has no direction in a space: it
            scores 0 there.
        dtype: how numbers are stored. float16 halves memory and time, and turns a cosine by some 1e-4.

    Raises:
        RunError: if a number is not finite.
    """

    def __init__(
        self, projections: Float[np.ndarray, "spaces rows dim"], dtype: Literal["float16", "float32"] = "float16"
    ) -> None:
        self.count, self.rows, self.dim = projections.shape
        self._stored = torch.empty(self.rows, self.count * self.dim, dtype=getattr(torch, dtype))
        uneven = 0.0
        for start in range(0, self.rows, _WIDENED):
            block = np.asarray(projections[:, start : start + _WIDENED])
            if not np.isfinite(block).all():
                at = np.flatnonzero(~np.isfinite(block).all(axis=(0, 2))) + start
                raise RunError(f"projections are not finite, first in rows {first_few(at.tolist())}. Probe again.")
            side_by_side = np.array(block.transpose(1, 0, 2), order="C").reshape(block.shape[1], -1)
            self._stored[start : start + block.shape[1]] = torch.from_numpy(side_by_side)
            lengths = np.linalg.norm(self._wide(np.arange(start, start + block.shape[1])), axis=2)
            uneven = max(uneven, float(np.abs(lengths - 1)[lengths > 0].max(initial=0.0)))
        # How far the first pass may be off: lengths are not divided by there, and sums are rounded. With sum w = 1
        # a sum of products of halves has absolute terms that add up to 1 at most, so that rounding the query, the
        # score and what it is compared with each add one relative error of it.
        width = self.count * self.dim
        self._single_slack = uneven + (width + 8) * _SINGLE * (1 + uneven)
        self._half_slack = self._single_slack + 3.2 * _HALF * (1 + uneven)
        self._multiplies_halves = dtype == "float16" and self._halves_are_good()

    @property
    def stored(self) -> Float[Tensor, "rows width"]:
        """The vectors as stored, all spaces side by side. Not a copy."""
        return self._stored

    @property
    def megabytes(self) -> float:
        """Of the vectors."""
        return self._stored.numel() * self._stored.element_size() / 1e6

    def vectors(self, rows: Int[np.ndarray, " some"] | Sequence[int]) -> Float[np.ndarray, "spaces some dim"]:
        """Unit vectors of some rows in every space, in float64; zeros where a row has no direction."""
        return unit(self._wide(np.asarray(rows, dtype=np.int64))).transpose(1, 0, 2)

    def mean(self, rows: Int[np.ndarray, " some"]) -> Float[np.ndarray, "spaces dim"]:
        """The mean of the unit vectors of some rows in every space, in float64; not of unit length.

        Raises:
            ValueError: if there are none.
        """
        if not len(rows):
            raise ValueError("there are no rows to take the mean of.")
        total = np.zeros((self.count, self.dim))
        for start in range(0, len(rows), _SAMPLE):
            total += self.vectors(rows[start : start + _SAMPLE]).sum(axis=1)
        return total / len(rows)

    def score(
        self,
        rows: Int[np.ndarray, " some"],
        query: Float[np.ndarray, "spaces dim"],
        shares: Float[np.ndarray, " spaces"],
    ) -> tuple[Float[np.ndarray, " some"], Float[np.ndarray, "some spaces"]]:
        """Scores of some rows under a mix and in each space, in float64. A row's score depends on no other row."""
        by_space = np.empty((len(rows), self.count))
        for start in range(0, len(rows), _SAMPLE):
            wide = unit(self._wide(rows[start : start + _SAMPLE]))
            by_space[start : start + len(wide)] = (wide * query).sum(axis=2)
        by_space = by_space.clip(-1, 1)  # rounding may leave 1 + 2e-16
        return (by_space * shares).sum(axis=1), by_space

    def nearest(
        self,
        query: Float[np.ndarray, "spaces dim"],
        shares: Float[np.ndarray, " spaces"],
        k: int,
        keep: Bool[np.ndarray, " rows"] | None = None,
    ) -> Neighbours:
        """The best k rows of all, exactly.

        Args:
            query: of unit length in every space, or zeros.
            shares: weights of the spaces, 0 or above, that add up to 1.
            k: how many; fewer come back where there are fewer.
            keep: which rows may be found; None for all.

        Raises:
            ValueError: if k is below 1, or shapes do not fit.
        """
        return self.nearest_of(query[None], shares, k, None if keep is None else keep[None])[0]

    def nearest_of(
        self,
        queries: Float[np.ndarray, "queries spaces dim"],
        shares: Float[np.ndarray, " spaces"],
        k: int,
        keep: Bool[np.ndarray, "masks rows"] | None = None,
        leave_out: Int[np.ndarray, " queries"] | None = None,
    ) -> list[Neighbours]:
        """The same for several queries in one pass over the rows.

        Args:
            queries: as for `nearest`.
            shares: as for `nearest`, the same for all.
            k: as for `nearest`.
            keep: which rows may be found, one mask for all queries or one for each; None for all rows.
            leave_out: for each query a row that is not found, such as itself; None for none.
        """
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        if queries.shape[1:] != (self.count, self.dim) or shares.shape != (self.count,):
            raise ValueError(f"queries must be [queries, {self.count}, {self.dim}], got {list(queries.shape)}.")
        if keep is not None and (keep.shape[1] != self.rows or len(keep) not in (1, len(queries))):
            raise ValueError(f"keep must be [1 or {len(queries)}, {self.rows}], got {list(keep.shape)}.")
        nearest: list[Neighbours] = []
        for start in range(0, len(queries), _QUERIES):
            end = min(start + _QUERIES, len(queries))
            masks = keep if keep is None or len(keep) == 1 else keep[start:end]
            out = None if leave_out is None else leave_out[start:end]
            nearest += self._search(queries[start:end], shares, k, masks, out)
        return nearest

    def _search(
        self,
        queries: Float[np.ndarray, "queries spaces dim"],
        shares: Float[np.ndarray, " spaces"],
        k: int,
        keep: Bool[np.ndarray, "masks rows"] | None,
        leave_out: Int[np.ndarray, " queries"] | None,
    ) -> list[Neighbours]:
        best = [_Best(self, query, shares, k) for query in queries]
        rescaled = torch.from_numpy((queries * shares[:, None]).reshape(len(queries), -1))
        with_halves = self._multiplies_halves and len(queries) == 1
        slack = self._half_slack if with_halves else self._single_slack
        size = min(max(_SCORES // len(queries), 1), self.rows)
        scores = torch.empty(len(queries), size, dtype=torch.float16 if with_halves else torch.float32)
        multiply = self._in_halves(rescaled) if with_halves else self._in_singles(rescaled)
        for start in range(0, self.rows, size):
            end = min(start + size, self.rows)
            masks = None if keep is None else torch.from_numpy(keep[:, start:end])
            if masks is not None and not masks.any():
                continue
            multiply(start, end, scores)
            for number, one in enumerate(best):
                mask = None if masks is None else masks[number if len(masks) > 1 else 0]
                if leave_out is not None and start <= leave_out[number] < end:
                    mask = torch.ones(end - start, dtype=torch.bool) if mask is None else mask.clone()
                    mask[leave_out[number] - start] = False
                ends = sorted({0, *(few for few in _FIRST if few < end - start), end - start})
                for first, last in itertools.pairwise(ends):
                    part = None if mask is None else mask[first:last]
                    one.take(start + first, scores[number, first:last], part, slack)
        return [one.nearest for one in best]

    # The two arithmetics of the first pass: scores of some rows into [queries, rows] -------------------

    def _in_halves(self, rescaled: Float[Tensor, "queries width"]) -> Callable[[int, int, Tensor], object]:
        """As stored. A processor that multiplies float16 reads half the bytes and converts nothing."""
        query = rescaled[0].half()
        return lambda start, end, out: torch.mv(self._stored[start:end], query, out=out[0, : end - start])

    def _in_singles(self, rescaled: Float[Tensor, "queries width"]) -> Callable[[int, int, Tensor], object]:
        """Blocks widened to float32, in a buffer that stays in cache."""
        query = rescaled.float()
        widens = self._stored.dtype != torch.float32
        buffer = torch.empty(min(_WIDENED, self.rows) if widens else 0, self._stored.shape[1])

        def multiply(start: int, end: int, out: Tensor) -> None:
            for first in range(start, end, _WIDENED if widens else end - start):
                block = self._stored[first : min(first + _WIDENED, end) if widens else end]
                if widens:
                    block = buffer[: len(block)].copy_(block)
                if len(query) == 1:
                    torch.mv(block, query[0], out=out[0, first - start : first - start + len(block)])
                else:
                    out[:, first - start : first - start + len(block)] = query @ block.T

        return multiply

    def _halves_are_good(self) -> bool:
        """Whether float16 products are within their bound here, and faster.

        Some processors have no arithmetic for them, and some libraries also add in float16, which 96 numbers do not
        bear. A row with itself is the worst case: all terms are positive. Either answer finds the same rows.
        """
        sample = self._stored[:_SAMPLE]
        if not len(sample):
            return False
        probes = self._wide(np.arange(min(len(sample), 16))).reshape(-1, self._stored.shape[1]) / self.count
        exact = sample.double() @ torch.from_numpy(probes).T
        wrong = max(
            (torch.mv(sample, query.half()).double() - exact[:, number]).abs().max().item()
            for number, query in enumerate(torch.from_numpy(probes))
        )
        if not wrong <= self._half_slack:
            return False
        rescaled = torch.from_numpy(probes[:1])
        halves, singles = self._in_halves(rescaled), self._in_singles(rescaled)
        half, single = (torch.empty(1, len(sample), dtype=dtype) for dtype in (torch.float16, torch.float32))
        # Halves are half the memory to read, which tells more in a large matrix than in this sample.
        return _seconds(lambda: halves(0, len(sample), half)) < 1.5 * _seconds(lambda: singles(0, len(sample), single))

    def _wide(self, rows: Int[np.ndarray, " some"]) -> Float[np.ndarray, "some spaces dim"]:
        vectors = self._stored[torch.from_numpy(rows)].double().numpy()
        return vectors.reshape(len(rows), self.count, self.dim)


class _Best:
    """The best rows of a query so far, exactly."""

    def __init__(
        self, spaces: Spaces, query: Float[np.ndarray, "spaces dim"], shares: Float[np.ndarray, " spaces"], k: int
    ) -> None:
        self._spaces, self._query, self._shares, self._k = spaces, query, shares, k
        none = np.empty(0)
        self.nearest = Neighbours(none.astype(np.int64), none, np.empty((0, spaces.count)))

    def take(
        self, start: int, scores: Float[Tensor, " block"], mask: Bool[Tensor, " block"] | None, slack: float
    ) -> None:
        """Rows of a block with their inexact scores, which are off by `slack` at most."""
        least = self._least(scores, mask, slack)
        new = _reaching(scores, least, mask)
        if not len(new):
            return
        exact, by_space = self._spaces.score(new + start, self._query, self._shares)
        rows = np.concatenate([self.nearest.rows, new + start])
        exact = np.concatenate([self.nearest.scores, exact])
        order = np.lexsort((rows, -exact))[: self._k]
        self.nearest = Neighbours(rows[order], exact[order], np.concatenate([self.nearest.by_space, by_space])[order])

    def _least(self, scores: Float[Tensor, " block"], mask: Bool[Tensor, " block"] | None, slack: float) -> float:
        """No row with an inexact score below this can be among the best."""
        if len(self.nearest) == self._k:
            return float(self.nearest.scores[-1]) - slack
        candidates = scores if mask is None else scores[mask]
        if len(candidates) <= self._k:
            return -np.inf
        # k rows of this block reach their kth inexact score, so all k are truly above it minus the slack.
        return candidates.float().topk(self._k).values[-1].item() - 2 * slack


def _reaching(
    scores: Float[Tensor, " block"], least: float, mask: Bool[Tensor, " block"] | None
) -> Int[np.ndarray, " likely"]:
    """Places of scores that reach a bound, in order. Few do, so groups are asked for their highest first."""
    whole = len(scores) // _GROUP * _GROUP
    grouped = scores[:whole].view(-1, _GROUP)
    if scores.dtype == torch.float16 and least > 0:
        # Positive halves are ordered as the whole numbers with the same bits, whose maxima are found ten times as fast;
        # negative ones are negative there too. One less, since the bound is rounded.
        bound = torch.tensor(least, dtype=torch.float16).view(torch.int16).item() - 1
        groups = (grouped.view(torch.int16).amax(dim=1) >= bound).nonzero().squeeze(1)
    else:
        groups = (grouped.amax(dim=1) >= least).nonzero().squeeze(1)
    within = (grouped[groups] >= least).nonzero()
    rest = (scores[whole:] >= least).nonzero().squeeze(1)
    places = torch.cat([groups[within[:, 0]] * _GROUP + within[:, 1], rest + whole])
    return (places if mask is None else places[mask[places]]).numpy()


def unit(vectors: Float[np.ndarray, "*axes dim"]) -> Float[np.ndarray, "*axes dim"]:
    """Vectors scaled to unit length; zeros stay zeros."""
    lengths = np.sqrt((vectors * vectors).sum(axis=-1, keepdims=True))
    return vectors / np.where(lengths > 0, lengths, 1.0)


def _seconds(call: Callable[[], object]) -> float:
    """The least of a few."""
    times = []
    for _ in range(8):
        start = time.perf_counter()
        call()
        times.append(time.perf_counter() - start)
    return min(times)
