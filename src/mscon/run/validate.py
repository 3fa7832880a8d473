"""Validation: values of a recipe are checked against the types and ranges that are declared for them."""

from __future__ import annotations

import functools
import inspect
import json
import types
import typing
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec

from mscon.errors import RecipeError, nearest, shortened
from mscon.run.parsing import parse_toml

Parameters = Mapping[str, inspect.Parameter]


def collect(
    attempts: Mapping[str, Callable[[], Any]], where: str = "", results: dict[str, Any] | None = None
) -> dict[str, Any]:
    """What each attempt returns, so that the user of a recipe is told all mistakes at once.

    Args:
        attempts: by name; a RecipeError of one does not keep the others from being made.
        where: begins every message.
        results: filled in this order, so that an attempt can use what earlier ones returned.

    Raises:
        RecipeError: with the messages of all attempts.
    """
    results, messages = {} if results is None else results, []
    for name, attempt in attempts.items():
        try:
            results[name] = attempt()
        except RecipeError as error:
            messages += [f"{where}{message}" for message in error.messages]
    if messages:
        raise RecipeError(*messages)
    return results


@functools.lru_cache(maxsize=512)
def parameters_of(function: Callable[..., Any], filled_in: tuple[str, ...] = ()) -> Parameters:
    """The parameters of a function that a user may set, with their types, defaults and ranges.

    Args:
        filled_in: names of parameters that mscon fills in itself.
    """
    hints = typing.get_type_hints(function, include_extras=True)
    return {
        p.name: p.replace(annotation=hints.get(p.name, Any))
        for p in inspect.signature(function).parameters.values()
        if p.kind in (p.POSITIONAL_OR_KEYWORD, p.KEYWORD_ONLY) and p.name not in ("self", *filled_in)
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
        return key.strip(), parse_toml(f"value = {value}")["value"]
    except ValueError:
        return key.strip(), value.strip()  # a bare word is a string


def filled(parameters: Parameters, values: Mapping[str, Any], section: str) -> dict[str, Any]:
    """`checked` values, with every default filled in."""
    converted = checked(parameters, values, section)
    return {name: converted.get(name, parameter.default) for name, parameter in parameters.items()}


def checked(parameters: Parameters, values: Mapping[str, Any], section: str) -> dict[str, Any]:
    """The values of a section, converted to the types of the parameters that they are for.

    Raises:
        RecipeError: for all unknown settings, with the nearest known one; all required ones that are missing; and all
            values of another type or out of range.
    """

    unknown = functools.partial(
        need_known, values, parameters, f"[{section}] has no setting", f"Settings of [{section}]"
    )
    names = [p.name for p in parameters.values() if p.name in values or p.default is p.empty]
    results = collect(
        {"": unknown, **{name: functools.partial(_value_of, parameters[name], values, section) for name in names}}
    )
    return {name: results[name] for name in names}


def _value_of(parameter: inspect.Parameter, values: Mapping[str, Any], section: str) -> Any:
    if parameter.name not in values:
        raise RecipeError(f"[{section}] needs a value for '{parameter.name}'.")
    return convert(values[parameter.name], parameter.annotation, f"[{section}] {parameter.name}")


def need_known(keys: Iterable[str], known: Collection[str], complaint: str, title: str) -> None:
    """Raises RecipeError for all keys that are not known, each with the nearest one that is.

    Args:
        complaint: comes before such a key.
        title: of the list of known keys.
    """
    if messages := [f"{complaint} '{key}'.{nearest(key, known)}" for key in keys if key not in known]:
        messages[-1] += f"\n  {title}: {', '.join(sorted(known)) or 'none'}."
        raise RecipeError(*messages)


def convert(value: Any, hint: Any, what: str) -> Any:
    """`value` as the type that a setting is declared to have. A whole number is also a number; lists become tuples.

    Raises:
        RecipeError: if it is of another type, or out of range.
    """
    if isinstance(value, int) and not -(2**63) <= value < 2**63:  # Python reads them, but torch and NumPy cannot
        raise RecipeError(f"{what} must be {_allowed(hint)}, got a whole number of more than 64 bits.")
    try:
        converted = msgspec.convert(value, hint)
    except msgspec.ValidationError:
        raise RecipeError(f"{what} must be {_allowed(hint)}, got {shortened(value)}.") from None
    except TypeError:  # a type that msgspec does not know, of a user's own class, which checks the value itself
        return value
    return value if hint is Any else tuple(converted) if isinstance(converted, list) else converted


_WORDS = {int: "a whole number", float: "a number", str: "text", bool: "true or false"}


def _allowed(hint: Any) -> str:
    """In words, what a value of a type may be."""
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if origin is Annotated:
        meta = arguments[1]
        return meta.description or f"{_allowed(arguments[0])} {_bounds(meta)}"
    if origin is Literal:
        return f"one of {', '.join(map(json.dumps, arguments))}"
    if origin in (types.UnionType, typing.Union):
        return " or ".join(_allowed(one) for one in arguments if one is not types.NoneType)
    if origin in (tuple, list, Sequence):
        count = f" of {len(arguments)} values" if origin is tuple and Ellipsis not in arguments else ""
        return f"a list{count}, each {_allowed(arguments[0])}"
    if origin in (dict, Mapping):
        each = "" if arguments[1] is Any else f", each value {_allowed(arguments[1])}"
        return f"a table such as {{ name = value }}{each}"
    return _WORDS.get(hint, getattr(hint, "__name__", str(hint)))


def _bounds(meta: msgspec.Meta) -> str:
    if meta.ge is None:
        return f"above {meta.gt}" + ("" if meta.le is None else f", at most {meta.le}")
    if meta.le is None and meta.lt is None:
        return f"of at least {meta.ge}"
    return f"from {meta.ge} to {meta.le}" if meta.lt is None else f"from {meta.ge} to below {meta.lt}"
