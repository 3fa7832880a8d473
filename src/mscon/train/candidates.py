"""Candidates: what anchors are compared with. The only file that knows torch.distributed.

The batch itself (`InBatch`), the batches of all processes (`Gathered`), or those and a memory of past
batches (`Remembered`). No objective knows which.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass

from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn


@dataclass(frozen=True, slots=True)
class Samples:
    """Projections and what is known of them: the anchors of a step, or its candidates.

    Attributes:
        projections: a space per similarity.
        codes: for each similarity, the code of each sample.
        ids: a pair of equal ids is never compared; one a sample.
        rows: number of the table's row that a sample is a view of.
    """

    projections: Float[Tensor, "similarities samples dim"]
    codes: Sequence[Shaped[Tensor, "samples ..."]]
    ids: Int[Tensor, " samples"]
    rows: Int[Tensor, " samples"]


class Candidates(nn.Module, ABC):
    """Where candidates come from. Subclasses are final; all their state is in buffers."""

    world_size: int = 1

    @abstractmethod
    def forward(self, anchors: Samples) -> Samples:
        """The candidates of these anchors; `anchors` itself, the same object, if there are no others."""

    def total(self, value: Float[Tensor, "*any"]) -> Float[Tensor, "*any"]:
        """Sum of a detached value over all processes."""
        return value


class InBatch(Candidates):
    """The samples of the batch are one another's candidates."""

    def forward(self, anchors: Samples) -> Samples:
        return anchors
