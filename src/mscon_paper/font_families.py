"""Font families: those that are installed as packages `fontpkg-<family>`, with their files."""

from __future__ import annotations

import importlib.metadata
import importlib.resources
import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscon.errors import TableError, counted, first_few, nearest

# A family may list two categories; the first of these among them, else its own first, is the one.
_STRONGEST_FIRST = ("MONOSPACE", "HANDWRITING", "DISPLAY")
_CATEGORY_WORDS = {"SANS_SERIF": "sans", "SERIF": "serif", "MONOSPACE": "mono"}


@dataclass(frozen=True, slots=True)
class FontFamily:
    """One installed family."""

    slug: str
    name: str
    category: str
    version: str
    folder: Path
    files: tuple[dict[str, Any], ...]
    weight_range: tuple[float, float]


def installed() -> dict[str, importlib.metadata.EntryPoint]:
    """Every font family that is installed, by its slug."""
    entries = importlib.metadata.entry_points(group="fontpkg.family")
    return {entry.name.replace("_", "-"): entry for entry in entries}


def of_the_extra() -> tuple[str, ...]:
    """The families that the extra `fonts` of mscon requires; pyproject.toml has the only list of them."""
    requirements = importlib.metadata.requires("mscon") or []
    matches = (re.match(r"fontpkg-([a-z0-9-]+)\b.*extra\s*==\s*['\"]fonts['\"]", line) for line in requirements)
    return tuple(sorted(match[1] for match in matches if match))


def choose(families: Sequence[str] | None) -> list[FontFamily]:
    """The families of these slugs; by default those of the extra `fonts`.

    Raises:
        TableError: naming those that are not installed.
    """
    slugs = sorted(set(of_the_extra() if families is None else families))
    entries = installed()
    if missing := [slug for slug in slugs if slug not in entries]:
        hint = nearest(missing[0], entries) if families is not None else ""
        raise TableError(
            f"glyphs are rendered from {counted(len(slugs), 'font package')}, of which "
            f"{len(slugs) - len(missing)} are installed.{hint}\n"
            f"  Missing: {first_few(missing)}.\n"
            '  Install them with: pip install "mscon[fonts]"'
        )
    if not slugs:
        raise TableError('glyphs need at least one font family. Install them with: pip install "mscon[fonts]"')
    return [read_family(entries[slug]) for slug in slugs]


def read_family(entry: importlib.metadata.EntryPoint) -> FontFamily:
    """The family of an installed package, by the package's own metadata."""
    folder = Path(str(importlib.resources.files(entry.value)))
    about = json.loads((folder / "metadata.json").read_text("utf-8"))
    listed = about["category"]
    category = next((c for c in _STRONGEST_FIRST if c in listed), listed[0])
    axis = next((a for a in about["axes"] if a["tag"] == "wght"), {"min": 400.0, "max": 400.0})
    return FontFamily(
        slug=about["slug"],
        name=about["family"],
        category=_CATEGORY_WORDS.get(category, category.lower()),
        version=entry.dist.version if entry.dist else about["version"],
        folder=folder,
        files=tuple(about["files"]),
        weight_range=(axis["min"], axis["max"]),
    )
