"""From the name in a recipe to the one class in the module of that name.

There is no registry: `objectives/supcon.py` holds one subclass of Objective, and `supcon` names
it. "pkg.mod:Class" names a class of the user's own.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from mscon.errors import RecipeError, nearest

# Kind of part -> package that holds one file a part, and its abstract class.
_KINDS = {
    "similarity": ("mscon.similarities", "Similarity"),
    "objective": ("mscon.objectives", "Objective"),
    "weighting": ("mscon.weightings", "Weighting"),
    "heads": ("mscon.model.heads", "Heads"),
}


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting of a part: its name, and its default if it has one."""

    name: str
    default: Any
    required: bool


def kinds() -> tuple[str, ...]:
    """The kinds of part that are found by name."""
    return tuple(_KINDS)


def names(kind: str) -> tuple[str, ...]:
    """All parts of a kind that come with mscon, in alphabetical order."""
    package = importlib.import_module(_KINDS[kind][0])
    return tuple(sorted(m.name for m in pkgutil.iter_modules(package.__path__) if m.name != "base"))


def find(kind: str, name: str, where: str = "") -> type[Any]:
    """The class called `name`.

    Args:
        kind: "similarity", "objective", "weighting" or "heads".
        name: a module name of that package, or "pkg.mod:Class".
        where: the recipe's file, for the message.

    Raises:
        RecipeError: if there is no such class, or it is of another kind.
    """
    package, base_name = _KINDS[kind]
    base = getattr(importlib.import_module(f"{package}.base"), base_name)
    if ":" in name:
        return _own(kind, name, base, where)
    known = names(kind)
    if name not in known:
        raise RecipeError(
            f"{where}there is no {kind} '{name}'.{nearest(name, known)}\n  Known: {', '.join(known)}. "
            f"A class of your own is written 'pkg.mod:Class'."
        )
    module = importlib.import_module(f"{package}.{name}")
    found = [
        c
        for _, c in inspect.getmembers(module, inspect.isclass)
        if issubclass(c, base) and c.__module__ == module.__name__ and not inspect.isabstract(c)
    ]
    assert len(found) == 1, f"{module.__name__} must hold exactly one {base_name}, has {len(found)}"
    return found[0]


def _own(kind: str, name: str, base: type, where: str) -> type[Any]:
    module_name, _, class_name = name.partition(":")
    try:
        found = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise RecipeError(f"{where}cannot import {kind} '{name}': {error}. Is its folder on PYTHONPATH?") from error
    if not (inspect.isclass(found) and issubclass(found, base)):
        raise RecipeError(f"{where}'{name}' is not a {kind}: it must be a subclass of {base.__module__}.{base.__name__}.")
    return found


def settings(part: type[Any], given_by_mscon: tuple[str, ...] = ()) -> tuple[Setting, ...]:
    """What a recipe may set of a part: the parameters of its constructor, or of its `fit`.

    Args:
        part: a class of the catalogue.
        given_by_mscon: parameters that mscon fills in itself, so that no recipe may.
    """
    function = part.fit if hasattr(part, "fit") else part.__init__
    return tuple(
        Setting(p.name, None if p.default is p.empty else p.default, p.default is p.empty)
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name != "self" and p.name not in given_by_mscon
    )


def check_settings(
    part: type[Any], given: Mapping[str, Any], section: str, where: str = "", given_by_mscon: tuple[str, ...] = ()
) -> dict[str, Any]:
    """`given`, with every default filled in.

    Raises:
        RecipeError: for an unknown setting, naming the nearest known one, or a missing required one.
    """
    known = {s.name: s for s in settings(part, given_by_mscon)}
    for key in given:
        if key not in known:
            listed = ", ".join(sorted({"name", *known}))
            raise RecipeError(
                f"{where}[{section}] has no setting '{key}'.{nearest(key, known)}\n  Settings of [{section}]: {listed}."
            )
    for setting in known.values():
        if setting.required and setting.name not in given:
            raise RecipeError(f"{where}[{section}] needs a value for '{setting.name}'.")
    return {name: given.get(name, setting.default) for name, setting in known.items()}
