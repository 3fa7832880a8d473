"""Weighting fit: which samples a weighting that learns from projections is fitted on, and when."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mscon.method.objective_groups import groups_of
from mscon.method.objectives.base import Objective
from mscon.method.similarities.base import Rule
from mscon.method.weightings.base import LabelledProjections, Weighting
from mscon.train.gather import Samples


def check_fit(objective: Objective, similarities: Sequence[Rule]) -> None:
    """That a weighting can be fitted on projections of these similarities.

    Raises:
        ValueError: if one has no classes, or no temperature.
    """
    if graded := [s.column for s in similarities if not s.is_partition]:
        raise ValueError(f"a weighting that is fitted on projections needs classes, similarities {graded} have none.")
    groups = groups_of(objective, len(similarities))
    if names := sorted({type(group.objective).__name__ for group in groups if group.objective.temperature is None}):
        raise ValueError(
            f"a weighting that is fitted on projections needs a temperature, but {', '.join(names)} has none."
        )


def labelled_projections(samples: Samples, objective: Objective) -> LabelledProjections:
    """The samples without a gradient. A similarity has no class for a view that it does not compare."""
    classes = torch.stack(list(samples.codes))
    for group in groups_of(objective, len(classes)):
        if group.views is not None:
            is_compared = torch.isin(samples.origin.views, torch.tensor(group.views, device=classes.device))
            numbers = list(group.similarities)
            classes[numbers] = classes[numbers].masked_fill(~is_compared, -1)
    return LabelledProjections(samples.projections.detach(), classes, samples.origin.rows)


def fit_weighting(weighting: Weighting, objective: Objective, batches: Sequence[LabelledProjections]) -> None:
    """Fit a weighting on some batches as if they were one. `check_fit` says whether it can be."""
    projections, classes, rows = zip(*batches, strict=True)
    samples = LabelledProjections(torch.cat(projections, 1), torch.cat(classes, 1), torch.cat(rows))
    groups = groups_of(objective, len(samples.classes))
    temperatures = {i: group.objective.temperature or 0.0 for group in groups for i in group.similarities}
    weighting.fit_to(samples, [temperatures[i] for i in range(len(temperatures))])
