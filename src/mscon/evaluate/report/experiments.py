"""Experiments: results of `mscon reproduce`, such as a figure of the paper, as its folder holds them. Knows no run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import msgspec

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


class Interval(msgspec.Struct, frozen=True):
    """A number of ours with its interval: a share, or points of it, but for weights, whose mean is 1."""

    value: float
    low: float
    high: float

    def shown(self, scale: int, digits: int, sign: str = "") -> tuple[str, str]:
        """The number, and its interval unless that has no width."""
        value, low, high = (f"{scale * end:{sign}.{digits}f}" for end in (self.value, self.low, self.high))
        return value, "" if low == high == value else f"{low} to {high}"


class Published(msgspec.Struct, frozen=True):
    """A number of the paper, in percent."""

    value: float


class Reading(msgspec.Struct, frozen=True):
    """One number of ours, how it stands to the rest, and the paper's beside it; where there is none, the reason."""

    row: str
    case: str
    measure: str
    column: str
    ours: Interval | None
    standing: str | None
    reason: str | None
    paper: Published | None

    @property
    def shown(self) -> tuple[str, str]:
        if self.ours is None:
            return "", ""
        return self.ours.shown(1, 2) if self.measure == "weight" else self.ours.shown(100, 1)


class Claim(msgspec.Struct, frozen=True):
    """By how much one method is ahead of another, paired by row."""

    better: str
    worse: str
    case: str
    column: str
    ours: Interval

    @property
    def points(self) -> str:
        value, span = self.ours.shown(100, 1, "+")
        return f"{value} ({span})" if span else value

    @property
    def verdict(self) -> str:
        return "confirmed" if self.ours.low > 0 else "contradicted" if self.ours.high < 0 else "not distinguishable"


@dataclass(frozen=True, slots=True)
class Sheet:
    """One table: its title, the heads of its columns, and a line for each method."""

    title: str
    head: tuple[str, ...]
    lines: tuple[tuple[str, tuple[Reading | None, ...]], ...]


class Results(msgspec.Struct, frozen=True):
    """All of one experiment, as results.json has it.

    Attributes:
        changed: in what it is no evidence of anything.
        why_no_published_number: if no number of the paper is beside ours.
        figure: beside the file.
    """

    experiment: str
    title: str
    source: str
    changed: tuple[str, ...]
    spread: str
    axis: str | None
    readings: tuple[Reading, ...]
    differences: tuple[Claim, ...]
    why_no_published_number: str | None
    about: str = ""
    figure: Figure | None = None

    @property
    def sheets(self) -> list[Sheet]:
        """With several cases a table for each measure, its cases beside each other; else all measures in one."""
        measures = list(dict.fromkeys((r.measure, r.column) for r in self.readings))
        cases, rows = (list(dict.fromkeys(getattr(r, key) for r in self.readings)) for key in ("case", "row"))
        cells = {(r.row, r.case, (r.measure, r.column)): r for r in self.readings}
        if len(cases) == 1:
            lines = tuple((row, tuple(cells.get((row, cases[0], key)) for key in measures)) for row in rows)
            return [Sheet("", tuple(heading(*key) for key in measures), lines)]
        sheets = []
        for key in measures:
            mine = [case for case in cases if any((row, case, key) in cells for row in rows)]
            table = [(row, tuple(cells.get((row, case, key)) for case in mine)) for row in rows]
            title = heading(*key) + (f", by {self.axis}" if self.axis else "")
            sheets.append(Sheet(title, tuple(mine), tuple((row, line) for row, line in table if any(line))))
        return sheets


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
        results = msgspec.json.decode(path.read_bytes(), type=Results)
    except OSError as error:
        raise RunError(f"'{folder}' holds no results of an experiment: {error.strerror or error}.") from None
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RunError(
            f"'{path}' is not what `mscon reproduce` writes ({error}). "
            "Run the experiment again: runs that are there are not made anew."
        ) from None
    return msgspec.structs.replace(results, figure=_figure(folder, results.title))


def heading(measure: str, column: str) -> str:
    """What stands above a number."""
    if measure == "weight":
        return f"weight given to {plain(column)}"
    return plain(column) if measure == "accuracy" else f"{measure} of {plain(column)}" if column else measure


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
