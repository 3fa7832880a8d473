"""Neighbour probes: what the nearest rows say of one column by its kind, among rows of unseen groups."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from mscon.errors import counted
from mscon.evaluate.metrics import influence
from mscon.evaluate.metrics.retrieval import label_retrieval, nearest_difference, retrieval
from mscon.evaluate.result import CannotProbe, Frozen, Probe, ProbeResult, intervals
from mscon.evaluate.targets import ProbeTarget, codes_of
from mscon.method.similarities.base import TargetKind


def _retrieve(column: ProbeTarget, frozen: Frozen) -> list[ProbeResult]:
    """Retrieval of the same class among rows of unseen groups; their classes may all be new."""
    unseen = frozen.split["unseen"]
    cells = column.whole_cells()
    codes, classes = codes_of([cells[row] for row in unseen])
    sizes = np.bincount(codes[codes >= 0], minlength=1)
    if len(classes) < 2 or sizes.max() < 2:
        raise CannotProbe(
            f"split unseen has {counted(int(sizes.sum()), 'row')} with a label, of {len(classes)} classes; it takes "
            "two classes, and two rows of one of them"
        )
    return [_retrieved(retrieval(frozen.features[unseen], codes), classes, unseen, frozen.draws)]


def _retrieve_labels(column: ProbeTarget, frozen: Frozen) -> list[ProbeResult]:
    """Retrieval of rows with any label in common."""
    unseen = frozen.split["unseen"]
    labels = column.target()[unseen]
    has = np.nan_to_num(labels) > 0.5
    if not (has.sum(axis=0) >= 2).any():
        raise CannotProbe("no two rows of split unseen have a label in common that split train has too")
    return [_retrieved(label_retrieval(frozen.features[unseen], labels), column.names, unseen, frozen.draws)]


def _retrieved(result: Any, classes: Sequence[str], unseen: Int[np.ndarray, " rows"], draws: int) -> ProbeResult:
    scores = {name: getattr(result, name) for name in ("precision_at_1", "r_precision", "map_at_r")}
    record = {
        "classes": list(classes),
        "rows": len(result.rows),
        "left_out": result.left_out,
        **intervals(scores, draws),
        "chance": result.chance,
        "map_at_r_chance": result.map_at_r_chance,
    }
    arrays = {name: values.astype(np.float32) for name, values in scores.items()}
    return record, {"row": unseen[result.rows], **arrays}


def _differ(column: ProbeTarget, frozen: Frozen) -> list[ProbeResult]:
    """How far the number or level of the nearest row is off."""
    unseen = frozen.split["unseen"]
    y = column.target()[unseen]
    if np.unique(y[np.isfinite(y)]).size < 2:
        raise CannotProbe("split unseen has fewer than two rows with different numbers or levels")
    result = nearest_difference(frozen.features[unseen], y)
    scores = {
        "neighbour_difference": result.difference,
        "neighbour_spearman": influence.rank_correlation(result.number, result.nearest),
    }
    record = {
        "rows": len(result.rows),
        **intervals(scores, frozen.draws),
        "baseline": {"neighbour_difference": result.chance, "neighbour_spearman": 0.0},
    }
    return [(record, {"row": unseen[result.rows], **scores})]


NEIGHBOURS: Mapping[TargetKind, Probe] = {
    "class": _retrieve,
    "labels": _retrieve_labels,
    "rank": _differ,
    "number": _differ,
}
