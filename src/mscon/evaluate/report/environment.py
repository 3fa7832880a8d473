"""Environment: by which commands, recipes, versions and machines the runs were made."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mscon.errors import first_few
from mscon.evaluate.report.gather import Gathered


def commands(gathered: Gathered, table: str) -> list[str]:
    """What trains, probes and reports the same runs again, beside their directories and the same table."""
    lines = []
    for member in gathered.members:
        command = member.run.read_facts().get("command")
        name = shlex.quote(member.run.name)
        train = f"mscon train {shlex.quote(f'{member.run.name}/recipe.toml')} --table {shlex.quote(table)}"
        lines.append(str(command) if isinstance(command, str) else f"{train} --out again/{name}")
    return [*lines, "mscon probe again/*", "mscon report again/*"]


def recipes(gathered: Gathered) -> list[tuple[str, str]]:
    """Title and text of the recipe of each method's first seed."""
    return [(method.title, method.members[0].run.read_recipe_text().strip()) for method in gathered.methods]


def facts(gathered: Gathered) -> list[tuple[str, str]]:
    """Every fact by its path, with all values that occur. Folders of the machine are nobody's business."""
    values_of: dict[str, list[str]] = {}
    for member in gathered.members:
        for key, value in _flat(member.run.read_facts()):
            if not value.startswith(("/", "~", "\\\\")) and value not in values_of.setdefault(key, []):
                values_of[key].append(value)
    return [(key, _some(values)) for key, values in values_of.items() if values]


def _some(values: Sequence[str]) -> str:
    """A few values as they are; many numbers as their range."""
    if len(values) > 3:
        try:
            numbers = sorted(values, key=float)
            return f"{numbers[0]} to {numbers[-1]}"
        except ValueError:
            pass
    return first_few(values, 3)


def _flat(value: Any, path: str = "") -> Iterable[tuple[str, str]]:
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _flat(inner, f"{path}: {key}".removeprefix(": ").replace("_", " "))
    elif isinstance(value, list):
        yield path, ", ".join(str(v) for v in value)
    elif value is not None and path != "command":
        yield path, str(value)
