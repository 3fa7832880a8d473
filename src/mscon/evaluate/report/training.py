"""Training: loss, relative excess and weight of each similarity over the steps, and where they ended."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float

from mscon.evaluate.report.methods import Method

# Points of a line: what a screen can show, and what keeps 21 runs within a few hundred kilobytes.
_POINTS = 72
# Of the table beside the charts: ends of as many equal parts of training.
_PARTS = 5
# The end of training: the mean over this share of the logged steps is steadier than the last batch.
_END = 0.05
# Of a chart, in the unit of its drawing: width, height, and the edges of what lies between the axes.
WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM = 320, 190, 44, 314, 8, 166

Points = tuple[Float[np.ndarray, " _"], Float[np.ndarray, " _"]]
"""Steps and values of one run."""

Log = Sequence[Mapping[str, Any]]
"""The records of a run, in order."""


@dataclass(frozen=True, slots=True)
class Line:
    """One method in a chart.

    Attributes:
        method: its number.
        mean: points of the mean over seeds, as SVG writes them.
        seeds: the same of each seed; empty where there is one only.
        values: means over seeds within equal parts of training, None where nothing was logged.
    """

    method: int
    mean: str
    seeds: tuple[str, ...]
    values: tuple[float | None, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """One quantity of one similarity over the steps; ticks and bounds are places in the drawing with their words."""

    title: str
    unit: str
    lines: tuple[Line, ...]
    x_ticks: tuple[tuple[float, str], ...]
    y_ticks: tuple[tuple[float, str], ...]
    bounds: tuple[tuple[float, str], ...]


@dataclass(frozen=True, slots=True)
class Curves:
    """All charts of one similarity, which methods are in them (by number), and the steps at the ends of the parts."""

    column: str
    charts: tuple[Chart, ...]
    methods: tuple[int, ...]
    ends: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Quantity:
    title: str
    kind: str
    name: str
    unit: str


_LOSS = _Quantity("Loss, training rows", "step", "loss", "nats")
_VALIDATION_LOSS = _Quantity("Loss, validation rows", "validation", "loss", "nats")
_VALIDATION_EXCESS = _Quantity(
    "Relative excess, validation rows", "validation", "relative_excess", "0 learnt, 1 chance"
)
_WEIGHT = _Quantity("Weight in the total loss", "step", "weight", "")
_QUANTITIES = (
    _LOSS,
    _VALIDATION_LOSS,
    _Quantity("Relative excess, training rows", "step", "relative_excess", "0 learnt, 1 chance"),
    _VALIDATION_EXCESS,
    _WEIGHT,
)


def curves(methods: Sequence[Method]) -> tuple[Curves, ...]:
    """Charts for each similarity that any method has.

    The loss on validation rows is drawn where some method has no relative excess there, which says the same better;
    weights where any of them changes.
    """
    logs = [[member.run.read_log() for member in method.members] for method in methods]
    drawn = []
    for column in dict.fromkeys(column for method in methods for column in method.trained):
        having = tuple(i for i, method in enumerate(methods) if column in method.trained)
        points = {quantity: _logged({i: logs[i] for i in having}, quantity, column) for quantity in _QUANTITIES}
        if points[_VALIDATION_EXCESS].keys() >= points[_VALIDATION_LOSS].keys():
            points[_VALIDATION_LOSS] = {}
        if all(np.ptp(values) <= 1e-6 for group in points[_WEIGHT].values() for _, values in group):
            points[_WEIGHT] = {}
        steps = [x[-1] for by_method in points.values() for group in by_method.values() for x, _ in group]
        if not steps:
            continue
        last = float(max(steps)) or 1.0
        bounds = {name: _usual(logs[having[0]], name, column) for name in ("floor", "ceiling")}
        charts = tuple(
            _chart(quantity, lines, last, bounds if quantity is _LOSS else {})
            for quantity, lines in points.items()
            if lines
        )
        ends = tuple(round(last * (part + 1) / _PARTS) for part in range(_PARTS))
        drawn.append(Curves(column, charts, having, ends))
    return tuple(drawn)


def _logged(logs: Mapping[int, Sequence[Log]], quantity: _Quantity, column: str) -> dict[int, list[Points]]:
    """Of each method the points of those seeds that have any; methods without are left out."""
    points_of = {
        i: [points for log in group if len((points := series(log, quantity.kind, quantity.name, column))[0])]
        for i, group in logs.items()
    }
    return {i: group for i, group in points_of.items() if group}


def series(log: Log, kind: str, quantity: str, column: str) -> Points:
    """Steps and values of one quantity of one similarity, records without it left out."""
    steps, values = [], []
    for record in log:
        if record.get("kind") == kind and (value := (record.get(quantity) or {}).get(column)) is not None:
            steps.append(float(record["step"]))
            values.append(float(value))
    return np.array(steps), np.array(values)


def _usual(logs: Sequence[Log], quantity: str, column: str) -> float | None:
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


def _chart(
    quantity: _Quantity, points: Mapping[int, Sequence[Points]], last: float, bounds: Mapping[str, float | None]
) -> Chart:
    fewest = min(len(x) for group in points.values() for x, _ in group)
    edges, parts = np.linspace(0, last, min(_POINTS, fewest) + 1), np.linspace(0, last, _PARTS + 1)
    binned = {i: [thin(x, y, edges) for x, y in group] for i, group in points.items()}
    known = {name: value for name, value in bounds.items() if value is not None}
    low, high = _limits(quantity, [y for group in binned.values() for _, y in group], list(known.values()))

    def place(x: Float[np.ndarray, " points"], y: Float[np.ndarray, " points"]) -> str:
        """Bins that nothing filled stay out of a line."""
        across, down = LEFT + (RIGHT - LEFT) * x / last, _height(np.clip(y, low, high), low, high)
        return " ".join(f"{a:.1f},{b:.1f}" for a, b in zip(across, down, strict=True) if b == b)

    lines = []
    for i, group in binned.items():
        seeds = [place(x, y) for x, y in group] if len(group) > 1 else []
        _, in_parts = _mean([thin(x, y, parts) for x, y in points[i]])
        values = tuple(None if np.isnan(value) else float(value) for value in in_parts)
        lines.append(Line(i, place(*_mean(group)), tuple(seeds), values))
    return Chart(
        quantity.title,
        quantity.unit,
        tuple(lines),
        tuple((LEFT + (RIGHT - LEFT) * x / last, f"{x:,g}") for x in ticks(0.0, last)),
        tuple((float(_height(y, low, high)), f"{y:,g}") for y in ticks(low, high)),
        tuple((float(_height(value, low, high)), name) for name, value in known.items()),
    )


def _mean(group: Sequence[Points]) -> Points:
    """Over seeds; NaN in bins that no seed filled."""
    filled = ~np.all([np.isnan(y) for _, y in group], axis=0)
    x, y = (np.full(len(filled), np.nan) for _ in range(2))
    x[filled], y[filled] = (np.nanmean([pair[k][filled] for pair in group], axis=0) for k in (0, 1))
    return x, y


def _limits(
    quantity: _Quantity, values: Sequence[Float[np.ndarray, " bins"]], bounds: Sequence[float]
) -> tuple[float, float]:
    low = min([float(np.nanmin(y)) for y in values] + list(bounds))
    high = max([float(np.nanmax(y)) for y in values] + list(bounds))
    if quantity.name == "relative_excess":
        # An encoder that has seen nothing can lie far above chance for a few steps; that would flatten all the rest.
        high = min(max(high, 0.1), 1.5)
    if quantity.name in ("relative_excess", "weight"):
        low = min(low, 0.0)
    return (low, high) if high > low else (low - 0.5, low + 0.5)


def _height(y: Any, low: float, high: float) -> Any:
    return BOTTOM - (BOTTOM - TOP) * (y - low) / (high - low)


def ticks(low: float, high: float, most: int = 5) -> list[float]:
    """Round numbers within an interval, evenly spaced."""
    step = 10.0 ** math.floor(math.log10((high - low) / most))
    step = next(step * factor for factor in (1, 2, 5, 10) if (high - low) / (step * factor) <= most)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return [round(number * step, 10) for number in range(first, last + 1)]


# Where training ended ---------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Ending:
    """One similarity of one method at the end of training, means over seeds; None where not logged.

    Attributes:
        loss: nats, training.
        excess: relative excess in training, 0 learnt, 1 chance.
        validation: the same on validation rows.
        weight: in the total.
        emphasis: its weight over the mean weight of its method's similarities.
        share: of labelled anchors that had a positive.
        verdict: what that means, in a word or two.
    """

    method: str
    column: str
    loss: float | None
    excess: float | None
    validation: float | None
    weight: float | None
    emphasis: float | None
    share: float | None
    verdict: str


def endings(methods: Sequence[Method]) -> tuple[Ending, ...]:
    """A record for each similarity of each method."""
    records = []
    for method in methods:
        logs = [member.run.read_log() for member in method.members]
        weights = {column: _end(logs, "step", "weight", column) for column in method.trained}
        known = [weight for weight in weights.values() if weight is not None]
        mean = sum(known) / len(known) if known else 0.0
        for column, weight in weights.items():
            loss, excess, share = (
                _end(logs, "step", quantity, column) for quantity in ("loss", "relative_excess", "positive_share")
            )
            validation = _end(logs, "validation", "relative_excess", column)
            emphasis = weight / mean if weight is not None and mean > 0 else None
            verdict = verdict_on(excess, validation)
            records.append(Ending(method.title, column, loss, excess, validation, weight, emphasis, share, verdict))
    return tuple(records)


def _end(logs: Sequence[Log], kind: str, quantity: str, column: str) -> float | None:
    ends = []
    for log in logs:
        _, values = series(log, kind, quantity, column)
        if len(values):
            count = 1 if kind == "validation" else max(1, round(_END * len(values)))
            ends.append(values[-count:].mean())
    return float(np.mean(ends)) if ends else None


def verdict_on(excess: float | None, validation: float | None) -> str:
    """What a relative excess says; validation rows count where there are any, since training rows can be memorised."""
    decisive = validation if validation is not None else excess
    if decisive is None:
        return "not logged"
    text = next(
        (word for limit, word in ((0.1, "learnt"), (0.5, "mostly learnt"), (0.9, "partly learnt")) if decisive < limit),
        "hardly learnt",
    )
    is_memorised = validation is not None and excess is not None and validation - excess > 0.2
    return text + ", memorised" * is_memorised
