"""Every similarity counts 1."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from mscon.method.weightings.base import Weighted, Weighting


class Equal(Weighting):
    """The plain sum of the losses: the paper's unweighted network. Absent similarities add 0."""

    def __init__(self, similarities: int) -> None:
        super().__init__()
        self.similarities = similarities

    def forward(
        self,
        losses: Float[Tensor, " similarities"],
        floors: Float[Tensor, " similarities"],
        ceilings: Float[Tensor, " similarities"],
        anchors: Float[Tensor, " similarities"],
    ) -> Weighted:
        del floors, ceilings
        present = anchors > 0
        return Weighted(losses.where(present, 0.0).sum(), present.to(losses.dtype))
