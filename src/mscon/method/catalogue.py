"""From the name in a recipe to the one class in the module of that name.

There is no registry: `objectives/supcon.py` holds one subclass of Objective, and `supcon` names
it. "pkg.mod:Class" names a class of the user's own.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Mapping
from typing import Any

from mscon.errors import RecipeError, nearest

# Kind of part -> package that holds one file a part, and its abstract class.
_KINDS = {
    "similarity": ("mscon.method.similarities", "Similarity"),
    "objective": ("mscon.method.objectives", "Objective"),
    "weighting": ("mscon.method.weightings", "Weighting"),
    "heads": ("mscon.model.heads", "Heads"),
}


def kinds() -> tuple[str, ...]:
    """The kinds of part that are found by name."""
    return tuple(_KINDS)


@functools.cache
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
        return import_class(kind, name, base, where)
    known = names(kind)
    if name not in known:
        if kind == "objective" and hasattr(importlib.import_module("mscon.method.cores"), name):
            raise RecipeError(
                f"{where}'{name}' is no objective of a recipe but part of mscon.cores, for a training loop of your "
                "own: it needs more than a recipe has, such as a second input of each row. docs/contents.md shows how "
                "to call it."
            )
        raise RecipeError(
            f"{where}there is no {kind} '{name}'.{nearest(name, known)}\n  Known: {', '.join(known)}. "
            f"A class of your own is written 'pkg.mod:Class'."
        )
    module = importlib.import_module(f"{package}.{name}")
    classes = [
        c
        for _, c in inspect.getmembers(module, inspect.isclass)
        if issubclass(c, base) and c.__module__ == module.__name__ and not inspect.isabstract(c)
    ]
    assert len(classes) == 1, f"{module.__name__} must hold exactly one {base_name}, has {len(classes)}"
    return classes[0]


def is_own(name: str) -> bool:
    """Whether a name is written as the user's own classes are: "pkg.mod:Class"."""
    module, _, class_name = name.partition(":")
    return class_name.isidentifier() and all(part.isidentifier() for part in module.split("."))


def import_class(kind: str, name: str, base: type, where: str = "") -> type[Any]:
    """The user's own class, by "pkg.mod:Class".

    Raises:
        RecipeError: if it cannot be imported, or is no subclass of `base`.
    """
    if not is_own(name):
        raise RecipeError(f"{where}a {kind} of your own is written 'pkg.mod:Class', got {name!r}.")
    module_name, _, class_name = name.partition(":")
    try:
        imported = getattr(importlib.import_module(module_name), class_name)
    except (ImportError, AttributeError) as error:
        raise RecipeError(
            f"{where}cannot import {kind} '{name}': {error}. Is it installed, or its folder on PYTHONPATH?"
        ) from error
    if not (inspect.isclass(imported) and issubclass(imported, base)):
        raise RecipeError(f"{where}'{name}' is no {kind}: it must be a subclass of {base.__module__}.{base.__name__}.")
    return imported


def build(kind: str, name: str, settings: Mapping[str, Any], **filled: Any) -> Any:
    """The part called `name`, constructed with a recipe's settings and what mscon fills in.

    Raises:
        RecipeError: if the part refuses a value.
    """
    try:
        return find(kind, name)(**filled, **settings)
    except ValueError as error:
        raise RecipeError(f"[{kind}] {name}: {error}") from None
