"""Objective: projections and Pairs -> one loss per anchor. Knows geometry, not what labels meant."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from numbers import Real
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Shaped
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from mscon.method.kernels.counts import count_each
from mscon.method.kernels.precision import no_rounding
from mscon.method.pairs import LazyPairs, Pairs
from mscon.method.similarities.base import Similarity

AverageOver = Literal["anchors_with_a_positive", "all_anchors"]


@dataclass(frozen=True, slots=True)
class Losses:
    """What an objective says of one batch, similarity by similarity.

    Attributes:
        per_anchor: nats; exactly 0 where an anchor has nothing to be compared by.
        counted: the anchors that an average is taken over. By default those with a positive.
        has_positive: anchors with at least one known positive.
        labelled: anchors about which the similarity says anything at all.
        floor: least mean loss possible for these labels, nats.
        ceiling: mean loss of embeddings that all coincide, nats.
        correct: of each counted anchor the share of what it is asked that is answered rightly, for objectives that
            classify or put candidates in order; 0 where not counted.
    """

    per_anchor: Float[Tensor, "similarities anchors"]
    counted: Bool[Tensor, "similarities anchors"]
    has_positive: Bool[Tensor, "similarities anchors"]
    labelled: Bool[Tensor, "similarities anchors"]
    floor: Float[Tensor, " similarities"]
    ceiling: Float[Tensor, " similarities"]
    correct: Bool[Tensor, "similarities anchors"] | Float[Tensor, "similarities anchors"] | None = None

    @property
    def present(self) -> Bool[Tensor, " similarities"]:
        """Similarities with an anchor to average over in this batch."""
        return self.counted.any(dim=1)


class Objective(nn.Module, ABC):
    """One loss per anchor and similarity. Subclasses are final.

    Attributes:
        temperature: divides cosine similarities in a softmax; None for objectives that have no such number.
        compares: False for those that read codes as numbers of classes and compare no rows.
        reads_codes: True for those that look into codes, and so cannot be handed those of drawn triplets.
    """

    temperature: float | None = None
    compares: ClassVar[bool] = True
    reads_codes: ClassVar[bool] = False

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        """Called once before training, for objectives that learn candidates of their own."""
        del similarities, dim

    @abstractmethod
    def forward(
        self,
        anchors: Float[Tensor, "similarities anchors dim"],
        candidates: Float[Tensor, "similarities candidates dim"] | None,
        pairs: Sequence[LazyPairs],
    ) -> Losses:
        """Losses of the anchors.

        Args:
            anchors: projections, a space per similarity; they need not be of unit length.
            candidates: what anchors are compared with; None for the anchors themselves.
            pairs: for each similarity, who is alike.
        """


def positive(name: str, value: object) -> float:
    """A setting that is a number above 0.

    Raises:
        ValueError: for anything else, a tensor among them.
    """
    if isinstance(value, Tensor):
        raise ValueError(f"{name} must be a plain number, got a tensor; it cannot be learned.")
    if not isinstance(value, Real):
        raise ValueError(f"{name} must be a number, got {value!r}.")
    if not 0 < float(value) < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value}.")
    return float(value)


def by_blocks(
    measure: Callable[[Tensor, Tensor, Pairs], tuple[Tensor, ...]],
    anchors: Float[Tensor, "anchors dim"],
    candidates: Float[Tensor, "candidates dim"] | None,
    pairs: Pairs | LazyPairs,
    rows: Callable[[int, int], int],
) -> tuple[Shaped[Tensor, "anchors ..."], ...]:
    """What is measured of every anchor by looking at all its pairs, in memory for some anchors at a time.

    Where there is more than one block, backward computes each again instead of keeping it. Numbers are float32 or
    wider whatever autocast says: a distance in bfloat16 has two digits.

    Args:
        measure: anchors of a block, all candidates, the block's pairs -> tensors, a row an anchor.
        rows: of (candidates, dim), anchors of a block.
    """
    wide = torch.promote_types(anchors.dtype, torch.float32)
    with no_rounding(anchors):
        own = anchors.to(wide)
        others = own if candidates is None else candidates.to(wide)
        size = max(1, rows(max(len(others), 1), own.shape[1]))

        # Pairs are asked for inside: a checkpoint would keep those of every block.
        def of_block(some: Tensor, compared: Tensor, start: int) -> tuple[Tensor, ...]:
            return measure(some, compared, pairs.block(slice(start, start + size), slice(None)))

        if size >= len(own):
            return of_block(own, others, 0)
        parts = [
            checkpoint(of_block, own[start : start + size], others, start, use_reentrant=False)
            for start in range(0, len(own), size)
        ]
    return tuple(torch.cat(columns) for columns in zip(*parts, strict=True))


def contrastive_losses(
    per_anchor: Float[Tensor, "similarities anchors"], pairs: Sequence[LazyPairs], average_over: AverageOver
) -> Losses:
    """Per-anchor losses with everything that only depends on labels."""
    counts = count_each(pairs)
    has_positive, labelled = counts.has_positive, counts.known > 0
    counted = has_positive if average_over == "anchors_with_a_positive" else labelled
    share = counted.to(per_anchor.dtype) / counted.sum(dim=1, keepdim=True).clamp_min(1)
    return Losses(
        per_anchor=per_anchor,
        counted=counted,
        has_positive=has_positive,
        labelled=labelled,
        floor=(counts.floor * share).sum(dim=1),
        ceiling=(counts.ceiling * has_positive * share).sum(dim=1),
    )
