"""The paper's numbers and ours, side by side: what an experiment found, as values, text and JSON.

Pure functions of values. This module knows no run, no recipe and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from mscon.evaluate.metrics.bootstrap import Interval
from mscon.evaluate.report.compare import FEWEST_SEEDS, Standing
from mscon.evaluate.report.experiments import heading
from mscon.evaluate.report.markdown import aligned, plain

Paper = Mapping[str, Mapping[str, tuple[float, float]]]
"""Of each row and column of a table of the paper: accuracy in % and its standard deviation."""

Quantity = Literal["accuracy", "weight", "validation accuracy", "precision@1"]


@dataclass(frozen=True, slots=True)
class Reading:
    """One number of ours, or why there is none.

    Attributes:
        row: the method.
        case: the circumstance, "" where there is but one; `x` its place on an axis, if it has one.
        measure: what was read; shares in [0, 1], but for weights, whose mean is 1.
        column: of what.
        ours: the mean and how far it can be trusted; None if there is no number, and `reason` says why.
        seeds: how many runs are in it.
        standing: how it stands to the other rows of the same case; None if that was not asked.
        runs: names of the run directories it was read from.
    """

    row: str
    case: str
    x: float | None
    measure: Quantity
    column: str
    ours: Interval | None
    seeds: int = 0
    standing: Standing | None = None
    runs: tuple[str, ...] = ()
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Difference:
    """A claim tested on our runs: by how much `better` is ahead of `worse`, paired by row."""

    better: str
    worse: str
    case: str
    column: str
    ours: Interval


@dataclass(frozen=True, slots=True)
class ExperimentResult:
    """What an experiment found.

    Attributes:
        name: of the experiment, and its title, source and account of itself in words.
        axis: name and scale ("log", "linear") of what was varied; None for a table.
        paper_rows: our row -> the paper's.
        numbers: the paper's on this very source; `published` on every source, by its name in words.
        paper: where in the paper; `reason` why its numbers do not stand beside ours.
        changed: in what it was not made as it is written, so that it is no evidence.
        spread: what the numbers in brackets are.
        notes: further sentences.
    """

    name: str
    title: str
    source: str
    about: str
    axis: tuple[str, str] | None
    readings: tuple[Reading, ...]
    differences: tuple[Difference, ...]
    paper_rows: Mapping[str, str]
    numbers: Paper
    published: Mapping[str, Paper]
    paper: str
    reason: str
    changed: tuple[str, ...]
    spread: str
    notes: tuple[str, ...] = ()
    best_rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def measured(self) -> tuple[tuple[Quantity, str], ...]:
        """What was read, in order."""
        return tuple(dict.fromkeys((r.measure, r.column) for r in self.readings))

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(r.row for r in self.readings))

    def beside(self, row: str, column: str) -> tuple[float, float] | None:
        """The paper's number for a row of ours, in %, and its standard deviation."""
        return self.numbers.get(self.paper_rows.get(row, ""), {}).get(column)

    def without_ours(self) -> Iterator[tuple[str, str, tuple[float, float]]]:
        """Published numbers on this source that no number of ours stands beside."""
        covered = {(self.paper_rows.get(r.row), r.column) for r in self.readings if r.ours is not None}
        for row, cells in self.numbers.items():
            for column, number in cells.items():
                if (row, column) not in covered:
                    yield row, column, number


# Text -----------------------------------------------------------------------------------------------


def result_text(result: ExperimentResult) -> str:
    """All of it as Markdown, for a terminal and for table.md."""
    blocks = [f"# {result.name}: {result.title}", f"On {result.source}. {result.about}"]
    if result.changed:
        blocks.append(f"**Made with {plain('; '.join(result.changed))}. These numbers are no evidence of anything.**")
    blocks += [_table(result), _legend(result), *result.notes]
    if result.differences:
        blocks.append(_differences(result))
    return "\n\n".join([*blocks, *_published(result)]) + "\n"


def _table(result: ExperimentResult) -> str:
    axis = result.axis[0] if result.axis else "case"
    several = any(r.case for r in result.readings)
    with_paper = {column for numbers in result.numbers.values() for column in numbers}
    header = ["method", *([axis] if several else []), *(_seeds_header(result))]
    for measure, column in result.measured:
        header += [f"{plain(column)}, paper"] * (measure == "accuracy" and column in with_paper)
        header.append(heading(measure, column) + (", ours" if measure == "accuracy" and column in with_paper else ""))
    cells = {(r.row, r.case, r.measure, r.column): r for r in result.readings}
    body = []
    for row, case in dict.fromkeys((r.row, r.case) for r in result.readings):
        mine = [cells.get((row, case, *key)) for key in result.measured]
        line = [plain(row), *([case] if several else [])]
        if _seeds_header(result):
            line.append(str(max((r.seeds for r in mine if r), default=0)))
        for (measure, column), reading in zip(result.measured, mine, strict=True):
            if measure == "accuracy" and column in with_paper:
                line.append(_theirs(result.beside(row, column)))
            line.append(_ours(reading))
        body.append(line)
    return aligned(header, body, words=1)


def _seeds_header(result: ExperimentResult) -> list[str]:
    return ["seeds"] if any(r.seeds for r in result.readings) else []


def _theirs(number: tuple[float, float] | None) -> str:
    return "" if number is None else f"{number[0]:.2f} ({number[1]:.2f})"


def _ours(reading: Reading | None) -> str:
    if reading is None or reading.ours is None:
        return "-"
    scale, digits = (1, 2) if reading.measure == "weight" else (100, 1)
    value, low, high = (f"{scale * n:.{digits}f}" for n in (reading.ours.value, reading.ours.low, reading.ours.high))
    text = value if low == high == value else f"{value} ({low} to {high})"
    if reading.standing == "best":
        return f"**{text}**"
    return f"{text} {({'level': '=', 'first': '^'}).get(reading.standing or '', '')}".rstrip()


def _legend(result: ExperimentResult) -> str:
    standings = {r.standing for r in result.readings}
    lines = [f"Ours: {result.spread}."] if any(r.ours for r in result.readings) else []
    if result.numbers:
        lines.append(f"Paper: {result.paper}, top-1 in % and its standard deviation over bootstrapped test sets.")
    where = f", at the same {result.axis[0]}" if result.axis else ""
    if "best" in standings:
        lines.append(f"** **  clearly best{where}: its paired difference to every other row excludes zero.")
    if "first" in standings:
        lines.append(f"^  highest mean{where}, but not clearly best.")
    if "level" in standings:
        lines.append("=  the paired difference to the highest mean includes zero.")
    if any(r.ours and r.seeds < FEWEST_SEEDS for r in result.readings):
        lines.append(
            f"With fewer than {FEWEST_SEEDS} seeds most of the luck of the seed is left out, and nothing is best."
        )
    return "\n".join(f"- {plain(line)}" for line in [*lines, *_missing(result)])


def _missing(result: ExperimentResult) -> list[str]:
    """Why numbers of ours are missing, each reason once."""
    at: dict[str, list[str]] = {}
    for r in result.readings:
        if r.ours is None and r.reason:
            at.setdefault(r.reason, []).append(f"{r.row} at {r.case}" if r.case else r.row)
    everything = all(r.ours is None for r in result.readings)
    return [
        f"All of ours: {reason}." if everything and len(at) == 1 else f"{', '.join(dict.fromkeys(rows))}: {reason}."
        for reason, rows in at.items()
    ]


def _differences(result: ExperimentResult) -> str:
    """What the paper claims, tested on our runs: for every pair of rows and every column."""
    several = any(d.case for d in result.differences)
    header = ["points ahead, paired by row", *([result.axis[0] if result.axis else "case"] if several else [])]
    claimed = [_claimed(result, d) for d in result.differences]
    header += ["column", "told apart", "ours", *(["paper"] if any(claimed) else [])]
    body = []
    for d, theirs in zip(result.differences, claimed, strict=True):
        verdict = "yes" if d.ours.low > 0 else "yes, behind" if d.ours.high < 0 else "no"
        body.append(
            [
                f"{plain(d.better)} - {plain(d.worse)}",
                *([d.case] if several else []),
                plain(d.column),
                verdict,
                f"{100 * d.ours.value:+.1f} ({100 * d.ours.low:+.1f} to {100 * d.ours.high:+.1f})",
                *([theirs] if any(claimed) else []),
            ]
        )
    return aligned(header, body, words=header.index("ours"))


def _claimed(result: ExperimentResult, difference: Difference) -> str:
    """The paper's difference between the same two methods: on this column, or else on each it has."""
    better, worse = (result.paper_rows.get(row, "") for row in (difference.better, difference.worse))
    if better == worse:
        return ""
    gaps = []
    for numbers in [result.numbers] if result.numbers else result.published.values():
        a, b = numbers.get(better, {}), numbers.get(worse, {})
        both = [c for c in a if c in b and (not result.numbers or c == difference.column)]
        gaps += [f"{a[c][0] - b[c][0]:+.1f}" + ("" if result.numbers else f" {plain(c)}") for c in both]
    return ", ".join(gaps)


def _published(result: ExperimentResult) -> list[str]:
    """The paper's numbers that stand beside none of ours, and why."""
    if not result.published:
        where = "" if result.paper == "text" else f" ({result.paper})"
        return [f"Beside the paper{where}: no number to set beside ours, since {result.reason}."]
    if result.numbers:
        # Where there is none of ours at all, they stand in the table above, with the reason below it.
        if not (rest := list(result.without_ours())) or not any(r.ours for r in result.readings):
            return []
        body = [[plain(row), plain(column), _theirs(number)] for row, column, number in rest]
        return ["Published, without a number of ours:", aligned(["row", "column", "paper"], body, words=2)]
    blocks = []
    for source, numbers in result.published.items():
        columns = list(dict.fromkeys(column for of_row in numbers.values() for column in of_row))
        body = [[plain(row), *(_theirs(of_row.get(c)) for c in columns)] for row, of_row in numbers.items()]
        blocks += [
            f"The paper's {result.paper} is on {source}, other data than this: compare the order of methods and the "
            "differences, not the numbers.",
            aligned([f"paper, {source}", *columns], body),
        ]
    return blocks


# JSON -----------------------------------------------------------------------------------------------


def result_json(result: ExperimentResult) -> dict[str, Any]:
    """All of it as plain values; ours as shares in [0, 1] (weights: mean 1), the paper's in %."""
    return {
        "experiment": result.name,
        "title": result.title,
        "source": result.source,
        "about": result.about,
        "changed": list(result.changed),
        "axis": result.axis[0] if result.axis else None,
        "spread": result.spread,
        "paper": result.paper,
        "readings": [
            {
                "row": r.row,
                "case": r.case,
                "x": r.x,
                "measure": r.measure,
                "column": r.column,
                "ours": None if r.ours is None else r.ours.to_json(),
                "seeds": r.seeds,
                "standing": r.standing,
                "runs": list(r.runs),
                "reason": r.reason or None,
                "paper": _paper_json(result, r),
            }
            for r in result.readings
        ],
        "differences": [
            {"better": d.better, "worse": d.worse, "case": d.case, "column": d.column, "ours": d.ours.to_json()}
            for d in result.differences
        ],
        "published_without_ours": [
            {"row": row, "column": column, "value": number[0], "standard_deviation": number[1]}
            for row, column, number in result.without_ours()
        ],
        "why_no_published_number": None if result.numbers else result.reason or "the paper's are on other data",
        **({"chosen": dict(result.best_rates)} if result.best_rates else {}),
    }


def _paper_json(result: ExperimentResult, reading: Reading) -> dict[str, float] | None:
    number = result.beside(reading.row, reading.column) if reading.measure == "accuracy" else None
    return None if number is None else {"value": number[0], "standard_deviation": number[1]}


def by_row(readings: Sequence[Reading]) -> Mapping[str, list[Reading]]:
    """Readings of each row, in order."""
    groups: dict[str, list[Reading]] = {}
    for reading in readings:
        groups.setdefault(reading.row, []).append(reading)
    return groups
