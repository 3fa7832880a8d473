"""Recipe text: a recipe as commented TOML. Whatever a table holds, a comment stays one line."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import tomli_w

_LONGEST = 60  # letters of a name or value in a comment
_LONGEST_COMMENT = 300  # and of all of it


def quoted(text: str) -> str:
    """A name or value of a table for a comment, on one line and not too long."""
    return json.dumps(text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}...", ensure_ascii=False)


def plain(value: Any) -> str:
    """A value as TOML on one line: text, numbers, true or false, a list or a table of these."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {plain(one)}" for key, one in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(plain, value)) + "]"
    return tomli_w.dumps({"_": value}).partition("= ")[2].strip()


@dataclass(slots=True)
class RecipeText:
    """Sections of a recipe, in the order in which they are written."""

    _lines: list[str] = field(default_factory=list)

    def section(self, header: str, comment: str = "") -> None:
        """A header such as "[data]"."""
        self._lines += ["", header + _comment(comment)]

    def setting(self, key: str, value: Any, comment: str = "") -> None:
        """A setting of the section, with why it has this value."""
        self._lines.append(f"{key} = {plain(value)}" + _comment(comment))

    def names(self, key: str, columns: Mapping[str, str]) -> None:
        """A list of names of columns, each on a line with its comment."""
        self._lines += [f"{key} = [", *(f"  {plain(name)}," + _comment(why) for name, why in columns.items()), "]"]

    def choice(self, key: str, value: Any, comment: str) -> None:
        """A setting that is not in force, for the user to choose."""
        self._lines.append(f"# {_one_line(f'{key} = {plain(value)}')}" + _comment(comment))

    def say(self, sentence: str) -> None:
        """A line of comment."""
        self._lines.append(_comment(sentence).lstrip())

    def __str__(self) -> str:
        return "\n".join(self._lines).strip() + "\n"


def _comment(text: str) -> str:
    shown = text if len(text) <= _LONGEST_COMMENT else f"{text[: _LONGEST_COMMENT - 3]}..."
    return f"  # {_one_line(shown)}" if text else ""


def _one_line(text: str) -> str:
    """Without control characters, which would end a comment or may not stand in one."""
    return "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
