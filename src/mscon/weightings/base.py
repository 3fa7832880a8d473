"""Weighting: the losses of the similarities -> one number. Knows no pairs and no model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from jaxtyping import Bool, Float
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Weighted:
    """The number to minimise, and the weight each similarity had in it (0 where absent)."""

    total: Float[Tensor, ""]
    weights: Float[Tensor, " similarities"]


class Weighting(nn.Module, ABC):
    """How much each similarity counts. Subclasses are final.

    A similarity absent from a batch (no anchor with a positive) adds nothing to the total and
    moves nothing in the weighting: neither parameter nor running mean.

    Args:
        similarities: how many there are.
    """

    @abstractmethod
    def forward(
        self,
        losses: Float[Tensor, " similarities"],
        floors: Float[Tensor, " similarities"],
        ceilings: Float[Tensor, " similarities"],
        present: Bool[Tensor, " similarities"],
    ) -> Weighted:
        """Weigh the mean losses (nats) of one batch.

        Args:
            losses: mean loss per similarity; the value of absent ones is ignored.
            floors: least value each loss can have.
            ceilings: value each loss has for embeddings that all coincide.
            present: similarities that this batch says anything about.
        """


def relative_excess(
    losses: Float[Tensor, "*any"], floors: Float[Tensor, "*any"], ceilings: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    """Where a loss lies between its floor (0, learnt) and its ceiling (1, chance); may exceed 1.

    Unlike the loss itself it does not depend on the number of classes or the batch size. 0 where
    floor and ceiling coincide, as in a batch of one class.
    """
    span = ceilings - floors
    return ((losses - floors) / span.clamp_min(1e-6)).where(span > 1e-6, losses.new_zeros(()))
