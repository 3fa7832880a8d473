"""Spaces: the projections of all similarities side by side, and the exact nearest rows under any mix of them.

With x_c the unit vector of a row in space c, and weights w that add up to 1, its score for a query q is

    sum_c w_c <q_c, x_c>  =  <(w_1 q_1, w_2 q_2, ...), (x_1, x_2, ...)>,

one inner product of the stored row with a rescaled query, so one matrix serves every mix. A first pass scores all rows
in float32, a block at a time, and keeps those that may be among the best, given how far rounding can be off. A second
pass scores these few in float64. The result is exact for the vectors as stored: it does not depend on the size of the
blocks, the number of threads or the processor.

Knows no run, no label and no file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float, Int

from mscon.deploy.vectors import unit
from mscon.errors import RunError, first_few

# Rows that are widened at a time: 16,384 rows of 96 numbers are 6 MB in float32, which stays in cache.
_BLOCK = 16_384

# Rows that are scored in float64 at a time.
_SCORED = 4_096

# Rows of which only the highest score is sorted: to sort all of a million takes longer than to multiply them.
_GROUP = 256


@dataclass(frozen=True, slots=True, eq=False)
class Neighbours:
    """The nearest rows, best first; of equal scores the lower row first.

    Attributes:
        rows: their numbers.
        scores: under the mix, in [-1, 1].
        by_space: in each space alone, in [-1, 1]; `scores` is their weighted mean.
    """

    rows: Int[np.ndarray, " hits"]
    scores: Float[np.ndarray, " hits"]
    by_space: Float[np.ndarray, "hits spaces"]

    def __len__(self) -> int:
        return len(self.rows)


class Spaces:
    """The vectors of all rows in all spaces.

    Args:
        projections: [spaces, rows, dim], of unit length, or of zeros where a row has no direction in a space: it
            scores 0 there.
        dtype: how numbers are stored. float16 halves the memory, and changes a cosine by some 1e-4.

    Attributes:
        stored: [rows, spaces * dim], the vectors as stored, all spaces side by side.

    Raises:
        RunError: if a number is not finite.
    """

    def __init__(
        self, projections: Float[np.ndarray, "spaces rows dim"], dtype: Literal["float16", "float32"] = "float16"
    ) -> None:
        self.count, self.rows, self.dim = projections.shape
        self.stored = torch.empty(self.rows, self.count * self.dim, dtype=getattr(torch, dtype))
        uneven = 0.0
        for start in range(0, self.rows, _BLOCK):
            block = np.asarray(projections[:, start : start + _BLOCK])
            if not np.isfinite(block).all():
                faulty = np.flatnonzero(~np.isfinite(block).all(axis=(0, 2))) + start
                raise RunError(f"projections are not finite, first in rows {first_few(faulty.tolist())}. Probe again.")
            end = start + block.shape[1]
            self.stored[start:end] = torch.from_numpy(np.concatenate(block, axis=1))
            lengths = np.linalg.norm(self._wide(np.arange(start, end)), axis=2)
            uneven = max(uneven, float(np.abs(lengths - 1)[lengths > 0].max(initial=0.0)))
        # How far a score of the first pass may be off: it does not divide by lengths, and float32 rounds each product
        # and each sum by 2^-24. With sum w = 1 the absolute terms add up to the length of a row at most.
        self._slack = uneven + (self.stored.shape[1] + 8) * 2.0**-24 * (1 + uneven)

    def vectors(self, rows: Int[np.ndarray, " some"] | Sequence[int]) -> Float[np.ndarray, "spaces some dim"]:
        """Unit vectors of some rows in every space, in float64; zeros where a row has no direction."""
        return unit(self._wide(np.asarray(rows, dtype=np.int64))).transpose(1, 0, 2)

    def mean(
        self, rows: Int[np.ndarray, " some"], weights: Float[np.ndarray, " some"] | None = None
    ) -> Float[np.ndarray, "spaces dim"]:
        """The mean of the unit vectors of some rows in every space, in float64; not of unit length.

        Args:
            rows: their numbers.
            weights: what each vector is multiplied by; None for 1.

        Raises:
            ValueError: if there are none.
        """
        if not len(rows):
            raise ValueError("there are no rows to take the mean of.")
        sums = []
        for start in range(0, len(rows), _SCORED):
            block = self.vectors(rows[start : start + _SCORED])
            if weights is not None:
                block *= weights[start : start + _SCORED, None]
            sums.append(block.sum(axis=1))
        return np.sum(sums, axis=0) / len(rows)

    def score(
        self,
        rows: Int[np.ndarray, " some"],
        query: Float[np.ndarray, "spaces dim"],
        shares: Float[np.ndarray, " spaces"],
    ) -> tuple[Float[np.ndarray, " some"], Float[np.ndarray, "some spaces"]]:
        """Scores of some rows under a mix and in each space, in float64. A row's score depends on no other row."""
        by_space = self.products(rows, query).clip(-1, 1)  # rounding may leave 1 + 2e-16
        return (by_space * shares).sum(axis=1), by_space

    def products(
        self, rows: Int[np.ndarray, " some"], vectors: Float[np.ndarray, "spaces dim"]
    ) -> Float[np.ndarray, "some spaces"]:
        """Inner products of the unit vectors of some rows with a vector in each space, in float64."""
        products = np.empty((len(rows), self.count))
        for start in range(0, len(rows), _SCORED):
            block = unit(self._wide(rows[start : start + _SCORED]))
            products[start : start + len(block)] = (block * vectors).sum(axis=2)
        return products

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
        if k < 1:
            raise ValueError(f"k must be at least 1, got {k}.")
        if query.shape != (self.count, self.dim) or shares.shape != (self.count,):
            raise ValueError(f"query must be [{self.count}, {self.dim}], got {list(query.shape)}.")
        if keep is not None and keep.shape != (self.rows,):
            raise ValueError(f"keep must be [{self.rows}], got {list(keep.shape)}.")
        candidates = self._candidates(query, shares, k, keep)
        scores, by_space = self.score(candidates, query, shares)
        best = np.lexsort((candidates, -scores))[:k]
        return Neighbours(candidates[best], scores[best], by_space[best])

    def _candidates(
        self,
        query: Float[np.ndarray, "spaces dim"],
        shares: Float[np.ndarray, " spaces"],
        k: int,
        keep: Bool[np.ndarray, " rows"] | None,
    ) -> Int[np.ndarray, " candidates"]:
        """Rows that the best k are among, ascending."""
        rescaled = torch.from_numpy((query * shares[:, None]).ravel()).float()
        scores = torch.full((-(-self.rows // _GROUP) * _GROUP,), -torch.inf)
        buffer = torch.empty(min(_BLOCK, self.rows), self.stored.shape[1])
        for start in range(0, self.rows, _BLOCK):
            block = self.stored[start : start + _BLOCK]
            torch.mv(buffer[: len(block)].copy_(block), rescaled, out=scores[start : start + len(block)])
        if keep is not None:
            scores[: self.rows].masked_fill_(~torch.from_numpy(keep), -torch.inf)
        # The k highest of some groups are k rows, so the kth best row scores as high as the lowest of these, or higher.
        highest = scores.view(-1, _GROUP).amax(dim=1) if len(scores) >= k * _GROUP else scores
        least = highest.topk(min(k, len(highest))).values[-1] - 2 * self._slack
        return ((scores >= least) & (scores > -torch.inf)).nonzero().squeeze(1).numpy()

    def _wide(self, rows: Int[np.ndarray, " some"]) -> Float[np.ndarray, "some spaces dim"]:
        return self.stored[torch.from_numpy(rows)].double().numpy().reshape(len(rows), self.count, self.dim)
