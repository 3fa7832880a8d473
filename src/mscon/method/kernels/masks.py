"""Pairs of several similarities written out as numbers, all in one go; for small batches."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Float32, Int
from torch import Tensor

from mscon.method.pairs import LazyPairs, Pairs, renumbered

# Pairs up to which it is faster to look at every one of them than to sort rows, when they are counted.
MOST_COUNTED = 500_000

# Up to here float32 tells integers apart.
_LARGEST_EXACT = 2**24


class PairMasks(NamedTuple):
    """Pairs as numbers rather than truth values, which torch combines ten times slower on a CPU.

    Read only: a loss and its counts share them in small batches of classes.

    Attributes:
        weight: 0 where nothing is known or alike.
        known: 1 where a pair is known, 0 where it is in no sum. It may be 1 for an anchor without a label.
        positives: sum of the weights of each anchor, 0 for one without a label.
        has_label: anchors with a label; None if all have one.
    """

    weight: Float[Tensor, "similarities anchors candidates"]
    known: Float[Tensor, "similarities_or_1 anchors candidates"]
    positives: Float[Tensor, "similarities anchors"]
    has_label: Bool[Tensor, "similarities_or_1 anchors"] | None = None


def pair_masks(pairs: Sequence[Pairs | LazyPairs], dtype: torch.dtype) -> PairMasks:
    """The pairs of all similarities, written out."""
    partitions = [p for p in pairs if isinstance(p, LazyPairs) and p.is_partition]
    if len(partitions) < len(pairs):
        return _each(pairs, dtype)
    if len(pairs) * math.prod(pairs[0].shape) > MOST_COUNTED:  # nobody shares them, and they would fill caches
        return _classes(partitions, dtype)
    key = dtype, *(id(p) for p in partitions)
    cache = partitions[0].cache
    if key not in cache:  # beside the pairs themselves, whose ids must stay theirs
        cache[key] = _classes(partitions, dtype), partitions[1:]
    masks: PairMasks = cache[key][0]
    return masks


def _each(pairs: Sequence[Pairs | LazyPairs], dtype: torch.dtype) -> PairMasks:
    dense: list[Pairs] = [p.dense() if isinstance(p, LazyPairs) else p for p in pairs]
    known = torch.stack([p.known for p in dense])
    weight = torch.stack([p.weight for p in dense]).to(dtype).masked_fill_(~known, 0.0).clamp_min_(0)
    return PairMasks(weight, known.to(dtype), weight.sum(dim=2))


def _classes(pairs: Sequence[LazyPairs], dtype: torch.dtype) -> PairMasks:
    a, c, is_any_missing = _numbers([p.anchors for p in pairs], [p.candidates for p in pairs])
    i, j, _ = _numbers([p.anchor_ids for p in pairs], [p.candidate_ids for p in pairs])
    other = _compared(torch.ne, i, j, dtype)
    if not is_any_missing:
        weight = _compared(torch.eq, a, c, dtype).mul_(other)
        return PairMasks(weight, other, weight.sum(dim=2))
    # Nothing is known of an anchor without a label either, but it has no positive, so its row does not count.
    weight = _compared(torch.eq, a.masked_fill(a < 0, torch.nan), c, dtype).mul_(other)
    return PairMasks(weight, other * (c >= 0).to(dtype)[:, None, :], weight.sum(dim=2), a >= 0)


def _numbers(
    anchors: Sequence[Int[Tensor, " anchors"]], candidates: Sequence[Int[Tensor, " candidates"]]
) -> tuple[Float32[Tensor, "similarities_or_1 anchors"], Float32[Tensor, "similarities_or_1_too candidates"], bool]:
    """Integers of all similarities as floats, equal only where they were, the sign kept; is any negative?"""
    a, least, greatest = _stacked(anchors)
    c = a
    if not all(x is y for x, y in zip(anchors, candidates, strict=True)):
        c, least_too, greatest_too = _stacked(candidates)
        least, greatest = min(least, least_too), max(greatest, greatest_too)
    if max(-least, greatest) > _LARGEST_EXACT:  # article numbers, hashes; of pairs few enough to be written out
        a, c, _ = renumbered(a, c)
    numbers = a.float()
    return numbers, numbers if c is a else c.float(), least < 0


def _stacked(rows: Sequence[Int[Tensor, " rows"]]) -> tuple[Int[Tensor, "similarities_or_1 rows"], int, int]:
    """A single row where one tensor serves all similarities, as ids do in a batch; and their bounds."""
    integers = rows[0][None] if all(r is rows[0] for r in rows) else torch.stack(list(rows))
    least, greatest = (int(bound) for bound in integers.aminmax()) if integers.numel() else (0, 0)
    return integers, least, greatest


def _compared(
    relation: Callable[..., Tensor],
    a: Float[Tensor, "similarities_or_1 anchors"],
    c: Float[Tensor, "_similarities_or_1 candidates"],
    dtype: torch.dtype,
) -> Float[Tensor, "_similarities_or_1 anchors candidates"]:
    """1 where the relation holds, else 0; as numbers at once, since truth values take a CPU ten times as long."""
    return relation(
        a[:, :, None], c[:, None, :], out=a.new_empty(max(a.shape[0], c.shape[0]), a.shape[1], c.shape[1], dtype=dtype)
    )
