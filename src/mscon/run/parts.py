"""Parts of a recipe that are found by name, with their settings: similarities, objective, heads, weighting."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Annotated, Any, Literal, TypeVar

from msgspec import Meta

from mscon.errors import RecipeError
from mscon.method import catalogue
from mscon.run.ranges import Importance, Seed, Share
from mscon.run.schema import Views
from mscon.run.validate import Parameters, checked, collect, convert, filled, parameters_of

AUTO = "auto"
"""The kind of a similarity that names none: it is inferred from the cells when the table is read."""

SAME_ROW, TEACHER = "same_row", "teacher"
"""Similarities that read no cells of the table. Their column is only a name, by default the name of the kind."""

OWN_PARTS: tuple[Literal["objective"], Literal["heads"]] = ("objective", "heads")
"""Parts that a similarity may have for itself, in place of those of the recipe."""

# Parameters of a part that mscon fills in when it builds it, so that no recipe may set them.
_FILLED_IN = {
    "similarity": ("column", "cells", "lines"),
    "objective": (),
    "weighting": ("similarities",),
    "heads": ("similarities", "input_dim"),
}


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the catalogue by name, with its settings."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_toml(self) -> dict[str, Any]:
        return {"name": self.name, **{k: v for k, v in self.settings.items() if v is not None}}


DEFAULTS: Mapping[str, Part] = {"heads": Part("mlp"), "objective": Part("supcon"), "weighting": Part("equal")}
"""The parts of a recipe that does not name them."""


@dataclass(frozen=True, slots=True)
class SimilarityPart:
    """A similarity by name, the column it reads, and its settings. `same_row` and `teacher` read no cells.

    Attributes:
        name: of its kind; `AUTO` until the table is read, see `mscon.data.table.infer_kind`.
        importance: multiplies the weight that the weighting gives it; from 0 to 1,000,000.
        objective, heads, views: its own; None for those of the recipe.
    """

    column: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    importance: float = 1.0
    objective: Part | None = None
    heads: Part | None = None
    views: Views | None = None

    @property
    def reads(self) -> tuple[str, ...]:
        """The columns of the table that it reads: its own, behind those that its setting `under` names."""
        return () if self.name in (SAME_ROW, TEACHER) else (*self.settings.get("under", ()), self.column)

    def to_toml(self) -> dict[str, Any]:
        settings = {k: v for k, v in self.settings.items() if v is not None}
        parts: dict[str, Any] = {k: part.to_toml() for k in OWN_PARTS if (part := getattr(self, k)) is not None}
        if self.views is not None:
            parts["views"] = dataclasses.asdict(self.views)
        return {"column": self.column, "name": self.name, "importance": self.importance, **settings, **parts}


@dataclass(frozen=True, slots=True)
class Derived:
    """A label column computed from another one, for this run only; the table is not changed.

    Attributes:
        column: name of the new column, which no column of the table may have.
        of: the column it is computed from: a column of the table, or one derived before.
        redraw: share of its labels that are drawn anew, uniformly over all classes of the training rows, so some may
            stay as they were. 0 is a copy. The rows redrawn for a share are among those of any larger share.
        rows: which labels are redrawn: of the "train" rows, or of "all".
        seed: of the draw. It is not train.seed, so that runs of several seeds see the same labels.
    """

    column: Annotated[str, Meta(min_length=1, description="the name of a column")]
    of: Annotated[str, Meta(min_length=1, description="the name of a column")]
    redraw: Share = 0.0
    rows: Literal["train", "all"] = "train"
    seed: Seed = 0


T = TypeVar("T", SimilarityPart, Derived)


def settings_of(kind: str, part: type[Any]) -> Parameters:
    """What a recipe may set of a part: the parameters of its `fit`, or else of its constructor.

    Args:
        kind: "similarity", "objective", "weighting" or "heads".
        part: a class of the catalogue.
    """
    return parameters_of(part.fit if hasattr(part, "fit") else part.__init__, _FILLED_IN[kind])


def section_of(kind: type[Any], values: Mapping[str, Any], name: str) -> Any:
    """A section that is plain values, such as `schema.Train`.

    Raises:
        RecipeError: for all that is wrong in it.
    """
    try:
        return kind(**checked(parameters_of(kind.__init__), values, name))
    except ValueError as error:  # values that do not fit one another
        raise RecipeError(f"[{name}] {error}") from None


def part_of(kind: str, section: Mapping[str, Any]) -> Part:
    """An objective, heads or weighting, with every default filled in.

    Raises:
        RecipeError: for an unknown name, or settings that it does not have.
    """
    name = _name_in(section, kind, DEFAULTS[kind].name)
    settings = {key: value for key, value in section.items() if key != "name"}
    return Part(name, filled(settings_of(kind, catalogue.find(kind, name)), settings, kind))


def similarity_part(
    column: str, name: str, settings: Mapping[str, Any] | None = None, importance: float = 1.0
) -> SimilarityPart:
    """A similarity with every default filled in.

    Raises:
        RecipeError: for an unknown kind, or a setting that it does not have.
    """
    return SimilarityPart(column, name, _settings_of_kind(name, settings or {}), importance)


def probe_part(column: str, kind: str | Mapping[str, Any]) -> SimilarityPart:
    """What [probe] kinds says of a column, as a similarity: a name, or a table of name and settings.

    Raises:
        RecipeError: for an unknown kind or setting.
    """
    settings = {"name": kind} if isinstance(kind, str) else dict(kind)
    return similarity_part(column, str(settings.pop("name", "categorical")), settings)


def similarities_of(entries: Any, defaults: Mapping[str, Any]) -> tuple[SimilarityPart, ...]:
    """The entries [[similarity]] of a recipe.

    Args:
        entries: as plain values.
        defaults: objective, heads and views of the recipe.

    Raises:
        RecipeError: for all that is wrong in them.
    """
    if not isinstance(entries, list) or not entries or not all(isinstance(entry, dict) for entry in entries):
        raise RecipeError(
            "a recipe needs at least one [[similarity]], for example\n"
            '  [[similarity]]\n  column = "category"\n  name   = "categorical"'
        )
    parts = tuple(_each(entries, partial(_similarity, defaults=defaults), "[[similarity]]"))
    if not any(part.importance for part in parts):
        raise RecipeError("every similarity has importance 0, so there is nothing to learn.")
    return parts


def _similarity(entry: Mapping[str, Any], defaults: Mapping[str, Any]) -> SimilarityPart:
    name = _name_in(entry, "similarity", default=AUTO)
    column = entry.get("column", name if name in (SAME_ROW, TEACHER) else None)
    if not isinstance(column, str) or not column:
        raise RecipeError("[[similarity]] needs a column: the name of a label column of the table.")
    named = ("name", "column", "importance", "temperature", "views", *OWN_PARTS)
    attempts: dict[str, Callable[[], Any]] = {
        "importance": lambda: convert(entry.get("importance", 1.0), Importance, "importance"),
        **{kind: partial(_own_part, kind, entry, defaults[kind]) for kind in OWN_PARTS},
        "views": lambda: _own_views(entry.get("views", {}), defaults["views"]),
        "settings": lambda: _settings_of_kind(name, {k: v for k, v in entry.items() if k not in named}),
    }
    return SimilarityPart(column, name, **collect(attempts, f"[[similarity]] '{column}': "))


def _own_part(kind: Literal["objective", "heads"], entry: Mapping[str, Any], default: Part) -> Part | None:
    """Objective or heads of one similarity; None for those of the recipe."""
    section = entry.get(kind, {})
    section = {"name": section} if isinstance(section, str) else section
    if not isinstance(section, dict):
        raise RecipeError(f'{kind} must be a name, or a table such as {{ name = "{default.name}" }}, got {section!r}.')
    if kind == "objective" and "temperature" in entry:
        if "temperature" in section:
            raise RecipeError("temperature is set twice, by itself and in objective. Remove one of them.")
        section = {**section, "temperature": entry["temperature"]}
    # A part of the same name starts from the recipe's settings; one of another name from its own defaults.
    inherited = default.settings if section.get("name", default.name) == default.name else {}
    inherited = {key: value for key, value in inherited.items() if value is not None}
    part = part_of(kind, {"name": default.name, **inherited, **section}) if section else default
    return None if part == default else part


def _own_views(section: Any, default: Views) -> Views | None:
    if not isinstance(section, dict):
        raise RecipeError(f"views must be a table such as {{ hue = 0.0 }}, got {section!r}.")
    values = {**dataclasses.asdict(default), "count": 1, **section}
    return section_of(Views, values, "views") if section else None


def _settings_of_kind(name: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    if name == AUTO:
        if settings:
            raise RecipeError(
                f"setting '{next(iter(settings))}' needs a kind, which is inferred where name is '{AUTO}' or absent. "
                'Name the kind that this is a setting of, such as name = "continuous".'
            )
        return {}
    return filled(settings_of("similarity", catalogue.find("similarity", name)), settings, "similarity")


def derived_of(entries: Any) -> tuple[Derived, ...]:
    """The entries [[derived]] of a recipe.

    Raises:
        RecipeError: for all that is wrong in them.
    """
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise RecipeError(
            "derived columns are a list, for example\n"
            '  [[derived]]\n  column = "category_noisy"\n  of     = "category"\n  redraw = 0.5'
        )
    return tuple(_each(entries, partial(section_of, Derived, name="[derived]"), "[[derived]]"))


def _each(entries: Sequence[Any], build: Callable[[Any], T], name: str) -> list[T]:
    """What is built of each entry; of these no two have one column."""
    parts = list(collect({str(i): partial(build, entry) for i, entry in enumerate(entries)}).values())
    columns = [part.column for part in parts]
    if repeated := sorted({column for column in columns if columns.count(column) > 1}):
        raise RecipeError(f"column '{repeated[0]}' is in two {name} entries. Each needs a column of its own.")
    return parts


def _name_in(section: Mapping[str, Any], kind: str, default: str) -> str:
    name = section.get("name", default)
    if not isinstance(name, str):
        raise RecipeError(f"[{kind}] name must be text. Known: {', '.join(catalogue.names(kind))}.")
    return name
