"""Matryoshka: an objective computed also on the first dimensions of each projection, so that these work alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mscon.errors import RecipeError
from mscon.method.comparison import Comparison, Losses
from mscon.method.objectives.base import Objective
from mscon.method.similarities.base import Similarity


class Matryoshka(Objective):
    """The mean of an objective over whole projections and over their first dimensions.

    Objectives that compare cosines scale these prefixes to unit length themselves, so that each is a space of its own.
    In a recipe: [heads] matryoshka = [8, 16].

    Args:
        objective: such as SupCon(0.1).
        dimensions: how many of the first dimensions, once for each prefix; below the width of the projections.

    Raises:
        ValueError: for dimensions that are not positive and ascending, or an objective that learns something of the
            width of the projections, such as classifiers or prototypes.

    Source: Kusupati et al. 2022, "Matryoshka Representation Learning", https://arxiv.org/abs/2205.13147, eq. 1 with
        equal weights. The paper adds up the losses; here their mean is taken, so that the scale of the loss stays.
    """

    def __init__(self, objective: Objective, dimensions: Sequence[int]) -> None:
        super().__init__()
        ascending = list(dimensions) == sorted(set(dimensions))
        if not dimensions or not ascending or not all(type(number) is int and number > 0 for number in dimensions):
            raise ValueError(f"matryoshka must be ascending whole numbers of dimensions, got {list(dimensions)}.")
        if objective.learns_width:
            raise ValueError(
                f"objective {type(objective).__name__} learns something of the width of projections, so that it cannot "
                "be computed on their first dimensions. Leave matryoshka out, or take SupCon, say."
            )
        self.objective, self.dimensions = objective, tuple(dimensions)
        self.temperature, self.compares = objective.temperature, objective.compares
        self.reads_codes, self.numbers_classes = objective.reads_codes, objective.numbers_classes
        self.needs_negatives, self.needs_classes = objective.needs_negatives, objective.needs_classes
        self.least_views, self.has_constant_targets = objective.least_views, objective.has_constant_targets

    def refusals(self, similarities: Sequence[Similarity]) -> list[str]:
        return self.objective.refusals(similarities)

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        if 0 < dim <= self.dimensions[-1]:
            raise RecipeError(
                f"matryoshka has a prefix of {self.dimensions[-1]} dimensions, but projections have {dim}. Take "
                "smaller numbers, or a larger output_dim."
            )
        self.objective.prepare(similarities, dim)

    def forward(self, comparison: Comparison) -> Losses:
        whole: Losses = self.objective(comparison)
        each = [whole, *(self.objective(_first(comparison, number)) for number in self.dimensions)]

        def mean(name: str) -> Tensor:
            return torch.stack([getattr(losses, name) for losses in each]).mean(dim=0)

        return replace(whole, per_anchor=mean("per_anchor"), floor=mean("floor"), ceiling=mean("ceiling"))

    def after_step(self) -> None:
        self.objective.after_step()


def _first(comparison: Comparison, number: int) -> Comparison:
    candidates = comparison.candidates
    return replace(
        comparison,
        anchors=comparison.anchors[:, :, :number],
        candidates=None if candidates is None else candidates[:, :, :number],
    )
