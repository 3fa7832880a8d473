"""Pictures inside the page: drawn in one style, kept as data URIs. Words of a table never enter a picture of the
report: they stand in the page around it.
"""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, QUIET, GRID = "#1c2330", "#5b6472", "#e4e6ea"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a data URI, with its size in CSS pixels and what it shows, in words."""

    uri: str
    width: int
    height: int
    alt: str


def blank(width: float, height: float) -> Figure:
    """An empty figure of so many inches."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


@contextmanager
def style() -> Iterator[None]:
    """How every picture looks."""
    import matplotlib

    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans",  # comes with matplotlib, so the picture is the same on every machine
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlecolor": INK,
        "axes.labelsize": 8.5,
        "axes.labelcolor": QUIET,
        "axes.edgecolor": "#b9bec7",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": GRID,
        "grid.linewidth": 0.7,
        "axes.axisbelow": True,
        "xtick.color": QUIET,
        "ytick.color": QUIET,
        "xtick.labelsize": 8.5,
        "ytick.labelsize": 8.5,
        "text.parse_math": False,
        "svg.hashsalt": "mscon",  # the same picture gives the same bytes
        "svg.fonttype": "path",
    }
    with matplotlib.rc_context(settings):
        yield


def picture(figure: Figure, alt: str, kind: str) -> Picture:
    """The figure as a data URI: "svg" for lines, "png" for many points."""
    buffer = io.BytesIO()
    width, height = (round(96 * side) for side in figure.get_size_inches())
    if kind == "svg":
        figure.savefig(buffer, format="svg", metadata={"Date": None})
        return Picture(data_uri(buffer.getvalue(), "image/svg+xml"), width, height, alt)
    from PIL import Image

    figure.savefig(buffer, format="png", dpi=192)
    # A map needs few colours; 64 of them take a third of the bytes.
    small = Image.open(buffer).convert("RGB").quantize(64)
    buffer = io.BytesIO()
    small.save(buffer, format="png", optimize=True)
    return Picture(data_uri(buffer.getvalue(), "image/png"), width, height, alt)


def data_uri(content: bytes, media_type: str) -> str:
    """Bytes as an address that asks nobody."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def embedded(content: bytes, kind: str, width: int, height: int, alt: str) -> Picture:
    """A picture that is a file already: "svg" or "png". As an image no script in it runs, and nothing is loaded."""
    return Picture(data_uri(content, {"svg": "image/svg+xml", "png": "image/png"}[kind]), width, height, alt)
