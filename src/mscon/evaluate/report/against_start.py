"""Against the start: what training gained over the features that a run began from, in words, and what to try."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mscon.evaluate.metrics.catalog import MEASURES

_PLAIN_INPUTS = "inputs as they are"


def against_start(probe: Mapping[str, Any]) -> str:
    """One sentence on a run's scores against those of its start; "" where probe.json has no start.

    "trained columns +2.1 (1.2 to 3.0) points, columns held out of training -8.4 (-10.1 to -6.7) points, against the
    inputs as they are"
    """
    start = probe.get("start")
    if not start or not start["summary"]:
        return ""
    title = start_words(start["title"])
    if start["is_same"]:
        return f"the features are {title}: the encoder was not trained, only its heads were"
    parts = []
    for trained, role in ((True, "trained columns"), (False, "columns held out of training")):
        differences = [_difference(one) for one in start["summary"] if one["trained"] is trained]
        if differences:
            parts.append(f"{role} {', '.join(differences)}")
    return f"{', '.join(parts)}, against {title}"


def _difference(summary: Mapping[str, Any]) -> str:
    unit, gap = summary["unit"], summary["difference"]
    if unit == "%":
        return f"{signed(unit, gap)} points"
    measure = MEASURES[unit]
    better = "lower is better, " if measure.lower_is_better else ""
    return f"{signed(unit, gap)} in {measure.title} ({better}{', '.join(summary['columns'])})"


def signed(unit: str, difference: Mapping[str, float]) -> str:
    """A difference with its interval: "+2.1 (1.2 to 3.0)" in points where the unit is "%", else in its measure's."""

    def shown(value: float) -> str:
        return f"{100 * value:.1f}" if unit == "%" else MEASURES[unit].shown(value)

    sign = "+" if difference["value"] >= 0 else ""
    return f"{sign}{shown(difference['value'])} ({shown(difference['low'])} to {shown(difference['high'])})"


def start_words(title: str) -> str:
    """The title of a start within a sentence."""
    return f"the {title}" if title == _PLAIN_INPUTS else f"the {title.replace(': ', ' (', 1)})"


def clearly_behind(summary: Mapping[str, Any]) -> bool:
    """Whether the whole interval of a difference lies on the worse side of zero."""
    lower_is_better = summary["unit"] != "%" and MEASURES[summary["unit"]].lower_is_better
    gap = summary["difference"]
    return bool(gap["low"] > 0 if lower_is_better else gap["high"] < 0)


def what_to_try(probe: Mapping[str, Any], recipe: Mapping[str, Any]) -> str:
    """Advice where a run is clearly behind its start; "" where it is not.

    Args:
        probe: what probe.json holds.
        recipe: of the run, as plain values.
    """
    behind = [one for one in (probe.get("start") or {"summary": []})["summary"] if clearly_behind(one)]
    if not behind:
        return ""
    roles = " and ".join(
        role
        for trained, role in ((True, "trained columns"), (False, "columns held out of training"))
        if any(one["trained"] is trained for one in behind)
    )
    options = []
    if not recipe.get("keep", {}).get("beside"):
        options.append('[keep] beside = "all", which puts the features before training beside the learned ones')
    if all(part.get("name") != "teacher" for part in recipe["similarity"]):
        options.append('a similarity of name = "teacher", by which rows stay as alike as they are before training')
    if all(part.get("name") != "same_row" for part in recipe["similarity"]):
        options.append('a similarity of name = "same_row", which keeps what no column names')
    if all(one["trained"] for one in behind):
        options.append("more epochs, or a larger train.learning_rate")
    else:
        options.append("fewer epochs, or a smaller train.learning_rate")
    return f"Clearly behind the start on {roles}. To try: {'; '.join(options)}."
