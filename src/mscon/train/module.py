"""Module: all that learns in a run, as one torch module, so that devices and precision need one call."""

from __future__ import annotations

from collections.abc import Sequence

from jaxtyping import Float, Int, Shaped
from torch import Tensor, nn

from mscon.method.objectives.base import Objective
from mscon.method.regularisers import FeatureRegulariser
from mscon.method.similarities.base import Rule
from mscon.method.weightings.base import Weighting
from mscon.model.model import Model
from mscon.train.gather import CandidateSource
from mscon.train.step import MakeView, Measured, step


class TrainingModule(nn.Module):
    """Model, objective, weighting, candidates, regulariser. Its state, by these names, is what a checkpoint holds."""

    def __init__(
        self,
        model: Model,
        objective: Objective,
        weighting: Weighting,
        candidates: CandidateSource,
        similarities: Sequence[Rule],
        regulariser: FeatureRegulariser | None = None,
    ) -> None:
        super().__init__()
        self.model, self.objective, self.weighting, self.candidates = model, objective, weighting, candidates
        self.similarities = tuple(similarities)
        self.regulariser = regulariser

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
            penalty=self.penalty,
        )

    def penalty(self, features: Float[Tensor, "samples features"]) -> Float[Tensor, ""]:
        """What heads and regulariser add to the total of a step."""
        total = self.model.heads.penalty(features, self.candidates.mean)
        return total if self.regulariser is None else total + self.regulariser(features, self.candidates.mean)
