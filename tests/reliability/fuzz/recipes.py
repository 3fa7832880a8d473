"""Recipes of strangers: plain values with every setting at its limits and beyond, TOML as text, and `--set`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from mscon.method import catalogue
from mscon.run import parts, schema
from mscon.run import recipe as recipes
from mscon.run.keep import Keep
from mscon.run.starting_recipes import recipe_names, recipe_text
from reliability.fuzz.hostile import changed, changes, edited, edits, numbers, values, words
from reliability.fuzz.surface import Surface, verb
from reliability.jobs import write_job

_SECTIONS = {
    "data": recipes.Data, "encoder": schema.Encoder, "views": schema.Views, "sampler": schema.Sampler,
    "triplets": schema.Triplets, "candidates": schema.Candidates, "train": schema.Train, "keep": Keep,
    "log": schema.Log, "probe": schema.Probe,
}  # fmt: skip


def _settings() -> list[tuple[str, str]]:
    """Every setting of every section, and of every part that mscon has."""
    named = [(name, field.name) for name, kind in _SECTIONS.items() for field in dataclasses.fields(kind)]
    for kind in ("objective", "heads", "weighting", "similarity"):
        for name in catalogue.names(kind):
            named += [(f"{kind}.{name}", key) for key in parts.settings_of(kind, catalogue.find(kind, name))]
    similarity = ("column", "name", "importance", "objective", "heads", "views", "temperature", "under")
    return [*named, *(("similarity.categorical", key) for key in similarity), ("derived", "of"), ("derived", "redraw")]


_setting = st.tuples(st.sampled_from(_settings()), values | numbers | words)


def _plain(drawn: list[tuple[tuple[str, str], Any]]) -> dict[str, Any]:
    """A recipe for the table of `write_job` with these settings."""
    recipe: dict[str, Any] = {
        "similarity": [{"column": "kind", "name": "categorical"}, {"column": "tone"}],
        "data": {"input": "vectors", "vectors": "v.npy"},
        "encoder": {"name": "mlp"},
    }
    for (section, key), value in drawn:
        kind, _, name = section.partition(".")
        if kind == "similarity":
            recipe["similarity"][0].setdefault("name", name)
            recipe["similarity"][0] |= {"name": name, key: value}
        elif kind == "derived":
            recipe["derived"] = [{"column": "new", "of": "kind", key: value}]
        elif name:
            recipe[kind] = {"name": name, key: value}
        else:
            recipe.setdefault(kind, {})[key] = value
    return recipe


_TEXTS = (
    "a = " + "[" * 5_000, "[" * 5_000, "a." * 2_000 + "b = 1", "a = 1\na = 2", "a = " + "{b=" * 2_000, "\ufeff", "\0",
    "a = 1e999", "a = " + "9" * 5_000, "a = nan", "a = 1979-05-27T07:32:00Z", "[[similarity]]\n" * 5_000,
    "[similarity]",
    "similarity = 1", "version = 2", "title = '\ud7ff'",
)  # fmt: skip


def _texts() -> SearchStrategy[bytes]:
    shipped = st.sampled_from([recipe_text(name).encode() for name in recipe_names()])
    return st.tuples(shipped, edits).map(lambda drawn: edited(*drawn)) | st.sampled_from(_TEXTS).map(str.encode)


class Recipes(Surface):
    tries, share = 3_000, 40

    def cases(self) -> SearchStrategy[Any]:
        plain = st.lists(_setting, min_size=1, max_size=3).map(_plain)
        anew = st.tuples(plain, changes).map(lambda drawn: changed(*drawn))
        overrides = st.lists(
            st.tuples(st.sampled_from(_settings()), words | numbers.map(str)).map(
                lambda d: f"{d[0][0]}.{d[0][1]}={d[1]}"
            )
            | words,
            max_size=3,
        )
        return st.tuples(plain | plain | anew | _texts(), st.just([]) | overrides).map(_without_own_classes)

    def prepare(self, folder: Path) -> Path:
        return write_job(folder / "around" / "job").folder

    def attempt(self, scene: Path, case: Any, folder: Path) -> None:
        recipe, overrides = case
        if isinstance(recipe, bytes):
            (folder / "r.toml").write_bytes(recipe)
            parsed = recipes.read(folder / "r.toml", overrides)
        elif isinstance(recipe, dict):
            parsed = recipes.of_plain(recipe, overrides)
        else:
            return
        text = parsed.to_toml()
        assert _same(recipes.parse(text), parsed)
        (folder / "r.toml").write_text(text, "utf-8")
        verb(["check", str(folder / "r.toml"), "--table", str(scene / "t.csv"), "--json"])


def _without_own_classes(value: Any) -> Any:
    """The same with "evilmod.Evil": a recipe that one hands to mscon may name a class, see decision 15."""
    if isinstance(value, str):
        return value.replace("evilmod:", "evilmod.")
    if isinstance(value, dict):
        return {_without_own_classes(key): _without_own_classes(inner) for key, inner in value.items()}
    return type(value)(map(_without_own_classes, value)) if isinstance(value, list | tuple) else value


def _same(one: Any, other: Any) -> bool:
    return one == other or one.to_toml() == other.to_toml()  # NaN differs from itself
