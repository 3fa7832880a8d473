"""Parsing: TOML and JSON that anybody may have written, as plain values. Whatever is wrong with it is a ValueError."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Mapping
from typing import Any

DEEPEST = 64
"""Values within values, far fewer than functions can call themselves: later readers go through them by recursion."""


def parse_json(content: str | bytes) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: if it is none, no UTF-8, nested more than 64 deep, or has a number of too many digits.
    """
    try:
        value = json.loads(content)
    except RecursionError:
        raise ValueError(f"nested more than {DEEPEST} deep") from None
    check_depth(value)
    return value


def parse_toml(text: str) -> dict[str, Any]:
    """The values of a TOML text.

    Raises:
        ValueError: as of `parse_json`.
    """
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise ValueError(f"nested more than {DEEPEST} deep") from None
    check_depth(values)
    return values


def check_depth(value: Any) -> None:
    """Raise ValueError for values that are nested more than 64 deep."""
    level = [value]
    for _ in range(DEEPEST):
        inner: list[Any] = []
        for one in level:
            inner += one.values() if isinstance(one, Mapping) else one if isinstance(one, list | tuple) else ()
        if not inner:
            return
        level = inner
    raise ValueError(f"nested more than {DEEPEST} deep")
