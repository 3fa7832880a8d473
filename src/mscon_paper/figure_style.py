"""Style of the figures of experiments: how matplotlib draws them, in colours that people tell apart."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from mscon.evaluate.page.colours import COLOURS, hue, shape

if TYPE_CHECKING:
    from matplotlib.figure import Figure

INK, QUIET, GRID = "#1c2330", "#5b6472", "#e4e6ea"
DASHES = ("solid", "dashed", "dotted")
MARKERS = ("o", "^", "s")


def colour(position: int) -> str:
    """Colour of the method, or class, at this position."""
    return COLOURS[hue(position)]


def dashes(position: int) -> str:
    """Dashes of its line."""
    return DASHES[shape(position)]


def marker(position: int) -> str:
    """Shape of its points."""
    return MARKERS[shape(position)]


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
