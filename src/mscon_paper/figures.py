"""Figure of an experiment: one picture of several panels, with lines and bands, or with dots and intervals."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from jaxtyping import Float

from mscon.evaluate.report import palette
from mscon.evaluate.report.maps import held_out, neighbourhoods
from mscon.evaluate.report.pictures import INK, QUIET, blank, style
from mscon_paper.table import ExperimentResult, Reading, heading

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

Log = Sequence[Mapping[str, Any]]
"""The records of a run, in order."""

_PER_ROW = 4
_WIDTH = 3.2


def draw(result: ExperimentResult) -> Mapping[str, bytes]:
    """The picture as "svg" and "png"."""
    with style():
        figure = _lines(result) if result.experiment.axis else _dots(result)
        _mark(figure, result.changed)
        return _saved(figure)


def _saved(figure: Figure) -> Mapping[str, bytes]:
    files = {}
    for kind, settings in (("svg", {"metadata": {"Date": None}}), ("png", {"dpi": 144})):
        buffer = io.BytesIO()
        figure.savefig(buffer, format=kind, **settings)
        files[kind] = buffer.getvalue()
    return files


def _mark(figure: Figure, changed: Sequence[str]) -> None:
    """Write across the picture of a changed experiment that it is no evidence."""
    if changed:
        look: dict[str, Any] = {"fontsize": 34, "color": "#c0392b", "alpha": 0.18, "ha": "center", "va": "center"}
        figure.text(0.5, 0.5, "changed: no evidence", **look)


# Lines --------------------------------------------------------------------------------------------


def _lines(result: ExperimentResult) -> Figure:
    """A panel for each thing read, a line for each row over the axis, its interval as a band."""
    assert result.experiment.axis is not None
    measured = result.measured
    columns = min(len(measured), _PER_ROW)
    height = math.ceil(len(measured) / columns)
    figure = blank(_WIDTH * max(columns, 2), 2.7 * height)
    axes = figure.subplots(height, columns, squeeze=False).ravel()
    for axis in axes[len(measured) :]:
        axis.set_visible(False)
    position = {row: i for i, row in enumerate(result.rows)}
    for axis, key in zip(axes, measured, strict=False):
        mine = [r for r in result.readings if (r.measure, r.column) == key and r.ours is not None]
        for row in dict.fromkeys(r.row for r in mine):
            _line(axis, [r for r in mine if r.row == row], position[row], len({r.x for r in mine}))
        axis.set_title(heading(*key), loc="left")
        axis.set_xlabel(result.experiment.axis[0])
        axis.set_ylabel("weight, mean 1" if key[0] == "weight" else "%")
        if result.experiment.axis[1] == "log":
            axis.set_xscale("log")
            ticks = sorted({r.x for r in mine if r.x})
            axis.set_xticks(ticks, [f"{x:g}" for x in ticks])
            axis.minorticks_off()
        if key[0] == "weight":
            axis.set_ylim(bottom=0)
    _legend(figure, result.rows)
    return figure


def _line(axis: Axes, readings: Sequence[Reading], position: int, points: int) -> None:
    look = _look(position)
    scale = 1 if readings[0].measure == "weight" else 100
    scores = [
        (r.x, r.ours) for r in sorted(readings, key=lambda r: r.x or 0.0) if r.x is not None and r.ours is not None
    ]
    value, low, high = (
        scale * np.array([getattr(ours, name) for _, ours in scores]) for name in ("value", "low", "high")
    )
    if len(scores) == 1 < points:  # run once, since it does not depend on the axis
        axis.axhspan(low[0], high[0], color=look["color"], alpha=0.08, linewidth=0)
        axis.axhline(value[0], linewidth=1.4, **look)
        return
    x = np.array([place for place, _ in scores])
    axis.fill_between(x, low, high, color=look["color"], alpha=0.12, linewidth=0)
    axis.plot(x, value, linewidth=1.6, marker="o", markersize=3.5, **look)


def _look(position: int) -> dict[str, Any]:
    return {"color": palette.colour(position), "linestyle": palette.DASHES[palette.turn(position)]}


def _legend(figure: Figure, rows: Sequence[str]) -> None:
    """Below the panels, in as many columns as fit; the figure grows by what it takes."""
    from matplotlib.lines import Line2D

    handles = [Line2D([], [], linewidth=1.8, label=row, **_look(i)) for i, row in enumerate(rows)]
    width, height = figure.get_size_inches()
    for columns in range(min(len(rows), 6), 0, -1):
        legend = figure.legend(
            handles=handles, loc="lower left", ncols=columns, frameon=False, fontsize=8.5, borderaxespad=0.4
        )
        box = legend.get_window_extent()
        if box.width <= figure.dpi * (width - 0.1) or columns == 1:
            break
        legend.remove()
    needed = box.height / figure.dpi + 0.1
    figure.set_size_inches(width, height + needed)
    figure.tight_layout(rect=(0, needed / (height + needed), 1, 1), w_pad=1.4, h_pad=1.4)


def draw_training(logs: Mapping[str, Sequence[Log]], changed: Sequence[str]) -> Mapping[str, bytes]:
    """Whether each method had learnt all it would: what was left to learn of each similarity, epoch by epoch.

    Args:
        logs: by row, the logs of its runs, one a seed. A line is the mean over them.
        changed: if anything, the picture is marked as no evidence.

    Returns:
        The picture as "svg" and "png"; nothing if no validation row was ever asked.
    """
    columns = list(dict.fromkeys(c for of_row in logs.values() for log in of_row for c in _validated(log)))
    if not columns:
        return {}
    with style():
        figure = blank(_WIDTH * max(min(len(columns), _PER_ROW), 2), 2.9 * math.ceil(len(columns) / _PER_ROW))
        axes = figure.subplots(math.ceil(len(columns) / _PER_ROW), min(len(columns), _PER_ROW), squeeze=False).ravel()
        for axis, column in zip(axes, columns, strict=False):
            for position, (row, of_row) in enumerate(logs.items()):
                excesses = [excess for log in of_row if (excess := _left_to_learn(log, column))]
                epochs = sorted(set.intersection(*(set(one) for one in excesses))) if excesses else []
                if epochs:
                    means = [float(np.mean([one[epoch] for one in excesses])) for epoch in epochs]
                    axis.plot(epochs, means, linewidth=1.4, label=row, **_look(position))
            axis.set_title(column, loc="left")
            axis.set_xlabel("epoch")
            axis.locator_params(axis="x", integer=True)  # there is no half epoch
            axis.set_ylim(0, 1.2)
        for axis in axes[len(columns) :]:
            axis.set_visible(False)
        axes[0].set_ylabel("relative excess, validation rows\n0 learnt, 1 chance")
        _legend(figure, list(logs))
        _mark(figure, changed)
        return _saved(figure)


def _validated(log: Log) -> Iterator[str]:
    """Similarities that a log has a relative excess of, on validation rows."""
    for record in log:
        if record.get("kind") == "validation":
            yield from record.get("relative_excess") or ()


def _left_to_learn(log: Log, column: str) -> dict[int, float]:
    """Relative excess on validation rows, by epoch."""
    records = (record for record in log if record.get("kind") == "validation")
    by_epoch = {record["epoch"]: (record.get("relative_excess") or {}).get(column) for record in records}
    return {epoch: value for epoch, value in by_epoch.items() if value is not None}


# Dots ---------------------------------------------------------------------------------------------


def _dots(result: ExperimentResult) -> Figure:
    """A panel for each thing read; rows from top to bottom, ours with its interval, the paper's beside it."""
    measured = result.measured
    several = any(r.case for r in result.readings)
    lines = list(dict.fromkeys((r.row, r.case) for r in result.readings))
    columns = min(len(measured), _PER_ROW)
    height = math.ceil(len(measured) / columns)
    figure = blank(2.2 + 2.5 * columns, height * (0.7 + 0.24 * len(lines)) + 0.4)
    axes = figure.subplots(height, columns, squeeze=False, sharey=True).ravel()
    for axis in axes[len(measured) :]:
        axis.set_visible(False)
    place = {line: -i for i, line in enumerate(lines)}
    with_paper = False
    for axis, key in zip(axes, measured, strict=False):
        scale = 1 if key[0] == "weight" else 100
        for reading in (r for r in result.readings if (r.measure, r.column) == key):
            y = place[reading.row, reading.case]
            if reading.ours is not None:
                value, low, high = (scale * n for n in (reading.ours.value, reading.ours.low, reading.ours.high))
                axis.plot([low, high], [y, y], color=palette.colour(0), linewidth=1.8, alpha=0.5)
                axis.plot([value], [y], "o", color=palette.colour(0), markersize=4.5)
            if key[0] == "accuracy" and (number := result.experiment.beside(reading.row, reading.column)):
                axis.plot([number[0]], [y], "D", markerfacecolor="none", markeredgecolor=QUIET, markersize=5)
                with_paper = True
        axis.set_title(heading(*key), loc="left")
        axis.set_xlabel("weight, mean 1" if key[0] == "weight" else "%")
        if key[0] == "weight":
            axis.set_xlim(left=0)
        axis.set_yticks(list(place.values()), [f"{row}, {case}" if several and case else row for row, case in lines])
        axis.tick_params(axis="y", labelcolor=INK)
        axis.set_ylim(-len(lines) + 0.4, 0.6)
    figure.tight_layout(rect=(0, 0.04, 1, 1), w_pad=1.2)
    if with_paper:
        figure.text(
            0.99, 0.01, "dot: ours with its interval   diamond: the paper's", ha="right", fontsize=8, color=QUIET
        )
    return figure


# Maps ---------------------------------------------------------------------------------------------


def draw_spaces(
    spaces: Mapping[str, Float[np.ndarray, "rows dim"]],
    labels: Mapping[str, Sequence[str | None]],
    splits: Sequence[str],
    changed: Sequence[str],
) -> Mapping[str, bytes]:
    """t-SNE views: a row of panels for each space, one for each column that colours it.

    Args:
        spaces: vectors of all rows of a run, by the name of the space.
        labels: cells of all rows, by column.
        splits: of all rows; those that training never saw are shown.
        changed: if anything, the picture is marked as no evidence.
    """
    rows = held_out(splits)
    with style():
        figure = blank(2.5 * len(labels) + 0.3, 2.6 * len(spaces) + 0.2)
        grid = figure.subplots(len(spaces), len(labels), squeeze=False)
        for line, (space, vectors) in zip(grid, spaces.items(), strict=True):
            places = neighbourhoods(vectors[rows])
            for axis, (column, cells) in zip(line, labels.items(), strict=True):
                axis.set_xticks([])
                axis.set_yticks([])
                axis.set_title(f"by {column}", loc="left")
                if axis is line[0]:
                    axis.set_ylabel(f"space of {space}", fontweight="bold", color=INK)
                if places is not None:
                    _scatter(axis, places, [cells[row] for row in rows])
        figure.tight_layout(h_pad=1.0, w_pad=0.8)
        _mark(figure, changed)
        return _saved(figure)


def _scatter(axis: Axes, places: Float[np.ndarray, "rows 2"], cells: Sequence[str | None]) -> None:
    names = sorted({cell for cell in cells if cell is not None})
    axis.set_axisbelow(True)
    for i, name in enumerate(names):
        mine = places[np.array([cell == name for cell in cells])]
        known = i <= palette.MOST
        axis.scatter(
            mine[:, 0],
            mine[:, 1],
            s=7,
            linewidths=0,
            alpha=0.8,
            color=palette.colour(i) if known else palette.OTHERS,
            marker=palette.MARKERS[palette.turn(i)] if known else ".",
        )
