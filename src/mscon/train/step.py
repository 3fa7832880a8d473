"""The whole method on one page: a batch in, one number to minimise out.

Knows no framework, no file and no device. The numbers in the comments are those of "The walk of one
row" in docs/walk.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from mscon.method.comparison import Comparison, Losses
from mscon.method.objectives.base import Objective
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.base import Rule
from mscon.method.weightings.base import BatchLosses, LabelledProjections, Weighting, relative_excess
from mscon.train.feature_gradients import feature_gradients
from mscon.train.gather import CandidateSource, Samples
from mscon.train.weighting_fit import check_fit, fit_weighting, labelled_projections

if TYPE_CHECKING:  # the loss in anyone's loop needs no model, and none of what building one needs
    from mscon.model.model import Model

MakeView = Callable[[Shaped[Tensor, "rows ..."]], Float[Tensor, "rows ..."]]
"""Inputs -> one view of each."""


Penalty = Callable[[Float[Tensor, "samples features"]], Float[Tensor, ""]]
"""Features of a batch -> what is added to the total, whatever the weighting."""


@dataclass(frozen=True, slots=True)
class Measured:
    """What one batch says. All but `total` is detached, one value a similarity.

    Attributes:
        total: the number to minimise; may be negative under learned weights.
        loss: mean loss, nats, over anchors with a positive.
        floor, ceiling: least mean loss possible for these labels, and that of coinciding embeddings.
        weight: how much the similarity counted in the total; 0 where absent.
        positive_share: share of labelled anchors with a positive.
        present: whether the batch says anything about the similarity.
        accuracy: share of correct answers of the counted anchors, for objectives that classify or put candidates in
            order; NaN for a similarity whose objective does neither, None where none does.
        samples: outside training, for a weighting that is fitted on validation rows; else None.
    """

    total: Float[Tensor, ""]
    loss: Float[Tensor, " similarities"]
    floor: Float[Tensor, " similarities"]
    ceiling: Float[Tensor, " similarities"]
    weight: Float[Tensor, " similarities"]
    positive_share: Float[Tensor, " similarities"]
    present: Bool[Tensor, " similarities"]
    accuracy: Float[Tensor, " similarities"] | None
    samples: LabelledProjections | None = None

    @property
    def relative_excess(self) -> Float[Tensor, " similarities"]:
        """Where each loss lies between floor (0, learnt) and ceiling (1, chance)."""
        return relative_excess(self.loss, self.floor, self.ceiling)


def step(
    model: Model,
    inputs: Shaped[Tensor, "rows ..."],
    codes: Sequence[Shaped[Tensor, "rows ..."]],
    rows: Int[Tensor, " rows"],
    *,
    similarities: Sequence[Rule],
    objective: Objective,
    weighting: Weighting,
    candidates: CandidateSource,
    make_views: Sequence[MakeView],
    penalty: Penalty,
) -> Measured:
    """One batch through the method; call `.total.backward()` on what it gives."""
    samples = torch.cat([make_view(inputs) for make_view in make_views])  # 2: views, one block after the other
    features = model.encoder(samples)  # 3: what is kept
    projections = model.heads(features)  # 4: what is thrown away
    measured = measure(
        Samples.of_views(projections, codes, rows, [0] * len(make_views)),
        similarities=similarities,
        objective=objective,
        weighting=weighting,
        candidates=candidates,
        features=features,
    )
    return replace(measured, total=measured.total + penalty(features))


def measure(
    anchors: Samples,
    *,
    similarities: Sequence[Rule],
    objective: Objective,
    weighting: Weighting,
    candidates: CandidateSource,
    features: Float[Tensor, "... features"] | None = None,
) -> Measured:
    """The part of the step after the network: projections and labels to one number.

    Features are what all projections were computed from; only weightings that read gradients need them.
    """
    compared = candidates(anchors)  # 5: the batch, all processes' batches, or a memory too
    others = compared.samples
    pairs = [  # 6: who is alike; a sample is never its own candidate
        LazyPairs(s.compare, a, c, compared.anchor_ids, compared.candidate_ids, s.is_partition, compared.exchange)
        for s, a, c in zip(similarities, anchors.codes, others.codes, strict=True)
    ]
    apart = None if others is anchors else others.projections
    losses = objective(  # 7: nats per anchor
        Comparison(anchors.projections, apart, pairs, anchors.origin, others.origin)
    )
    batch, positive_share, accuracy = _average(losses, candidates)
    samples = None
    if weighting.fit_on == ("training" if weighting.training else "validation"):
        check_fit(objective, similarities)
        samples = labelled_projections(others, objective)
        if weighting.training:
            fit_weighting(weighting, objective, [samples])
    if weighting.reads_gradients and weighting.training and batch.loss.requires_grad:
        batch = replace(batch, gradients=feature_gradients(batch, features, candidates))
    weighted = weighting(batch)  # 8: one number
    candidates.remember(compared)  # not before: a batch that is refused must leave no trace
    return Measured(
        total=weighted.total,
        loss=batch.loss.detach(),
        floor=batch.floor,
        ceiling=batch.ceiling,
        weight=weighted.weights.detach(),
        positive_share=positive_share,
        present=batch.present,
        accuracy=accuracy,
        samples=None if weighting.training else samples,
    )


def _average(
    losses: Losses, candidates: CandidateSource
) -> tuple[BatchLosses, Float[Tensor, " similarities"], Float[Tensor, " similarities"] | None]:
    """Means over the anchors of all processes; the share of anchors with a positive; and the accuracy.

    Processes may hold different numbers of anchors with a positive, so each divides its own sum by
    the number of all: averaged over processes, as data-parallel training averages gradients, that is
    the mean over all anchors. The value is that mean on every process, so all weigh alike.
    """
    dtype = losses.per_anchor.dtype
    # Together: on small batches what a step of torch costs is to begin it.
    local = torch.stack((losses.counted, losses.labelled, losses.has_positive)).sum(dim=2).to(dtype)
    anchors, labelled, with_positive = candidates.total(local)
    at_least_one = anchors.clamp_min(1)
    local_loss = losses.per_anchor.sum(dim=1) / at_least_one
    loss = local_loss
    if candidates.world_size > 1:
        loss = candidates.total(local_loss.detach()) + candidates.world_size * (local_loss - local_loss.detach())
    share = local[0] / at_least_one
    batch = BatchLosses(loss, candidates.total(losses.floor * share), candidates.total(losses.ceiling * share), anchors)
    correct = losses.correct
    accuracy = None if correct is None else candidates.total(correct.sum(dim=1).to(dtype)) / at_least_one
    return batch, with_positive / labelled.clamp_min(1), accuracy
