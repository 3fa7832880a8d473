"""Recipe: a value that holds all a run depends on, except the table. TOML -> value -> TOML."""

from __future__ import annotations

import copy
import dataclasses
import tomllib
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomli_w

from mscon.errors import RecipeError, nearest
from mscon.method import catalogue
from mscon.run import validate
from mscon.run.schema import Candidates as Candidates
from mscon.run.schema import Data as Data
from mscon.run.schema import Derived as Derived
from mscon.run.schema import Encoder as Encoder
from mscon.run.schema import Log as Log
from mscon.run.schema import Probe as Probe
from mscon.run.schema import Sampler as Sampler
from mscon.run.schema import Train as Train
from mscon.run.schema import Triplets as Triplets
from mscon.run.schema import Views as Views
from mscon.run.schema import in_range

VERSION = 1

AUTO = "auto"
"""In place of the name of a similarity: the kind is inferred from the cells when the table is read."""


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the catalogue by name, with its settings."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_toml(self) -> dict[str, Any]:
        return {"name": self.name, **{k: v for k, v in self.settings.items() if v is not None}}


@dataclass(frozen=True, slots=True)
class SimilarityPart:
    """A similarity by name, the column it reads, and its settings. `same_row` reads none.

    Attributes:
        name: of its kind; `AUTO` until the table is read, see `mscon.data.table.infer_kind`.
        importance: multiplies the weight that the weighting gives it, >= 0.
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
        return () if self.name == "same_row" else (*self.settings.get("under", ()), self.column)

    def to_toml(self) -> dict[str, Any]:
        own = {k: v for k, v in self.settings.items() if v is not None}
        parts: dict[str, Any] = {k: part.to_toml() for k in OWN_PARTS if (part := getattr(self, k)) is not None}
        if self.views is not None:
            parts["views"] = dataclasses.asdict(self.views)
        return {"column": self.column, "name": self.name, "importance": self.importance, **own, **parts}


@dataclass(frozen=True, slots=True)
class Recipe:
    """All a run depends on, except the table. Every default is filled in."""

    similarities: tuple[SimilarityPart, ...]
    title: str = ""
    derived: tuple[Derived, ...] = ()
    data: Data = field(default_factory=Data)
    views: Views = field(default_factory=Views)
    encoder: Encoder = field(default_factory=Encoder)
    heads: Part = Part("mlp")
    objective: Part = Part("supcon")
    weighting: Part = Part("uncertainty")
    sampler: Sampler = field(default_factory=Sampler)
    triplets: Triplets = field(default_factory=Triplets)
    candidates: Candidates = field(default_factory=Candidates)
    train: Train = field(default_factory=Train)
    log: Log = field(default_factory=Log)
    probe: Probe = field(default_factory=Probe)

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the similarities, in the order of the heads."""
        return tuple(s.column for s in self.similarities)

    @property
    def drawn_views(self) -> tuple[Views, ...]:
        """How each view of a row in a batch is drawn: as [views] say, then as own ones of similarities do."""
        return tuple(views for views in self._kinds_of_views for _ in range(views.count))

    @property
    def compared_views(self) -> tuple[tuple[int, ...] | None, ...]:
        """Of each similarity the numbers of the views that it compares; None where all are drawn alike."""
        if len(self._kinds_of_views) == 1:
            return (None,) * len(self.similarities)
        drawn = self.drawn_views
        own = [part.views or self.views for part in self.similarities]
        return tuple(tuple(n for n, views in enumerate(drawn) if views == kind) for kind in own)

    @property
    def _kinds_of_views(self) -> tuple[Views, ...]:
        kinds = dict.fromkeys(part.views or self.views for part in self.similarities)
        return tuple(sorted(kinds, key=lambda kind: kind != self.views))  # those of [views] first

    def grouped(self, kind: Literal["objective", "heads"]) -> list[tuple[Part, tuple[int, ...]]]:
        """The different parts of a kind, and the numbers of the similarities that each serves."""
        groups: list[tuple[Part, list[int]]] = []
        for number, similarity in enumerate(self.similarities):
            part: Part = getattr(similarity, kind) or getattr(self, kind)
            own = next((numbers for other, numbers in groups if other == part), None)
            if own is None:
                groups.append((part, own := []))
            own.append(number)
        return [(part, tuple(numbers)) for part, numbers in groups]

    def to_toml(self) -> str:
        """The resolved recipe; `parse` of it gives this value back."""
        return tomli_w.dumps(self.to_plain())

    def to_plain(self) -> dict[str, Any]:
        """The same as plain values; `of_plain` of them gives this value back."""
        sections = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain: dict[str, Any] = {"version": VERSION, "title": sections.pop("title")}
        plain["similarity"] = [s.to_toml() for s in sections.pop("similarities")]
        if derived := sections.pop("derived"):
            plain["derived"] = [dataclasses.asdict(d) for d in derived]
        for name, value in sections.items():
            plain[name] = value.to_toml() if isinstance(value, Part) else dataclasses.asdict(value)
        return plain


# Parameters that mscon fills in itself when it builds a part.
GIVEN_BY_MSCON = {
    "similarity": ("column", "cells", "lines"),
    "objective": (),
    "weighting": ("similarities",),
    "heads": ("similarities", "input_dim"),
}
_VALUES = {
    "data": Data,
    "encoder": Encoder,
    "views": Views,
    "sampler": Sampler,
    "triplets": Triplets,
    "candidates": Candidates,
    "train": Train,
    "log": Log,
    "probe": Probe,
}
_PARTS = ("heads", "objective", "weighting")
OWN_PARTS: tuple[Literal["objective"], Literal["heads"]] = ("objective", "heads")
"""Parts that a similarity may have of its own."""


def read(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a TOML recipe, with overrides like "train.epochs=12" applied.

    Raises:
        RecipeError: for a missing file, TOML at fault, an unknown or ill-typed key, a value out of range.
    """
    try:
        text = Path(path).read_text("utf-8")
    except FileNotFoundError:
        raise RecipeError(
            f"recipe '{path}' does not exist. `mscon list recipes` names those that come with mscon."
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        raise RecipeError(f"recipe '{path}' cannot be read: {error}") from None
    return parse(text, overrides, where=f"{path}: ")


def parse(text: str, overrides: Sequence[str] = (), where: str = "") -> Recipe:
    """The same from text. `where` begins every message."""
    try:
        plain = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(f"{where}not valid TOML: {error}") from None
    return of_plain(plain, overrides, where)


def of_columns(columns: Sequence[str], overrides: Sequence[str] = ()) -> Recipe:
    """The recipe that learns these label columns, their kinds inferred from the cells, all else by default.

    Args:
        columns: of the table; "same_row" for views of one row.
        overrides: as of `read`: "train.epochs=12".

    Raises:
        RecipeError: for no column, a column that stands twice, or an override at fault.
        ValueError: if columns are no list of names.
    """
    if isinstance(columns, str) or not all(isinstance(column, str) for column in columns):
        raise ValueError(f"columns must be a list of names of label columns, got {columns!r}.")
    similarities = [{"name": c} if c == "same_row" else {"column": c, "name": AUTO} for c in columns]
    return of_plain({"similarity": similarities}, overrides)


def of_plain(plain: Mapping[str, Any], overrides: Sequence[str] = (), where: str = "") -> Recipe:
    """The same from plain values, as TOML or JSON has them."""
    values = copy.deepcopy(dict(plain))
    for override in overrides:
        _override(values, override, where)
    return _build(values, where)


def _override(plain: dict[str, Any], override: str, where: str) -> None:
    key, parsed = validate.assignment(override)
    *path, last = key.split(".")
    place = plain
    for step in path:
        place = place.setdefault(step, {})
        if not isinstance(place, dict):
            raise RecipeError(f"{where}--set {override}: '{step}' is not a section.")
    # A part named anew does not inherit the settings of the part it replaces.
    if last == "name" and path and path[0] in _PARTS and place.get("name") != parsed:
        place.clear()
    place[last] = parsed


def _build(plain: dict[str, Any], where: str) -> Recipe:
    known = {"version", "title", "similarity", "derived", *_VALUES, *_PARTS}
    for key in plain:
        if key not in known:
            raise RecipeError(
                f"{where}there is no section '{key}'.{nearest(key, known)}\n  Sections: {', '.join(sorted(known))}."
            )
    if plain.get("version", VERSION) != VERSION:
        raise RecipeError(f"{where}version is {plain['version']!r}, but this mscon reads version {VERSION}.")
    title = plain.get("title", "")
    if not isinstance(title, str):
        raise RecipeError(f"{where}title must be text, got {title!r}.")
    values: dict[str, Any] = {
        **plain_sections(plain, where),
        **{name: _part(name, _section(plain, name, where), where) for name in _PARTS},
    }
    derived = _derived(plain.get("derived", []), where)
    similarities = _similarities(plain.get("similarity"), values, where)
    return Recipe(title=title, similarities=similarities, derived=derived, **values)


def plain_sections(plain: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """The sections of a recipe that are values: {"data": Data, "encoder": Encoder, ...}. Nothing is imported for it.

    Args:
        plain: the recipe as plain values.
        where: begins every message.

    Raises:
        RecipeError: for an unknown or ill-typed key, or a value out of range, in one of them.
    """
    return {name: _value(kind, _section(plain, name, where), name, where) for name, kind in _VALUES.items()}


def data_of(plain: Mapping[str, Any]) -> Data:
    """[data] of a recipe that an earlier or a later mscon may have written: what is not known is left out."""
    known = {f.name for f in dataclasses.fields(Data)}
    section = plain.get("data", {})
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in section.items() if k in known}
    return Data(**given)


def names_of(plain: Mapping[str, Any], kind: Literal["objective", "heads"]) -> list[str]:
    """Of each similarity of a recipe, as plain values, the name of its objective or heads; "" where nobody says it."""
    default = plain.get(kind, {}).get("name", "")
    own = [part.get(kind, {}) for part in plain["similarity"]]
    return [given if isinstance(given, str) else str(given.get("name", default)) for given in own]


def _default_part(name: str) -> str:
    default = next(f for f in dataclasses.fields(Recipe) if f.name == name).default
    assert isinstance(default, Part)
    return default.name


def _section(plain: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    section = plain.get(name, {})
    if not isinstance(section, dict):
        raise RecipeError(f"{where}[{name}] must be a section, got {section!r}.")
    return section


def _similarities(given: Any, defaults: Mapping[str, Any], where: str) -> tuple[SimilarityPart, ...]:
    if not isinstance(given, list) or not given or not all(isinstance(g, dict) for g in given):
        raise RecipeError(
            f"{where}a recipe needs at least one [[similarity]], for example\n"
            '  [[similarity]]\n  column = "category"\n  name   = "categorical"'
        )
    parts = []
    for entry in given:
        name = _named(entry, "similarity", where, default="categorical")
        column = entry.get("column", name if name == "same_row" else None)
        if not isinstance(column, str) or not column:
            raise RecipeError(f"{where}[[similarity]] needs a column: the name of a label column of the table.")
        importance = validate.typed(entry.get("importance", 1.0), float, f"{where}[[similarity]] '{column}' importance")
        if not 0 <= importance < float("inf"):
            raise RecipeError(f"{where}[[similarity]] '{column}' importance must be 0 or above, got {importance}.")
        own = _own(entry, defaults, f"{where}[[similarity]] '{column}': ")
        rest = {k: v for k, v in entry.items() if k not in ("name", "column", "importance", "temperature", *own)}
        parts.append(SimilarityPart(column, name, _settings_of_kind(name, column, rest, where), importance, **own))
    if not any(p.importance for p in parts):
        raise RecipeError(f"{where}every similarity has importance 0, so there is nothing to learn.")
    columns = [p.column for p in parts]
    if twice := sorted({c for c in columns if columns.count(c) > 1}):
        raise RecipeError(f"{where}column '{twice[0]}' stands in two similarities. Each needs a column of its own.")
    return tuple(parts)


def _own(entry: Mapping[str, Any], defaults: Mapping[str, Any], where: str) -> dict[str, Any]:
    """Objective, heads and views of a similarity, None where they are those of the recipe."""
    own: dict[str, Any] = {}
    for kind in OWN_PARTS:
        given = entry.get(kind, {})
        given = {"name": given} if isinstance(given, str) else given
        if not isinstance(given, dict):
            raise RecipeError(
                f'{where}{kind} must be a name, or a table such as {{ name = "{defaults[kind].name}" }}, got {given!r}.'
            )
        if kind == "objective" and "temperature" in entry:
            if "temperature" in given:
                raise RecipeError(f"{where}temperature stands there twice, by itself and in objective. Take one out.")
            given = {**given, "temperature": entry["temperature"]}
        default: Part = defaults[kind]
        # A part of the same name goes by the recipe's settings; one of another name by its own defaults.
        inherited = default.settings if given.get("name", default.name) == default.name else {}
        inherited = {key: value for key, value in inherited.items() if value is not None}
        part = _part(kind, {"name": default.name, **inherited, **given}, where) if given else default
        own[kind] = None if part == default else part
    views = entry.get("views", {})
    if not isinstance(views, dict):
        raise RecipeError(f"{where}views must be a table such as {{ hue = 0.0 }}, got {views!r}.")
    given = {**dataclasses.asdict(defaults["views"]), "count": 1, **views}
    own["views"] = _value(Views, given, "views", where) if views else None
    return own


def similarity_part(
    column: str, name: str, given: Mapping[str, Any] | None = None, importance: float = 1.0
) -> SimilarityPart:
    """A similarity with every default filled in.

    Raises:
        RecipeError: for an unknown kind, or a setting that it does not have.
    """
    return SimilarityPart(column, name, _settings_of_kind(name, column, dict(given or {}), ""), importance)


def probe_part(column: str, kind: str | Mapping[str, Any]) -> SimilarityPart:
    """What [probe] kinds says of a column, as a similarity: a name, or a table of name and settings.

    Raises:
        RecipeError: for an unknown kind or setting.
    """
    given = {"name": kind} if isinstance(kind, str) else dict(kind)
    return similarity_part(column, str(given.pop("name", "categorical")), given)


def _settings_of_kind(name: str, column: str, given: dict[str, Any], where: str) -> dict[str, Any]:
    if name == AUTO:
        if given:
            raise RecipeError(
                f"{where}[[similarity]] '{column}' has no kind of its own (name = '{AUTO}'), so it takes no setting "
                f"'{next(iter(given))}'. Name the kind that this is a setting of."
            )
        return {}
    return _settings_of("similarity", catalogue.find("similarity", name, where), given, where)


def _derived(given: Any, where: str) -> tuple[Derived, ...]:
    if not isinstance(given, list) or not all(isinstance(g, dict) for g in given):
        raise RecipeError(
            f"{where}derived columns are a list, for example\n"
            '  [[derived]]\n  column = "category_noisy"\n  of     = "category"\n  redraw = 0.5'
        )
    for entry in given:
        if missing := [key for key in ("column", "of") if not entry.get(key)]:
            raise RecipeError(f"{where}[[derived]] needs a value for '{missing[0]}'.")
    made = tuple(_value(Derived, entry, "derived", where) for entry in given)
    names = [d.column for d in made]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise RecipeError(f"{where}column '{twice[0]}' is derived twice. Each needs a name of its own.")
    return made


def _named(section: dict[str, Any], kind: str, where: str, default: str) -> str:
    name = section.get("name", default)
    if not isinstance(name, str):
        raise RecipeError(f"{where}[{kind}] name must be text. Known: {', '.join(catalogue.names(kind))}.")
    return name


def _part(kind: str, section: dict[str, Any], where: str) -> Part:
    name = _named(section, kind, where, default=_default_part(kind))
    found = catalogue.find(kind, name, where)
    rest = {k: v for k, v in section.items() if k != "name"}
    return Part(name, _settings_of(kind, found, rest, where))


def _settings_of(kind: str, part: type[Any], given: dict[str, Any], where: str) -> dict[str, Any]:
    return validate.filled(validate.of_part(part, GIVEN_BY_MSCON[kind]), given, kind, where)


def _value(kind: type[Any], section: dict[str, Any], name: str, where: str) -> Any:
    hints = typing.get_type_hints(kind)
    validate.refuse_unknown(section, hints, name, where)
    values = {key: validate.typed(value, hints[key], f"{where}[{name}] {key}") for key, value in section.items()}
    return in_range(kind(**values), name, where)
