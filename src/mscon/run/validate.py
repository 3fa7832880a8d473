"""Settings: what may be set of a part or a section, and values checked against it."""

from __future__ import annotations

import inspect
import tomllib
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mscon.errors import RecipeError, nearest


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its name, type, and default if it has one."""

    name: str
    hint: Any
    default: Any
    required: bool


def of_part(part: type[Any], given_by_mscon: tuple[str, ...] = ()) -> dict[str, Setting]:
    """What a recipe may set of a part: the parameters of its `fit`, or else of its constructor.

    Args:
        part: a class of the catalogue.
        given_by_mscon: parameters that mscon fills in itself, so that no recipe may.
    """
    return of_function(part.fit if hasattr(part, "fit") else part.__init__, ("self", *given_by_mscon))


def of_function(function: Callable[..., Any], given_by_mscon: tuple[str, ...] = ()) -> dict[str, Setting]:
    """What may be set of a function: its parameters, but for those that mscon fills in."""
    hints = typing.get_type_hints(function)
    return {
        p.name: Setting(p.name, hints[p.name], None if p.default is p.empty else p.default, p.default is p.empty)
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in given_by_mscon
    }


def assignment(text: str) -> tuple[str, Any]:
    """Key and value of "KEY=VALUE", the value as TOML, or else as the text it is.

    Raises:
        RecipeError: if there is no key, or no equals sign.
    """
    key, equals, value = text.partition("=")
    if not equals or not key.strip():
        raise RecipeError(f"--set {text}: write KEY=VALUE, for example --set train.epochs=12.")
    try:
        return key.strip(), tomllib.loads(f"value = {value}")["value"]
    except tomllib.TOMLDecodeError:
        return key.strip(), value.strip()  # a bare word is a string


def filled(known: Mapping[str, Setting], given: Mapping[str, Any], section: str, where: str) -> dict[str, Any]:
    """`given` checked against the known settings, with every default filled in.

    Raises:
        RecipeError: for an unknown setting, naming the nearest known one; a missing required one; a
            value of another type.
    """
    refuse_unknown(given, known, section, where)
    for setting in known.values():
        if setting.required and setting.name not in given:
            raise RecipeError(f"{where}[{section}] needs a value for '{setting.name}'.")
    return {
        s.name: typed(given[s.name], s.hint, f"{where}[{section}] {s.name}") if s.name in given else s.default
        for s in known.values()
    }


def refuse_unknown(given: Mapping[str, Any], known: Mapping[str, Any], section: str, where: str) -> None:
    """Raise for the first key that is not known."""
    for key in given:
        if key not in known:
            listed = ", ".join(sorted(known)) or "none"
            raise RecipeError(
                f"{where}[{section}] has no setting '{key}'.{nearest(key, known)}\n  Settings of [{section}]: {listed}."
            )


def typed(value: Any, hint: Any, what: str) -> Any:
    """`value` as the type that a setting is declared to have; whole numbers pass for numbers.

    Raises:
        RecipeError: if it is of another type.
    """
    if hint is Any:  # for a class of the user's own, which says itself what it takes
        return value
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is types.UnionType:  # "Sequence[str] | None": None is the default, and TOML has no word for it
        return typed(value, arguments[0], what)
    if origin is Literal:
        if value not in arguments:
            listed = ", ".join(f'"{a}"' for a in arguments)
            raise RecipeError(f"{what} must be one of {listed}, got {value!r}.")
        return value
    if origin is tuple or origin is Sequence:
        if not isinstance(value, list | tuple):
            raise RecipeError(f"{what} must be a list, got {value!r}.")
        return tuple(typed(v, arguments[0], what) for v in value)
    if origin is Mapping:
        if not isinstance(value, dict):
            raise RecipeError(f"{what} must be a table such as {{ family = 20 }}, got {value!r}.")
        return {k: typed(v, arguments[1], f"{what}.{k}") for k, v in value.items()}
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        return float(value)
    if not isinstance(value, hint) or (hint is int and isinstance(value, bool)):
        word = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}[hint]
        raise RecipeError(f"{what} must be {word}, got {value!r}.")
    return value
