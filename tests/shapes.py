"""Shapes: the checks of every signature that this suite adds, and how to do without them."""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache, partial, wraps
from types import FunctionType, SimpleNamespace
from typing import Any, get_type_hints

import jaxtyping
from beartype import beartype

_jaxtyped = jaxtyping.jaxtyped
_AXES = _jaxtyped("context")  # within a call the size of an axis is one


def check_once() -> None:
    """Have jaxtyping's import hook decorate with `checked`. Call it before what is decorated is imported."""
    jaxtyping.jaxtyped = checked


def checked(function: Any = None, *, typechecker: Callable[[Any], Any] = beartype) -> Any:
    """A function or data class whose calls are checked as by `jaxtyping.jaxtyped`, for less.

    jaxtyping compiles four functions for each at import, binds every call to the signature, and checks arguments both
    before and after it. Here one is compiled, at the first call, and checks arguments before and the result after it.
    """
    if function is None:
        return partial(checked, typechecker=typechecker)
    if inspect.isclass(function):
        if dataclasses.is_dataclass(function) and not hasattr(function.__init__, "__wrapped__"):
            function.__init__ = checked(function.__init__, typechecker=typechecker)  # type: ignore[misc]
        return function
    if not isinstance(function, FunctionType) or inspect.isgeneratorfunction(function):
        return _jaxtyped(function, typechecker=typechecker)
    hints = _hints(function)  # as jaxtyping does it: of names that are there before the first call

    @cache
    def checking() -> Callable[..., Any]:
        parts = (
            function.__code__,
            function.__globals__,
            function.__name__,
            function.__defaults__,
            function.__closure__,
        )
        copy = FunctionType(*parts)
        copy.__kwdefaults__, copy.__annotations__ = function.__kwdefaults__, hints
        copy.__qualname__, copy.__module__ = function.__qualname__, function.__module__
        return typechecker(copy)

    @wraps(function)
    def call(*arguments: Any, **settings: Any) -> Any:
        if jaxtyping.config.jaxtyping_disable:
            return function(*arguments, **settings)
        with _AXES:
            return checking()(*arguments, **settings)

    return call


def _hints(function: FunctionType) -> dict[str, Any]:
    """Its annotations, but for those that only mypy can read."""
    hints: dict[str, Any] = {}
    for name, annotation in function.__annotations__.items():
        alone: Any = SimpleNamespace(__annotations__={name: annotation})
        try:
            hints |= get_type_hints(alone, function.__globals__, include_extras=True)
        except (AttributeError, NameError, TypeError):
            continue
    return hints


@contextmanager
def unchecked_shapes() -> Iterator[None]:
    """As users run it: for long trainings, of which the checks are a third, and for messages that they would hide."""
    before = jaxtyping.config.jaxtyping_disable
    jaxtyping.config.update("jaxtyping_disable", True)
    try:
        yield
    finally:
        jaxtyping.config.update("jaxtyping_disable", before)
