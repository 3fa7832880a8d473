"""Environment: by which commands, recipes, versions and machines the runs were made."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from mscon.errors import first_few
from mscon.evaluate.report.gather import Gathered, flat


def commands(gathered: Gathered) -> list[str]:
    """What trains, probes and reports the same runs again, beside their directories and the same table."""
    lines = []
    for member in gathered.members:
        command = member.run.read_facts().get("command")
        name = shlex.quote(member.run.name)
        train = f"mscon train {shlex.quote(f'{member.run.name}/recipe.toml')} --table {shlex.quote(gathered.table)}"
        lines.append(str(command) if isinstance(command, str) else f"{train} --out again/{name}")
    return [*lines, "mscon probe again/*", "mscon report again/*"]


def recipes(gathered: Gathered) -> list[tuple[str, str]]:
    """Title and text of the recipe of each method's first seed."""
    return [(method.title, method.members[0].run.read_recipe_text().strip()) for method in gathered.methods]


def facts(gathered: Gathered) -> list[tuple[str, str]]:
    """Every fact by its path, with all values that occur. Folders of the machine are nobody's business."""
    values_of: dict[str, list[str]] = {}
    for member in gathered.members:
        for path, value in flat(member.run.read_facts()):
            key = path.replace(".", ": ").replace("_", " ")
            text = ", ".join(map(str, value)) if isinstance(value, list) else str(value)
            is_private = path == "command" or text.startswith(("/", "~", "\\\\"))
            if value is not None and not is_private and text not in values_of.setdefault(key, []):
                values_of[key].append(text)
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
