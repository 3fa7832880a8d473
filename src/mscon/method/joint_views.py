"""Joint views: losses that add up over all views of a row, before or after the logarithm."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mscon.method.kernels.lengths import lengths_of
from mscon.method.objectives.base import (
    AnchorLosses,
    Block,
    Comparison,
    Losses,
    Objective,
    anchor_losses,
    averaged,
    positive,
)
from mscon.method.template import cosine_logits, known_weights, log_mask, log_sum


class JointViews(Objective, ABC):
    """A loss of two sums for each sample: over its positives, and over its competitors. Subclasses are final.

    A subclass chooses the competitors, and how the sums of the views of a row become the loss of that row, which each
    of its views gets. Views of a row have one label. Pairs are written out for some anchors at a time, once for each
    of the two sums, so memory stays bounded.

    Args:
        temperature: divides cosine similarities, > 0.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature: float = positive("temperature", temperature)

    @abstractmethod
    def competitors(self, block: Block) -> Bool[Tensor, "anchors candidates"]:
        """Which candidates are in the sum of competitors."""

    @abstractmethod
    def row_losses(
        self,
        near: Float[Tensor, "similarities anchors"],
        against: Float[Tensor, "similarities anchors"],
        competes: Bool[Tensor, "similarities anchors"],
        row: Int[Tensor, " anchors"],
    ) -> Float[Tensor, "similarities anchors"]:
        """The loss of each anchor's row.

        Args:
            near, against: logarithms of the sums of exp(s) over positives, and over competitors.
            competes: which anchors have a competitor.
            row: number of each anchor's row, from 0 on.
        """

    def forward(self, comparison: Comparison) -> Losses:
        for vectors, name in ((comparison.anchors, "anchors"), (comparison.candidates, "candidates")):
            if vectors is not None:
                lengths_of(vectors, name)  # complains of what has no direction
        near, has_positive, labelled = anchor_losses(self._near, comparison)
        against, _, _ = anchor_losses(self._against, comparison)
        row = torch.unique(comparison.anchor_origin.rows, return_inverse=True)[1]

        def of_rows(one: Tensor | None, other: Tensor | None) -> Float[Tensor, "similarities anchors"]:
            assert one is not None
            assert other is not None
            return torch.where(counted, self.row_losses(one, other, against.counted, row), 0.0)

        both = torch.stack([near.counted, against.counted]).to(near.loss.dtype)
        counted = near.counted & (sum_of_rows(both, row) > 0).all(dim=0)
        loss = of_rows(near.loss, against.loss)
        with torch.no_grad():
            floor, ceiling = of_rows(near.floor, against.floor), of_rows(near.ceiling, against.ceiling)
        return averaged(AnchorLosses(loss, counted, floor, ceiling), has_positive, labelled)

    # As "losses" these two have the logarithm of a sum; as floor and ceiling what it is where the loss is least, and
    # where all embeddings coincide.

    def _near(self, block: Block) -> AnchorLosses:
        assert self.temperature is not None
        logits = cosine_logits(block.anchors, block.candidates, self.temperature)
        weights = known_weights(block, logits)
        best = torch.where(weights > 0, weights.amax(dim=1, keepdim=True), 0.0)
        everywhere = logits.highest.expand_as(logits.values)
        return AnchorLosses(
            log_sum(logits.values, weights.log()),
            (weights > 0).any(dim=1),
            log_sum(everywhere, best.log()),
            log_sum(everywhere, weights.log()),
        )

    def _against(self, block: Block) -> AnchorLosses:
        assert self.temperature is not None
        logits = cosine_logits(block.anchors, block.candidates, self.temperature)
        competes = self.competitors(block)
        log_weights = log_mask(competes, logits.values)
        best = torch.where(known_weights(block, logits) > 0, logits.highest, logits.lowest)
        return AnchorLosses(
            log_sum(logits.values, log_weights),
            competes.any(dim=1),
            log_sum(best, log_weights),
            log_sum(logits.highest.expand_as(logits.values), log_weights),
        )


def sum_of_rows(
    values: Float[Tensor, "*similarities anchors"], row: Int[Tensor, " anchors"]
) -> Float[Tensor, "*similarities anchors"]:
    """For each anchor the sum over the anchors of its row, which `row` numbers from 0 on."""
    return torch.zeros_like(values).index_add(-1, row, values)[..., row]


def log_sum_of_rows(
    values: Float[Tensor, "similarities anchors"], row: Int[Tensor, " anchors"]
) -> Float[Tensor, "similarities anchors"]:
    """For each anchor the log of the sum of exp(values) over the anchors of its row."""
    greatest = values.detach().new_full(values.shape, -torch.inf)
    greatest = greatest.scatter_reduce(1, row.expand_as(values), values.detach(), "amax")[:, row]
    return greatest + sum_of_rows((values - greatest).exp(), row).log()
