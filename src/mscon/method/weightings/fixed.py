"""Every similarity counts what the recipe says."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.method.weightings.base import Weighted, Weighting


class Fixed(Weighting):
    """The weighted sum of the losses. Absent similarities add 0; the others keep their weight.

    Args:
        similarities: how many there are.
        weights: one a similarity, in their order, each >= 0 and not all 0.
    """

    weights: Tensor

    def __init__(self, similarities: int, weights: Sequence[float]) -> None:
        super().__init__()
        if len(weights) != similarities:
            raise ValueError(f"weights must have one value per similarity: got {len(weights)} for {similarities}.")
        if not all(0 <= w < float("inf") for w in weights) or sum(weights) == 0:
            raise ValueError(f"weights must be finite, >= 0 and not all 0, got {list(weights)}.")
        self.register_buffer("weights", torch.tensor(list(weights), dtype=torch.float32))

    def forward(
        self,
        losses: Float[Tensor, " similarities"],
        floors: Float[Tensor, " similarities"],
        ceilings: Float[Tensor, " similarities"],
        anchors: Float[Tensor, " similarities"],
    ) -> Weighted:
        del floors, ceilings
        present = anchors > 0
        weights = self.weights.to(losses.dtype).where(present, 0.0)
        return Weighted((weights * losses.where(present, 0.0)).sum(), weights)
