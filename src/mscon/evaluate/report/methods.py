"""Methods: runs that differ in their seed only, and what such a method is called."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import MISSING, asdict, dataclass, fields
from pathlib import Path
from typing import Any

from mscon.errors import first_few
from mscon.run.recipe import Recipe, is_trained, names_of
from mscon.run.run import Run

# Settings in which two seeds of one method may differ: the seed itself, what the hardware decided,
# where the log goes, and what is probed afterwards (the rows of the probes are compared one by one anyway).
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

    @property
    def trained(self) -> tuple[str, ...]:
        """The same, where its runs were trained on them; none where nothing was trained (train.epochs = 0)."""
        return self.columns if is_trained(self.members[0].recipe) else ()


def methods_of(members: Sequence[Member]) -> tuple[Method, ...]:
    """Members of one title, of the same settings, whose seeds differ, in the order in which the first of them came."""
    groups: dict[str, list[list[Member]]] = {}
    for member in members:
        of_title = groups.setdefault(_title(member.recipe), [])
        mine = next((group for group in of_title if _are_seeds(group, member)), None)
        if mine is None:
            of_title.append([member])
        else:
            mine.append(member)
    folders = _short_names([member.run.root for member in members])
    methods = []
    for title, of_title in groups.items():
        for group in of_title:
            among = first_few([folders[member.run.root] for member in group], 3)
            name = title if len(of_title) == 1 else f"{title} ({among})"
            methods.append(Method(name, tuple(sorted(group, key=lambda member: member.seed))))
    return tuple(methods)


def _title(recipe: Mapping[str, Any]) -> str:
    """The recipe's title, or what it does in a few words."""
    if recipe.get("title"):
        return str(recipe["title"])
    columns = ", ".join(part["column"] for part in recipe["similarity"])
    objectives = ", ".join(dict.fromkeys(names_of(recipe, "objective")))
    return f"{objectives} on {columns} ({recipe['weighting']['name']} weights)"


def _are_seeds(group: Sequence[Member], member: Member) -> bool:
    """Whether a run adds a seed to a method: a repeated seed is no second measurement."""
    is_new = member.seed not in [other.seed for other in group]
    return is_new and settings_of(group[0].recipe) == settings_of(member.recipe)


def settings_of(recipe: Mapping[str, Any]) -> dict[str, Any]:
    """Every setting in which seeds of one method must agree.

    A recipe of an earlier version does not have settings that came later: what it did is their default now.
    """
    sections = {f.name: asdict(f.default_factory()) for f in fields(Recipe) if f.default_factory is not MISSING}
    defaults = {
        name: {key: list(value) if isinstance(value, tuple) else value for key, value in values.items()}
        for name, values in sections.items()
        if isinstance(values, dict)
    }
    complete = {**recipe, **{name: {**values, **recipe.get(name, {})} for name, values in defaults.items()}}
    return {key: value for key, value in flat(complete) if not key.startswith(_FREE)}


def flat(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every value within nested mappings, with its path: "train.seed"."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from flat(inner, f"{path}{key}.")
    else:
        yield path.rstrip("."), value


def _short_names(folders: Sequence[Path]) -> dict[Path, str]:
    """Folders by their own names, and as many of those above as it takes to tell them apart."""
    parts = {folder: folder.resolve().parts for folder in folders}
    depth = 1
    while len({names[-depth:] for names in parts.values()}) < len(parts):
        depth += 1
    return {folder: "/".join(names[-depth:]) for folder, names in parts.items()}
