"""Recipe: a value that holds all a run depends on, except the table. TOML -> value -> TOML."""

from __future__ import annotations

import dataclasses
import tomllib
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import tomli_w

from mscon import catalogue, settings
from mscon.errors import RecipeError, nearest

VERSION = 1


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the catalogue by name, with its settings."""

    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_toml(self) -> dict[str, Any]:
        return {"name": self.name, **{k: v for k, v in self.settings.items() if v is not None}}


@dataclass(frozen=True, slots=True)
class SimilarityPart:
    """A similarity by name, the column it reads, and its settings. `same_row` reads none."""

    column: str
    name: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def to_toml(self) -> dict[str, Any]:
        return {"column": self.column, "name": self.name, **{k: v for k, v in self.settings.items() if v is not None}}


@dataclass(frozen=True, slots=True)
class Data:
    """What is read from the table, and how images are stored.

    Attributes:
        image: the column with image paths, relative to the table (or to --images).
        image_size: side in pixels of the stored square images.
        channels: 1 grey, 3 colour.
        split: column that says train, validation, test or unseen. A table without it is split here.
        split_by: column whose groups must stay together in a split made here; "" for by row.
        split_shares: train, validation, test shares of a split made here.
        split_seed: seed of a split made here. Not train.seed, so that runs of several seeds are tested on
            the same rows and can be compared row by row.
        missing_images: "error", or "drop" to leave out rows whose image cannot be read.
    """

    image: str = "image"
    image_size: int = 64
    channels: int = 3
    split: str = "split"
    split_by: str = ""
    split_shares: tuple[float, ...] = (0.7, 0.1, 0.2)
    split_seed: int = 0
    missing_images: Literal["error", "drop"] = "error"


@dataclass(frozen=True, slots=True)
class Encoder:
    """Attributes:
    name: "small_cnn", "efficientnet_lite0" (its weights come with the extra `pretrained`), or
        any timm model.
    pretrained: start from published weights.
    width: channels of the first stage of small_cnn; others ignore it.
    """

    name: str = "small_cnn"
    pretrained: bool = False
    width: int = 32


@dataclass(frozen=True, slots=True)
class Views:
    """Random views of an image, each image drawing for itself. What a data set can bear is said here.

    Attributes:
        count: views of each row in a batch; contrastive objectives want 2.
        crop: least and greatest share of the area that is kept.
        aspect: greatest ratio of sides of a crop, and its inverse the least; 1 keeps squares.
        flip: probability of a mirror image. A glyph must not be mirrored.
        rotate: greatest angle either way, degrees.
        shear: greatest shear angle either way, degrees.
        translate: greatest shift either way, as a share of the side.
        brightness, contrast, saturation: greatest relative change, 0 for none.
        hue: greatest turn of the colour circle, at most 0.5.
        colour_probability: share of views whose colours are changed at all.
        grey: probability of dropping colour.
        blur: probability of blurring.
        blur_sigma: range of its standard deviation, as a share of the side.
    """

    count: int = 2
    crop: tuple[float, ...] = (0.2, 1.0)
    aspect: float = 4 / 3
    flip: float = 0.5
    rotate: float = 0.0
    shear: float = 0.0
    translate: float = 0.0
    brightness: float = 0.4
    contrast: float = 0.4
    saturation: float = 0.4
    hue: float = 0.1
    colour_probability: float = 0.8
    grey: float = 0.2
    blur: float = 0.0
    blur_sigma: tuple[float, ...] = (0.005, 0.02)


@dataclass(frozen=True, slots=True)
class Train:
    """How long and how fast.

    Attributes:
        epochs: passes over the training rows.
        batch_size: rows a step; each gives `views.count` samples.
        optimiser: "adamw" or "sgd".
        learning_rate: greatest learning rate of encoder and heads.
        weighting_learning_rate: of the log-variances of a learned weighting, which get no decay.
        momentum: of sgd.
        weight_decay: of matrices and filters; biases and norms get none.
        schedule: "one_cycle", "cosine" or "constant", per step.
        precision: "auto" resolves once, by hardware, to "float32" or "bfloat16".
        channels_last: "auto" likewise to "yes" or "no".
        checkpoint: "last", or "best" on the validation rows: which weights the probes use.
        validate_every: epochs between validations.
        seed: of everything random.
    """

    epochs: int = 24
    batch_size: int = 64
    optimiser: Literal["adamw", "sgd"] = "adamw"
    learning_rate: float = 6e-3
    weighting_learning_rate: float = 1e-2
    momentum: float = 0.9
    weight_decay: float = 1e-4
    schedule: Literal["one_cycle", "cosine", "constant"] = "one_cycle"
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    channels_last: Literal["auto", "yes", "no"] = "auto"
    checkpoint: Literal["last", "best"] = "last"
    validate_every: int = 1
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Probe:
    """What is asked of the frozen features.

    Attributes:
        columns: label columns to probe besides those trained on: the tasks the run never saw.
        largest: for a column, keep only its so many largest classes (column = number).
        neighbours: columns asked of nearest neighbours among the rows of unseen groups; empty for
            all probed columns that have labels there.
        draws: bootstrap draws of an interval.
    """

    columns: tuple[str, ...] = ()
    largest: Mapping[str, int] = field(default_factory=dict)
    neighbours: tuple[str, ...] = ()
    draws: int = 1_000


@dataclass(frozen=True, slots=True)
class Recipe:
    """All a run depends on, except the table. Every default is filled in."""

    similarities: tuple[SimilarityPart, ...]
    title: str = ""
    data: Data = Data()
    views: Views = Views()
    encoder: Encoder = Encoder()
    heads: Part = Part("mlp")
    objective: Part = Part("supcon")
    weighting: Part = Part("uncertainty")
    train: Train = Train()
    probe: Probe = Probe()

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the similarities, in the order of the heads."""
        return tuple(s.column for s in self.similarities)

    def to_toml(self) -> str:
        """The resolved recipe; `parse` of it gives this value back."""
        sections = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        plain: dict[str, Any] = {"version": VERSION, "title": sections.pop("title")}
        plain["similarity"] = [s.to_toml() for s in sections.pop("similarities")]
        for name, value in sections.items():
            plain[name] = value.to_toml() if isinstance(value, Part) else dataclasses.asdict(value)
        return tomli_w.dumps(plain)


# Parameters that mscon fills in itself when it builds a part.
GIVEN_BY_MSCON = {
    "similarity": ("column", "cells", "lines"),
    "objective": (),
    "weighting": ("similarities",),
    "heads": ("similarities", "input_dim"),
}
_VALUES = {"data": Data, "encoder": Encoder, "views": Views, "train": Train, "probe": Probe}
_PARTS = ("heads", "objective", "weighting")


def read(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a TOML recipe, with overrides like "train.epochs=12" applied.

    Raises:
        RecipeError: for a missing file, TOML at fault, an unknown or ill-typed key, a value out of range.
    """
    try:
        text = path.read_text("utf-8")
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
    for override in overrides:
        _override(plain, override, where)
    return _build(plain, where)


def _override(plain: dict[str, Any], override: str, where: str) -> None:
    key, equals, value = override.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {override}: write KEY=VALUE, for example --set train.epochs=12.")
    try:
        parsed = tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        parsed = value.strip()  # a bare word is a string
    *path, last = key.strip().split(".")
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
    known = {"version", "title", "similarity", *_VALUES, *_PARTS}
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
    return Recipe(
        title=title,
        similarities=_similarities(plain.get("similarity"), where),
        **{name: _value(kind, _section(plain, name, where), name, where) for name, kind in _VALUES.items()},
        **{name: _part(name, _section(plain, name, where), where) for name in _PARTS},
    )


def _default_part(name: str) -> str:
    default = next(f for f in dataclasses.fields(Recipe) if f.name == name).default
    assert isinstance(default, Part)
    return default.name


def _section(plain: dict[str, Any], name: str, where: str) -> dict[str, Any]:
    section = plain.get(name, {})
    if not isinstance(section, dict):
        raise RecipeError(f"{where}[{name}] must be a section, got {section!r}.")
    return section


def _similarities(given: Any, where: str) -> tuple[SimilarityPart, ...]:
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
        found = catalogue.find("similarity", name, where)
        rest = {k: v for k, v in entry.items() if k not in ("name", "column")}
        parts.append(SimilarityPart(column, name, _settings_of("similarity", found, rest, where)))
    columns = [p.column for p in parts]
    if twice := sorted({c for c in columns if columns.count(c) > 1}):
        raise RecipeError(f"{where}column '{twice[0]}' stands in two similarities. Each needs a column of its own.")
    return tuple(parts)


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
    return settings.filled(settings.of_part(part, GIVEN_BY_MSCON[kind]), given, kind, where)


def _value(kind: type[Any], section: dict[str, Any], name: str, where: str) -> Any:
    hints = typing.get_type_hints(kind)
    settings.refuse_unknown(section, hints, name, where)
    values = {key: settings.typed(value, hints[key], f"{where}[{name}] {key}") for key, value in section.items()}
    return _in_range(kind(**values), name, where)


# What must hold of each setting, and how it is said.
_RANGES: Mapping[str, tuple[types.LambdaType, str]] = {
    "data.image_size": (lambda v: 8 <= v <= 2048, "from 8 to 2048 pixels"),
    "data.channels": (lambda v: v in (1, 3), "1 or 3"),
    "data.split_shares": (
        lambda v: len(v) == 3 and all(s >= 0 for s in v) and v[0] > 0 and abs(sum(v) - 1) < 1e-6,
        "three shares (train, validation, test) that sum to 1, the first above 0",
    ),
    "encoder.width": (lambda v: 4 <= v <= 1024, "from 4 to 1024"),
    "views.count": (lambda v: 1 <= v <= 16, "from 1 to 16"),
    "views.crop": (lambda v: len(v) == 2 and 0 < v[0] <= v[1] <= 1, "two shares with 0 < first <= second <= 1"),
    "views.aspect": (lambda v: 1 <= v <= 4, "from 1 to 4"),
    "views.flip": (lambda v: 0 <= v <= 1, "a probability"),
    "views.grey": (lambda v: 0 <= v <= 1, "a probability"),
    "views.blur": (lambda v: 0 <= v <= 1, "a probability"),
    "views.colour_probability": (lambda v: 0 <= v <= 1, "a probability"),
    "views.rotate": (lambda v: 0 <= v <= 180, "from 0 to 180 degrees"),
    "views.shear": (lambda v: 0 <= v < 90, "from 0 to 90 degrees"),
    "views.translate": (lambda v: 0 <= v < 1, "a share of the side below 1"),
    "views.brightness": (lambda v: 0 <= v <= 1, "from 0 to 1"),
    "views.contrast": (lambda v: 0 <= v <= 1, "from 0 to 1"),
    "views.saturation": (lambda v: 0 <= v <= 1, "from 0 to 1"),
    "views.hue": (lambda v: 0 <= v <= 0.5, "from 0 to 0.5"),
    "views.blur_sigma": (
        lambda v: len(v) == 2 and 0 < v[0] <= v[1] <= 0.5,
        "two shares of the side, 0 < first <= second",
    ),
    "train.epochs": (lambda v: v >= 1, "at least 1"),
    "train.batch_size": (lambda v: v >= 2, "at least 2: one row has nothing to be compared with"),
    "train.learning_rate": (lambda v: 0 < v < float("inf"), "above 0"),
    "train.weighting_learning_rate": (lambda v: 0 < v < float("inf"), "above 0"),
    "train.momentum": (lambda v: 0 <= v < 1, "from 0 to below 1"),
    "train.weight_decay": (lambda v: 0 <= v < float("inf"), "0 or above"),
    "train.validate_every": (lambda v: v >= 1, "at least 1"),
    "train.seed": (lambda v: 0 <= v < 2**32, "from 0 to 2^32 - 1"),
    "probe.draws": (lambda v: v >= 100, "at least 100"),
    "probe.largest": (lambda v: all(n >= 2 for n in v.values()), "at least 2 classes for each column"),
}


def _in_range(value: Any, name: str, where: str) -> Any:
    for f in dataclasses.fields(value):
        rule = _RANGES.get(f"{name}.{f.name}")
        got = getattr(value, f.name)
        if rule and not rule[0](got):
            raise RecipeError(f"{where}[{name}] {f.name} must be {rule[1]}, got {got!r}.")
    return value
