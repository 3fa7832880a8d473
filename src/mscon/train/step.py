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

from mscon.method.objectives.base import Comparison, Losses, Objective
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.base import Rule
from mscon.method.weightings.base import Seen, Weighting, relative_excess
from mscon.train.gather import Candidates, Samples
from mscon.train.seen import look, seen_by

if TYPE_CHECKING:  # the loss in anyone's loop needs no model, and none of what building one needs
    from mscon.model.model import Model

MakeView = Callable[[Shaped[Tensor, "rows ..."]], Float[Tensor, "rows ..."]]
"""Inputs -> one view of each."""


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
        accuracy: share of what is asked of the counted anchors that is answered rightly, for objectives that ask; NaN
            for a similarity whose objective does not, None where none does.
        seen: the samples, outside training, for a weighting that looks at those of validation; else None.
    """

    total: Float[Tensor, ""]
    loss: Float[Tensor, " similarities"]
    floor: Float[Tensor, " similarities"]
    ceiling: Float[Tensor, " similarities"]
    weight: Float[Tensor, " similarities"]
    positive_share: Float[Tensor, " similarities"]
    present: Bool[Tensor, " similarities"]
    accuracy: Float[Tensor, " similarities"] | None
    seen: Seen | None = None

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
    candidates: Candidates,
    make_views: Sequence[MakeView],
) -> Measured:
    """One batch through the method; call `.total.backward()` on what it gives."""
    samples = torch.cat([make_view(inputs) for make_view in make_views])  # 2: views, one block after the other
    features = model.encoder(samples)  # 3: what is kept
    projections = model.heads(features)  # 4: what is thrown away
    measured = measure(
        Samples.of_views(projections, codes, rows, len(make_views)),
        similarities=similarities,
        objective=objective,
        weighting=weighting,
        candidates=candidates,
    )
    return replace(measured, total=measured.total + model.heads.penalty(features, candidates.mean))


def measure(
    anchors: Samples,
    *,
    similarities: Sequence[Rule],
    objective: Objective,
    weighting: Weighting,
    candidates: Candidates,
) -> Measured:
    """The part of the step after the network: projections and labels to one number."""
    compared = candidates(anchors)  # 5: the batch, all processes' batches, or a memory too
    others = compared.samples
    pairs = [  # 6: who is alike; a sample is never its own candidate
        LazyPairs(s.compare, own, other, compared.anchor_ids, compared.candidate_ids, s.is_partition, compared.exchange)
        for s, own, other in zip(similarities, anchors.codes, others.codes, strict=True)
    ]
    apart = None if others is anchors else others.projections
    losses = objective(  # 7: nats per anchor
        Comparison(anchors.projections, apart, pairs, anchors.rows, others.rows, anchors.views, others.views)
    )
    mean = _average(losses, candidates)
    seen = seen_by(weighting, others, similarities)
    if seen is not None and weighting.training:
        look(weighting, objective, [seen])
    weighted = weighting(mean.loss, mean.floor, mean.ceiling, mean.anchors)  # 8: one number
    candidates.remember(compared)  # not before: a batch that is refused must leave no trace
    return Measured(
        total=weighted.total,
        loss=mean.loss.detach(),
        floor=mean.floor,
        ceiling=mean.ceiling,
        weight=weighted.weights.detach(),
        positive_share=mean.positive_share,
        present=mean.anchors > 0,
        accuracy=mean.accuracy,
        seen=None if weighting.training else seen,
    )


@dataclass(frozen=True, slots=True)
class _Mean:
    loss: Float[Tensor, " similarities"]
    floor: Float[Tensor, " similarities"]
    ceiling: Float[Tensor, " similarities"]
    positive_share: Float[Tensor, " similarities"]
    anchors: Float[Tensor, " similarities"]
    accuracy: Float[Tensor, " similarities"] | None


def _average(losses: Losses, candidates: Candidates) -> _Mean:
    """Means over the anchors of all processes.

    Processes may hold different numbers of anchors with a positive, so each divides its own sum by
    the number of all: averaged over processes, as data-parallel training averages gradients, that is
    the mean over all anchors. The value is that mean on every process, so all weigh alike.
    """
    dtype = losses.per_anchor.dtype
    # Together: on small batches what a step of torch costs is to begin it.
    local = torch.stack((losses.counted, losses.labelled, losses.has_positive & losses.labelled)).sum(dim=2).to(dtype)
    anchors, labelled, with_positive = candidates.total(local)
    at_least_one = anchors.clamp_min(1)
    own = losses.per_anchor.where(losses.counted, 0.0).sum(dim=1) / at_least_one
    value = candidates.total(own.detach())
    share = local[0] / at_least_one
    return _Mean(
        loss=own if candidates.world_size == 1 else value + candidates.world_size * (own - own.detach()),
        floor=candidates.total(losses.floor * share),
        ceiling=candidates.total(losses.ceiling * share),
        positive_share=with_positive / labelled.clamp_min(1),
        anchors=anchors,
        accuracy=None
        if losses.correct is None
        else candidates.total(losses.correct.sum(dim=1).to(dtype)) / at_least_one,
    )
