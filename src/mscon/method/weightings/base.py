"""Weighting: the losses of the similarities -> one number. Knows no pairs and no model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Weighted:
    """The number to minimise, and the weight each similarity had in it (0 where absent)."""

    total: Float[Tensor, ""]
    weights: Float[Tensor, " similarities"]


class Seen(NamedTuple):
    """Some samples as a weighting may look at them: detached, those of all processes. A tuple, so that what wraps
    modules finds the tensors in it.

    Attributes:
        projections: of any length, a space for each similarity.
        classes: for each similarity the class of each sample, -1 where missing.
        rows: number of the table's row that a sample is a view of.
    """

    projections: Float[Tensor, "similarities samples dim"]
    classes: Int[Tensor, "similarities samples"]
    rows: Int[Tensor, " samples"]


class Weighting(nn.Module, ABC):
    """How much each similarity counts. Subclasses are final; all they learn is in parameters and buffers.

    A similarity absent from a batch (no anchor with a positive) adds nothing to the total and
    moves nothing in the weighting: neither parameter nor running mean.

    Args:
        similarities: how many there are.
    """

    @property
    def looks_at(self) -> Literal["nothing", "training", "validation"]:
        """The samples that `look` is called with: none, those of each training step before they are weighed, or
        once after each validation all of its samples. Similarities must then be classes, and the objective must
        have a temperature."""
        return "nothing"

    def look(self, batch: Seen, temperature: float) -> None:
        """Learn from projections what losses do not tell.

        Args:
            batch: see `looks_at`.
            temperature: the objective's.
        """
        del batch, temperature

    @abstractmethod
    def forward(
        self,
        losses: Float[Tensor, " similarities"],
        floors: Float[Tensor, " similarities"],
        ceilings: Float[Tensor, " similarities"],
        anchors: Float[Tensor, " similarities"],
    ) -> Weighted:
        """Weigh the mean losses (nats) of one batch.

        Args:
            losses: mean loss per similarity; the value of absent ones is ignored.
            floors: least value each loss can have.
            ceilings: value each loss has for embeddings that all coincide.
            anchors: how many anchors each loss is the mean of, over all processes; 0 where the batch says nothing
                about a similarity, which is then absent.
        """


class Emphasised(Weighting):
    """Another weighting, each of its weights multiplied by a number that the recipe gives the similarity.

    The multiplication comes last, after whatever scaling, and what the other weighting learns is what it learns
    without it: a learned weight does not adapt until the emphasis is gone.

    Args:
        own: the weighting to multiply.
        importance: one a similarity, in their order, each >= 0 and not all 0.
    """

    importance: Tensor

    def __init__(self, weighting: Weighting, importance: Sequence[float]) -> None:
        super().__init__()
        if not all(0 <= i < float("inf") for i in importance) or not any(importance):
            raise ValueError(f"importance must be finite, >= 0 and not 0 for all, got {list(importance)}.")
        self.own = weighting
        self.register_buffer("importance", torch.tensor(list(importance), dtype=torch.float32))

    @property
    def looks_at(self) -> Literal["nothing", "training", "validation"]:
        return self.own.looks_at

    def look(self, batch: Seen, temperature: float) -> None:
        self.own.look(batch, temperature)

    def forward(
        self,
        losses: Float[Tensor, " similarities"],
        floors: Float[Tensor, " similarities"],
        ceilings: Float[Tensor, " similarities"],
        anchors: Float[Tensor, " similarities"],
    ) -> Weighted:
        weighted = self.own(losses, floors, ceilings, anchors)
        weights = weighted.weights * self.importance.to(losses.dtype)
        more = (weights - weighted.weights).detach() * losses.where(anchors > 0, 0.0)
        return Weighted(weighted.total + more.sum(), weights)


def relative_excess(
    losses: Float[Tensor, "*any"], floors: Float[Tensor, "*any"], ceilings: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    """Where a loss lies between its floor (0, learnt) and its ceiling (1, chance); may exceed 1.

    Unlike the loss itself it does not depend on the number of classes or the batch size. 0 where
    floor and ceiling coincide, as in a batch of one class.
    """
    span = ceilings - floors
    return ((losses - floors) / span.clamp_min(1e-6)).where(span > 1e-6, losses.new_zeros(()))
