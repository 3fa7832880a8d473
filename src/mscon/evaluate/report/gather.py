"""What several runs have in common: methods, the rows they were asked about, and how each row went.

Reads run directories only. Recipes are read as plain values and never built. A class of the user's own that they name
is imported only where the run may, to say how labels agree.
"""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from mscon.errors import RunError, counted, first_few
from mscon.evaluate.metrics.catalog import MEASURES
from mscon.run.recipe import Recipe, names_of
from mscon.run.run import Run

if TYPE_CHECKING:
    from mscon.data.table.label_columns import LabelColumn

Measure = str
"""Name of one of `mscon.evaluate.metrics.catalog.MEASURES`."""

RETRIEVAL: tuple[Measure, ...] = ("precision_at_1", "map_at_r")

# Columns of a run's rows that are not labels.
PLACES = ("line", "split", "image")

# Settings in which two seeds of one method may differ: the seed itself, what the hardware decided,
# where the log goes, and what is asked afterwards (the rows asked about are compared one by one anyway).
_FREE = ("train.seed", "train.precision", "train.channels_last", "log.", "probe.")


@dataclass(frozen=True, slots=True)
class Member:
    """One run of a method, with its recipe as plain values."""

    run: Run
    seed: int
    recipe: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Method:
    """Runs that differ in their seed only."""

    title: str
    members: tuple[Member, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of its similarities, in the order of its heads."""
        return tuple(part["column"] for part in self.members[0].recipe["similarity"])


@dataclass(frozen=True, eq=False)
class Question:
    """One measure of one column, and how every method did on every row.

    Attributes:
        column: the label column; of a level of a hierarchy with its number.
        measure: "accuracy" of a linear probe, or another measure of a linear probe or of neighbours.
        rows: positions in the runs' rows, ascending; the same for all methods.
        values: per method [seeds, rows], whose mean is the score, or None where the method was not asked.
        trained: per method, whether this column was among its similarities.
        baseline: what guessing gives: the share of the largest class, or the measure for rows in random order, see
            `Measure.guess`; None if the probe does not say.
        classes: how many classes were told apart (0 where that is not said).
    """

    column: str
    measure: Measure
    rows: Int[np.ndarray, " rows"]
    values: tuple[Float[np.ndarray, "_ rows"] | None, ...]
    trained: tuple[bool, ...]
    baseline: float | None
    classes: int

    @property
    def in_domain(self) -> bool:
        """Whether any method trained on this column."""
        return any(self.trained)


@dataclass(frozen=True)
class Gathered:
    """All that a comparison needs."""

    methods: tuple[Method, ...]
    questions: tuple[Question, ...]

    @cached_property
    def rows(self) -> pl.DataFrame:
        """Rows of the table as the runs used them; the same for all of them."""
        return self.methods[0].members[0].run.read_rows()

    @cached_property
    def asked(self) -> frozenset[str]:
        """Columns that some probe asked about: those of the questions, levels of a hierarchy not told apart."""
        probes = [member.run.read_probe() for member in self.members]
        records = [record for probe in probes for how in ("linear", "neighbours") for record in probe.get(how, [])]
        return frozenset(record["column"] for record in records)

    @cached_property
    def label_columns(self) -> tuple[str, ...]:
        """Columns of the table that some method trained on or was asked about, in the order of the table."""
        used = {column for method in self.methods for column in method.columns} | self.asked
        return tuple(column for column in self.rows.columns if column in used and column not in PLACES)

    @cached_property
    def labels(self) -> dict[str, LabelColumn]:
        """The label columns, each read by the similarity of the first run that was trained on it, if one was."""
        from mscon.data.table.label_columns import LabelColumns

        runs = [member.run for member in self.members]
        read = [
            LabelColumns(self.rows, run.read_recipe_values(), run.read_similarities(), run.may_import) for run in runs
        ]
        columns = {}
        for name in self.label_columns:
            trained = [labels for labels in read if name in labels.trained]
            columns[name] = (trained or read)[0][name]
        return columns

    @property
    def members(self) -> Iterator[Member]:
        return (member for method in self.methods for member in method.members)


def gather(runs: Sequence[Run]) -> Gathered:
    """Group runs into methods by the title of their recipes, and line up what they were asked.

    Raises:
        RunError: if there is no run; if one has not been probed; if two of them saw different rows, or
            were asked about different rows; if runs of one title differ in more than their seed, or
            repeat a seed. All complaints at once.
    """
    if not runs:
        raise RunError("there is no run to report. Give one or more run directories.")
    runs = [run.as_it_is() for run in runs]
    complaints: list[str] = []
    members: list[Member] = []
    answers: dict[Path, dict[tuple[str, Measure], _Answer]] = {}
    for run in runs:
        try:
            members.append(_member(run))
            answers[run.root] = _answers(run)
            if not run.has_features:
                raise RunError(
                    f"run '{run.root}' has no features: `mscon probe` writes them, and has not finished here."
                )
        except RunError as error:
            complaints.append(str(error))
    _stop(complaints)

    methods = _methods(members, complaints)
    _same_rows(members, complaints)
    _stop(complaints)
    questions = _questions(methods, answers, complaints)
    _stop(complaints)
    return Gathered(methods, questions)


def _stop(complaints: list[str]) -> None:
    if complaints:
        raise RunError("\n".join(dict.fromkeys(complaints)))


def _member(run: Run) -> Member:
    plain = tomllib.loads(run.read_recipe_text())
    return Member(run, int(plain["train"]["seed"]), plain)


def _title(recipe: Mapping[str, Any]) -> str:
    """The recipe's title, or what it does in a few words."""
    if recipe.get("title"):
        return str(recipe["title"])
    columns = ", ".join(part["column"] for part in recipe["similarity"])
    objectives = ", ".join(dict.fromkeys(names_of(recipe, "objective")))
    return f"{objectives} on {columns} ({recipe['weighting']['name']} weights)"


def _methods(members: Sequence[Member], complaints: list[str]) -> tuple[Method, ...]:
    groups: dict[str, list[Member]] = {}
    for member in members:
        groups.setdefault(_title(member.recipe), []).append(member)
    for title, group in groups.items():
        first = group[0]
        settings = _flat(_filled(first.recipe))
        by_seed = {first.seed: first}
        for member in group[1:]:
            other = _flat(_filled(member.recipe))
            differing = sorted(
                key
                for key in settings.keys() | other.keys()
                if settings.get(key) != other.get(key) and not key.startswith(_FREE)
            )
            if differing:
                complaints.append(
                    f"runs '{first.run.name}' and '{member.run.name}' are both titled '{title}' but differ in "
                    f"{first_few(differing)}, so they are not seeds of one method.\n"
                    f"  Give one of them another title (--set title=...) and train it again."
                )
            elif member.seed in by_seed:
                complaints.append(
                    f"runs '{by_seed[member.seed].run.name}' and '{member.run.name}' of '{title}' both have seed "
                    f"{member.seed}: a repeated seed is no second measurement. Leave one of them out."
                )
            by_seed.setdefault(member.seed, member)
    return tuple(Method(title, tuple(sorted(group, key=lambda member: member.seed))) for title, group in groups.items())


def _filled(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe of an earlier version does not have settings that came later: what it did is their default now."""
    sections = {f.name: asdict(f.default_factory()) for f in fields(Recipe) if f.default_factory is not MISSING}
    defaults = {
        name: {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        for name, values in sections.items()
        if isinstance(values, dict)
    }
    return {**recipe, **{name: {**values, **recipe.get(name, {})} for name, values in defaults.items()}}


def _flat(value: Any, path: str = "") -> dict[str, Any]:
    if isinstance(value, Mapping):
        return {k: v for key, inner in value.items() for k, v in _flat(inner, f"{path}{key}.").items()}
    return {path.rstrip("."): value}


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
    answers: Mapping[Path, Mapping[tuple[str, Measure], _Answer]],
    complaints: list[str],
) -> tuple[Question, ...]:
    by_method = [[answers[member.run.root] for member in method.members] for method in methods]
    keys = list(dict.fromkeys(key for group in by_method for answer in group for key in answer))
    # Linear probes first, then neighbours, each in the order of the probe.
    keys.sort(key=lambda key: MEASURES[key[1]].probe != "linear")
    questions = []
    for column, measure in keys:
        told = [
            (member.run.name, answer[column, measure])
            for method, group in zip(methods, by_method, strict=True)
            for member, answer in zip(method.members, group, strict=True)
            if (column, measure) in answer
        ]
        name, reference = told[0]
        for other, answer in told[1:]:
            if not np.array_equal(reference.rows, answer.rows):
                complaints.append(
                    f"column '{column}' was asked of {counted(len(reference.rows), 'row')} in run '{name}' and of "
                    f"{counted(len(answer.rows), 'row')}, not the same ones, in run '{other}'.\n"
                    "  Probe them with the same [probe] settings (columns, largest, neighbours)."
                )
        if complaints:
            continue
        groups = [[answer[column, measure] for answer in group if (column, measure) in answer] for group in by_method]
        questions.append(
            Question(
                column,
                measure,
                reference.rows,
                tuple(np.stack([a.values for a in group]) if group else None for group in groups),
                tuple(
                    any(a.trained for a in group) if group else column.partition(", level ")[0] in method.columns
                    for method, group in zip(methods, groups, strict=True)
                ),
                reference.baseline,
                reference.classes,
            )
        )
    return tuple(questions)


@dataclass(frozen=True, slots=True)
class _Answer:
    rows: Int[np.ndarray, " rows"]
    values: Float[np.ndarray, " rows"]
    trained: bool
    baseline: float | None
    classes: int


def _answers(run: Run) -> dict[tuple[str, Measure], _Answer]:
    """What one run says, by column and measure, with rows in ascending order."""
    probe, arrays = run.read_probe(), run.read_predictions()
    told: dict[tuple[str, Measure], _Answer] = {}
    try:
        for i, record in enumerate(probe.get("linear", [])):
            rows, asked = arrays[f"linear/{i}/row"], name_of(record)
            if record.get("kind", "class") == "class":
                right = arrays[f"linear/{i}/true"] == arrays[f"linear/{i}/predicted"]
                classes = len(record["classes"])
                told[asked, "accuracy"] = _answer(rows, right, record, record["majority"], classes)
            for measure, baseline in record.get("baseline", {}).items():
                values = arrays[f"linear/{i}/{measure}"]
                told[asked, measure] = _answer(rows, values, record, baseline, len(record.get("classes", ())))
        for i, record in enumerate(probe.get("neighbours", [])):
            rows, asked = arrays[f"neighbours/{i}/row"], name_of(record)
            chances = record.get("baseline") or {
                measure: record.get("chance" if measure == "precision_at_1" else f"{measure}_chance")
                for measure in RETRIEVAL
            }
            for measure, chance in chances.items():
                told[asked, measure] = _answer(rows, arrays[f"neighbours/{i}/{measure}"], record, chance, 0)
    except KeyError as error:
        raise RunError(
            f"run '{run.root}': probe.json and predictions.safetensors do not belong together (no {error}). "
            "Run `mscon probe` again."
        ) from None
    return told


def name_of(record: Mapping[str, Any]) -> str:
    """How a report calls what a record of a probe asked: its column, and of a hierarchy the level."""
    levels = record.get("levels", 1)
    return f"{record['column']}, level {record['level']} of {levels}" if levels > 1 else str(record["column"])


def _answer(
    rows: np.ndarray, values: np.ndarray, record: Mapping[str, Any], baseline: float | None, classes: int
) -> _Answer:
    order = np.argsort(rows, kind="stable")
    rows, values = rows[order].astype(np.int64), values[order].astype(np.float64)
    return _Answer(rows, values, bool(record["trained"]), baseline, classes)
