"""Weights by how well the nearest held-out rows agree on each similarity's labels."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from mscon.method.kernels.precision import no_rounding
from mscon.method.weightings.base import BatchLosses, LabelledProjections, Weighted, Weighting, scaled_where
from mscon.method.weightings.exact import shared


def neighbour_agreement(
    projections: Float[Tensor, "samples dim"],
    classes: Int[Tensor, " samples"],
    rows: Int[Tensor, " samples"],
    neighbours: int,
) -> float | None:
    """How far the nearest samples of other rows have the class of a sample: 0 as by chance, 1 always.

    (share of the nearest with the class - share of all others with it) / (1 - the latter), both shares as means over
    samples whose class some other row has too. Below 0 where they agree less than by chance.

    Args:
        projections: of any length, compared by cosine.
        classes: -1 where missing; such samples are left out.
        rows: samples of equal numbers are views of one row, and no neighbours of one another.
        neighbours: how many count, at most; >= 1.

    Returns:
        None where no class has two rows, or no two rows differ in their class.
    """
    anchors = shared(classes, rows).nonzero().squeeze(1)
    candidates = (classes >= 0).nonzero().squeeze(1)
    if not len(anchors):
        return None
    unit = normalize(projections.to(torch.promote_types(projections.dtype, torch.float32)), dim=1)
    nearest = others = 0.0
    for some in anchors.split(1_024):
        is_other = rows[some, None] != rows[None, candidates]
        same = (classes[some, None] == classes[None, candidates]) & is_other
        with no_rounding(unit):
            cosines = (unit[some] @ unit[candidates].T).masked_fill(~is_other, -torch.inf)
        closest = cosines.topk(min(neighbours, len(candidates)), dim=1)
        counted = closest.values > -torch.inf
        nearest += float(((same.gather(1, closest.indices) & counted).sum(1).double() / counted.sum(1)).sum())
        others += float((same.sum(1).double() / is_other.sum(1)).sum())
    agreement, by_chance = nearest / len(anchors), others / len(anchors)
    return None if by_chance == 1 else (agreement - by_chance) / (1 - by_chance)


class HeldOut(Weighting):
    """Larger weights for similarities whose labels the nearest validation rows predict, in their own projections.

    After each validation the weight becomes the agreement of neighbours, 0 by chance and 1 if they always agree,
    whatever the number of classes, and at least `least`. Weights of similarities that are judged are scaled to a mean
    of 1. Until the first validation, and for a similarity in which no class has two rows (`same_row` above all), the
    weight is 1.

    In a loop of your own call `MSConLoss.fit_weights` with held-out rows.

    Args:
        similarities: how many there are.
        neighbours: rows that are looked at, at least 1.
        least: lower bound of the agreement, above 0 and at most 1; two weights differ at most by a factor of 1 / least.
        samples: no more than so many with a class are looked at, the first that come (validation rows come in a random
            order). The cost grows with the square.

    Source: this project (docs/decisions/0051); the agreement is that of `mscon affinity`.
    """

    fit_on = "validation"
    agreement: Tensor
    judged: Tensor

    def __init__(self, similarities: int, neighbours: int = 10, least: float = 0.1, samples: int = 4_096) -> None:
        super().__init__()
        if neighbours < 1:
            raise ValueError(f"neighbours must be at least 1, got {neighbours}.")
        if not 0 < least <= 1:
            raise ValueError(f"least must be above 0 and at most 1, got {least}.")
        if samples < 4:
            raise ValueError(f"samples must be at least 4, got {samples}.")
        self.neighbours, self.least, self.samples = neighbours, least, samples
        self.register_buffer("agreement", torch.ones(similarities))
        self.register_buffer("judged", torch.zeros(similarities, dtype=torch.bool))

    @torch.no_grad()
    def fit_to(self, samples: LabelledProjections, temperatures: Sequence[float]) -> None:
        """Judge every similarity anew; one that cannot be judged stays as it is."""
        del temperatures
        for number, (projections, classes) in enumerate(zip(samples.projections, samples.classes, strict=True)):
            first = slice(int(((classes >= 0).cumsum(0) <= self.samples).sum()))
            agreement = neighbour_agreement(projections[first], classes[first], samples.rows[first], self.neighbours)
            if agreement is not None:
                self.agreement[number], self.judged[number] = agreement, True

    def forward(self, batch: BatchLosses) -> Weighted:
        weights = self.agreement.clamp_min(self.least)
        return Weighted.sum(scaled_where(weights, self.judged & batch.present), batch)
