"""Outlook: what the batches of the first epochs will hold, made by the very sampler that training will use."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import exp, lgamma

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor

from mscon.data.batches.sampler import Sampler
from mscon.method.similarities.base import Similarity

# Share of the training rows that a sampler may leave over before it is advised against.
FEW = 0.05

# Epochs looked at, batches of each at most, and anchors asked in each where pairs must be compared.
_EPOCHS = 3
_BATCHES = 100
_ANCHORS = 256
# What counts as alike where nearly all rows are a little, see `Similarity.half_counts`.
_HALF = 0.5


@dataclass(frozen=True, slots=True)
class Outlook:
    """What is in the batches of an epoch, the mean over some epochs.

    Attributes:
        sampler: "shuffled" or "balanced".
        batches: of an epoch.
        smallest, largest: rows of a batch.
        epochs: that were looked at.
        left_over: rows in no batch, of each of these epochs.
        without_floor: for each column with a floor labelled rows of classes too small for it.
        alike: for each similarity the share of anchors that find another row that is alike in their batch, see
            `Similarity.half_counts`.
    """

    sampler: str
    batches: int
    smallest: int
    largest: int
    epochs: int
    left_over: tuple[int, ...]
    without_floor: Mapping[str, int]
    alike: Mapping[str, float]


def outlook(
    sampler: Sampler, similarities: Sequence[Similarity], codes: Sequence[Shaped[Tensor, "rows ..."]]
) -> Outlook:
    """Look at what a sampler will make. Classes are counted; of other similarities some anchors a batch are compared.

    Args:
        sampler: of the rows that `codes` has.
        similarities: fitted; those that read no column are left out.
        codes: of each of them the codes of all rows.
    """
    found = dict.fromkeys((s.column for s in similarities if s.columns), 0)
    asked = dict.fromkeys(found, 0)
    sizes, left_over = [], []
    for number in range(1, _EPOCHS + 1):
        epoch = sampler.epoch(number)
        left_over.append(epoch.left_over.numel())
        sizes += [batch.numel() for batch in epoch.batches]
        for batch in epoch.batches[:: -(-len(epoch.batches) // _BATCHES) or 1]:
            for similarity, own in zip(similarities, codes, strict=True):
                if similarity.columns and batch.numel():
                    alike = _alike(similarity, own, batch)
                    found[similarity.column] += int(alike.sum())
                    asked[similarity.column] += alike.numel()
    return Outlook(
        sampler="shuffled" if sampler.floors is None else "balanced",
        batches=len(sampler),
        smallest=min(sizes, default=0),
        largest=max(sizes, default=0),
        epochs=_EPOCHS,
        left_over=tuple(left_over),
        without_floor=sampler.without_floor(),
        alike={name: found[name] / max(asked[name], 1) for name in found},
    )


def _alike(
    similarity: Similarity, codes: Shaped[Tensor, "rows ..."], batch: Int64[Tensor, " batch"]
) -> Bool[Tensor, " anchors"]:
    """Which anchors of a batch find another row that is alike."""
    if similarity.is_partition:
        own = codes[batch]
        _, place, counts = torch.unique(own, return_inverse=True, return_counts=True)
        return (counts[place] > 1) & (own >= 0)
    anchors = batch[:_ANCHORS]
    pairs = similarity.compare(codes[anchors], codes[batch])
    near = pairs.weight >= _HALF if similarity.half_counts else pairs.weight > 0
    return (near & pairs.known & (anchors[:, None] != batch[None, :])).any(dim=1)


def alike_share(counts: Sequence[int], rows: int, batch_size: int) -> float:
    """Expected share of a batch's rows with another row of their class in it; exact.

    The other rows of an anchor's batch are `batch_size` - 1 of the `rows` - 1, drawn without replacement, and n - 1
    of these are of its class: hypergeometric.

    Args:
        counts: rows of each class; their sum may be less than `rows`, the rest has no label.
        rows: rows that batches are drawn from.
        batch_size: rows of a batch, at most `rows`.
    """
    if not 1 <= batch_size <= rows:
        raise ValueError(f"batch_size must be from 1 to the number of rows {rows}, got {batch_size}.")
    others = batch_size - 1

    def alone(n: int) -> float:
        if rows - n < others:
            return 0.0
        return exp(_log_choose(rows - n, others) - _log_choose(rows - 1, others))

    return sum((n / rows * (1.0 - alone(n)) for n in counts), 0.0)


def _log_choose(n: int, k: int) -> float:
    return lgamma(n + 1) - lgamma(k + 1) - lgamma(n - k + 1)
