"""Linear probes: a linear model of one column by its kind, fitted on frozen features and scored on test rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Int

from mscon.evaluate.linear import linear_probe
from mscon.evaluate.metrics import influence
from mscon.evaluate.metrics.bootstrap import interval, macro_f1, statistic_interval
from mscon.evaluate.multi_label import label_set_probe
from mscon.evaluate.ordinal import level_probe
from mscon.evaluate.result import CannotProbe, Frozen, Probe, ProbeResult, Record, intervals
from mscon.evaluate.ridge import number_probe
from mscon.evaluate.targets import ProbeTarget, among_largest
from mscon.method.similarities.base import TargetKind


def _classify(column: ProbeTarget, frozen: Frozen) -> list[ProbeResult]:
    """A linear classifier of the classes that train rows have; of a hierarchy one for each level."""
    levels = column.class_levels()
    results = [_classify_level(column, codes, classes, frozen) for codes, classes in levels]
    if len(results) == 1:
        return results
    return [({"level": i, "levels": len(results), **record}, arrays) for i, (record, arrays) in enumerate(results, 1)]


def _classify_level(
    column: ProbeTarget, codes: Int[np.ndarray, " rows"], classes: Sequence[str], frozen: Frozen
) -> ProbeResult:
    train, test = frozen.split["train"], frozen.split["test"]
    if column.largest is not None:
        codes = np.where(among_largest(codes, codes[train], column.largest), codes, -1)
    present = np.unique(codes[train][codes[train] >= 0])
    if present.size < 2:
        raise CannotProbe(f"split train has {present.size} of the two classes that a classifier needs at least")
    if not np.isin(codes[test], present).any():
        raise CannotProbe("no row of split test has a label of a class that split train has")
    result = linear_probe(*frozen.with_targets(codes), classes=classes)
    right = (result.predicted == result.true).astype(np.float64)
    f1 = statistic_interval(result.predicted, result.true, macro_f1, draws=frozen.draws)
    record = {
        "classes": list(result.classes),
        "train_rows": result.train_rows,
        "validation_rows": result.validation_rows,
        "test_rows": len(result.rows),
        "dropped_rows": result.dropped_rows,
        "accuracy": interval(right, draws=frozen.draws).to_json(),
        "macro_f1": f1.to_json(),
        "majority": result.majority,
        "regularisation": result.regularisation,
        "validation_accuracy": result.validation_accuracy,
        "converged": result.converged,
        "confusion": result.confusion.tolist(),
    }
    return record, {"row": test[result.rows], "true": result.true, "predicted": result.predicted}


def _regress(column: ProbeTarget, frozen: Frozen) -> list[ProbeResult]:
    """Ridge regression of numbers."""
    y = column.target()
    for name in ("train", "test"):
        known = y[frozen.split[name]]
        if np.unique(known[np.isfinite(known)]).size < 2:
            raise CannotProbe(f"split {name} has fewer than the two different numbers that a regression needs")
    result = number_probe(*frozen.with_targets(y))
    record = {
        **_counts(result),
        **intervals({"r2": result.r2, "spearman": result.spearman}, frozen.draws),
        "baseline": {"r2": result.mean_r2, "spearman": 0.0},
        "converged": True,
    }
    arrays = {"true": result.true, "predicted": result.predicted, "r2": result.r2, "spearman": result.spearman}
    return [(record, {"row": frozen.split["test"][result.rows], **arrays})]


def _step(column: ProbeTarget, frozen: Frozen) -> list[ProbeResult]:
    """A classifier for each step between levels."""
    y = column.target()
    train, test = (y[frozen.split[name]] for name in ("train", "test"))
    if np.unique(train[np.isfinite(train)]).size < 2:
        raise CannotProbe("split train has fewer than the two levels that a classifier needs at least")
    if not np.isfinite(test).any():
        raise CannotProbe("no row of split test has a level")
    result = level_probe(*frozen.with_targets(y))
    scores = {"level_error": result.level_error, "within_one": result.within_one}
    off = np.abs(result.true - result.median)
    record = {
        "classes": list(column.names),
        **_counts(result),
        **intervals(scores, frozen.draws),
        "baseline": {"level_error": float(off.mean()), "within_one": float((off <= 1).mean())},
        "converged": result.converged,
    }
    arrays = {"true": result.true, "predicted": result.predicted, **scores}
    return [(record, {"row": frozen.split["test"][result.rows], **arrays})]


def _classify_labels(column: ProbeTarget, frozen: Frozen) -> list[ProbeResult]:
    """A classifier a label."""
    y = column.target()
    train, test = (y[frozen.split[name]] for name in ("train", "test"))
    known = train[np.isfinite(train).all(axis=1)] > 0.5
    usable = known.any(axis=0) & ~known.all(axis=0) if len(known) else np.zeros(y.shape[1], bool)
    if not usable.any():
        raise CannotProbe("split train has no label that some rows have and others have not")
    if not (test[:, usable] > 0.5).any():
        raise CannotProbe("no row of split test has a label that can be predicted")
    result = label_set_probe(*frozen.with_targets(y), labels=column.names)
    true, predicted, every = result.true, result.predicted, np.ones_like(result.true)
    scores = {
        "mean_average_precision": influence.mean_average_precision(true, result.probability),
        "micro_f1": influence.micro_f1(true, predicted),
        "macro_f1": influence.macro_f1(true, predicted),
    }
    record = {
        "classes": list(result.labels),
        "left_out": list(result.left_out),
        **_counts(result),
        **intervals(scores, frozen.draws),
        "baseline": {
            "mean_average_precision": float(true[:, true.any(axis=0)].mean()),
            "micro_f1": float(influence.micro_f1(true, every).mean()),
            "macro_f1": float(influence.macro_f1(true, every).mean()),
        },
        "converged": result.converged,
    }
    arrays = {
        "true": true.astype(np.uint8),
        "predicted": predicted.astype(np.uint8),
        "probability": result.probability,
        **scores,
    }
    return [(record, {"row": frozen.split["test"][result.rows], **arrays})]


def _counts(result: Any) -> Record:
    return {
        "train_rows": result.train_rows,
        "validation_rows": result.validation_rows,
        "test_rows": len(result.rows),
        "dropped_rows": 0,
        "regularisation": result.regularisation,
        "validation_score": result.validation_score,
    }


# By what the targets of a similarity are. Of "nothing" nothing is asked.
LINEAR: Mapping[TargetKind, Probe] = {
    "class": _classify,
    "labels": _classify_labels,
    "rank": _step,
    "number": _regress,
}
