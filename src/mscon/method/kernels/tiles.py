"""Classes at any batch size: the pair matrix tile by tile, in memory for the rows only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.method.kernels.path import Competitors, Gradients, wide
from mscon.method.kernels.precision import float32_products
from mscon.method.kernels.sorted_classes import SortedClasses
from mscon.method.kernels.tile_sums import TileSums
from mscon.method.pairs import Exchange, LazyPairs

_GPU_SIZE = 4_096  # rows and columns of a tile where it is the launches that cost


def _cpu_size(threads: int) -> int:
    """Rows and columns of a tile of which each core's part fits its second-level cache: 384 for one, 640 for two.

    At one thread 256 to 512 are within 5 % of one another, 128 and 1,024 lose 20 to 60 %. Odd multiples
    of 128, because the columns of a matrix whose width is a power of two compete for the same cache lines.
    """
    return 128 * (2 * math.ceil((3 * math.sqrt(threads) - 1) / 2) + 1)


# Of narrower vectors a product takes less time than rounding its factors for the matrix units.
_LEAST_BFLOAT16_DIM = 64


def _is_for_bfloat16_units(vectors: Tensor) -> bool:
    return vectors.dtype == torch.bfloat16 and vectors.shape[-1] >= _LEAST_BFLOAT16_DIM


@dataclass(frozen=True, slots=True)
class Tiles:
    """Each tile is computed, exponentiated and summed while it lies in cache, then forgotten; `backward` repeats it.

    Among the anchors themselves the matrix is symmetric and only its upper triangle is visited. In
    `backward` positives are subtracted inside the tile, before the second product: where classes are
    tight, softmax and positives nearly cancel, and the difference of their sums would be rounding (a
    hundred times the error at a spread of 0.02). The value of the loss has no such cancellation, so there
    positives come from sums over classes.

    Attributes:
        heads: the sorted rows of each similarity.
        temperature: one for each similarity.
        largest_logit: bound on |s|, at most `LARGEST_LOGIT`; where a positive competes with itself and negatives at
            most half of it, since the ratio of two exponentials is then needed.
        denominator: what positives compete with.
    """

    heads: tuple[SortedClasses, ...]
    temperature: tuple[float, ...]
    largest_logit: float
    denominator: Competitors = "all"

    @classmethod
    def of(
        cls,
        pairs: Sequence[LazyPairs],
        temperature: tuple[float, ...],
        largest_logit: float,
        *,
        is_square: bool,
        denominator: Competitors = "all",
        size: int | None = None,
    ) -> Tiles:
        """Sort the rows. `is_square`: there are no other candidates, and both sides of `pairs` are the same rows."""
        if size is None:
            size = _cpu_size(torch.get_num_threads()) if pairs[0].anchors.device.type == "cpu" else _GPU_SIZE
        return cls(
            tuple(SortedClasses.of(p, is_symmetric=is_square, size=size) for p in pairs),
            temperature,
            largest_logit,
            denominator,
        )

    def forward(self, anchors: Tensor, candidates: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        losses = wide(anchors.new_zeros(anchors.shape[:2]))
        saved: list[Tensor] = []
        with float32_products(rounded_to_bfloat16=_is_for_bfloat16_units(anchors)):
            for h, head in enumerate(self._heads(anchors, candidates)):
                sums, (attraction, count) = head.sums(), head.positives()
                # Nothing in the denominator: as good as no positive. (Other exponentials cannot vanish.)
                count, sums = torch.where(sums > 0, count, 0.0), torch.where(sums > 0, sums, 1.0)
                if self.denominator == "negatives_and_itself":
                    loss, share = (total / count.clamp_min(1) for total in head.with_itself(sums))
                    loss = torch.where(count > 0, loss, 0.0)
                    saved += [sums, count, share]
                else:
                    loss = torch.where(count > 0, sums.log() + head.shift - attraction / count.clamp_min(1), 0.0)
                    saved += [sums, count, torch.ones_like(sums)]
                losses[h].index_copy_(0, head.rows.anchor_order, loss)
        return losses, tuple(saved)

    def backward(
        self,
        anchors: Tensor,
        candidates: Tensor | None,
        saved: tuple[Tensor, ...],
        grad: Tensor,
        *,
        wants_candidates: bool,
        exchange: Exchange | None = None,
    ) -> Gradients:
        of_anchors = wide(torch.zeros_like(anchors))
        of_candidates = wide(torch.zeros_like(candidates)) if candidates is not None and wants_candidates else None
        pulls = self._pulls(saved, grad)
        others = None if exchange is None else exchange(pulls)
        with float32_products(rounded_to_bfloat16=_is_for_bfloat16_units(anchors)):
            for h, head in enumerate(self._heads(anchors, candidates)):
                of_rows = pulls[:, h].index_select(1, head.rows.anchor_order)
                other = None if others is None else others[:, h].index_select(1, head.rows.candidate_order)
                of_a, of_c = head.gradients(of_rows, other, wants_candidates=of_candidates is not None)
                of_anchors[h].index_copy_(0, head.rows.anchor_order, of_a)
                if of_candidates is not None and of_c is not None:
                    of_candidates[h].index_copy_(0, head.rows.candidate_order, of_c)
        return of_anchors, of_candidates

    def _pulls(self, saved: tuple[Tensor, ...], grad: Tensor) -> Float[Tensor, "numbers similarities anchors"]:
        """How strongly each anchor repels, grad / (t sum_j exp(s_ij - shift)), and attracts, grad / (t positives).

        Where a positive competes with itself and negatives, these repel by the mean share that is theirs, and their
        sum is the third number: it says how much each positive still attracts.
        """
        numbers = 3 if self.denominator == "negatives_and_itself" else 2
        pulls = wide(grad.new_zeros(numbers, *grad.shape))
        for h, (rows, t) in enumerate(zip(self.heads, self.temperature, strict=True)):
            sums, count, share = saved[3 * h : 3 * h + 3]
            counted = torch.where(count > 0, grad[h, rows.anchor_order], 0.0) / t
            each = torch.stack([counted * share / sums, counted / count.clamp_min(1), sums])
            pulls[:, h].index_copy_(1, rows.anchor_order, each[:numbers])
        return pulls

    def _heads(self, anchors: Tensor, candidates: Tensor | None) -> Iterator[TileSums]:
        others = anchors if candidates is None else candidates
        for a, c, rows, t in zip(anchors, others, self.heads, self.temperature, strict=True):
            yield TileSums(a, c, rows, 1 / t, self.largest_logit, self.denominator)
