"""What several runs have in common: methods, the rows that their probes scored, and the score of each row.

Reads run directories only. Recipes are read as plain values and never built. A class of the user's own that they name
is imported only where the run may, to say how labels agree.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from mscon.data.table.groups import row_groups
from mscon.errors import RunError, counted, first_few
from mscon.evaluate.metrics.catalog import MEASURES
from mscon.evaluate.report.methods import Member, Method, methods_of
from mscon.evaluate.report.probe_scores import RowValues, row_values_of
from mscon.run.run import Run

if TYPE_CHECKING:
    from mscon.data.table.label_columns import LabelColumn

# Columns of a run's rows that are not labels.
PLACES = ("line", "split", "image")


@dataclass(frozen=True, eq=False)
class Question:
    """One measure of one column, and how every method did on every row.

    Attributes:
        column: the label column; of a level of a hierarchy with its number.
        measure: name of one of `mscon.evaluate.metrics.catalog.MEASURES`.
        rows: positions in the runs' rows, ascending; the same for all methods.
        values: per method, then per start, [seeds, rows], whose mean is the score, or None where it was not scored.
            A start has no seed; its values are repeated for as many as the methods have.
        trained: likewise, whether this column was among its similarities.
        baseline: what guessing gives: the share of the largest class, or the measure for rows in random order, see
            `Measure.guess`; None if the probe does not say.
        classes: how many classes were told apart (0 where that is not said).
        starts: per method the position in `values` of what its runs began from, if that was probed.
        groups: numbers of the groups of [data] split_by that the rows belong to; None where rows are by themselves.
        held_out: whether it is of runs that were trained on other label columns than this one, see `mscon.comparison`.
        label: the label column itself, of whose levels this may be one; "" for a mean over columns.
    """

    column: str
    measure: str
    rows: Int[np.ndarray, " rows"]
    values: tuple[Float[np.ndarray, "_ rows"] | None, ...]
    trained: tuple[bool, ...]
    baseline: float | None
    classes: int
    starts: tuple[int | None, ...] = ()
    groups: Int[np.ndarray, " rows"] | None = None
    held_out: bool = False
    label: str = ""

    @property
    def in_domain(self) -> bool:
        """Whether any method trained on this column."""
        return any(self.trained)


@dataclass(frozen=True)
class Gathered:
    """All that a comparison needs; `starts` are the titles of what the methods' runs began from, each once."""

    methods: tuple[Method, ...]
    questions: tuple[Question, ...]
    starts: tuple[str, ...] = ()

    @property
    def members(self) -> Iterator[Member]:
        return (member for method in self.methods for member in method.members)

    @cached_property
    def rows(self) -> pl.DataFrame:
        """Rows of the table as the runs used them; the same for all of them."""
        return self.methods[0].members[0].run.read_rows()

    @cached_property
    def grouped_by(self) -> str:
        """The column by which rows were split in groups; "" where there is none."""
        column = str(next(self.members).recipe.get("data", {}).get("split_by", ""))
        return column if column and column in self.rows.columns else ""

    @property
    def neighbours_among(self) -> str:
        """Among which rows probes sought nearest neighbours, in words."""
        return neighbours_among(next(self.members).recipe)

    @cached_property
    def table(self) -> str:
        """Name of the table that all runs saw, without its folder."""
        return str(next(self.members).run.read_facts().get("table", {}).get("name", "the table"))

    @cached_property
    def probed_columns(self) -> frozenset[str]:
        """Columns that some probe scored: those of the questions, levels of a hierarchy not told apart."""
        probes = [member.run.read_probe() for member in self.members]
        records = [record for probe in probes for how in ("linear", "neighbours") for record in probe.get(how, [])]
        return frozenset(record["column"] for record in records)

    @cached_property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of the table that some method trained on or was probed for, in the order of the table."""
        used = {column for method in self.methods for column in method.columns} | self.probed_columns
        return tuple(column for column in self.rows.columns if column in used and column not in PLACES)

    @cached_property
    def labels(self) -> dict[str, LabelColumn]:
        """The label columns, each read by the similarity of the first run that was trained on it, if one was."""
        from mscon.data.table.label_columns import LabelColumns

        runs = [member.run for member in self.members]
        by_run = [
            LabelColumns(self.rows, run.read_recipe_values(), run.read_similarities(), run.may_import) for run in runs
        ]
        columns = {}
        for name in self.label_columns:
            trained = [labels for labels in by_run if name in labels.trained]
            columns[name] = (trained or by_run)[0][name]
        return columns


def neighbours_among(recipe: Mapping[str, Any]) -> str:
    """Among which rows the probes of a recipe, as plain values, seek nearest neighbours, in words."""
    among = recipe.get("probe", {}).get("neighbours_among", "unseen")
    return "test rows" if among == "test" else "rows of groups that training never saw"


def gather(runs: Sequence[Run]) -> Gathered:
    """Group runs into methods, and line up the rows that their probes scored.

    Runs of one title that differ in their seed only are seeds of one method. Others of that title are methods of
    their own, told apart by their folders.

    Raises:
        RunError: if there is no run; if one has not been probed, or is given twice; if two of them saw different
            rows, or were scored on different rows. All complaints at once.
    """
    if not runs:
        raise RunError("there is no run to report. Give one or more run directories.")
    runs = [run.as_it_is() for run in runs]
    complaints: list[str] = []
    members: list[Member] = []
    scores: dict[Path, dict[tuple[str, str], RowValues]] = {}
    for run in runs:
        try:
            recipe = run.read_recipe_values()
            scores[run.root] = row_values_of(run)
            run.need_features()
            members.append(Member(run, int(recipe["train"]["seed"]), recipe))
        except RunError as error:
            complaints.append(str(error))
    folders = [run.root.resolve() for run in runs]
    again = [run for i, run in enumerate(runs) if folders[i] in folders[:i]]
    complaints += [f"run '{run.root}' is given twice. Give each run once." for run in again]
    _stop(complaints)
    methods = methods_of(members)
    _same_rows(members, complaints)
    _stop(complaints)
    starts = _starts(methods)
    questions = _questions(methods, starts, scores, complaints)
    _stop(complaints)
    return Gathered(methods, questions, tuple(start.title for start in starts))


@dataclass(frozen=True, slots=True)
class _Start:
    """What some methods began from: its scores, and the numbers of those methods."""

    title: str
    methods: tuple[int, ...]
    scores: Mapping[tuple[str, str], RowValues]


def _starts(methods: Sequence[Method]) -> list[_Start]:
    """Each start once, in the order of the methods; a method whose runs began from different ones has none."""
    by_digest: dict[str, list[int]] = {}
    for number, method in enumerate(methods):
        digests = {(member.run.read_probe().get("start") or {}).get("digest") for member in method.members}
        if len(digests) == 1 and (digest := digests.pop()) is not None:
            by_digest.setdefault(digest, []).append(number)
    starts = []
    for numbers in by_digest.values():
        runs = [methods[number].members[0].run for number in numbers]
        scores: dict[tuple[str, str], RowValues] = {}
        for run in reversed(runs):  # those of the first count, where several were probed for a column
            scores |= row_values_of(run, "start")
        starts.append(_Start(str(runs[0].read_probe()["start"]["title"]), tuple(numbers), scores))
    return starts


def _stop(complaints: list[str]) -> None:
    if complaints:
        raise RunError("\n".join(dict.fromkeys(complaints)))


def _same_rows(members: Sequence[Member], complaints: list[str]) -> None:
    first, *others = members
    mine = first.run.read_rows()
    for other in others:
        theirs = other.run.read_rows()
        shared = [column for column in mine.columns if column in theirs.columns]
        if mine.select(shared).equals(theirs.select(shared)):
            continue
        if mine.height != theirs.height:
            how = f"{counted(mine.height, 'row')} against {theirs.height:,}"
        else:
            columns = [c for c in shared if not mine[c].equals(theirs[c])]
            how = f"the same number of rows, but other values of {first_few(columns)}"
        complaints.append(
            f"runs '{first.run.name}' and '{other.run.name}' saw different rows ({how}), so their scores cannot be "
            "compared row by row.\n  Report them apart, or train them on one table with one split."
        )


def _questions(
    methods: Sequence[Method],
    starts: Sequence[_Start],
    scores: Mapping[Path, Mapping[tuple[str, str], RowValues]],
    complaints: list[str],
) -> tuple[Question, ...]:
    first = Gathered(tuple(methods), ())
    groups_of = row_groups(first.rows, first.grouped_by)
    by_method = [[(member.run.name, scores[member.run.root]) for member in method.members] for method in methods]
    keys = list(dict.fromkeys(key for group in by_method for _, of_run in group for key in of_run))
    # Linear probes first, then neighbours, each in the order of the probe.
    keys.sort(key=lambda key: MEASURES[key[1]].probe != "linear")
    questions = []
    for key in keys:
        column, measure = key
        groups = [[(name, of_run[key]) for name, of_run in group if key in of_run] for group in by_method]
        (name, reference), *others = (pair for group in groups for pair in group)
        complaints += [
            f"column '{column}' was scored on {counted(len(reference.rows), 'row')} in run '{name}' and on "
            f"{counted(len(other.rows), 'row')}, not the same ones, in run '{other_name}'.\n"
            "  Probe them with the same [probe] settings (columns, largest, neighbours)."
            for other_name, other in others
            if not np.array_equal(reference.rows, other.rows)
        ]
        if complaints:
            continue
        values = [np.stack([one.values for _, one in group]) if group else None for group in groups]
        seeds = max(len(of_method) for of_method in values if of_method is not None)
        of_starts = [start.scores.get(key) for start in starts]
        values += [
            np.tile(one.values, (seeds, 1)) if one and np.array_equal(one.rows, reference.rows) else None
            for one in of_starts
        ]
        place = {number: len(methods) + i for i, start in enumerate(starts) for number in start.methods}
        trained = tuple(
            any(one.trained for _, one in group) if group else reference.label in method.trained
            for method, group in zip(methods, groups, strict=True)
        )
        of_rows = None if groups_of is None else groups_of[reference.rows]
        questions.append(
            Question(
                column,
                measure,
                reference.rows,
                tuple(values),
                trained + (False,) * len(starts),
                reference.baseline,
                reference.classes,
                tuple(place.get(number) for number in range(len(methods))),
                of_rows,
                label=reference.label,
            )
        )
    return tuple(questions)
