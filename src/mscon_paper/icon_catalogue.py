"""The catalogue of an icon set: what `@phosphor-icons/core` says about each of its objects.

It is published as TypeScript declarations, which are read here and never executed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

_DIRECTIONS = {"up", "down", "left", "right"}


@dataclass(frozen=True, slots=True)
class Icon:
    """An object that is drawn in every weight.

    Attributes:
        name: words joined by hyphens, "arrow-circle-up".
        categories: on the set's website, one to four.
        section: the one category in the designers' own library, which is ordered in another way.
        tags: words to find it by.
    """

    name: str
    categories: tuple[str, ...]
    section: str
    tags: tuple[str, ...]

    @property
    def family(self) -> str:
        """The first word of the name: all batteries, all arrows."""
        return self.name.partition("-")[0]

    @property
    def direction(self) -> str:
        """Where it points, by its name; empty where that says nothing, or two directions."""
        directions = _DIRECTIONS.intersection(self.name.split("-"))
        return directions.pop() if len(directions) == 1 else ""


def read_catalogue(files: Mapping[str, bytes]) -> list[Icon]:
    """The icons in the order of their names, from the files of the package."""
    values: dict[str, str] = {}
    for enum, body in re.findall(r"enum (\w+) \{(.*?)\}", files["dist/types.d.ts"].decode(), re.DOTALL):
        values |= {f"{enum}.{key}": text for key, text in re.findall(r'(\w+) = ("[^"]*")', body)}

    def as_json(token: re.Match[str]) -> str:
        text = token[0]
        if text.startswith('"'):
            return text
        if token["key"]:
            return f'"{token["key"]}":'
        if token["nothing"]:
            return ""
        return "," if text == ";" else values[text]

    declared = files["dist/icons.d.ts"].decode()
    declared = declared[declared.index("readonly [") : declared.rindex("]") + 1]
    tokens = r'"(?:[^"\\]|\\.)*"|readonly (?P<key>\w+):|(?P<nothing>readonly |;(?=\s*\}))|;|\w+\.[A-Z]+'
    entries = json.loads(re.sub(tokens, as_json, declared))
    icons = [
        Icon(
            name=entry["name"],
            categories=tuple(entry["categories"]),
            section=entry["figma_category"],
            tags=tuple(tag for tag in entry["tags"] if not tag.startswith("*")),  # "*new*" is about the release
        )
        for entry in entries
    ]
    return sorted(icons, key=lambda icon: icon.name)
