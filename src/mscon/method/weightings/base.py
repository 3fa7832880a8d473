"""Weighting: the losses of the similarities -> one number. Knows no pairs and no model."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn


class FeatureGradients(NamedTuple):
    """How the mean losses of a batch change with the features that all projections are computed from.

    Those of an absent similarity are 0.

    Attributes:
        gramian: dot product of the gradients of each two losses, at the features of all samples of the batch.
        gains: the derivative of each loss by a gain of each feature, a factor that is 1 in all samples: the sum of
            feature times gradient over the samples.
    """

    gramian: Float[Tensor, "similarities similarities"]
    gains: Float[Tensor, "similarities features"]


@dataclass(frozen=True, slots=True)
class BatchLosses:
    """The losses of one batch, a mean for each similarity.

    Attributes:
        loss: mean over the anchors that count, nats; that of an absent similarity may be any number, or NaN.
        floor: least value each loss can have.
        ceiling: value each loss has for embeddings that all coincide.
        anchors: how many anchors each loss is the mean of, over all processes; 0 where the batch says nothing about a
            similarity, which is then absent.
        gradients: of a training step, for a weighting that reads them; else None.
    """

    loss: Float[Tensor, " similarities"]
    floor: Float[Tensor, " similarities"]
    ceiling: Float[Tensor, " similarities"]
    anchors: Float[Tensor, " similarities"]
    gradients: FeatureGradients | None = None

    @property
    def present(self) -> Bool[Tensor, " similarities"]:
        return self.anchors > 0


@dataclass(frozen=True, slots=True)
class Weighted:
    """The number to minimise, and the weight each similarity had in it (0 where absent)."""

    total: Float[Tensor, ""]
    weights: Float[Tensor, " similarities"]

    @classmethod
    def sum(cls, weights: Float[Tensor, " similarities"], batch: BatchLosses) -> Weighted:
        """The sum of the losses of the similarities that are present, times weights that carry no gradient."""
        present = batch.present
        weights = weights.to(batch.loss.dtype).where(present, 0.0)
        return cls((weights * batch.loss.where(present, 0.0)).sum(), weights)


class LabelledProjections(NamedTuple):
    """Samples that a weighting is fitted on: detached, those of all processes. A tuple, so that what wraps modules
    finds the tensors in it.

    Attributes:
        projections: of any length, a space for each similarity.
        classes: for each similarity the class of each sample, -1 where missing or where it does not compare the view.
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

    Attributes:
        fit_on: the samples that `fit_to` is called with: none; those of each "training" step before its losses are
            weighed; or after each "validation" all of its samples. Similarities must then be classes, and their
            objectives must have a temperature.
        reads_gradients: whether training steps have `BatchLosses.gradients`, which cost a backward pass through losses
            and heads for each similarity.
    """

    fit_on: Literal["nothing", "training", "validation"] = "nothing"
    reads_gradients: bool = False

    def fit_to(self, samples: LabelledProjections, temperatures: Sequence[float]) -> None:
        """Learn from projections what losses do not tell.

        Args:
            samples: see `fit_on`.
            temperatures: of the objective of each similarity.
        """
        del samples, temperatures

    @abstractmethod
    def forward(self, batch: BatchLosses) -> Weighted:
        """Weigh the mean losses of one batch."""


# A loss of single precision that is multiplied by more hides all others, and in the end becomes infinite.
MOST_IMPORTANT = 1e6


class ScaledWeighting(Weighting):
    """Another weighting, each of its weights multiplied by the importance that the recipe gives the similarity.

    The multiplication comes last, after any normalisation, and the other weighting learns what it would learn
    without it: a learned weight does not adapt until the importance has no effect.

    Args:
        weighting: whose weights are multiplied.
        importance: one a similarity, in their order, each from 0 to 1,000,000 and not all 0.
    """

    importance: Tensor

    def __init__(self, weighting: Weighting, importance: Sequence[float]) -> None:
        super().__init__()
        if not all(0 <= i <= MOST_IMPORTANT for i in importance) or not any(importance):
            most = f"{MOST_IMPORTANT:,.0f}"
            raise ValueError(f"importance must be from 0 to {most} and not 0 for all, got {list(importance)}.")
        self.weighting, self.fit_on, self.reads_gradients = weighting, weighting.fit_on, weighting.reads_gradients
        self.register_buffer("importance", torch.tensor(list(importance), dtype=torch.float32))

    def fit_to(self, samples: LabelledProjections, temperatures: Sequence[float]) -> None:
        self.weighting.fit_to(samples, temperatures)

    def forward(self, batch: BatchLosses) -> Weighted:
        weighted = self.weighting(batch)
        weights = weighted.weights * self.importance.to(batch.loss.dtype)
        more = (weights - weighted.weights).detach() * batch.loss.where(batch.present, 0.0)
        return Weighted(weighted.total + more.sum(), weights)


def scaled_where(
    weights: Float[Tensor, " similarities"], scaled: Bool[Tensor, " similarities"]
) -> Float[Tensor, " similarities"]:
    """Weights that sum to the number of those that are scaled; the others are 1. Scaled weights must not be all 0."""
    total = weights.where(scaled, 0.0).sum().clamp_min(1e-12)
    return torch.where(scaled, weights * scaled.sum() / total, 1.0)


def relative_excess(
    losses: Float[Tensor, "*any"], floors: Float[Tensor, "*any"], ceilings: Float[Tensor, "*any"]
) -> Float[Tensor, "*any"]:
    """Where a loss lies between its floor (0, learnt) and its ceiling (1, chance); may exceed 1.

    Unlike the loss itself it does not depend on the number of classes or the batch size. 0 where
    floor and ceiling coincide, as in a batch of one class.
    """
    span = ceilings - floors
    return ((losses - floors) / span.clamp_min(1e-6)).where(span > 1e-6, losses.new_zeros(()))
