"""Curves of training, as pictures and as numbers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from mscon.evaluate.report import palette
from mscon.evaluate.report.gather import Method
from mscon.evaluate.report.pictures import QUIET, Picture, blank, picture, style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Points of a line: what a screen can show, and what keeps 21 runs within a few hundred kilobytes.
_POINTS = 72
# Of the table beside the picture: ends of as many equal parts of training.
_PARTS = 5

Points = tuple[Float[np.ndarray, " points"], Float[np.ndarray, " points"]]
"""Steps and values of one run."""


@dataclass(frozen=True, slots=True)
class Line:
    """One method in numbers: means over seeds within equal parts of training, None where nothing was logged."""

    method: int
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Panel:
    """One quantity of one similarity: its picture, and the same in a few numbers."""

    title: str
    unit: str
    picture: Picture
    ends: tuple[int, ...]
    lines: tuple[Line, ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """All curves of one similarity, and which methods are in them (positions in the list of methods)."""

    column: str
    panels: tuple[Panel, ...]
    methods: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Quantity:
    title: str
    kind: str
    name: str
    unit: str


_LOSS = _Quantity("Loss, training", "step", "loss", "nats")
_VALIDATION_LOSS = _Quantity("Loss, validation", "validation", "loss", "nats")
_VALIDATION_EXCESS = _Quantity("Relative excess, validation", "validation", "relative_excess", "0 learnt, 1 chance")
_QUANTITIES = (
    _LOSS,
    _VALIDATION_LOSS,
    _Quantity("Relative excess, training", "step", "relative_excess", "0 learnt, 1 chance"),
    _VALIDATION_EXCESS,
    _Quantity("Weight in the total", "step", "weight", ""),
)


def curves(methods: Sequence[Method]) -> tuple[Curves, ...]:
    """Loss, relative excess and weight over the steps, for each similarity that any method has.

    The loss on validation rows is drawn where some method has no relative excess there, which says the same better.
    """
    logs = [[member.run.read_log() for member in method.members] for method in methods]
    drawn = []
    for column in dict.fromkeys(column for method in methods for column in method.columns):
        having = tuple(i for i, method in enumerate(methods) if column in method.columns)
        by_quantity = {quantity: _logged({i: logs[i] for i in having}, quantity, column) for quantity in _QUANTITIES}
        if by_quantity[_VALIDATION_EXCESS].keys() >= by_quantity[_VALIDATION_LOSS].keys():
            by_quantity[_VALIDATION_LOSS] = {}
        bounds = {name: _usual(logs[i], name, column) for name in ("floor", "ceiling") for i in having[:1]}
        panels = [
            _panel(column, quantity, lines, bounds if quantity is _LOSS else {})
            for quantity, lines in by_quantity.items()
            if lines
        ]
        if panels:
            drawn.append(Curves(column, tuple(panels), having))
    return tuple(drawn)


def _logged(
    logs: Mapping[int, Sequence[Sequence[Mapping[str, Any]]]], quantity: _Quantity, column: str
) -> dict[int, list[Points]]:
    """Of each method the points of those seeds that have any; methods without are left out."""
    points_of = {
        i: [points for log in group if len((points := series(log, quantity.kind, quantity.name, column))[0])]
        for i, group in logs.items()
    }
    return {i: group for i, group in points_of.items() if group}


def series(log: Sequence[Mapping[str, Any]], kind: str, quantity: str, column: str) -> Points:
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
    """Means within bins of steps, each with its mean step; NaN where a bin has no record."""
    where = np.clip(np.searchsorted(edges, steps, side="left") - 1, 0, len(edges) - 2)
    count = np.bincount(where, minlength=len(edges) - 1)
    sums = [np.bincount(where, weights=x, minlength=len(edges) - 1) for x in (steps, values)]
    with np.errstate(invalid="ignore"):
        x, y = (np.where(count > 0, s / np.maximum(count, 1), np.nan) for s in sums)
    return x, y


def _panel(
    column: str,
    quantity: _Quantity,
    lines: Mapping[int, Sequence[Points]],
    bounds: Mapping[str, float | None],
) -> Panel:
    last = max(x[-1] for group in lines.values() for x, _ in group)
    numbers = _numbers(lines, last)
    alt = (
        f"{quantity.title} of the similarity {column} over the steps, a line for each of {len(lines)} "
        f"{'methods' if len(lines) > 1 else 'method'}. The numbers stand in a table below."
    )
    with style():
        figure = blank(3.3, 2.6)
        axis = figure.subplots()
        _draw(axis, quantity, lines, last)
        _bounds(axis, bounds)
        figure.tight_layout(pad=0.4)
        ends = tuple(round(last * (part + 1) / _PARTS) for part in range(_PARTS))
        return Panel(quantity.title, quantity.unit, picture(figure, alt, "svg"), ends, numbers)


def _numbers(lines: Mapping[int, Sequence[Points]], last: float) -> tuple[Line, ...]:
    edges = np.linspace(0, last, _PARTS + 1)
    averaged = []
    for i, group in lines.items():
        means = np.array([thin(x, y, edges)[1] for x, y in group])
        known = ~np.isnan(means).all(axis=0)
        values = tuple(float(np.nanmean(means[:, k])) if known[k] else None for k in range(_PARTS))
        averaged.append(Line(i, values))
    return tuple(averaged)


def _draw(axis: Axes, quantity: _Quantity, lines: Mapping[int, Sequence[Points]], last: float) -> None:
    fewest = min(len(x) for group in lines.values() for x, _ in group)
    edges = np.linspace(0, last, min(_POINTS, fewest) + 1)
    for i, group in lines.items():
        binned = [thin(x, y, edges) for x, y in group]
        look: dict[str, Any] = {"color": palette.colour(i), "linestyle": palette.DASHES[palette.turn(i)]}
        if len(binned) > 1:
            for x, y in binned:
                axis.plot(x, y, linewidth=0.5, alpha=0.4, **look)
        # Bins that no seed filled stay out of the mean, and out of the line.
        filled = ~np.all([np.isnan(y) for _, y in binned], axis=0)
        x, y = (np.nanmean([pair[k][filled] for pair in binned], axis=0) for k in (0, 1))
        axis.plot(x, y, linewidth=1.7, marker="." if len(x) < 4 else "", **look)
    axis.set_title(quantity.title, loc="left")
    axis.set_xlabel("step")
    axis.set_ylabel(quantity.unit)
    axis.set_xlim(0, last)
    low, high = axis.get_ylim()
    if quantity.name == "relative_excess":
        # An encoder that has seen nothing can lie far above chance for a few steps; that would flatten all the rest.
        high = min(high, 1.5)
        if high > 0.8:
            axis.axhline(1.0, color=QUIET, linewidth=0.8, linestyle=(0, (2, 3)))
    if quantity.name in ("relative_excess", "weight"):
        axis.set_ylim(min(0.0, low), 1.04 * high)


def _bounds(axis: Axes, bounds: Mapping[str, float | None]) -> None:
    for name, value in bounds.items():
        if value is not None:
            axis.axhline(value, color=QUIET, linewidth=0.8, linestyle=(0, (2, 3)))
            place: dict[str, Any] = {"xycoords": ("axes fraction", "data"), "ha": "right", "va": "bottom"}
            axis.annotate(name, (0.99, value), fontsize=7.5, color=QUIET, **place)
