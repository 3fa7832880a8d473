"""Any objective, between the different inputs of rows only: images are compared with texts, and texts with images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from mscon.method.comparison import Comparison, Losses, SampleOrigin
from mscon.method.objectives.base import Objective
from mscon.method.pairs import LazyPairs, Pairs
from mscon.method.similarities.base import Similarity


class AcrossInputs(Objective):
    """An objective that knows pairs of different inputs only, such as an image and a text.

    With `SupCon` and the similarity "same_row" it is CLIP's loss, Radford et al. 2021,
    https://arxiv.org/abs/2103.00020; with a column of classes that of UniCL, Yang et al. 2022,
    https://arxiv.org/abs/2204.03610, in which texts of a class belong to all of its images. Other objectives and kinds
    go together likewise. Give `inputs` to `MSConLoss`: inputs=[0, 1] for an image and a text of each row. Rows of one
    input have no pairs, so recipes, whose rows have one input, cannot use it.

    Args:
        objective: such as SupCon(temperature=0.07).

    Raises:
        ValueError: for what is no such object, and for objectives that compare no rows, or that look into codes
            (`himulcon`).
    """

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        if not isinstance(objective, Objective):
            raise ValueError(
                f"objective must be an object such as SupCon(0.07), got {objective!r}. This one is for a training loop "
                "of your own: rows of a recipe have one input."
            )
        if not objective.compares or objective.reads_codes:
            what = "looks into codes" if objective.compares else "compares no rows"
            raise ValueError(f"{type(objective).__name__} {what}, so it cannot be used across inputs. Use SupCon, say.")
        self.objective = objective
        self.temperature = objective.temperature
        self.learns_width = objective.learns_width
        self.least_views = max(2, objective.least_views)  # the inputs of a row are views of it

    def refusals(self, similarities: Sequence[Similarity]) -> list[str]:
        return self.objective.refusals(similarities)

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        self.objective.prepare(similarities, dim)

    def forward(self, comparison: Comparison) -> Losses:
        anchors, candidates = comparison.anchor_origin, comparison.candidate_origin
        pairs = [_of_different_inputs(lazy, anchors, candidates) for lazy in comparison.pairs]
        losses: Losses = self.objective(replace(comparison, pairs=pairs))
        return losses

    def after_step(self) -> None:
        self.objective.after_step()


def _of_different_inputs(lazy: LazyPairs, anchors: SampleOrigin, candidates: SampleOrigin) -> LazyPairs:
    """Codes are numbers of samples from here on: a sample's code and its input are looked up."""
    numbers = torch.arange(len(lazy.anchors), device=lazy.anchors.device)
    codes, inputs, others = lazy.anchors, anchors.inputs, numbers
    if lazy.candidates is not lazy.anchors:
        codes, inputs = torch.cat([codes, lazy.candidates]), torch.cat([inputs, candidates.inputs])
        others = len(numbers) + torch.arange(len(lazy.candidates), device=numbers.device)

    def compare(one: Tensor, other: Tensor) -> Pairs:
        pairs = lazy.compare(codes[one], codes[other])
        return Pairs(pairs.weight, pairs.known & (inputs[one][:, None] != inputs[other]))

    return LazyPairs(compare, numbers, others, lazy.anchor_ids, lazy.candidate_ids, False, lazy.exchange)
