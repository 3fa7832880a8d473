"""Experiment: what is run, what is read off it, and what the paper found, as a value. Files become runs here.

Experiments lie in `experiments/*.toml`: one file a question, with an entry [[on]] for each source it is asked of.
Methods stand once in `methods.toml`, sources once in `sources.toml`. This module trains nothing and reads no run.
"""

from __future__ import annotations

import copy
import hashlib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import tomli_w

from mscon import recipe as recipes
from mscon.errors import RecipeError, nearest
from mscon.recipe import Recipe

Plain = dict[str, Any]
Paper = Mapping[str, Mapping[str, tuple[float, float]]]

KINDS = ("table", "curve", "transfer", "views", "tuning")
READINGS = ("in_domain", "out_of_domain", "held_out", "weights", "validation")
_PARTS = ("heads", "objective", "weighting")
_PRIVATE = ("methods", "sources")
# What --quick changes: enough to see that all of it works.
_QUICK = {"train": {"epochs": 2}, "probe": {"draws": 100}}


@dataclass(frozen=True, slots=True)
class Method:
    """A method by name: what it changes in a recipe. See methods.toml for its fields."""

    name: str
    title: str
    paper: str
    columns: str
    same_row: bool
    once: bool
    settings: Mapping[str, Any]
    on: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True, slots=True)
class Case:
    """One circumstance in which every method is run.

    Attributes:
        name: what tells it from the others; "" for the only one.
        x: its place on the axis of a curve, if it has one.
        columns: what is there to be trained on.
        kept: the same without the column that the experiment makes noisy.
        derived: [[derived]] of the recipe.
        settings: of the recipe; keys "section.setting", "times.setting" to multiply one of [train], or
            "same_row.setting" of that similarity where a method has it.
    """

    name: str
    x: float | None
    columns: tuple[str, ...]
    kept: tuple[str, ...]
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
        return f"{_slug(self.recipe.title)}-seed{self.recipe.train.seed}-{_hash(self.recipe)}"


@dataclass(frozen=True, slots=True)
class Experiment:
    """See the files in `experiments/` for what its fields say.

    Attributes:
        name: "glyphs/table1".
        source: the data set it is on, and `source_title` in words; `data` says which folder --data wants, "" for none.
        base: the recipe it starts from, as TOML.
        read: groups of READINGS, or "measure:column".
        asked: columns that are probed: those trained on, and those never seen.
        sweep: name of the axis, and "log" or "linear"; None without one.
        claims: pairs of methods, the first said to be better.
        numbers: the paper's on this source, by its row and column: accuracy in % and standard deviation.
        published: the same of every source that its file has numbers of, with the source in words.
        reason: why the paper has no number to set beside ours.
        tuned_as: the source whose settings of the methods (methods.toml, on.SOURCE) are taken; mostly its own.
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
    asked: tuple[str, ...]
    out_of_domain: tuple[str, ...]
    hold_out: bool
    sweep: tuple[str, str] | None
    seeds: int
    claims: tuple[tuple[str, str], ...]
    paper: str
    numbers: Paper
    published: Mapping[str, Paper]
    reason: str
    tuned_as: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    transfer: Mapping[str, Any] = field(default_factory=dict)

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
            quick: one seed and two epochs.
            overrides: of every recipe, such as "encoder.pretrained=false".

        Raises:
            RecipeError: if a method of its file cannot be built, or an override is at fault.
        """
        return [
            PlannedRun(row, case, self._recipe(row, case, seed, quick, overrides))
            for seed in range(1 if quick else seeds or self.seeds)
            for case in self.cases
            for row in self.rows()
            if not (row.method.once and case is not self.cases[0])
            if row.column is None or row.column in case.columns
        ]

    def _recipe(self, row: Row, case: Case, seed: int, quick: bool, overrides: Sequence[str]) -> Recipe:
        plain = tomllib.loads(self.base)
        method = row.method
        columns = {"all": case.columns, "none": (), "kept": case.kept, "each": (row.column,)}[method.columns]
        plain["similarity"] = [_similarity(plain, case, str(c)) for c in columns]
        plain["derived"] = list(case.derived)
        asked = [*self.asked, *(d["column"] for d in case.derived)]
        probe = plain.get("probe", {})
        largest = {k: v for k, v in probe.get("largest", {}).items() if k in asked}
        plain["probe"] = {**probe, "columns": asked, "largest": largest}
        plain["title"] = row.title
        own = method.on.get(self.tuned_as, {})
        for overlay in (self.settings, method.settings, own, _nested(case.settings)):
            _overlay(plain, overlay)
        _multiply(plain)
        if quick:
            _overlay(plain, _QUICK)
        same_row = {"name": "same_row", **plain.pop("same_row", {})}
        if method.same_row:
            plain["similarity"].append(same_row)
        plain["train"] = {**plain.get("train", {}), "seed": seed}
        # Through text: what a file could not say, an experiment may not either.
        return recipes.parse(tomli_w.dumps(plain), overrides, where=f"{self.name}, {row.title}: ")


# Files --------------------------------------------------------------------------------------------


def _folder() -> Traversable:
    return resources.files("mscon").joinpath("experiments")


def _toml(name: str) -> Plain:
    return tomllib.loads(_folder().joinpath(f"{name}.toml").read_text("utf-8"))


def names() -> tuple[str, ...]:
    """All experiments that come with mscon, by source and then by name: "glyphs/table1" and so on."""
    return tuple(sorted(_entries()))


def find(name: str) -> Experiment:
    """An experiment by name.

    Raises:
        RecipeError: if there is none, naming the nearest.
    """
    entries = _entries()
    if name not in entries:
        known = sorted(entries)
        raise RecipeError(
            f"there is no experiment '{name}'.{nearest(name, known)}\n  `mscon reproduce` lists all {len(known)}."
        )
    return _build(name, entries[name])


def _entries() -> dict[str, Plain]:
    """What each experiment says, its [[on]] laid over its file, and that over its source."""
    sources = _toml("sources")
    found: dict[str, Plain] = {}
    files = (f.name.removesuffix(".toml") for f in _folder().iterdir() if f.name.endswith(".toml"))
    for stem in sorted(set(files) - set(_PRIVATE)):
        plain = _toml(stem)
        entries = plain.pop("on")
        plain["published"] = {sources[e["source"]]["title"]: e["numbers"] for e in entries if "numbers" in e}
        for entry in entries:
            source = sources[entry["source"]]
            own = {**source, "source_title": source["title"], **plain, **entry}
            found[f"{entry['source']}/{entry.get('name', stem)}"] = own
    return found


def _build(name: str, plain: Plain) -> Experiment:
    from mscon.listing import recipe_text

    methods = _toml("methods")
    filled = _filled(plain, {key: plain[key] for key in ("noisy", "twice") if key in plain})
    columns, beyond = tuple(filled["columns"]), tuple(filled["out_of_domain"])
    sweep = filled.get("sweep")
    return Experiment(
        name=name,
        title=filled["title"],
        about=" ".join(filled["about"].split()),
        kind=filled["kind"],
        source=filled["source"],
        source_title=filled["source_title"],
        data=filled["data"],
        base=recipe_text(filled["recipe"]),
        methods=tuple(_method(key, methods[key]) for key in filled["methods"]),
        cases=_cases(filled, columns),
        read=tuple(filled["read"]),
        asked=tuple(dict.fromkeys([*columns, *beyond])),
        out_of_domain=beyond,
        hold_out=filled.get("hold_out", False),
        sweep=(sweep["name"], sweep.get("axis", "linear")) if sweep else None,
        seeds=filled.get("seeds", 3),
        claims=tuple((a, b) for a, b in filled.get("claims", [])),
        paper=filled["paper"],
        numbers=_paper(filled.get("numbers", {})),
        published={source: _paper(numbers) for source, numbers in filled["published"].items()},
        reason=filled.get("reason", ""),
        tuned_as=filled.get("tuned_as", filled["source"]),
        settings=filled.get("settings", {}),
        transfer=filled.get("transfer", {}),
    )


def _paper(plain: Mapping[str, Mapping[str, Sequence[float]]]) -> Paper:
    return {row: {column: (told[0], told[1]) for column, told in cells.items()} for row, cells in plain.items()}


def _filled(value: Any, words: Mapping[str, str]) -> Any:
    """The same with "{noisy}" and "{twice}" replaced; other braces are left for whoever reads them."""
    if isinstance(value, str):
        return re.sub(r"\{(noisy|twice)\}", lambda match: words.get(match[1], match[0]), value)
    if isinstance(value, dict):
        return {key: _filled(inner, words) for key, inner in value.items()}
    return [_filled(inner, words) for inner in value] if isinstance(value, list) else value


def _method(name: str, plain: Plain) -> Method:
    known = {"title", "paper", "columns", "same_row", "once", "on"}
    return Method(
        name,
        plain["title"],
        plain.get("paper", ""),
        plain.get("columns", "all"),
        plain.get("same_row", False),
        plain.get("once", False),
        {key: value for key, value in plain.items() if key not in known},
        plain.get("on", {}),
    )


def _cases(plain: Plain, columns: tuple[str, ...]) -> tuple[Case, ...]:
    kept, derived = columns, list(plain.get("derived", []))
    if noisy := plain.get("noisy"):
        kept = tuple(c for c in columns if c != noisy)
        columns = tuple(f"{c}_noisy" if c == noisy else c for c in columns)
        derived.append({"column": f"{noisy}_noisy", "of": noisy})
    one = Case("", None, columns, kept, tuple(derived), {})
    if plain.get("hold_out"):
        return tuple(replace(one, name=c, columns=tuple(o for o in columns if o != c), kept=()) for c in columns)
    if sweep := plain.get("sweep"):
        steps = zip(*sweep["set"].values(), strict=True)
        return tuple(_swept(one, dict(zip(sweep["set"], step, strict=True))) for step in steps)
    if given := plain.get("case"):
        return tuple(
            replace(
                one,
                name=case["name"],
                columns=(*columns, *case.get("add", [])),
                derived=(*derived, *case.get("derived", [])),
                settings=case.get("settings", {}),
            )
            for case in given
        )
    return (one,)


def _swept(one: Case, step: Plain) -> Case:
    """The case at one point of the axis, which is the first of what is set there."""
    x = float(next(iter(step.values())))
    own = {key.partition(".")[2]: value for key, value in step.items() if key.startswith("derived.")}
    rest = {key: value for key, value in step.items() if not key.startswith("derived.")}
    return replace(one, name=f"{x:g}", x=x, derived=tuple({**d, **own} for d in one.derived), settings=rest)


# Recipes ------------------------------------------------------------------------------------------


def _similarity(plain: Plain, case: Case, column: str) -> Plain:
    """What the source's recipe says of a column; of a derived one, what it says of the column it is made from."""
    made_from = {d["column"]: d["of"] for d in case.derived}
    known = {s["column"]: s for s in plain["similarity"] if "column" in s}
    return {**copy.deepcopy(known.get(made_from.get(column, column), {})), "column": column}


def _nested(flat: Mapping[str, Any]) -> Plain:
    made: Plain = {}
    for key, value in flat.items():
        section, _, name = key.partition(".")
        made.setdefault(section, {})[name] = value
    return made


def _overlay(plain: Plain, over: Mapping[str, Any]) -> None:
    """Lay settings over a recipe, section by section. A part that is named anew keeps none of the old settings."""
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


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def _hash(recipe: Recipe) -> str:
    """Of what differs from the defaults, so that a new setting, which changes nothing, does not rename old runs."""
    own, usual = (
        tomllib.loads(r.to_toml()) for r in (recipe, recipes.parse('[[similarity]]\ncolumn = "any"', where=""))
    )
    for section, values in usual.items():
        if isinstance(values, dict):
            told = {k: v for k, v in own.pop(section, {}).items() if k not in values or values[k] != v}
            own |= {section: told} if told else {}
    return hashlib.sha256(tomli_w.dumps(dict(sorted(own.items()))).encode("utf-8")).hexdigest()[:8]


def size(planned: Sequence[PlannedRun]) -> tuple[int, int]:
    """How many runs, and how many epochs all of them have together."""
    different = {run.name: run for run in planned}
    return len(different), sum(run.recipe.train.epochs for run in different.values())
