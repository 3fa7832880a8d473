"""The table of a comparison: a line for each method, its means with intervals and columns as far as they fit."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from mscon.comparison.methods import RECIPE
from mscon.comparison.scores import TRAINED, UNSEEN
from mscon.errors import counted
from mscon.evaluate.report.compare import MARKS, ColumnScores, Comparison, MethodScore
from mscon.evaluate.report.markdown import aligned, comparison_text, plain

WIDTH = 118
MOST_METHODS = 15
_LEGEND = (
    "★ clearly best; ▲ best mean, but not clearly; = not told apart from the best mean; no mark: clearly worse; "
    "': not trained on the column."
)
_HEADS = {TRAINED: "label columns", UNSEEN: "unseen columns"}


def table_text(comparison: Comparison, faults: Mapping[str, str], width: int = WIDTH, most: int = MOST_METHODS) -> str:
    """The table for a terminal, with a line for each method that broke down, and a legend.

    Args:
        comparison: as `mscon.comparison.scores.compared` gives it.
        faults: by title why a method has no scores.
        width: characters of a line; columns that do not fit are left out, and counted in the legend.
        most: methods; of more the last by their means are left out, and counted.
    """
    return "\n".join(_blocks(comparison, faults, width, most))


def _blocks(comparison: Comparison, faults: Mapping[str, str], width: int, most: int) -> list[str]:
    means = [row for row in comparison.columns if row.measure == "column_mean"]
    others = [row for row in comparison.columns if row.about.leads and row not in means]
    others = [row for row in others if row.about.probe == "linear"]
    methods = _best(comparison, means, most - len(faults))
    columns = list(means)
    for row in others:
        if _width(_lines(comparison, [*columns, row], methods)) > width:
            break
        columns.append(row)
    notes = ["Means with 95 % intervals over rows and seeds, in %.", _LEGEND]
    if hidden := len(comparison.methods) - len(methods):
        notes.append(f"table.md has {counted(hidden, 'more method')}, with lower means.")
    if hidden := len(others) + len(means) - len(columns):
        notes.append(f"table.md has {counted(hidden, 'more column')}.")
    return [_lines(comparison, columns, methods), *_broken(faults), textwrap.fill(" ".join(notes), width)]


def full_text(comparison: Comparison, faults: Mapping[str, str], verdict: Sequence[str]) -> str:
    """All of it as Markdown: the verdict, the table without limits, and every score with its interval."""
    everything = _blocks(comparison, faults, width=10_000, most=10_000)
    return "\n\n".join([*(plain(sentence) for sentence in verdict), *everything, comparison_text(comparison)])


def _best(comparison: Comparison, means: Sequence[ColumnScores], most: int) -> list[int]:
    """Numbers of the methods that are shown, in their order; the user's recipe is always among them."""

    def rank(method: int) -> tuple[bool, int, float]:
        scores = [cell.score.value for row in means if (cell := row.cells[method]) is not None]
        return RECIPE in comparison.methods[method], len(scores), sum(scores)

    numbers = range(len(comparison.methods))
    return sorted(sorted(numbers, key=rank, reverse=True)[:most])


def _lines(comparison: Comparison, columns: Sequence[ColumnScores], methods: Sequence[int]) -> str:
    header = ["method", *(_HEADS.get(row.column, plain(row.name)) for row in columns)]
    body = [[plain(comparison.methods[i]), *(_cell(row, row.cells[i]) for row in columns)] for i in methods]
    return aligned(header, body)


def _broken(faults: Mapping[str, str]) -> list[str]:
    return [f"{plain(title)}: broke down. {plain(fault.splitlines()[0])}" for title, fault in faults.items()]


def _cell(row: ColumnScores, cell: MethodScore | None) -> str:
    if cell is None:
        return "-"
    value, low, high = (row.about.shown(number) for number in (cell.score.value, cell.score.low, cell.score.high))
    sign = MARKS[mark][0] if (mark := row.mark(cell)) else " "
    sign += "'" if row.in_domain and not cell.trained else ""
    return f"{value} ({low} to {high}) {sign}" if row.measure == "column_mean" else f"{value} {sign}"


def _width(text: str) -> int:
    return max(len(line) for line in text.splitlines())
