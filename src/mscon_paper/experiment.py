"""Experiment: which runs it needs, which numbers are read from them, and the numbers of the paper.

This module trains nothing and reads neither files nor runs: see `files`.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mscon.comparison.planned import run_name, seed_count
from mscon.run import recipe as recipes
from mscon.run.recipe import Recipe

Plain = dict[str, Any]
Paper = Mapping[str, Mapping[str, tuple[float, float]]]

KINDS = ("table", "curve", "transfer", "views", "tuning")
READINGS = ("in_domain", "out_of_domain", "held_out", "weights", "validation")
_PARTS = ("heads", "objective", "weighting")
# What --quick changes: enough to see that all of it works.
_QUICK = {"train": {"epochs": 2}, "probe": {"draws": 100}}


@dataclass(frozen=True, slots=True)
class Method:
    """A method by name: what it changes in a recipe. See methods.toml for its fields."""

    name: str
    title: str
    settings: Mapping[str, Any]
    paper: str = ""
    columns: str = "all"
    same_row: bool = False
    once: bool = False
    on: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Case:
    """One circumstance in which every method is run.

    Attributes:
        name: what tells it from the others; "" for the only one.
        x: its place on the axis of a curve, if it has one.
        columns: what is there to be trained on.
        untouched: the same without the column that the experiment makes noisy.
        derived: [[derived]] of the recipe.
        settings: of the recipe; keys "section.setting", "times.setting" to multiply one of [train], or
            "same_row.setting" of that similarity where a method has it.
    """

    name: str
    x: float | None
    columns: tuple[str, ...]
    untouched: tuple[str, ...]
    derived: tuple[Plain, ...]
    settings: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the result: a method, with the column it is on if it takes them one by one."""

    method: Method
    column: str | None

    @property
    def title(self) -> str:
        return self.method.title.format(column=_words(self.column or ""))

    @property
    def paper(self) -> str:
        """Its row in the paper's tables, or ""."""
        return self.method.paper.format(column=_words(self.column or ""))


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A run to be: which row and case it is for, and its recipe. Two experiments may want the same run."""

    row: Row
    case: Case
    recipe: Recipe

    @property
    def name(self) -> str:
        """Of its directory: the method, the seed, and a hash of all else."""
        return run_name(self.recipe)


@dataclass(frozen=True, slots=True)
class Experiment:
    """An experiment as it is written in a file of `experiments/`.

    Attributes:
        name: "glyphs/table1".
        source: the data set it is on, and `source_title` in words; `data` says which folder --data wants, "" for none.
        base: the recipe it starts from, as TOML.
        read: groups of READINGS, or "measure:column".
        probed: columns that are probed: those trained on, and those never seen.
        sweep: name of the axis, and "log" or "linear"; None without one.
        usual: the case that each other is set against, method by method; "" for none.
        claims: pairs of methods, the first said to be better.
        numbers: the paper's on this source, by its row and column: accuracy in % and standard deviation.
        published: the same of every source that its file has numbers of, with the source in words.
        reason: why the paper has no number to set beside ours.
        tuned_as: the source whose settings of the methods (methods.toml, on.SOURCE) are taken; "" for its own.
    """

    name: str
    title: str
    about: str
    kind: str
    source: str
    source_title: str
    data: str
    base: str
    methods: tuple[Method, ...]
    cases: tuple[Case, ...]
    read: tuple[str, ...]
    probed: tuple[str, ...]
    out_of_domain: tuple[str, ...]
    sweep: tuple[str, str] | None
    usual: str
    claims: tuple[tuple[str, str], ...]
    paper: str
    numbers: Paper
    published: Mapping[str, Paper]
    reason: str = ""
    hold_out: bool = False
    seeds: int = 3
    tuned_as: str = ""
    settings: Mapping[str, Any] = field(default_factory=dict)
    transfer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def axis(self) -> tuple[str, str] | None:
        """Name and scale ("log", "linear") of what was varied; None for a table."""
        return ("labelled rows a class", "log") if self.kind == "transfer" else self.sweep

    @property
    def axis_name(self) -> str:
        """The heading of a column of cases."""
        return self.axis[0] if self.axis else "case"

    def beside(self, title: str, column: str) -> tuple[float, float] | None:
        """The paper's number for a row of ours, in %, and its standard deviation."""
        return self.numbers.get(self.paper_rows.get(title, ""), {}).get(column)

    @property
    def paper_rows(self) -> Mapping[str, str]:
        """Title of a row of ours -> the paper's row."""
        return {row.title: row.paper for row in self.rows() if row.paper}

    def rows(self) -> Iterator[Row]:
        """Rows of the result, in the order of the file."""
        for method in self.methods:
            if method.columns == "each":
                yield from (Row(method, column) for column in dict.fromkeys(c for k in self.cases for c in k.columns))
            else:
                yield Row(method, None)

    def plan(self, seeds: int | None = None, quick: bool = False, overrides: Sequence[str] = ()) -> list[PlannedRun]:
        """Every run it needs, seed by seed, so that one that was stopped is still a comparison.

        Args:
            seeds: seeds 0, 1, ... of each; by default as many as its file says.
            quick: one seed and two epochs. Not together with `seeds`.
            overrides: of every recipe, such as "encoder.pretrained=false".

        Raises:
            RecipeError: if a method of its file cannot be built, an override is at fault, or `quick` comes with
                `seeds`.
            ValueError: if `seeds` is below 1.
        """
        base = tomllib.loads(self.base)
        return [
            PlannedRun(row, case, self._recipe(copy.deepcopy(base), row, case, seed, quick, overrides))
            for seed in range(seed_count(seeds, quick, self.seeds))
            for case in self.cases
            for row in self.rows()
            if not (row.method.once and case is not self.cases[0])
            if row.column is None or row.column in case.columns
        ]

    def _recipe(self, plain: Plain, row: Row, case: Case, seed: int, quick: bool, overrides: Sequence[str]) -> Recipe:
        method = row.method
        columns = {"all": case.columns, "none": (), "kept": case.untouched, "each": (row.column,)}[method.columns]
        plain["similarity"] = [_similarity(plain, case, str(c)) for c in columns]
        plain["derived"] = list(case.derived)
        probed = [*self.probed, *(d["column"] for d in case.derived)]
        probe = plain.get("probe", {})
        largest = {k: v for k, v in probe.get("largest", {}).items() if k in probed}
        plain["probe"] = {**probe, "columns": probed, "largest": largest}
        plain["title"] = row.title
        tuned = method.on.get(self.tuned_as or self.source, {})
        for overlay in (self.settings, method.settings, tuned, _nested(case.settings)):
            _overlay(plain, overlay)
        _multiply(plain)
        if quick:
            _overlay(plain, _QUICK)
        same_row = {"name": "same_row", **plain.pop("same_row", {})}
        if method.same_row:
            plain["similarity"].append(same_row)
        plain["train"] = {**plain.get("train", {}), "seed": seed}
        return recipes.of_plain(plain, overrides, where=f"{self.name}, {row.title}: ")


def _similarity(plain: Plain, case: Case, column: str) -> Plain:
    """The similarity that the source's recipe has for a column, or for the column that a derived one is made from."""
    made_from = {d["column"]: d["of"] for d in case.derived}
    known = {s["column"]: s for s in plain["similarity"] if "column" in s}
    return {"name": "categorical", **copy.deepcopy(known.get(made_from.get(column, column), {})), "column": column}


def _nested(flat: Mapping[str, Any]) -> Plain:
    sections: Plain = {}
    for key, value in flat.items():
        section, _, name = key.partition(".")
        sections.setdefault(section, {})[name] = value
    return sections


def _overlay(plain: Plain, over: Mapping[str, Any]) -> None:
    """Lay settings over a recipe, section by section. A part with a new name starts without settings."""
    for section, value in over.items():
        if isinstance(value, dict) and not (section in _PARTS and "name" in value):
            plain[section] = {**plain.get(section, {}), **value}
        else:
            plain[section] = copy.deepcopy(value)


def _multiply(plain: Plain) -> None:
    """Settings under "times" multiplied into [train]."""
    for key, factor in plain.pop("times", {}).items():
        default = getattr(recipes.Train(), key)
        value = plain["train"].get(key, default) * factor
        plain["train"][key] = round(value) if isinstance(default, int) else value


def _words(column: str) -> str:
    return column.replace("_", " ")


def size(planned: Sequence[PlannedRun]) -> tuple[int, int]:
    """How many runs, and how many epochs all of them have together."""
    different = {run.name: run for run in planned}
    return len(different), sum(run.recipe.train.epochs for run in different.values())
