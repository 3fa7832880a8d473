"""Counts: what is known of each anchor before any embedding is looked at."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mscon.method.kernels.masks import MOST_COUNTED, pair_masks
from mscon.method.pairs import LazyPairs, Pairs, renumbered

# Rows of a block when pairs are counted; 1,024 x 65,536 weights are 268 MB, so counting stays bounded.
_COUNTING_ROWS = 1_024


class PairCounts(NamedTuple):
    """Of one similarity, or of several stacked.

    Attributes:
        positives: sum of the weights of its known candidates; for 0/1 weights the number |P(i)|.
        known: number of its known candidates |A(i)|.
        negatives: number of those that are not alike in anything.
        floor: least value its contrastive loss can have, in nats: the entropy of its normalised
            weights, log |P(i)| for 0/1 weights. 0 for an anchor without a positive.
        ceiling: its loss where all embeddings coincide, log |A(i)| nats.
    """

    positives: Float[Tensor, "*similarities anchors"]
    known: Float[Tensor, "*similarities anchors"]
    negatives: Float[Tensor, "*similarities anchors"]
    floor: Float[Tensor, "*similarities anchors"]
    ceiling: Float[Tensor, "*similarities anchors"]

    @property
    def has_positive(self) -> Bool[Tensor, "*similarities anchors"]:
        return self.positives > 0


def count_each(pairs: Sequence[Pairs | LazyPairs]) -> PairCounts:
    """`count` of several similarities of the same anchors, stacked; small batches of classes all in one go."""
    partitions = [p for p in pairs if isinstance(p, LazyPairs) and p.is_partition]
    if len(partitions) == len(pairs) and len(pairs) * math.prod(pairs[0].shape) <= MOST_COUNTED:
        return _count_masks(partitions)
    return PairCounts(*map(torch.stack, zip(*(count(p) for p in pairs), strict=True)))


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
    return PairCounts(*map(torch.cat, zip(*blocks, strict=True)))


def _count_block(pairs: Pairs) -> PairCounts:
    weight = (pairs.weight * pairs.known).clamp_min(0)
    total = weight.sum(dim=1)
    # H(w / W) = log W - (1 / W) sum w log w, with 0 log 0 = 0.
    entropy = total.log() - torch.special.xlogy(weight, weight).sum(dim=1) / total
    known, negatives = pairs.known.sum(dim=1).to(weight.dtype), pairs.negative.sum(dim=1).to(weight.dtype)
    return PairCounts(total, known, negatives, torch.where(total > 0, entropy, 0.0), known.clamp_min(1).log())


def _count_masks(pairs: Sequence[LazyPairs]) -> PairCounts:
    masks = pair_masks(pairs, torch.get_default_dtype())
    known, positives = masks.known.sum(dim=2).expand(masks.positives.shape), masks.positives
    if masks.has_label is not None:
        known = known * masks.has_label
    return PairCounts(positives, known, known - positives, positives.clamp_min(1).log_(), known.clamp_min(1).log_())


def _count_classes(pairs: LazyPairs) -> PairCounts:
    """The same for classes, by counting them: no pair is ever looked at."""
    has_label, labelled = pairs.anchors >= 0, pairs.candidates >= 0
    label, labels, classes = renumbered(pairs.anchors, pairs.candidates[labelled])
    anchor_ids, ids, _ = renumbered(pairs.anchor_ids, pairs.candidate_ids[labelled])
    # Candidates with the anchor's own id are left out; those of its class must not count as positives.
    positives = _occurrences(label, labels) - _occurrences(anchor_ids * classes + label, ids * classes + labels)
    known = labels.numel() - _occurrences(anchor_ids, ids)
    counts = (torch.where(has_label, count, 0) for count in (positives, known, known - positives))
    positives, known, negatives = (count.to(torch.get_default_dtype()) for count in counts)
    return PairCounts(positives, known, negatives, positives.clamp_min(1).log(), known.clamp_min(1).log())


def _occurrences(queries: Int[Tensor, " queries"], keys: Int[Tensor, " keys"]) -> Int[Tensor, " queries"]:
    """How often each query stands among the keys."""
    keys = keys.sort().values
    return torch.searchsorted(keys, queries, right=True) - torch.searchsorted(keys, queries)
