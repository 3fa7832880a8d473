"""Pairs: who is alike and whether that is known. All that similarities and objectives share.

This module knows neither labels nor embeddings nor losses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

# Rows of a block when pairs are counted; 1,024 x 65,536 weights are 268 MB, so counting stays bounded.
_COUNTING_ROWS = 1_024


@dataclass(frozen=True, slots=True)
class Pairs:
    """The answer of one similarity for anchors against candidates, written out.

    Attributes:
        weight: how alike, in [0, 1]; 0 is a negative, 1 as alike as this similarity can say.
        known: False leaves the pair out of every sum. Unknown is not negative.
    """

    weight: Float[Tensor, "anchors candidates"]
    known: Bool[Tensor, "anchors candidates"]

    @property
    def has_positive(self) -> Bool[Tensor, " anchors"]:
        """Anchors with at least one known candidate of positive weight."""
        return ((self.weight > 0) & self.known).any(dim=1)

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
    """

    compare: Callable[[Tensor, Tensor], Pairs]
    anchors: Shaped[Tensor, "anchors ..."]
    candidates: Shaped[Tensor, "candidates ..."]
    anchor_ids: Int[Tensor, " anchors"]
    candidate_ids: Int[Tensor, " candidates"]
    is_partition: bool

    @property
    def shape(self) -> tuple[int, int]:
        return self.anchors.shape[0], self.candidates.shape[0]

    def block(self, rows: slice, columns: slice) -> Pairs:
        """The pairs of some anchors against some candidates, self-pairs unknown."""
        pairs = self.compare(self.anchors[rows], self.candidates[columns])
        own = self.anchor_ids[rows, None] == self.candidate_ids[None, columns]
        return Pairs(pairs.weight, pairs.known & ~own)

    def dense(self) -> Pairs:
        """All pairs at once; for small batches."""
        return self.block(slice(None), slice(None))


@dataclass(frozen=True, slots=True)
class PairCounts:
    """What is known of each anchor before any embedding is looked at.

    Attributes:
        positives: sum of the weights of its known candidates; for 0/1 weights the number |P(i)|.
        known: number of its known candidates |A(i)|.
        floor: least value its contrastive loss can have, in nats: the entropy of its normalised
            weights, log |P(i)| for 0/1 weights. 0 for an anchor without a positive.
        ceiling: its loss where all embeddings coincide, log |A(i)| nats.
    """

    positives: Float[Tensor, " anchors"]
    known: Int[Tensor, " anchors"]
    floor: Float[Tensor, " anchors"]
    ceiling: Float[Tensor, " anchors"]

    @property
    def has_positive(self) -> Bool[Tensor, " anchors"]:
        return self.positives > 0


def count(pairs: Pairs | LazyPairs) -> PairCounts:
    """Count positives and known candidates of every anchor, in bounded memory.

    The floor is exact for any weights: a contrastive loss is the cross-entropy H(w, q) between the
    normalised weights w and the softmax q over candidates, and H(w, q) = H(w) + KL(w || q).

    Source: SupCon (Khosla et al. 2020, eq. 2), rewritten.
    """
    if isinstance(pairs, LazyPairs) and pairs.is_partition:
        return _count_classes(pairs)
    anchors, _ = pairs.shape
    starts = range(0, max(anchors, 1), _COUNTING_ROWS)
    blocks = [_count_block(pairs.block(slice(i, i + _COUNTING_ROWS), slice(None))) for i in starts]
    return PairCounts(
        positives=torch.cat([b.positives for b in blocks]),
        known=torch.cat([b.known for b in blocks]),
        floor=torch.cat([b.floor for b in blocks]),
        ceiling=torch.cat([b.ceiling for b in blocks]),
    )


def _count_block(pairs: Pairs) -> PairCounts:
    weight = pairs.weight * pairs.known
    total = weight.sum(dim=1)
    # H(w / W) = log W - (1 / W) sum w log w, with 0 log 0 = 0.
    entropy = total.log() - torch.special.xlogy(weight, weight).sum(dim=1) / total
    known = pairs.known.sum(dim=1)
    return PairCounts(total, known, torch.where(total > 0, entropy, 0.0), known.clamp_min(1).to(weight.dtype).log())


def _count_classes(pairs: LazyPairs) -> PairCounts:
    """The same for classes, by counting them: no pair is ever looked at."""
    has_label, labelled = pairs.anchors >= 0, pairs.candidates >= 0
    label, labels, classes = _renumbered(pairs.anchors, pairs.candidates[labelled])
    own, ids, _ = _renumbered(pairs.anchor_ids, pairs.candidate_ids[labelled])
    # Candidates with the anchor's own id are left out; those of its class must not count as positives.
    positives = _occurrences(label, labels) - _occurrences(own * classes + label, ids * classes + labels)
    known = labels.numel() - _occurrences(own, ids)
    positives, known = torch.where(has_label, positives, 0), torch.where(has_label, known, 0)
    log = lambda n: n.clamp_min(1).to(torch.get_default_dtype()).log()
    return PairCounts(positives.to(torch.get_default_dtype()), known, log(positives), log(known))


def _renumbered(
    anchors: Int[Tensor, " anchors"], candidates: Int[Tensor, " candidates"]
) -> tuple[Int[Tensor, " anchors"], Int[Tensor, " candidates"], int]:
    """Codes as 0, 1, ... without gaps, and how many: two of them can then make one key."""
    names = torch.unique(torch.cat([anchors, candidates]))
    return torch.searchsorted(names, anchors), torch.searchsorted(names, candidates), names.numel()


def _occurrences(queries: Int[Tensor, " queries"], keys: Int[Tensor, " keys"]) -> Int[Tensor, " queries"]:
    """How often each query stands among the keys."""
    keys = keys.sort().values
    return torch.searchsorted(keys, queries, right=True) - torch.searchsorted(keys, queries)
