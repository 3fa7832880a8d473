"""Classes at any batch size: the pair matrix tile by tile, in memory for the rows only."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mscon.method.kernels.path import Denominator, Gradients, wide
from mscon.method.kernels.precision import float32_products
from mscon.method.kernels.shift import shift_for
from mscon.method.kernels.sorted_classes import SortedClasses, Tile
from mscon.method.pairs import Exchange, LazyPairs

_GPU_SIZE = 4_096  # rows and columns of a tile where it is the launches that cost


def _cpu_size(threads: int) -> int:
    """Rows and columns of a tile of which each core's part fits its second-level cache: 384 for one, 640 for two.

    At one thread 256 to 512 are within 5 % of one another, 128 and 1,024 lose 20 to 60 %. Odd multiples
    of 128, because the columns of a matrix whose width is a power of two compete for the same cache lines.
    """
    return 128 * (2 * math.ceil((3 * math.sqrt(threads) - 1) / 2) + 1)


# Where rows are sorted, all positives of a tile pull one way, and only tiles without any pull back. A sum that
# first runs away and then returns collects rounding on its way, up to three times that of a sum in random
# order, unless it is taken in parts of this length. Where logits are large their own rounding outweighs that.
_PART, _LARGE_LOGIT = 128, 9.0

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
        largest_logit: bound on |s|, at most `LARGEST_LOGIT`.
        denominator: what positives compete with.
    """

    heads: tuple[SortedClasses, ...]
    temperature: tuple[float, ...]
    largest_logit: float
    denominator: Denominator = "all"

    @classmethod
    def of(
        cls,
        pairs: Sequence[LazyPairs],
        temperature: tuple[float, ...],
        largest_logit: float,
        *,
        is_square: bool,
        denominator: Denominator = "all",
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
                loss = torch.where(count > 0, sums.log() + head.shift - attraction / count.clamp_min(1), 0.0)
                losses[h].index_copy_(0, head.rows.anchor_order, loss)
                saved += [sums, count]
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

    def _pulls(self, saved: tuple[Tensor, ...], grad: Tensor) -> Float[Tensor, "2 similarities anchors"]:
        """How strongly each anchor repels, grad / (t sum_j exp(s_ij - shift)), and attracts, grad / (t positives)."""
        pulls = wide(grad.new_zeros(2, *grad.shape))
        for h, (rows, t) in enumerate(zip(self.heads, self.temperature, strict=True)):
            sums, count = saved[2 * h : 2 * h + 2]
            counted = torch.where(count > 0, grad[h, rows.anchor_order], 0.0) / t
            both = torch.stack([counted / sums, counted / count.clamp_min(1)])
            pulls[:, h].index_copy_(1, rows.anchor_order, both)
        return pulls

    def _heads(self, anchors: Tensor, candidates: Tensor | None) -> Iterator[_Head]:
        others = anchors if candidates is None else candidates
        for a, c, rows, t in zip(anchors, others, self.heads, self.temperature, strict=True):
            yield _Head(a, c, rows, 1 / t, self.largest_logit, self.denominator)


class _Head:
    """One similarity: the tiles of exp(<a, c> / t - shift), and what is summed over them."""

    def __init__(
        self,
        anchors: Float[Tensor, "anchors dim"],
        candidates: Float[Tensor, "candidates dim"],
        rows: SortedClasses,
        scale: float,
        largest_logit: float,
        denominator: Denominator,
    ) -> None:
        self.rows, self.scale, self.shift, self.denominator = rows, scale, shift_for(largest_logit), denominator
        self.part = rows.size if largest_logit > _LARGE_LOGIT else _PART
        self.a = wide(anchors.index_select(0, rows.anchor_order))
        self.c = self.a if rows.is_symmetric else wide(candidates.index_select(0, rows.candidate_order))
        self.a_strips, self.c_strips = self.a.split(rows.size), self.c.split(rows.size)

    def sums(self) -> Float[Tensor, " anchors"]:
        """sum_j exp(s_ij - shift) over the candidates in the denominator."""
        sums = self.a.new_zeros(self.a.shape[0])
        strips = sums.split(self.rows.size)
        for tile, e in self._exponentials():
            strips[tile.row].add_(e.sum(dim=1))
            if self.rows.is_symmetric and not tile.is_diagonal:
                strips[tile.column].add_(e.sum(dim=0))
        return sums

    def positives(self) -> tuple[Float[Tensor, " anchors"], Float[Tensor, " anchors"]]:
        """Sum of s_ij over the positives of each anchor, and their number."""
        a, c, rows = self.a, self.c, self.rows
        of_class = c.new_zeros(rows.classes, c.shape[1]).index_add_(0, rows.candidates, c)
        total = (a * of_class.index_select(0, rows.anchors)).sum(dim=1)
        count = torch.bincount(rows.candidates, minlength=rows.classes).to(a.dtype).index_select(0, rows.anchors)
        i, j = rows.self_pairs
        is_positive = (rows.anchors[i] == rows.candidates[j]).to(a.dtype)
        total.index_add_(0, i, (a[i] * c[j]).sum(dim=1) * is_positive, alpha=-1)
        count.index_add_(0, i, is_positive, alpha=-1)
        return total * self.scale, count

    def gradients(
        self,
        pulls: Float[Tensor, "2 anchors"],
        pulls_of_candidates: Float[Tensor, "2 candidates"] | None,
        *,
        wants_candidates: bool,
    ) -> tuple[Float[Tensor, "anchors dim"], Float[Tensor, "candidates dim"] | None]:
        """Of sum(grad * losses), to a and c; a symmetric head has all of it in the first.

        Candidates have pulls where they are anchors too, in this process or another.
        """
        is_symmetric, size = self.rows.is_symmetric, self.rows.size
        # d sum_i grad_i loss_i / d s_ij = exp(s_ij - shift) repel_i - [j is positive] attract_i, and where
        # i and j are both anchor and candidate, the same with i and j exchanged on top.
        if pulls_of_candidates is None:
            pulls_of_candidates = pulls if is_symmetric else self.c.new_zeros(2, self.c.shape[0])
        (repel_a, attract_a), (repel_c, attract_c) = pulls, pulls_of_candidates
        repel_rows, attract_rows = repel_a[:, None].split(size), attract_a[:, None].split(size)
        repel_columns, attract_columns = repel_c[None].split(size, dim=1), attract_c[None].split(size, dim=1)
        of_a = torch.zeros_like(self.a)
        of_c = of_a if is_symmetric else torch.zeros_like(self.c) if wants_candidates else None
        of_a_strips, of_c_strips = of_a.split(size), None if of_c is None else of_c.split(size)
        memory = self.a.new_empty(size * size)
        for tile, e in self._exponentials():
            i, j = tile.row, tile.column
            coefficient = memory[: e.numel()].view_as(e)
            e.mul_(torch.add(repel_rows[i], repel_columns[j], out=coefficient))
            alike = self.rows.alike(tile)
            if isinstance(alike, Tensor):
                e.sub_(torch.add(attract_rows[i], attract_columns[j], out=coefficient).mul_(alike))
            else:
                for p, q in alike:
                    e[p, q].sub_(attract_rows[i][p]).sub_(attract_columns[j][:, q])
            if tile.self_pairs is not None:
                e[tile.self_pairs] = 0.0
            part = self.part if len(alike) else size
            _add_product(of_a_strips[i], e, self.c_strips[j], part)
            if of_c_strips is not None and not tile.is_diagonal:
                _add_product(of_c_strips[j], e.T, self.a_strips[i], part)
        return of_a, None if is_symmetric else of_c

    def _exponentials(self) -> Iterator[tuple[Tile, Float[Tensor, "rows columns"]]]:
        """exp(s_ij - shift), 0 for what is not in the denominator; each in the memory of the one before."""
        memory = self.a.new_empty(self.rows.size**2)
        for tile in self.rows.tiles():
            a, c = self.a_strips[tile.row], self.c_strips[tile.column]
            e = memory[: a.shape[0] * c.shape[0]].view(a.shape[0], c.shape[0])
            # 1 / t after the product: what came as bfloat16 would no longer be exact on bfloat16 matrix units.
            torch.addmm(e, a, c.T, beta=0, alpha=self.scale, out=e)
            if self.shift:
                e.sub_(self.shift)
            e.exp_()
            if tile.self_pairs is not None:
                e[tile.self_pairs] = 0.0
            if self.denominator == "negatives":
                _clear(e, self.rows.alike(tile))
            yield tile, e


def _clear(e: Float[Tensor, "rows columns"], alike: list[tuple[slice, slice]] | Bool[Tensor, "rows columns"]) -> None:
    """0 in place of what is alike."""
    if isinstance(alike, Tensor):
        e.masked_fill_(alike, 0.0)
    else:
        for p, q in alike:
            e[p, q] = 0.0


def _add_product(
    total: Float[Tensor, "n dim"], left: Float[Tensor, "n m"], right: Float[Tensor, "m dim"], part: int
) -> None:
    """total += left @ right, summed in parts of a length."""
    if part >= right.shape[0]:
        total.addmm_(left, right)
        return
    for columns, rows in zip(left.split(part, dim=1), right.split(part), strict=True):
        total.addmm_(columns, rows)
