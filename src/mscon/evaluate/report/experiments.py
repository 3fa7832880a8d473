"""Experiments: results of `mscon reproduce`, such as a figure of the paper, as its folder holds them. Knows no run."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscon.errors import RunError
from mscon.evaluate.page.thumbnails import as_data_uri
from mscon.evaluate.report.markdown import plain

FILE = "results.json"
# A figure of many thousand points is smaller as pixels than as lines.
_LARGEST_SVG = 600_000


@dataclass(frozen=True, slots=True)
class Figure:
    """A picture as a data URI, with its size in CSS pixels and what it shows, in words."""

    uri: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True, slots=True)
class Reading:
    """One number of ours as text, with its interval, how it stands to the rest, and the paper's beside it.

    Attributes:
        value: "" where there is none, and `reason` says why.
        standing: "best", "first" (best mean, not clearly best), "level" with that, or "".
    """

    value: str
    span: str = ""
    standing: str = ""
    paper: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table: what was measured, the heads of its columns, and a line for each method."""

    title: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, tuple[Reading | None, ...]], ...]


@dataclass(frozen=True, slots=True)
class Claim:
    """By how much one method is ahead of another, paired by row, in points."""

    better: str
    worse: str
    case: str
    column: str
    value: str
    verdict: str


@dataclass(frozen=True, slots=True)
class Results:
    """All of one experiment; `changed` says in what it is no evidence, `beside` why no number of the paper is there."""

    name: str
    title: str
    source: str
    about: str
    changed: tuple[str, ...]
    spread: str
    beside: str
    figure: Figure | None
    sheets: tuple[Sheet, ...]
    claims: tuple[Claim, ...]


def holds_results(folder: Path) -> bool:
    """Whether `mscon reproduce` has written the results of an experiment into this folder."""
    return (folder / FILE).is_file()


def read_results(folder: Path) -> Results:
    """What `mscon reproduce` left in a folder.

    Raises:
        RunError: if that cannot be read.
    """
    path = folder / FILE
    try:
        record = json.loads(path.read_text("utf-8"))
        title = str(record["title"])
        return Results(
            name=str(record["experiment"]),
            title=title,
            source=str(record["source"]),
            about=" ".join(str(record.get("about", "")).split()),
            changed=tuple(str(text) for text in record["changed"]),
            spread=str(record["spread"]),
            beside=str(record["why_no_published_number"] or ""),
            figure=_figure(folder, title),
            sheets=tuple(_sheets(record["readings"], record["axis"])),
            claims=tuple(_claim(difference) for difference in record["differences"]),
        )
    except OSError as error:
        raise RunError(f"'{folder}' holds no results of an experiment: {error.strerror or error}.") from None
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"'{path}' is not what `mscon reproduce` writes ({type(error).__name__}: {error}). "
            "Run the experiment again: runs that are there are not made anew."
        ) from None


def heading(measure: str, column: str) -> str:
    """What stands above a number."""
    if measure == "weight":
        return f"weight given to {plain(column)}"
    return plain(column) if measure == "accuracy" else f"{measure} of {plain(column)}" if column else measure


def _sheets(readings: Sequence[Mapping[str, Any]], axis: str | None) -> list[Sheet]:
    """With several cases a table for each measure, its cases beside each other; else all measures in one."""
    measures = list(dict.fromkeys((r["measure"], r["column"]) for r in readings))
    cases = list(dict.fromkeys(r["case"] for r in readings))
    rows = list(dict.fromkeys(r["row"] for r in readings))
    cells = {(r["row"], r["case"], r["measure"], r["column"]): _reading(r) for r in readings}
    if len(cases) == 1:
        head = tuple(heading(*key) for key in measures)
        lines = tuple((row, tuple(cells.get((row, cases[0], *key)) for key in measures)) for row in rows)
        return [Sheet("", head, lines)]
    sheets = []
    for key in measures:
        mine = [case for case in cases if any((row, case, *key) in cells for row in rows)]
        lines = tuple(
            (row, tuple(cells.get((row, case, *key)) for case in mine))
            for row in rows
            if any((row, case, *key) in cells for case in mine)
        )
        title = heading(*key) + (f", by {axis}" if axis else "")
        sheets.append(Sheet(title, tuple(mine), lines))
    return sheets


def _reading(reading: Mapping[str, Any]) -> Reading:
    paper = reading["paper"]
    beside = "" if paper is None else f"{paper['value']:.2f}"
    ours = reading["ours"]
    if ours is None:
        return Reading("", paper=beside, reason=str(reading["reason"] or "not there"))
    scale, digits = (1, 2) if reading["measure"] == "weight" else (100, 1)
    value, low, high = (f"{scale * float(ours[name]):.{digits}f}" for name in ("value", "low", "high"))
    standing = reading["standing"] if reading["standing"] in ("best", "first", "level") else ""
    return Reading(value, "" if low == high == value else f"{low} to {high}", standing, beside)


def _claim(difference: Mapping[str, Any]) -> Claim:
    value, low, high = (100 * float(difference["ours"][name]) for name in ("value", "low", "high"))
    verdict = "confirmed" if low > 0 else "contradicted" if high < 0 else "not distinguishable"
    better, worse, case, column = (str(difference[name]) for name in ("better", "worse", "case", "column"))
    return Claim(better, worse, case, column, f"{value:+.1f} ({low:+.1f} to {high:+.1f})", verdict)


def _figure(folder: Path, title: str) -> Figure | None:
    """Its figure as lines, or as pixels where that is much smaller; the numbers are in the tables.

    As an image: no script in it runs, and nothing is loaded.
    """
    alt = f"Figure of the experiment: {title}. Its numbers are in the tables below."
    lines, pixels = folder / "figure.svg", folder / "figure.png"
    if lines.is_file() and lines.stat().st_size <= _LARGEST_SVG:
        content = lines.read_bytes()
        size = re.search(rb'<svg[^>]*\bwidth="([\d.]+)pt" height="([\d.]+)pt"', content)
        if size:
            width, height = (round(float(side) * 96 / 72) for side in size.groups())
            return Figure(as_data_uri(content, "image/svg+xml"), width, height, alt)
    if pixels.is_file():
        from PIL import Image

        with Image.open(pixels) as image:
            # Drawn at 144 dots an inch, shown at 96.
            width, height = (round(side / 1.5) for side in image.size)
        return Figure(as_data_uri(pixels.read_bytes(), "image/png"), width, height, alt)
    return None
