"""Seen: what a weighting that looks at projections is shown, and when."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from mscon.method.objectives.base import Objective
from mscon.method.similarities.base import Rule
from mscon.method.weightings.base import Seen, Weighting
from mscon.train.gather import Samples


def seen_by(weighting: Weighting, samples: Samples, similarities: Sequence[Rule]) -> Seen | None:
    """The samples without a gradient, if it is now that the weighting wants to see them.

    Raises:
        ValueError: if a similarity has no classes to show.
    """
    if weighting.looks_at != ("training" if weighting.training else "validation"):
        return None
    if graded := [s.column for s in similarities if not s.is_partition]:
        raise ValueError(f"a weighting that looks at projections needs classes, similarities {graded} have none.")
    return Seen(samples.projections.detach(), torch.stack(list(samples.codes)), samples.rows)


def look(weighting: Weighting, objective: Objective, seen: Sequence[Seen]) -> None:
    """Let a weighting look at some batches as one.

    Raises:
        ValueError: if the objective has no temperature.
    """
    if objective.temperature is None:
        name = type(objective).__name__
        raise ValueError(f"a weighting that looks at projections needs a temperature, but {name} has none.")
    projections, classes, rows = zip(*seen, strict=True)
    weighting.look(Seen(torch.cat(projections, 1), torch.cat(classes, 1), torch.cat(rows)), objective.temperature)
