"""One similarity of `Tiles`: the tiles of exp(<a, c> / t - shift), and what is summed over them."""

from __future__ import annotations

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mscon.method.kernels.path import Competitors, wide
from mscon.method.kernels.shift import shift_for
from mscon.method.kernels.sorted_classes import SortedClasses, Tile

Alike = list[tuple[slice, slice]] | Bool[Tensor, "rows columns"]

# Where rows are sorted, all positives of a tile pull one way, and only tiles without any pull back. A sum that
# first runs away and then returns collects rounding on its way, up to three times that of a sum in random
# order, unless it is taken in parts of this length. Where logits are large their own rounding outweighs that.
_PART, _LARGE_LOGIT = 128, 9.0


class TileSums:
    """Sums over the tiles of sorted rows, and the gradient of what is computed from them."""

    def __init__(
        self,
        anchors: Float[Tensor, "anchors dim"],
        candidates: Float[Tensor, "candidates dim"],
        rows: SortedClasses,
        scale: float,
        largest_logit: float,
        denominator: Competitors,
    ) -> None:
        self.rows, self.scale, self.shift, self.denominator = rows, scale, shift_for(largest_logit), denominator
        self.part = rows.size if largest_logit > _LARGE_LOGIT else _PART
        self.a = wide(anchors.index_select(0, rows.anchor_order))
        self.c = self.a if rows.is_symmetric else wide(candidates.index_select(0, rows.candidate_order))
        self.a_strips, self.c_strips = self.a.split(rows.size), self.c.split(rows.size)

    def sums(self) -> Float[Tensor, " anchors"]:
        """sum_j exp(s_ij - shift) over the candidates in the denominator, but for the positive itself."""
        sums = self.a.new_zeros(self.a.shape[0])
        strips, memory = sums.split(self.rows.size), self._memory()
        for tile in self.rows.tiles():
            alike: Alike = [] if self.denominator == "all" else self.rows.alike(tile)
            if self._is_all(alike, tile):
                continue
            e = self._exponentials(tile, memory)
            _fill(e, alike, 0.0)
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
        total *= self.scale
        if rows.bias is not None:  # that of a positive is the anchor's
            total += 2 * count * rows.bias[0]
        return total, count

    def with_itself(self, sums: Float[Tensor, " anchors"]) -> Float[Tensor, "2 anchors"]:
        """Over positives p, with N the sum of the negatives of each anchor: sum of log(1 + N / e_p), whose parts are
        exact also where they are small; and sum of N / (e_p + N), the share that the negatives have."""
        totals = sums.new_zeros(2, len(sums))
        of_strips, total_strips = sums.split(self.rows.size), totals.split(self.rows.size, dim=1)
        memory, ratio_memory, more_memory = self._memory(), self._memory(), self._memory()
        for tile in self.rows.tiles():
            alike = self.rows.alike(tile)
            if not len(alike):
                continue
            e = self._exponentials(tile, memory)
            if tile.self_pairs is not None:
                e[tile.self_pairs] = torch.inf  # as far from competing as can be
            if isinstance(alike, Tensor):
                e.masked_fill_(~alike, torch.inf)
                alike = [(slice(None), slice(None))]
            for p, q in alike:
                block = e[p, q]
                ratio, more = (m[: block.numel()].view_as(block) for m in (ratio_memory, more_memory))
                sides = [(of_strips[tile.row][p, None], total_strips[tile.row][:, p], 1)]
                if self.rows.is_symmetric and not tile.is_diagonal:
                    sides.append((of_strips[tile.column][None, q], total_strips[tile.column][:, q], 0))
                for negatives, total, along in sides:
                    torch.div(negatives, block, out=ratio)
                    torch.add(ratio, 1, out=more)
                    total[1].add_(torch.div(ratio, more, out=more).sum(dim=along))
                    total[0].add_(ratio.log1p_().sum(dim=along))
        return totals

    def gradients(
        self,
        pulls: Float[Tensor, "numbers anchors"],
        pulls_of_candidates: Float[Tensor, "numbers candidates"] | None,
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
            pulls_of_candidates = pulls if is_symmetric else self.c.new_zeros(len(pulls), self.c.shape[0])
        of_rows = [pull[:, None].split(size) for pull in pulls]
        of_columns = [pull[None].split(size, dim=1) for pull in pulls_of_candidates]
        of_a = torch.zeros_like(self.a)
        of_c = of_a if is_symmetric else torch.zeros_like(self.c) if wants_candidates else None
        of_a_strips, of_c_strips = of_a.split(size), None if of_c is None else of_c.split(size)
        memory, more_memory = self._memory(), self._memory()
        for tile in self.rows.tiles():
            i, j = tile.row, tile.column
            e, alike = self._exponentials(tile, memory), self.rows.alike(tile)
            rows, columns = [pull[i] for pull in of_rows], [pull[j] for pull in of_columns]
            if self.denominator == "negatives_and_itself":
                self._pull_coupled(e, alike, rows, columns, more_memory)
            else:
                self._pull(e, alike, rows, columns, more_memory)
            if tile.self_pairs is not None:
                e[tile.self_pairs] = 0.0
            part = self.part if len(alike) else size
            _add_product(of_a_strips[i], e, self.c_strips[j], part)
            if of_c_strips is not None and not tile.is_diagonal:
                _add_product(of_c_strips[j], e.T, self.a_strips[i], part)
        return of_a, None if is_symmetric else of_c

    def _pull(self, e: Tensor, alike: Alike, rows: list[Tensor], columns: list[Tensor], memory: Tensor) -> None:
        """From e to d losses / d s, in place."""
        if self.denominator == "negatives":
            _fill(e, alike, 0.0)
        coefficient = memory[: e.numel()].view_as(e)
        e.mul_(torch.add(rows[0], columns[0], out=coefficient))
        if isinstance(alike, Tensor):
            e.sub_(torch.add(rows[1], columns[1], out=coefficient).mul_(alike))
        else:
            for p, q in alike:
                e[p, q].sub_(rows[1][p]).sub_(columns[1][:, q])

    def _pull_coupled(self, e: Tensor, alike: Alike, rows: list[Tensor], columns: list[Tensor], memory: Tensor) -> None:
        """The same where a positive competes with itself and negatives: it attracts by the share that these have."""
        everywhere = [(slice(None), slice(None))]
        attraction = [
            _attraction(e[p, q], rows[1][p], rows[2][p])
            .add_(_attraction(e[p, q], columns[1][:, q], columns[2][:, q]))
            .neg_()
            for p, q in (everywhere if isinstance(alike, Tensor) else alike)
        ]
        coefficient = memory[: e.numel()].view_as(e)
        e.mul_(torch.add(rows[0], columns[0], out=coefficient))
        if isinstance(alike, Tensor):
            torch.where(alike, attraction[0], e, out=e)
        else:
            for (p, q), pull in zip(alike, attraction, strict=True):
                e[p, q] = pull

    def _memory(self) -> Tensor:
        """For one tile at a time."""
        return self.a.new_empty(self.rows.size**2)

    def _exponentials(self, tile: Tile, memory: Tensor) -> Float[Tensor, "rows columns"]:
        """exp(s_ij - shift) of a tile, 0 for pairs of a sample with itself, in the memory given."""
        a, c = self.a_strips[tile.row], self.c_strips[tile.column]
        e = memory[: a.shape[0] * c.shape[0]].view(a.shape[0], c.shape[0])
        # 1 / t after the product: what came as bfloat16 would no longer be exact on bfloat16 matrix units.
        torch.addmm(e, a, c.T, beta=0, alpha=self.scale, out=e)
        if self.shift:
            e.sub_(self.shift)
        if self.rows.bias is not None:
            of_anchors, of_candidates = (bias.split(self.rows.size) for bias in self.rows.bias)
            e.add_(of_anchors[tile.row][:, None]).add_(of_candidates[tile.column])
        e.exp_()
        if tile.self_pairs is not None:
            e[tile.self_pairs] = 0.0
        return e

    def _is_all(self, alike: Alike, tile: Tile) -> bool:
        """Whether all pairs of a tile are of one class."""
        shape = len(self.a_strips[tile.row]), len(self.c_strips[tile.column])
        return isinstance(alike, list) and alike == [(slice(0, shape[0]), slice(0, shape[1]))]


def _fill(e: Float[Tensor, "rows columns"], alike: Alike, value: float) -> None:
    """A number in place of what is alike."""
    if isinstance(alike, Tensor):
        e.masked_fill_(alike, value)
    else:
        for p, q in alike:
            e[p, q] = value


def _attraction(e: Tensor, attract: Tensor, negatives: Tensor) -> Tensor:
    """How strongly positives attract that compete with themselves and negatives of this sum."""
    return torch.add(e, negatives).reciprocal_().mul_(negatives * attract)


def _add_product(
    total: Float[Tensor, "n dim"], left: Float[Tensor, "n m"], right: Float[Tensor, "m dim"], part: int
) -> None:
    """total += left @ right, summed in parts of a length."""
    if part >= right.shape[0]:
        total.addmm_(left, right)
        return
    for columns, rows in zip(left.split(part, dim=1), right.split(part), strict=True):
        total.addmm_(columns, rows)
