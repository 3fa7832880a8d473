"""The paper's numbers and ours, side by side, as values, text and JSON.

Pure functions of values. This module reads no run and no file.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from mscon.evaluate.metrics.bootstrap import Interval
from mscon.evaluate.report.compare import FEWEST_SEEDS, Standing
from mscon.evaluate.report.markdown import aligned, plain
from mscon.evaluate.report.results import heading
from mscon_paper.experiment import Experiment

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
    """Everything that an experiment measured.

    Attributes:
        experiment: with the paper's numbers.
        readings: one a row, case, measure and column.
        differences: claims that were tested.
        changed: how the runs differ from the experiment as it is written; such results are no evidence.
        best_rates: of an experiment that tunes, the learning rate chosen for each method.
    """

    experiment: Experiment
    readings: tuple[Reading, ...]
    differences: tuple[Difference, ...]
    changed: tuple[str, ...] = ()
    best_rates: Mapping[str, float] = field(default_factory=dict)

    @property
    def measured(self) -> tuple[tuple[Quantity, str], ...]:
        """What was read, in order."""
        return tuple(dict.fromkeys((r.measure, r.column) for r in self.readings))

    @property
    def rows(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(r.row for r in self.readings))

    def without_ours(self) -> Iterator[tuple[str, str, tuple[float, float]]]:
        """Published numbers on this source for which there is no number of ours."""
        paper_rows = self.experiment.paper_rows
        covered = {(paper_rows.get(r.row), r.column) for r in self.readings if r.ours is not None}
        for row, cells in self.experiment.numbers.items():
            for column, number in cells.items():
                if (row, column) not in covered:
                    yield row, column, number


# Text -----------------------------------------------------------------------------------------------


def result_text(result: ExperimentResult) -> str:
    """All of it as Markdown, for a terminal and for table.md."""
    experiment = result.experiment
    blocks = [
        f"# {experiment.name}: {experiment.title}",
        f"On {experiment.source_title}. {experiment.about}",
    ]
    if result.changed:
        blocks.append(f"**Made with {plain('; '.join(result.changed))}. These numbers are no evidence of anything.**")
    blocks += [_table(result), _legend(result)]
    if result.best_rates:
        blocks.append(f"Chosen: {', '.join(f'{method} {rate:g}' for method, rate in result.best_rates.items())}.")
    if result.differences:
        blocks.append(_differences(result))
    return "\n\n".join([*blocks, *_published(result)]) + "\n"


def _table(result: ExperimentResult) -> str:
    experiment = result.experiment
    has_cases, has_seeds = (any(getattr(r, name) for r in result.readings) for name in ("case", "seeds"))
    with_paper = {column for numbers in experiment.numbers.values() for column in numbers}
    header = ["method", *([experiment.axis_name] if has_cases else []), *(["seeds"] if has_seeds else [])]
    for measure, column in result.measured:
        header += [f"{plain(column)}, paper"] * (measure == "accuracy" and column in with_paper)
        header.append(heading(measure, column) + (", ours" if measure == "accuracy" and column in with_paper else ""))
    cells = {(r.row, r.case, r.measure, r.column): r for r in result.readings}
    body = []
    for row, case in dict.fromkeys((r.row, r.case) for r in result.readings):
        mine = [cells.get((row, case, *key)) for key in result.measured]
        line = [plain(row), *([case] if has_cases else [])]
        if has_seeds:
            line.append(str(max((r.seeds for r in mine if r), default=0)))
        for (measure, column), reading in zip(result.measured, mine, strict=True):
            if measure == "accuracy" and column in with_paper:
                line.append(_theirs(experiment.beside(row, column)))
            line.append(_ours(reading))
        body.append(line)
    return aligned(header, body, words=1)


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
    lines = [f"Ours: {_spread(result.experiment)}."] if any(r.ours for r in result.readings) else []
    if result.experiment.numbers:
        lines.append(
            f"Paper: {result.experiment.paper}, top-1 in % and its standard deviation over bootstrapped test sets."
        )
    where = f", at the same {result.experiment.axis[0]}" if result.experiment.axis else ""
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


def _spread(experiment: Experiment) -> str:
    words = {
        "transfer": "mean accuracy and 95 % interval over draws of the labelled rows and seeds, in %",
        "views": "precision@1 of the nearest test row and 95 % interval over rows, in %",
        "tuning": "mean over seeds (and their range), in %",
    }
    accuracy = "accuracy of a linear probe, mean and 95 % interval over rows and seeds, in %"
    weights = "; weights: mean over seeds and their range" if any("weight" in what for what in experiment.read) else ""
    return words.get(experiment.kind, accuracy) + weights


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
    has_cases = any(d.case for d in result.differences)
    header = ["points ahead, paired by row", *([result.experiment.axis_name] if has_cases else [])]
    claimed = [_claimed(result, d) for d in result.differences]
    header += ["column", "told apart", "ours", *(["paper"] if any(claimed) else [])]
    body = []
    for d, theirs in zip(result.differences, claimed, strict=True):
        verdict = "yes" if d.ours.low > 0 else "yes, behind" if d.ours.high < 0 else "no"
        body.append(
            [
                f"{plain(d.better)} - {plain(d.worse)}",
                *([d.case] if has_cases else []),
                plain(d.column),
                verdict,
                f"{100 * d.ours.value:+.1f} ({100 * d.ours.low:+.1f} to {100 * d.ours.high:+.1f})",
                *([theirs] if any(claimed) else []),
            ]
        )
    return aligned(header, body, words=header.index("ours"))


def _claimed(result: ExperimentResult, difference: Difference) -> str:
    """The paper's difference between the same two methods: on this column, or else on each it has."""
    experiment = result.experiment
    better, worse = (experiment.paper_rows.get(row, "") for row in (difference.better, difference.worse))
    if better == worse:
        return ""
    gaps = []
    for numbers in [experiment.numbers] if experiment.numbers else experiment.published.values():
        a, b = numbers.get(better, {}), numbers.get(worse, {})
        both = [c for c in a if c in b and (not experiment.numbers or c == difference.column)]
        gaps += [f"{a[c][0] - b[c][0]:+.1f}" + ("" if experiment.numbers else f" {plain(c)}") for c in both]
    return ", ".join(gaps)


def _published(result: ExperimentResult) -> list[str]:
    """The paper's numbers that are in no table with ours, and why."""
    experiment = result.experiment
    if not experiment.published:
        where = "" if experiment.paper == "text" else f" ({experiment.paper})"
        return [f"Beside the paper{where}: no number to set beside ours, since {experiment.reason}."]
    if experiment.numbers:
        # Where there is none of ours at all, they stand in the table above, with the reason below it.
        if not (rest := list(result.without_ours())) or not any(r.ours for r in result.readings):
            return []
        body = [[plain(row), plain(column), _theirs(number)] for row, column, number in rest]
        return ["Published, without a number of ours:", aligned(["row", "column", "paper"], body, words=2)]
    blocks = []
    for source, numbers in experiment.published.items():
        columns = list(dict.fromkeys(column for of_row in numbers.values() for column in of_row))
        body = [[plain(row), *(_theirs(of_row.get(c)) for c in columns)] for row, of_row in numbers.items()]
        blocks += [
            f"The paper's {experiment.paper} is on {source}, other data than this: compare the order of methods and "
            "the differences, not the numbers.",
            aligned([f"paper, {source}", *columns], body),
        ]
    return blocks


# JSON -----------------------------------------------------------------------------------------------


def result_json(result: ExperimentResult) -> dict[str, Any]:
    """All of it as plain values; ours as shares in [0, 1] (weights: mean 1), the paper's in %."""
    return {
        "experiment": result.experiment.name,
        "title": result.experiment.title,
        "source": result.experiment.source_title,
        "about": result.experiment.about,
        "changed": list(result.changed),
        "axis": result.experiment.axis[0] if result.experiment.axis else None,
        "spread": _spread(result.experiment),
        "paper": result.experiment.paper,
        "readings": [
            {
                **asdict(r),
                "ours": None if r.ours is None else r.ours.to_json(),
                "runs": list(r.runs),
                "reason": r.reason or None,
                "paper": _number_json(result.experiment.beside(r.row, r.column) if r.measure == "accuracy" else None),
            }
            for r in result.readings
        ],
        "differences": [{**asdict(d), "ours": d.ours.to_json()} for d in result.differences],
        "published_without_ours": [
            {"row": row, "column": column, **(_number_json(number) or {})}
            for row, column, number in result.without_ours()
        ],
        "why_no_published_number": None
        if result.experiment.numbers
        else result.experiment.reason or "the paper's are on other data",
        **({"chosen": dict(result.best_rates)} if result.best_rates else {}),
    }


def _number_json(number: tuple[float, float] | None) -> dict[str, float] | None:
    return None if number is None else {"value": number[0], "standard_deviation": number[1]}
