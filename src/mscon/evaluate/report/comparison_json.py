"""The comparison as plain values, for report.json and compare.json."""

from __future__ import annotations

from typing import Any

from mscon.evaluate.metrics.bootstrap import Interval
from mscon.evaluate.report.compare import Comparison, MethodScore


def comparison_json(comparison: Comparison) -> dict[str, Any]:
    """The comparison as plain values for report.json; what is shown in percent is a share in [0, 1] there."""
    return {
        "draws": comparison.draws,
        "grouped_by": comparison.grouped_by or None,
        "level": 0.95,
        "methods": [
            {"title": title, "seeds": seeds} for title, seeds in zip(comparison.methods, comparison.seeds, strict=True)
        ],
        "columns": [
            {
                "column": row.column,
                "measure": row.measure,
                "unit": "share" if row.about.in_percent else row.about.unit,
                "better": "lower" if row.about.lower_is_better else "higher",
                "in_domain": row.in_domain,
                "held_out": row.held_out,
                "baseline": row.baseline,
                "classes": row.classes,
                "rows": row.rows,
                "cells": [_cell_json(cell) for cell in row.cells],
            }
            for row in comparison.columns
        ],
    }


def _cell_json(cell: MethodScore | None) -> dict[str, Any] | None:
    if cell is None:
        return None
    return {
        **_interval_json(cell.score),
        "seeds": cell.seeds,
        "trained": cell.trained,
        "standing": cell.standing,
        "behind_by": None if cell.behind_by is None else _interval_json(cell.behind_by),
        "over_start": None if cell.over_start is None else _interval_json(cell.over_start),
    }


def _interval_json(interval: Interval) -> dict[str, float]:
    return {"value": float(interval.value), "low": float(interval.low), "high": float(interval.high)}
