"""Recipe: a value that holds all a run depends on, except the table. TOML -> value -> TOML."""

from __future__ import annotations

import contextlib
import copy
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal

import tomli_w

from mscon.errors import RecipeError, nearest
from mscon.run import parsing, parts, validate
from mscon.run.data import REMOTE_PROTOCOLS as REMOTE_PROTOCOLS
from mscon.run.data import Data as Data
from mscon.run.doubt import Doubt as Doubt
from mscon.run.keep import Keep as Keep
from mscon.run.parts import AUTO as AUTO
from mscon.run.parts import OWN_PARTS as OWN_PARTS
from mscon.run.parts import Derived as Derived
from mscon.run.parts import Part as Part
from mscon.run.parts import SimilarityPart as SimilarityPart
from mscon.run.parts import probe_part as probe_part
from mscon.run.parts import settings_of as settings_of
from mscon.run.parts import similarity_part as similarity_part
from mscon.run.ranges import ALL as ALL
from mscon.run.schema import Candidates as Candidates
from mscon.run.schema import Encoder as Encoder
from mscon.run.schema import Log as Log
from mscon.run.schema import Probe as Probe
from mscon.run.schema import Sampler as Sampler
from mscon.run.schema import Train as Train
from mscon.run.schema import Triplets as Triplets
from mscon.run.schema import Views as Views
from mscon.run.validate import collect

VERSION = 1

# Characters. A device such as /dev/zero never ends.
_LARGEST = 1_000_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """All a run depends on, except the table. Every default is filled in."""

    similarities: tuple[SimilarityPart, ...]
    title: str = ""
    derived: tuple[Derived, ...] = ()
    data: Data = field(default_factory=Data)
    views: Views = field(default_factory=Views)
    encoder: Encoder = field(default_factory=Encoder)
    heads: Part = parts.DEFAULTS["heads"]
    objective: Part = parts.DEFAULTS["objective"]
    weighting: Part = parts.DEFAULTS["weighting"]
    sampler: Sampler = field(default_factory=Sampler)
    triplets: Triplets = field(default_factory=Triplets)
    candidates: Candidates = field(default_factory=Candidates)
    train: Train = field(default_factory=Train)
    doubt: Doubt = field(default_factory=Doubt)
    keep: Keep = field(default_factory=Keep)
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
        kinds = [part.views or self.views for part in self.similarities]
        return tuple(tuple(n for n, views in enumerate(drawn) if views == kind) for kind in kinds)

    @property
    def _kinds_of_views(self) -> tuple[Views, ...]:
        kinds = dict.fromkeys(part.views or self.views for part in self.similarities)
        return tuple(sorted(kinds, key=lambda kind: kind != self.views))  # those of [views] first

    def grouped(self, kind: Literal["objective", "heads"]) -> list[tuple[Part, tuple[int, ...]]]:
        """The different parts of a kind, and the numbers of the similarities that each serves."""
        groups: list[tuple[Part, list[int]]] = []
        for number, similarity in enumerate(self.similarities):
            part: Part = getattr(similarity, kind) or getattr(self, kind)
            members = next((numbers for other, numbers in groups if other == part), None)
            if members is None:
                groups.append((part, members := []))
            members.append(number)
        return [(part, tuple(numbers)) for part, numbers in groups]

    def probe_complaints(self) -> list[str]:
        """What is wrong with [probe] beside the other sections: columns that are not probed, and their kinds."""
        trained = [part.column for part in self.similarities if part.reads]
        probed = list(dict.fromkeys([*trained, *self.probe.columns]))
        complaints = []
        for name, kind in self.probe.kinds.items():
            if name in trained:
                complaints.append(
                    f"[probe] kinds names column '{name}', but its kind is that of its [[similarity]]. Take it out."
                )
                continue
            if name not in (*probed, *self.probe.neighbours):
                complaints.append(
                    f"[probe] kinds names column '{name}', which is not probed.{nearest(name, probed)}\n"
                    "  Add it to [probe] columns, or take it out."
                )
                continue
            try:
                probe_part(name, kind)
            except RecipeError as error:
                complaints += [f"[probe] kinds.{name}: {message}" for message in error.messages]
        return complaints + [
            f"[probe] largest names column '{name}', which is not probed.{nearest(name, probed)}\n"
            "  Add it to [probe] columns, or take it out."
            for name in self.probe.largest
            if name not in probed
        ]

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


def read(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a TOML recipe, with overrides like "train.epochs=12" applied.

    Raises:
        RecipeError: for a missing file, TOML at fault, an unknown or ill-typed key, a value out of range.
    """
    try:
        with Path(path).open(encoding="utf-8") as file:
            text = file.read(_LARGEST + 1)
        if len(text) > _LARGEST:
            raise RecipeError(f"'{path}' is not a recipe: it has more than {_LARGEST:,} characters.")
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
        plain = parsing.parse_toml(text)
    except ValueError as error:
        raise RecipeError(f"{where}not valid TOML: {error}") from None
    return of_plain(plain, overrides, where)


def of_columns(columns: Sequence[str], overrides: Sequence[str] = ()) -> Recipe:
    """A recipe for these label columns, with everything else by default: so kinds are inferred from the cells.

    Args:
        columns: of the table; "same_row" for views of one row.
        overrides: as of `read`: "train.epochs=12".

    Raises:
        RecipeError: for no column, a column that stands twice, or an override at fault.
        ValueError: if columns are no list of names.
    """
    if isinstance(columns, str) or not all(isinstance(column, str) for column in columns):
        raise ValueError(f"columns must be a list of names of label columns, got {columns!r}.")
    similarities = [{"name": c} if c == "same_row" else {"column": c} for c in columns]
    return of_plain({"similarity": similarities}, overrides)


def of_plain(plain: Mapping[str, Any], overrides: Sequence[str] = (), where: str = "") -> Recipe:
    """The same from plain values, as TOML or JSON has them."""
    try:
        parsing.check_depth(plain)
    except ValueError as error:
        raise RecipeError(f"{where}not a recipe: {error}.") from None
    values = copy.deepcopy(dict(plain))
    attempts: dict[str, Any] = {str(n): partial(_override, values, text) for n, text in enumerate(overrides)}
    return collect({**attempts, "recipe": partial(_build, values)}, where)["recipe"]


def _override(plain: dict[str, Any], override: str) -> None:
    key, value = validate.assignment(override)
    *path, last = key.split(".")
    section = plain
    for step in path:
        section = section.setdefault(step, {})
        if not isinstance(section, dict):
            raise RecipeError(f"--set {override}: '{step}' is not a section.")
    # A part named anew does not inherit the settings of the part it replaces.
    if last == "name" and path and path[0] in parts.DEFAULTS and section.get("name") != value:
        section.clear()
    section[last] = value


def _build(plain: Mapping[str, Any]) -> Recipe:
    if plain.get("version", VERSION) != VERSION:
        raise RecipeError(f"version is {plain['version']!r}, but this mscon reads version {VERSION}.")
    known = {"version", "title", "similarity", "derived", *_SECTIONS, *parts.DEFAULTS}
    values: dict[str, Any] = {**parts.DEFAULTS, "views": Views()}
    attempts: dict[str, Callable[[], Any]] = {
        "": lambda: validate.need_known(plain, known, "there is no section", "Sections"),
        "title": lambda: validate.convert(plain.get("title", ""), str, "title"),
        **{name: partial(_values_of, plain, name) for name in _SECTIONS},
        **{name: partial(_part_of, plain, name) for name in parts.DEFAULTS},
        "derived": lambda: parts.derived_of(plain.get("derived", [])),
        "similarities": lambda: parts.similarities_of(plain.get("similarity"), values),
    }
    collect(attempts, results=values).pop("")
    return Recipe(**values)


def plain_sections(plain: Mapping[str, Any], where: str = "") -> dict[str, Any]:
    """The sections of a recipe that are values: {"data": Data, "encoder": Encoder, ...}. Nothing is imported for it.

    Args:
        plain: the recipe as plain values.
        where: begins every message.

    Raises:
        RecipeError: for all unknown keys, and all values of another type or out of range, in them.
    """
    return collect({name: partial(_values_of, plain, name) for name in _SECTIONS}, where)


def _values_of(plain: Mapping[str, Any], name: str) -> Any:
    return parts.section_of(_SECTIONS[name], _section(plain, name), name)


def _part_of(plain: Mapping[str, Any], name: str) -> Part:
    return parts.part_of(name, _section(plain, name))


def data_of(plain: Mapping[str, Any]) -> Data:
    """[data] of a recipe that another version of mscon may have written, without what this version cannot read."""
    values: dict[str, Any] = {}
    for key, value in plain.get("data", {}).items():
        with contextlib.suppress(RecipeError):
            parts.section_of(Data, {**values, key: value}, "data")
            values[key] = value
    return parts.section_of(Data, values, "data")


def names_of(plain: Mapping[str, Any], kind: Literal["objective", "heads"]) -> list[str]:
    """For each similarity of a recipe in plain values, the name of its objective or heads; "" where there is none."""
    default = plain.get(kind, {}).get("name", "")
    sections = [entry.get(kind, {}) for entry in plain["similarity"]]
    return [section if isinstance(section, str) else str(section.get("name", default)) for section in sections]


def is_trained(plain: Mapping[str, Any]) -> bool:
    """Whether a recipe in plain values trains anything, see `Train.epochs`."""
    return plain.get("train", {}).get("epochs") != 0


def _section(plain: Mapping[str, Any], name: str) -> dict[str, Any]:
    section = plain.get(name, {})
    if not isinstance(section, dict):
        raise RecipeError(f"[{name}] must be a section, got {section!r}.")
    return section


_SECTIONS = {
    "data": Data,
    "encoder": Encoder,
    "views": Views,
    "sampler": Sampler,
    "triplets": Triplets,
    "candidates": Candidates,
    "train": Train,
    "doubt": Doubt,
    "keep": Keep,
    "log": Log,
    "probe": Probe,
}
