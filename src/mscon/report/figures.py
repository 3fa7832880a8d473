"""Curves of training, as pictures. Words of a table never enter a picture: they stand in the page around it."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from mscon.report import palette
from mscon.report.gather import Method

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# Points of a line: what a screen can show, and what keeps 21 runs within a few hundred kilobytes.
_POINTS = 72
_INK, _QUIET, _GRID = "#1c2330", "#5b6472", "#e4e6ea"


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture as a data URI, with its size in CSS pixels and what it shows, in words."""

    uri: str
    width: int
    height: int
    alt: str


@dataclass(frozen=True, slots=True)
class Curves:
    """All curves of one similarity, and which methods are in them (positions in the list of methods)."""

    column: str
    picture: Picture
    methods: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Panel:
    title: str
    kind: str
    quantity: str
    unit: str


_PANELS = (
    _Panel("Loss, training", "step", "loss", "nats"),
    _Panel("Relative excess, training", "step", "relative_excess", "0 learnt, 1 chance"),
    _Panel("Relative excess, validation", "validation", "relative_excess", "0 learnt, 1 chance"),
    _Panel("Weight in the total", "step", "weight", ""),
)


def curves(methods: Sequence[Method]) -> tuple[Curves, ...]:
    """Loss, relative excess and weight over the steps, for each similarity that any method has."""
    logs = [[member.run.log for member in method.members] for method in methods]
    drawn = []
    for column in dict.fromkeys(column for method in methods for column in method.columns):
        having = tuple(i for i, method in enumerate(methods) if column in method.columns)
        panels = [
            (panel, {i: [series(log, panel.kind, panel.quantity, column) for log in logs[i]] for i in having})
            for panel in _PANELS
        ]
        panels = [
            (panel, lines) for panel, lines in panels if any(len(x) for group in lines.values() for x, _ in group)
        ]
        if not panels:
            continue
        bounds = {name: _usual(logs[i], name, column) for name in ("floor", "ceiling") for i in having[:1]}
        alt = (
            f"Curves of the similarity {column} over the training steps: "
            f"{', '.join(panel.title.lower() for panel, _ in panels)}; one line for each of {len(having)} "
            f"{'methods' if len(having) > 1 else 'method'}. The last values stand in the table of similarities."
        )
        drawn.append(Curves(column, _draw(panels, bounds, alt), having))
    return tuple(drawn)


def series(
    log: Sequence[Mapping[str, Any]], kind: str, quantity: str, column: str
) -> tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]:
    """Steps and values of one quantity of one similarity, records without it left out."""
    steps, values = [], []
    for record in log:
        if record.get("kind") == kind and (value := (record.get(quantity) or {}).get(column)) is not None:
            steps.append(float(record["step"]))
            values.append(float(value))
    return np.array(steps), np.array(values)


def _usual(logs: Sequence[Sequence[Mapping[str, Any]]], quantity: str, column: str) -> float | None:
    values = [v.mean() for log in logs if len(v := series(log, "step", quantity, column)[1])]
    return float(np.mean(values)) if values else None


def thin(
    steps: Float[np.ndarray, " points"], values: Float[np.ndarray, " points"], edges: Float[np.ndarray, " edges"]
) -> tuple[Float[np.ndarray, " bins"], Float[np.ndarray, " bins"]]:
    """Means within bins of steps, each with its upper edge; NaN where a bin has no record."""
    where = np.clip(np.searchsorted(edges, steps, side="left") - 1, 0, len(edges) - 2)
    count = np.bincount(where, minlength=len(edges) - 1)
    sums = [np.bincount(where, weights=x, minlength=len(edges) - 1) for x in (steps, values)]
    with np.errstate(invalid="ignore"):
        x, y = (np.where(count > 0, s / np.maximum(count, 1), np.nan) for s in sums)
    return x, y


def _draw(
    panels: Sequence[tuple[_Panel, Mapping[int, Sequence[tuple[np.ndarray, np.ndarray]]]]],
    bounds: Mapping[str, float | None],
    alt: str,
) -> Picture:
    with _style():
        figure = _figure(12.0, 2.75)
        axes = figure.subplots(1, len(_PANELS), squeeze=False)[0]
        for axis in axes[len(panels) :]:
            axis.set_visible(False)
        for axis, (panel, lines) in zip(axes, panels, strict=False):
            _panel(axis, panel, lines)
            if panel.quantity == "loss":
                _bounds(axis, bounds)
        figure.tight_layout(w_pad=1.6)
        return picture(figure, alt, "svg")


def _panel(axis: Axes, panel: _Panel, lines: Mapping[int, Sequence[tuple[np.ndarray, np.ndarray]]]) -> None:
    last = max((x[-1] for group in lines.values() for x, _ in group if len(x)), default=1.0)
    fewest = min((len(x) for group in lines.values() for x, _ in group if len(x)), default=1)
    edges = np.linspace(0, last, min(_POINTS, max(fewest, 1)) + 1)
    for i, group in lines.items():
        binned = [thin(x, y, edges) for x, y in group if len(x)]
        if not binned:
            continue
        style: dict[str, Any] = {"color": palette.colour(i), "linestyle": palette.DASHES[palette.turn(i)]}
        if len(binned) > 1:
            for x, y in binned:
                axis.plot(x, y, linewidth=0.5, alpha=0.4, **style)
        # Bins that no seed filled stay out of the mean, and out of the line.
        filled = ~np.all([np.isnan(y) for _, y in binned], axis=0)
        x, y = (np.nanmean([pair[k][filled] for pair in binned], axis=0) for k in (0, 1))
        axis.plot(x, y, linewidth=1.7, marker="." if len(x) < 4 else "", **style)
    axis.set_title(panel.title, loc="left")
    axis.set_xlabel("step")
    axis.set_ylabel(panel.unit)
    axis.set_xlim(0, last)
    low, high = axis.get_ylim()
    if panel.quantity == "relative_excess":
        # An encoder that has seen nothing can lie far above chance for a few steps; that would flatten all the rest.
        high = min(high, 1.5)
        if high > 0.8:
            axis.axhline(1.0, color=_QUIET, linewidth=0.8, linestyle=(0, (2, 3)))
    if panel.quantity in ("relative_excess", "weight"):
        axis.set_ylim(min(0.0, low), 1.04 * high)


def _bounds(axis: Axes, bounds: Mapping[str, float | None]) -> None:
    for name, value in bounds.items():
        if value is not None:
            axis.axhline(value, color=_QUIET, linewidth=0.8, linestyle=(0, (2, 3)))
            place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
            axis.annotate(name, (0.99, value), fontsize=7.5, color=_QUIET, **place)


# How every picture looks ------------------------------------------------------------------------------


def _figure(width: float, height: float) -> Figure:
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height))


@contextmanager
def _style() -> Iterator[None]:
    import matplotlib

    settings: dict[Any, Any] = {
        "font.family": "DejaVu Sans",  # comes with matplotlib, so the picture is the same on every machine
        "font.size": 9,
        "axes.titlesize": 9.5,
        "axes.titleweight": "bold",
        "axes.titlecolor": _INK,
        "axes.labelsize": 8.5,
        "axes.labelcolor": _QUIET,
        "axes.edgecolor": "#b9bec7",
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "grid.color": _GRID,
        "grid.linewidth": 0.7,
        "axes.axisbelow": True,
        "xtick.color": _QUIET,
        "ytick.color": _QUIET,
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
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"
