"""Environment: by which commands, recipes, versions and machines runs were made, and which papers they build on."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from mscon.errors import first_few
from mscon.evaluate.page.frame import file_text
from mscon.evaluate.report.gather import Gathered
from mscon.evaluate.report.methods import flat
from mscon.run.recipe import names_of


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


def bibtex(recipes: Iterable[Mapping[str, Any]]) -> str:
    """MSCon, and what these recipes (as plain values) build on, each once, in the order of references.bib."""
    used, named = {"mu2023mscon"}, set[str]()
    for recipe in recipes:
        objectives = names_of(recipe, "objective")
        kinds = {
            part.get("name", "categorical")
            for part, objective in zip(recipe["similarity"], objectives, strict=True)
            if objective == "supcon"
        }
        named |= {*objectives}
        data, views, train = (recipe.get(section, {}) for section in ("data", "views", "train"))
        weighting = recipe["weighting"]["name"] if len(recipe["similarity"]) > 1 else "equal"
        uses = {
            "chen2020simclr": "same_row" in kinds,
            "khosla2020supcon": bool(kinds - {"same_row"}),
            "sobal2024xclr": "teacher" in kinds,
            "dufumier2021yaware": "continuous" in kinds,
            "zhu2022balanced": any(
                isinstance(part, Mapping) and part.get("balance")
                for part in (
                    recipe.get("objective"),
                    *(similarity.get("objective") for similarity in recipe["similarity"]),
                )
            ),
            "bardes2022vicreg": train.get("vicreg", 0) > 0,
            "balestriero2025lejepa": train.get("sigreg", 0) > 0,
            "veit2017csn": "triplet_margin" in objectives or "masks" in names_of(recipe, "heads"),
            "wang2020xbm": int(recipe.get("candidates", {}).get("memory_size", 0)) > 0,
            "bahri2022scarf": data.get("input", "image") != "image" and views.get("corrupt", 0) > 0,
            "kendall2018uncertainty": weighting == "uncertainty",
            "he2024excessmtl": weighting == "excess_mtl",
            "quinton2024jacobian": weighting == "torchjd",
        }
        used |= {key for key, is_used in uses.items() if is_used}
    # Identifiers instead of addresses: a report that opens offline should not look as if it linked anywhere.
    entries = file_text("mscon.evaluate.report", "template", "references.bib").strip().split("\n\n")
    return "\n\n".join(entry for entry in entries if {_key(entry)} & used or _keywords(entry) & named)


def _key(entry: str) -> str:
    return entry.partition("{")[2].partition(",")[0]


def _keywords(entry: str) -> set[str]:
    """The objectives that an entry is the source of."""
    keywords = re.search(r"keywords\s*= \{(.*?)\}", entry)
    return set() if keywords is None else set(keywords[1].split(", "))
