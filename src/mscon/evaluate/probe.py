"""Probe: what can be read off the frozen features of a run, column by column, with intervals.

A column is asked twice: by a linear probe of its kind, fitted on the rows of split train, chosen on validation and
scored on test; and by nearest neighbours among the rows of split unseen, whose groups the encoder never saw. Scores go
to the run's probe.json, answers row by row to its predictions, so that runs can be compared in pairs later.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int
from rich.console import Console

from mscon.bootstrap import interval, macro_f1, statistic_interval
from mscon.errors import RunError, counted, nearest
from mscon.evaluate import row_values
from mscon.evaluate.asked import Asked, asked_columns, asked_neighbours
from mscon.evaluate.features import extract
from mscon.evaluate.label_sets import label_set_probe
from mscon.evaluate.labels import among_largest, codes_of
from mscon.evaluate.levels import level_probe
from mscon.evaluate.linear import linear_probe
from mscon.evaluate.neighbours import label_retrieval, nearest_difference, retrieval
from mscon.evaluate.numbers import number_probe
from mscon.recipe import Recipe
from mscon.run import Run
from mscon.similarities.base import TargetKind

Record = dict[str, Any]
Arrays = dict[str, np.ndarray]
_Six = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class _NothingToAsk(Exception):
    """A column cannot be probed on these rows, and why."""


@dataclass(frozen=True, slots=True)
class _Frozen:
    """Features of all rows, and which rows are of which split."""

    features: Float[np.ndarray, "rows width"]
    split: Mapping[str, Int[np.ndarray, " split_rows"]]
    draws: int

    def with_targets(self, y: np.ndarray) -> _Six:
        """Features and targets of the train, the validation and the test rows, one after the other."""
        x = self.features
        train, validation, test = (self.split[name] for name in ("train", "validation", "test"))
        return x[train], y[train], x[validation], y[validation], x[test], y[test]


def probe(run: Run, *, progress: bool = True) -> None:
    """Ask frozen features for every column that the run was trained on, and for those its recipe names under [probe].

    Features are extracted first where they are missing or older than the checkpoint. Writes `run.probe`:

        {"checkpoint": "last", "draws": 1000,
         "linear": [{"column", "kind", "trained", "train_rows", "validation_rows", "test_rows", "dropped_rows",
                     "regularisation", "converged", and by kind:
             "class": "classes", "accuracy": {"value", "low", "high"}, "macro_f1": {...}, "majority",
                      "validation_accuracy", "confusion": [[true by predicted]]; of a hierarchy one record a level,
                      with its "level" from 1 and how many "levels" there are
             "number": "r2", "spearman", "baseline": {measure: value}, "validation_score"
             "rank": "classes" (the levels), "level_error", "within_one", "baseline", "validation_score"
             "labels": "classes" (the labels), "left_out" (labels), "mean_average_precision", "micro_f1", "macro_f1",
                       "baseline", "validation_score"}],
         "neighbours": [{"column", "kind", "trained", "rows", and by kind:
             "class", "labels": "classes", "left_out", "precision_at_1": {...}, "r_precision": {...},
                                "map_at_r": {...}, "chance", "map_at_r_chance"
             "number", "rank": "neighbour_difference": {...}, "neighbour_spearman": {...}, "baseline"}],
         "skipped": [{"column", "probe": "linear" or "neighbours", "reason"}]}

    `mscon.measures` says what each measure is. And `run.predictions`: for the i-th entry of "linear" the arrays
    "linear/i/row", ".../true" and ".../predicted": numbers of rows in rows.parquet; indices into "classes", or numbers,
    or for labels [rows, labels] of 0 and 1, with ".../probability" (float32) beside them. Unless it is of classes, one
    array for each of its measures, whose mean over rows is the score. For the i-th of "neighbours" "neighbours/i/row"
    and likewise one array a measure.

    Intervals are over rows, with 95 % of the draws inside. For neighbours they are over the rows that ask; those
    that are found stay the same.

    Args:
        run: a trained run.
        progress: say on standard error what is being done, and which columns are skipped.

    Raises:
        RunError: if the run has no checkpoint, its recipe names a column that its rows do not have, or features
            are not finite.
        TableError: if features must be extracted and an image cannot be read any more.
    """
    recipe, rows = run.recipe, run.rows
    _need_columns(run, recipe, rows)
    asked = asked_columns(run, recipe, rows)
    extract(run, progress=progress)
    features = run.features
    if features.shape[0] != rows.height:
        raise RunError(
            f"run '{run.root}' has features of {counted(features.shape[0], 'row')}, but {counted(rows.height, 'row')}. "
            "Delete its folder 'features', then probe again."
        )
    split = rows.get_column("split").to_numpy()
    names = ("train", "validation", "test", "unseen")
    frozen = _Frozen(features, {name: np.flatnonzero(split == name) for name in names}, recipe.probe.draws)

    answers: dict[str, list[Record]] = {"linear": [], "neighbours": []}
    skipped: list[Record] = []
    predictions: Arrays = {}
    console = Console(stderr=True, quiet=not progress)
    for how, known, columns in (
        ("linear", _LINEAR, asked),
        ("neighbours", _NEIGHBOURS, asked_neighbours(run, recipe, rows, asked)),
    ):
        for column in columns:
            try:
                answered = _by_kind(known, column)(column, frozen)
            except _NothingToAsk as reason:
                skipped.append({"column": column.column, "probe": how, "reason": str(reason)})
                console.print(
                    f"column '{column.column}' is not probed ({how}): {reason}", markup=False, highlight=False
                )
                continue
            for record, arrays in answered:
                # By number, not by name: a column may be called anything.
                number = len(answers[how])
                answers[how].append({"column": column.column, "kind": column.kind, "trained": column.trained, **record})
                predictions |= {f"{how}/{number}/{key}": array for key, array in arrays.items()}
    run.write_probe(
        {"checkpoint": recipe.train.checkpoint, "draws": frozen.draws, **answers, "skipped": skipped}, predictions
    )


def _need_columns(run: Run, recipe: Recipe, rows: pl.DataFrame) -> None:
    labels = [name for name in rows.columns if name not in ("line", "split", "image")]
    trained = [part.column for part in recipe.similarities if part.name != "same_row"]
    probed = list(dict.fromkeys([*trained, *recipe.probe.columns]))
    complaints = [
        f"run '{run.root}' has no label column '{name}', which its recipe names.{nearest(name, labels)}\n"
        f"  Its columns: {', '.join(labels)}."
        for name in dict.fromkeys([*probed, *recipe.probe.neighbours])
        if name not in labels
    ]
    complaints += [
        f"run '{run.root}': [probe] kinds names column '{name}', which is not probed, or was trained on and so has its "
        f"kind.{nearest(name, probed)}"
        for name in recipe.probe.kinds
        if name in trained or name not in (*probed, *recipe.probe.neighbours)
    ]
    complaints += [
        f"run '{run.root}': [probe] largest names column '{name}', which is not probed.{nearest(name, probed)}\n"
        "  Add it to [probe] columns, or take it out."
        for name in recipe.probe.largest
        if name not in probed
    ]
    if complaints:
        raise RunError("\n".join(complaints))


Answer = tuple[Record, Arrays]

# Linear -------------------------------------------------------------------------------------------


def _classify(asked: Asked, frozen: _Frozen) -> list[Answer]:
    """A linear classifier of the classes that train rows have; of a hierarchy one for each level."""
    levels = asked.class_levels()
    told = [_classify_level(asked, codes, classes, frozen) for codes, classes in levels]
    if len(told) == 1:
        return told
    return [({"level": i, "levels": len(told), **record}, arrays) for i, (record, arrays) in enumerate(told, 1)]


def _classify_level(asked: Asked, codes: Int[np.ndarray, " rows"], classes: Sequence[str], frozen: _Frozen) -> Answer:
    train, test = frozen.split["train"], frozen.split["test"]
    if asked.largest is not None:
        codes = np.where(among_largest(codes, codes[train], asked.largest), codes, -1)
    present = np.unique(codes[train][codes[train] >= 0])
    if present.size < 2:
        raise _NothingToAsk(f"split train has {present.size} of the two classes that a classifier needs at least")
    if not np.isin(codes[test], present).any():
        raise _NothingToAsk("no row of split test has a label of a class that split train has")
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


def _regress(asked: Asked, frozen: _Frozen) -> list[Answer]:
    """Ridge regression of numbers."""
    y = asked.target()
    for name in ("train", "test"):
        known = y[frozen.split[name]]
        if np.unique(known[np.isfinite(known)]).size < 2:
            raise _NothingToAsk(f"split {name} has fewer than the two different numbers that a regression needs")
    result = number_probe(*frozen.with_targets(y))
    record = {
        **_counts(result),
        **_scores({"r2": result.r2, "spearman": result.spearman}, frozen.draws),
        "baseline": {"r2": result.mean_r2, "spearman": 0.0},
        "converged": True,
    }
    arrays = {"true": result.true, "predicted": result.predicted, "r2": result.r2, "spearman": result.spearman}
    return [(record, {"row": frozen.split["test"][result.rows], **arrays})]


def _step(asked: Asked, frozen: _Frozen) -> list[Answer]:
    """A classifier for each step between levels."""
    y = asked.target()
    train, test = (y[frozen.split[name]] for name in ("train", "test"))
    if np.unique(train[np.isfinite(train)]).size < 2:
        raise _NothingToAsk("split train has fewer than the two levels that a classifier needs at least")
    if not np.isfinite(test).any():
        raise _NothingToAsk("no row of split test has a level")
    result = level_probe(*frozen.with_targets(y))
    scores = {"level_error": result.level_error, "within_one": result.within_one}
    off = np.abs(result.true - result.median)
    record = {
        "classes": list(asked.names),
        **_counts(result),
        **_scores(scores, frozen.draws),
        "baseline": {"level_error": float(off.mean()), "within_one": float((off <= 1).mean())},
        "converged": result.converged,
    }
    arrays = {"true": result.true, "predicted": result.predicted, **scores}
    return [(record, {"row": frozen.split["test"][result.rows], **arrays})]


def _tell_labels(asked: Asked, frozen: _Frozen) -> list[Answer]:
    """A classifier a label."""
    y = asked.target()
    train, test = (y[frozen.split[name]] for name in ("train", "test"))
    known = train[np.isfinite(train).all(axis=1)] > 0.5
    usable = known.any(axis=0) & ~known.all(axis=0) if len(known) else np.zeros(y.shape[1], bool)
    if not usable.any():
        raise _NothingToAsk("split train has no label that some rows have and others have not")
    if not (test[:, usable] > 0.5).any():
        raise _NothingToAsk("no row of split test has a label that can be asked")
    result = label_set_probe(*frozen.with_targets(y), labels=asked.names)
    true, predicted, every = result.true, result.predicted, np.ones_like(result.true)
    scores = {
        "mean_average_precision": row_values.mean_average_precision(true, result.probability),
        "micro_f1": row_values.micro_f1(true, predicted),
        "macro_f1": row_values.macro_f1(true, predicted),
    }
    record = {
        "classes": list(result.labels),
        "left_out": list(result.left_out),
        **_counts(result),
        **_scores(scores, frozen.draws),
        "baseline": {
            "mean_average_precision": float(true[:, true.any(axis=0)].mean()),
            "micro_f1": float(row_values.micro_f1(true, every).mean()),
            "macro_f1": float(row_values.macro_f1(true, every).mean()),
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


def _scores(values: Mapping[str, Float[np.ndarray, " rows"]], draws: int) -> Record:
    return {name: interval(own, draws=draws).to_json() for name, own in values.items()}


# Neighbours ---------------------------------------------------------------------------------------


def _retrieve(asked: Asked, frozen: _Frozen) -> list[Answer]:
    """Retrieval of the same class among rows of unseen groups; their classes may all be new."""
    unseen = frozen.split["unseen"]
    cells = asked.whole_cells()
    codes, classes = codes_of([cells[row] for row in unseen])
    sizes = np.bincount(codes[codes >= 0], minlength=1)
    if len(classes) < 2 or sizes.max() < 2:
        raise _NothingToAsk(
            f"split unseen has {counted(int(sizes.sum()), 'row')} with a label, of {len(classes)} classes; it takes "
            "two classes, and two rows of one of them"
        )
    return [_retrieved(retrieval(frozen.features[unseen], codes), classes, unseen, frozen.draws)]


def _retrieve_labels(asked: Asked, frozen: _Frozen) -> list[Answer]:
    """Retrieval of rows with any label in common."""
    unseen = frozen.split["unseen"]
    labels = asked.target()[unseen]
    has = np.nan_to_num(labels) > 0.5
    if not (has.sum(axis=0) >= 2).any():
        raise _NothingToAsk("no two rows of split unseen have a label in common that split train has too")
    return [_retrieved(label_retrieval(frozen.features[unseen], labels), asked.names, unseen, frozen.draws)]


def _retrieved(result: Any, classes: Sequence[str], unseen: Int[np.ndarray, " rows"], draws: int) -> Answer:
    scores = {name: getattr(result, name) for name in ("precision_at_1", "r_precision", "map_at_r")}
    record = {
        "classes": list(classes),
        "rows": len(result.rows),
        "left_out": result.left_out,
        **_scores(scores, draws),
        "chance": result.chance,
        "map_at_r_chance": result.map_at_r_chance,
    }
    kept = {name: values.astype(np.float32) for name, values in scores.items()}
    return record, {"row": unseen[result.rows], **kept}


def _differ(asked: Asked, frozen: _Frozen) -> list[Answer]:
    """How far the number or level of the nearest row is off."""
    unseen = frozen.split["unseen"]
    y = asked.target()[unseen]
    if np.unique(y[np.isfinite(y)]).size < 2:
        raise _NothingToAsk("split unseen has fewer than two rows with different numbers or levels")
    result = nearest_difference(frozen.features[unseen], y)
    scores = {
        "neighbour_difference": result.difference,
        "neighbour_spearman": row_values.rank_correlation(result.own, result.nearest),
    }
    record = {
        "rows": len(result.rows),
        **_scores(scores, frozen.draws),
        "baseline": {"neighbour_difference": result.chance, "neighbour_spearman": 0.0},
    }
    return [(record, {"row": unseen[result.rows], **scores})]


# By kind ------------------------------------------------------------------------------------------

Ask = Callable[[Asked, _Frozen], list[Answer]]

# By what the targets of a similarity are. Of "nothing" nothing is asked.
_LINEAR: Mapping[TargetKind, Ask] = {
    "class": _classify,
    "labels": _tell_labels,
    "rank": _step,
    "number": _regress,
}
_NEIGHBOURS: Mapping[TargetKind, Ask] = {
    "class": _retrieve,
    "labels": _retrieve_labels,
    "rank": _differ,
    "number": _differ,
}


def _by_kind(known: Mapping[TargetKind, Ask], asked: Asked) -> Ask:
    if asked.kind not in known:
        raise _NothingToAsk("its similarity says nothing that could be asked (it has no target_kind)")
    return known[asked.kind]
