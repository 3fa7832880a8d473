"""Pairs: who is alike and whether that is known. All that similarities and objectives share.

This module knows neither labels nor embeddings nor losses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Bool, Float, Int, Int64, Shaped
from torch import Tensor

# From numbers of the anchors here to those of all candidates.
Exchange = Callable[[Float[Tensor, "numbers similarities anchors"]], Float[Tensor, "numbers similarities candidates"]]


@dataclass(frozen=True, slots=True)
class Pairs:
    """The answer of one similarity for anchors against candidates, written out.

    Attributes:
        weight: how alike, at most 1, which is as alike as this similarity can say; 0 is a negative. Below 0 it is a
            negative too; contrastive losses treat it as 0, other objectives may use the value.
        known: False leaves the pair out of every sum. Unknown is not negative.
    """

    weight: Float[Tensor, "anchors candidates"]
    known: Bool[Tensor, "anchors candidates"]

    @property
    def has_positive(self) -> Bool[Tensor, " anchors"]:
        """Anchors with at least one known candidate of positive weight."""
        return ((self.weight > 0) & self.known).any(dim=1)

    @property
    def negative(self) -> Bool[Tensor, "anchors candidates"]:
        """Known candidates that are not alike in anything: of weight 0 or below."""
        return (self.weight <= 0) & self.known

    @property
    def shape(self) -> tuple[int, int]:
        return self.weight.shape[0], self.weight.shape[1]

    def block(self, rows: slice, columns: slice) -> Pairs:
        """The pairs of some anchors against some candidates."""
        return Pairs(self.weight[rows, columns], self.known[rows, columns])


@dataclass(frozen=True, slots=True)
class LazyPairs:
    """The same answer, written out only block by block: at 65,536 rows it would take 17 GB at once.

    Attributes:
        compare: a similarity's rule, codes against codes.
        anchors, candidates: the codes of the rows under that similarity, as its `encode` makes them.
        anchor_ids, candidate_ids: a pair of equal ids is left out. With one id a sample, a sample is
            never its own candidate; with one id a row, all views of the anchor's row are left out.
        is_partition: the similarity only says "same class or not". Then codes are class ids, -1
            where missing, and a kernel may sort rows by them instead of asking for blocks.
        exchange: given where the candidates are the anchors of several processes, those here among them. It tells
            of each candidate what its own process knows of it as an anchor (0 where it is none), and every process
            must call it. A loss that does needs no gradient of its candidates: that of the anchors is the whole.
        bias: what is added to the logit of each pair, a number of its anchor and one of its candidate; equal within a
            class. Only contrastive kernels read it.
        cache: what was computed of these pairs once and is needed again, for `mscon.method.kernels`; lives as long.
    """

    compare: Callable[[Tensor, Tensor], Pairs]
    anchors: Shaped[Tensor, "anchors ..."]
    candidates: Shaped[Tensor, "candidates ..."]
    anchor_ids: Int[Tensor, " anchors"]
    candidate_ids: Int[Tensor, " candidates"]
    is_partition: bool
    exchange: Exchange | None = None
    bias: tuple[Float[Tensor, " anchors"], Float[Tensor, " candidates"]] | None = None
    cache: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)

    @property
    def shape(self) -> tuple[int, int]:
        return self.anchors.shape[0], self.candidates.shape[0]

    def block(self, rows: slice, columns: slice) -> Pairs:
        """The pairs of some anchors against some candidates, self-pairs unknown."""
        pairs = self.compare(self.anchors[rows], self.candidates[columns])
        is_self = self.anchor_ids[rows, None] == self.candidate_ids[None, columns]
        return Pairs(pairs.weight, pairs.known & ~is_self)

    def reversed(self) -> LazyPairs:
        """The pairs as the candidates see them: each of them an anchor, and the anchors its candidates."""
        return LazyPairs(
            self.compare,
            self.candidates,
            self.anchors,
            self.candidate_ids,
            self.anchor_ids,
            self.is_partition,
            bias=None if self.bias is None else self.bias[::-1],
        )

    def select(self, anchors: Int[Tensor, " some_anchors"], candidates: Int[Tensor, " some_candidates"]) -> LazyPairs:
        """Those of some anchors and some candidates; what was one tensor stays one. Without an exchange."""
        is_same = anchors is candidates
        codes, ids = self.anchors[anchors], self.anchor_ids[anchors]
        other_codes = codes if is_same and self.candidates is self.anchors else self.candidates[candidates]
        other_ids = ids if is_same and self.candidate_ids is self.anchor_ids else self.candidate_ids[candidates]
        return LazyPairs(self.compare, codes, other_codes, ids, other_ids, self.is_partition)

    def dense(self) -> Pairs:
        """All pairs at once; for small batches."""
        return self.block(slice(None), slice(None))


def renumbered(
    anchors: Int[Tensor, "*anchors"], candidates: Int[Tensor, "*candidates"]
) -> tuple[Int64[Tensor, "*anchors"], Int64[Tensor, "*candidates"], int]:
    """Codes as 0, 1, ... in their order and without gaps, negative ones below 0; and how many there are from 0 on.

    Equal codes stay equal and different ones different, whatever their size: a narrow type can hold the numbers, and
    two of them make one key.
    """
    names, numbers = torch.unique(torch.cat([anchors.flatten(), candidates.flatten()]), return_inverse=True)
    negative = int((names < 0).sum())
    a, c = (numbers - negative).split([anchors.numel(), candidates.numel()])
    return a.view(anchors.shape), c.view(candidates.shape), names.numel() - negative
