"""Uncertainty: what leaving out the most uncertain test rows of a run is worth, in a sentence and a chart."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mscon.evaluate.report.training import BOTTOM, LEFT, RIGHT, TOP, ticks

_ROLE = {True: "columns trained on", False: "other columns"}


@dataclass(frozen=True, slots=True)
class CoverageLine:
    """The accuracy of the most certain rows over the share of rows that they are.

    Attributes:
        title: of which columns it is the mean.
        points: as SVG writes them.
        values: pairs of a share and the accuracy there.
    """

    title: str
    points: str
    values: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class RiskCoverage:
    """A sentence, and a chart: ticks are places in the drawing with their words."""

    sentence: str
    lines: tuple[CoverageLine, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]


def risk_coverage(probe: Mapping[str, Any]) -> RiskCoverage | None:
    """What probe.json says; None where the uncertainty of rows was not scored."""
    scores = probe.get("uncertainty") or {}
    if not scores.get("summary"):
        return None
    curves = {one["trained"]: np.array(one["accuracy"]).T for one in scores["summary"]}
    of_all = np.concatenate([accuracy for _, accuracy in curves.values()])
    low, high = float(of_all.min()), float(of_all.max())
    low, high = (low, high) if high - low > 0.01 else (low - 0.005, high + 0.005)

    def across(share: float) -> float:
        return LEFT + (RIGHT - LEFT) * share

    def up(accuracy: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (accuracy - low) / (high - low)

    lines = [
        CoverageLine(
            _ROLE[trained],
            " ".join(f"{across(x):.1f},{up(y):.1f}" for x, y in zip(coverage, accuracy, strict=True)),
            tuple((float(x), float(y)) for x, y in zip(coverage, accuracy, strict=True)),
        )
        for trained, (coverage, accuracy) in curves.items()
    ]
    return RiskCoverage(
        sentence(scores),
        tuple(lines),
        tuple((across(share), f"{100 * share:.0f} %") for share in (0.2, 0.4, 0.6, 0.8, 1.0)),
        tuple((up(accuracy), f"{100 * accuracy:.4g} %") for accuracy in ticks(low, high)),
    )


def sentence(scores: Mapping[str, Any]) -> str:
    """What uncertainty is worth, from the record of probe.json; "" without test rows."""
    parts = [
        f"{_points(one['accuracy_gain'])} points in accuracy and {_points(one['precision_at_10_gain'])} points in "
        f"precision@10 on {_ROLE[one['trained']]}"
        for one in scores["summary"]
    ]
    if not parts:
        return ""
    left_out = 100 * (1 - scores["summary"][0]["rows_left"])
    text = (
        f"{left_out:.0f} % of the test rows have an uncertainty above {scores['threshold']:g}. Without them the scores "
        f"change by {', and by '.join(parts)}"
    )
    if unseen := scores.get("unseen"):
        low, value, high = (f"{100 * unseen['auroc'][name]:.0f}" for name in ("low", "value", "high"))
        text += (
            f"; a row of a group that training never saw is more uncertain than a test row in {value} % of pairs "
            f"({low} to {high} %), where 50 % is chance"
        )
    return f"{text}."


def _points(gain: Mapping[str, float]) -> str:
    return f"{100 * gain['value']:+.1f} ({100 * gain['low']:.1f} to {100 * gain['high']:.1f})"
