"""Errors that a user can repair, and how their messages count and list: what, where, how many, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from typing import Any, get_args

_MESSAGES_SHOWN = 40


class MSConError(Exception):
    """A mistake in what was handed to mscon. The command line prints it and exits with status 2."""


class TableError(MSConError):
    """The table, or something that it points to, cannot be used as it is."""


class RecipeError(MSConError):
    """The recipe names something that does not exist, or a value out of range.

    Attributes:
        messages: one for each mistake.
    """

    def __init__(self, *messages: str) -> None:
        more = len(messages) - _MESSAGES_SHOWN
        rest = [f"and {counted(more, 'more mistake')}."] if more > 0 else []
        super().__init__("\n".join([*messages[:_MESSAGES_SHOWN], *rest]))
        self.messages = messages


class RunError(MSConError):
    """A run directory is missing, incomplete, in the way, or its training broke down."""


class NotResumable(RunError):
    """A run cannot go on from its checkpoint, or be probed: its inputs have changed, or it is of another model."""


class OthersStopped(RunError):
    """Of several processes that train together, another one has stopped; its own message says why."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that memory ran out, that of a GPU or of the machine; torch need not be imported."""
    is_of_gpu = any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)
    is_of_torch = isinstance(error, RuntimeError) and "DefaultCPUAllocator" in str(error)
    return is_of_gpu or is_of_torch or isinstance(error, MemoryError)


def nearest(word: str, known: Iterable[str], cutoff: float = 0.6) -> str:
    """ " Did you mean 'x'?" for a misspelt `word`, or the empty string if nothing is near."""
    match = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff)
    return f" Did you mean '{match[0]}'?" if match else ""


def counted(number: int, noun: str) -> str:
    """`counted(1, "row")` is "1 row", `counted(41000, "row")` is "41,000 rows"."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def numbered(noun: str, numbers: Sequence[int], limit: int = 5) -> str:
    """`numbered("line", [5])` is "line 5", `numbered("line", [5, 7])` is "lines 5, 7"."""
    return f"{noun}{'' if len(numbers) == 1 else 's'} {first_few(numbers, limit)}"


def first_few(items: Sequence[object], limit: int = 5) -> str:
    """The first `limit` items as text, and how many were left out."""
    shown = ", ".join(str(item) for item in items[:limit])
    return shown if len(items) <= limit else f"{shown} and {len(items) - limit:,} more"


def shortened(value: object, letters: int = 200) -> str:
    """A value as Python writes it, for a message: of a long one the beginning."""
    text = repr(value)
    return text if len(text) <= letters else f"{text[:letters]}…"


def need_one_of(name: str, value: object, literal: Any) -> None:
    """Check a setting against the values of a `Literal`.

    Raises:
        ValueError: if it is none of them.
    """
    if value not in get_args(literal):
        raise ValueError(f"{name} must be {' or '.join(repr(choice) for choice in get_args(literal))}, got {value!r}.")
