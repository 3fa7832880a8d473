"""Every similarity counts 1."""

from __future__ import annotations

from mscon.method.weightings.base import BatchLosses, Weighted, Weighting


class Equal(Weighting):
    """The plain sum of the losses: the paper's unweighted network. Absent similarities add 0.

    With an `importance` for each similarity it is a sum with weights of your own.
    """

    def __init__(self, similarities: int) -> None:
        super().__init__()
        self.similarities = similarities

    def forward(self, batch: BatchLosses) -> Weighted:
        present = batch.present
        return Weighted(batch.loss.where(present, 0.0).sum(), present.to(batch.loss.dtype))
