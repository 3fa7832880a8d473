"""Objective: projections and Pairs -> one loss per anchor. Knows geometry, not what labels meant."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from mscon.pairs import LazyPairs, PairCounts, count
from mscon.similarities.base import Similarity

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
        correct: anchors classified rightly, for objectives that classify.
    """

    per_anchor: Float[Tensor, "similarities anchors"]
    counted: Bool[Tensor, "similarities anchors"]
    has_positive: Bool[Tensor, "similarities anchors"]
    labelled: Bool[Tensor, "similarities anchors"]
    floor: Float[Tensor, " similarities"]
    ceiling: Float[Tensor, " similarities"]
    correct: Bool[Tensor, "similarities anchors"] | None = None

    @property
    def present(self) -> Bool[Tensor, " similarities"]:
        """Similarities with an anchor to average over in this batch."""
        return self.counted.any(dim=1)


class Objective(nn.Module, ABC):
    """One loss per anchor and similarity. Subclasses are final."""

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


def contrastive_losses(
    per_anchor: Float[Tensor, "similarities anchors"], pairs: Sequence[LazyPairs], average_over: AverageOver
) -> Losses:
    """Per-anchor losses with everything that only depends on labels."""
    counts = [count(p) for p in pairs]
    has_positive = torch.stack([c.has_positive for c in counts])
    labelled = torch.stack([c.known > 0 for c in counts])
    counted = has_positive if average_over == "anchors_with_a_positive" else labelled
    return Losses(
        per_anchor=per_anchor,
        counted=counted,
        has_positive=has_positive,
        labelled=labelled,
        floor=torch.stack([_mean(c.floor, chosen, per_anchor) for c, chosen in zip(counts, counted, strict=True)]),
        ceiling=torch.stack(
            [_mean(_ceiling(c), chosen, per_anchor) for c, chosen in zip(counts, counted, strict=True)]
        ),
    )


def _ceiling(counts: PairCounts) -> Float[Tensor, " anchors"]:
    return torch.where(counts.has_positive, counts.ceiling, 0.0)


def _mean(values: Float[Tensor, " anchors"], chosen: Bool[Tensor, " anchors"], like: Tensor) -> Float[Tensor, ""]:
    total = torch.where(chosen, values, 0.0).sum()
    return (total / chosen.sum().clamp_min(1)).to(like.dtype)
