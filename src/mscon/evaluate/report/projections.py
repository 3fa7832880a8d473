"""Projections: how well the projection of each similarity predicts its own column, beside the features."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mscon.evaluate.metrics.catalog import Measure
from mscon.evaluate.report.gather import Gathered
from mscon.evaluate.report.probe_scores import scores_of


@dataclass(frozen=True, slots=True)
class ProjectionScore:
    """One column of one method: means over seeds of the score of the features, and of the projection of its own."""

    method: str
    column: str
    measure: Measure
    features: float
    projection: float


def projection_scores(gathered: Gathered) -> tuple[ProjectionScore, ...]:
    """A line for each column that a method was trained on, where its probes scored the projections."""
    lines = []
    for method in gathered.methods:
        probes = [member.run.read_probe() for member in method.members]
        by_seed = [
            ({s.name: s for s in scores_of(probe, "linear")}, {s.name: s for s in scores_of(probe, "projections")})
            for probe in probes
        ]
        names = [name for name in by_seed[0][1] if all(name in scores for both in by_seed for scores in both)]
        for name in names:
            features, projection = (float(np.mean([both[which][name].value for both in by_seed])) for which in (0, 1))
            lines.append(ProjectionScore(method.title, name, by_seed[0][1][name].measure, features, projection))
    return tuple(lines)
