"""Module: all that learns in a run, as one torch module, so that devices and precision need one call."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Int, Shaped
from torch import Tensor, nn

from mscon.method.objectives.base import Objective
from mscon.method.similarities.base import Rule
from mscon.method.weightings.base import Weighting
from mscon.model.model import Model
from mscon.train.gather import CandidateSource
from mscon.train.step import MakeView, Measured, step


class TrainingModule(nn.Module):
    """Model, objective, weighting and candidates. Its state, by these four names, is what a checkpoint holds."""

    def __init__(
        self,
        model: Model,
        objective: Objective,
        weighting: Weighting,
        candidates: CandidateSource,
        similarities: Sequence[Rule],
    ) -> None:
        super().__init__()
        self.model, self.objective, self.weighting, self.candidates = model, objective, weighting, candidates
        self.similarities = tuple(similarities)

    def forward(
        self,
        inputs: Shaped[Tensor, "rows ..."],
        codes: Sequence[Shaped[Tensor, "rows ..."]],
        rows: Int[Tensor, " rows"],
        make_views: Sequence[MakeView],
    ) -> Measured:
        """`step` of one batch."""
        return step(
            self.model,
            inputs,
            codes,
            rows,
            similarities=self.similarities,
            objective=self.objective,
            weighting=self.weighting,
            candidates=self.candidates,
            make_views=make_views,
        )
