"""The verdict: three plain sentences on who is ahead where, by how much, and what cannot be told apart."""

from __future__ import annotations

from collections.abc import Sequence

from mscon.comparison.scores import TRAINED, UNSEEN, Scores
from mscon.errors import counted
from mscon.evaluate.metrics.bootstrap import Interval
from mscon.evaluate.metrics.catalog import Measure
from mscon.evaluate.report.compare import ColumnScores

_MOST_NAMED = 3
_QUICK = "This was a quick try (--quick: one seed, two epochs): its scores mean nothing, and no recipe is recommended."


def verdict(
    scores: Scores, start: Sequence[str], recommended: str, recipe: str, lead: str = "", *, is_quick: bool = False
) -> tuple[str, str, str]:
    """Sentences on the label columns, on unseen ones, and on the frozen start and what to take.

    Args:
        scores: as `mscon.comparison.scores.compared` gives them.
        start: titles of the frozen start's methods; empty if there is none.
        recommended: title of the recommended method; "" if there is none.
        recipe: title of the user's own, which the start is set against where none is recommended.
        lead: how far ahead the recommended method is, see `mscon.comparison.recommendation.lead_text`.
        is_quick: whether the runs were only to show that it works; then no method is recommended.
    """
    means = {row.column: row for row in scores.comparison.columns if row.measure == "column_mean"}
    methods = scores.comparison.methods
    return (
        _leader(means[TRAINED], methods, "On the label columns"),
        _leader(means[UNSEEN], methods, "On columns that were not trained on")
        if UNSEEN in means
        else f"Every column was trained on, so nothing is known of new tasks; {_hold_out(scores)}name columns under "
        "[probe] columns.",
        _QUICK if is_quick else f"{_start(scores, start, recommended or recipe)}{_advice(start, recommended, lead)}",
    )


def _hold_out(scores: Scores) -> str:
    columns = {question.label for question in scores.gathered.questions if question.measure != "column_mean"}
    return "hold some out (--held-out, by default all), or " if len(columns) > 1 else ""


def _leader(row: ColumnScores, methods: Sequence[str], where: str) -> str:
    ranked = sorted(row.scored, key=lambda entry: -entry[1].score.value)
    first, best = ranked[0]
    text = f"{where} “{methods[first]}” has the best mean, {_shown(best.score, row.about)}"
    if level := [f"“{methods[i]}”" for i, cell in ranked if cell.standing == "level"]:
        text += f", and cannot be told apart from {_listed(level)}"
    gaps = [(i, cell.behind_by) for i, cell in ranked if cell.standing == "behind" and cell.behind_by is not None]
    if gaps:
        nearest, gap = min(gaps, key=lambda entry: entry[1].value)
        text += f"; “{methods[nearest]}” is {_shown(gap, row.about)} points behind"
        if others := len(gaps) - 1:
            text += f", and {counted(others, 'other')} {'is' if others == 1 else 'are'} further behind"
    return f"{text}."


def _start(scores: Scores, start: Sequence[str], ours: str) -> str:
    """Where the frozen start, the better of its methods in each row, is clearly ahead of a method, or behind it."""
    if not start or ours in start or ours not in scores.comparison.methods:
        return ""
    best: dict[str, tuple[ColumnScores, Interval]] = {}
    for title in start:
        for row, gap in scores.ahead(title, ours):
            leads = row.about.leads and row.about.probe == "linear" and row.measure != "column_mean"
            if leads and (row.name not in best or gap.value > best[row.name][1].value):
                best[row.name] = row, gap
    better = sorted((pair for pair in best.values() if pair[1].low > 0), key=lambda pair: -pair[1].value)
    if not better:
        return f"On no column are the frozen features clearly better than “{ours}”. "
    tasks = [f"“{row.name}” (by {_shown(gap, row.about)})" for row, gap in better]
    return f"The frozen features are still better than “{ours}” for tasks like {_listed(tasks)}. "


def _advice(start: Sequence[str], recommended: str, lead: str) -> str:
    if not recommended:
        return "No recipe is recommended: no method has scores on validation rows in every column."
    if recommended in start:
        return f"Take “{recommended}”: by validation rows no training is better than what it starts from{lead}."
    return f"Take “{recommended}”, the best by validation rows{lead}."


def _shown(interval: Interval, about: Measure) -> str:
    value, low, high = (about.shown(number) for number in (interval.value, interval.low, interval.high))
    return f"{value} ({low} to {high})"


def _listed(names: Sequence[str]) -> str:
    if len(names) > _MOST_NAMED:
        return f"{', '.join(names[:_MOST_NAMED])} and {len(names) - _MOST_NAMED} more"
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else names[0]
