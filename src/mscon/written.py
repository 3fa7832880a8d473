"""Pairs of several similarities written out as numbers, all in one go; for small batches."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mscon.pairs import LazyPairs, Pairs

Written = tuple[Float[Tensor, "similarities anchors candidates"], Float[Tensor, "similarities_or_1 anchors candidates"]]


def written(pairs: Sequence[Pairs | LazyPairs], dtype: torch.dtype) -> Written:
    """Weights, 0 where nothing is known; and 1 where a pair is known, 0 where it is to be left out of every sum.

    Numbers rather than truth values, which torch combines ten times slower on a CPU. Of an anchor without a label
    pairs may count as known; it has no positive.
    """
    partitions = [p for p in pairs if isinstance(p, LazyPairs) and p.is_partition]
    return _classes(partitions, dtype) if len(partitions) == len(pairs) else _each(pairs, dtype)


def _each(pairs: Sequence[Pairs | LazyPairs], dtype: torch.dtype) -> Written:
    dense: list[Pairs] = [p.dense() if isinstance(p, LazyPairs) else p for p in pairs]
    known = torch.stack([p.known for p in dense])
    return torch.stack([p.weight for p in dense]).to(dtype).masked_fill_(~known, 0.0), known.to(dtype)


def _classes(pairs: Sequence[LazyPairs], dtype: torch.dtype) -> Written:
    a, c, is_any_missing = _numbers([p.anchors for p in pairs], [p.candidates for p in pairs])
    i, j, _ = _numbers([p.anchor_ids for p in pairs], [p.candidate_ids for p in pairs])
    other = _compared(torch.ne, i, j, dtype)
    if not is_any_missing:
        return _compared(torch.eq, a, c, dtype).mul_(other), other
    # Nothing is known of an anchor without a label either, but it has no positive, so its row does not count.
    weight = _compared(torch.eq, a.masked_fill(a < 0, torch.nan), c, dtype).mul_(other)
    return weight, other * (c >= 0).to(dtype)[:, None, :]


def _numbers(anchors: Sequence[Tensor], candidates: Sequence[Tensor]) -> tuple[Tensor, Tensor, bool]:
    """Integers of all similarities as exact floats, the same tensor twice where both sides are; is any negative?"""
    a, is_any_negative = _stacked(anchors)
    if all(x is y for x, y in zip(anchors, candidates, strict=True)):
        return a, a, is_any_negative
    c, is_any_negative_too = _stacked(candidates)
    return a, c, is_any_negative or is_any_negative_too


def _stacked(rows: Sequence[Int[Tensor, " rows"]]) -> tuple[Float[Tensor, "similarities_or_1 rows"], bool]:
    """A single row where one tensor serves all similarities, as ids do in a batch. Is any negative?"""
    integers = rows[0][None] if all(r is rows[0] for r in rows) else torch.stack(list(rows))
    least, greatest = (bound.item() for bound in integers.aminmax()) if integers.numel() else (0, 0)
    is_small = least >= -(2**24) and greatest <= 2**24
    return integers.to(torch.float32 if is_small else torch.float64), least < 0


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
