"""Complaints: all that is wrong with one request, told in one message."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from mscon.errors import MSConError, RunError

Value = TypeVar("Value")


class Complaints:
    """Collects errors until `raise_any`."""

    def __init__(self) -> None:
        self._errors: list[MSConError] = []

    def __bool__(self) -> bool:
        return bool(self._errors)

    def add(self, message: str) -> None:
        """One more thing that is wrong."""
        self._errors.append(RunError(message))

    def of(self, read: Callable[..., Value], *arguments: Any) -> Value | None:
        """What `read` returns; or None, if it complains."""
        try:
            return read(*arguments)
        except MSConError as error:
            self._errors.append(error)
            return None

    def each(self, read: Callable[[Any], Value], values: Iterable[Any]) -> list[Value]:
        """What `read` returns for each value, those left out that it complains about."""
        return [result for value in values if (result := self.of(read, value)) is not None]

    def raise_any(self) -> None:
        """Raise the only complaint as it is, or several as one RunError; do nothing where there is none."""
        if len(self._errors) == 1:
            raise self._errors[0]
        if self._errors:
            raise RunError("\n".join(dict.fromkeys(map(str, self._errors))))
