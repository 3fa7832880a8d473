"""Probe: what can be read off the frozen features of a run, column by column, with intervals.

A column is asked twice: a linear classifier, fitted on the rows of split train, chosen on validation and scored on
test; and nearest neighbours among the rows of split unseen, whose groups the encoder never saw. Scores go to the
run's probe.json, answers row by row to its predictions, so that runs can be compared in pairs later.
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
from mscon.evaluate.features import extract
from mscon.evaluate.labels import among_largest, codes_of
from mscon.evaluate.linear import linear_probe
from mscon.evaluate.neighbours import retrieval
from mscon.recipe import Recipe
from mscon.run import Run

Record = dict[str, Any]
Arrays = dict[str, np.ndarray]


class _NothingToAsk(Exception):
    """A column cannot be probed on these rows, and why."""


@dataclass(frozen=True, slots=True)
class _Asked:
    """A column to be probed.

    Attributes:
        column: its name in the table.
        kind: the similarity that it was trained as; "categorical" if it was not trained on.
        trained: whether the encoder saw its labels.
        largest: keep only so many of its largest classes; None for all.
    """

    column: str
    kind: str
    trained: bool
    largest: int | None


@dataclass(frozen=True, slots=True)
class _Frozen:
    """Features of all rows, and which rows are of which split."""

    features: Float[np.ndarray, "rows width"]
    split: Mapping[str, Int[np.ndarray, " split_rows"]]
    draws: int


def probe(run: Run, *, progress: bool = True) -> None:
    """Ask frozen features for every column that the run was trained on, and for those its recipe names under [probe].

    Features are extracted first where they are missing or older than the checkpoint. Writes `run.probe`:

        {"checkpoint": "last", "draws": 1000,
         "linear": [{"column", "trained", "classes", "train_rows", "validation_rows", "test_rows", "dropped_rows",
                     "accuracy": {"value", "low", "high"}, "macro_f1": {...}, "majority", "regularisation",
                     "validation_accuracy", "converged", "confusion": [[true by predicted]]}],
         "neighbours": [{"column", "trained", "classes", "rows", "left_out", "precision_at_1": {...},
                         "r_precision": {...}, "map_at_r": {...}, "chance", "map_at_r_chance"}],
         "skipped": [{"column", "probe": "linear" or "neighbours", "reason"}]}

    and `run.predictions`: for the i-th entry of "linear" the arrays "linear/i/row", ".../true" and ".../predicted"
    (int64: numbers of rows in rows.parquet, indices into "classes"), for the i-th of "neighbours" the arrays
    "neighbours/i/row" (int64), ".../precision_at_1", ".../r_precision" and ".../map_at_r" (float32).

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
    asked = _asked(recipe)
    _need_columns(run, recipe, rows, asked)
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
        ("neighbours", _NEIGHBOURS, _asked_of_neighbours(recipe, rows, asked, frozen)),
    ):
        for column in columns:
            cells = rows.get_column(column.column).cast(pl.String).to_list()
            try:
                record, arrays = _by_kind(known, column)(column, cells, frozen)
            except _NothingToAsk as reason:
                skipped.append({"column": column.column, "probe": how, "reason": str(reason)})
                console.print(
                    f"column '{column.column}' is not probed ({how}): {reason}", markup=False, highlight=False
                )
                continue
            # By number, not by name: a column may be called anything.
            number = len(answers[how])
            answers[how].append(record)
            predictions |= {f"{how}/{number}/{key}": array for key, array in arrays.items()}
    run.write_probe(
        {"checkpoint": recipe.train.checkpoint, "draws": frozen.draws, **answers, "skipped": skipped}, predictions
    )


# Which columns ------------------------------------------------------------------------------------


def _asked(recipe: Recipe) -> list[_Asked]:
    """Columns trained on, in the order of the heads, then those that [probe] names besides."""
    largest = recipe.probe.largest
    # "same_row" reads no column, so there is nothing to ask.
    trained = {part.column: part.name for part in recipe.similarities if part.name != "same_row"}
    others = [column for column in dict.fromkeys(recipe.probe.columns) if column not in trained]
    return [_Asked(column, kind, True, largest.get(column)) for column, kind in trained.items()] + [
        _Asked(column, "categorical", False, largest.get(column)) for column in others
    ]


def _asked_of_neighbours(recipe: Recipe, rows: pl.DataFrame, asked: Sequence[_Asked], frozen: _Frozen) -> list[_Asked]:
    """The columns that [probe] neighbours names; by default all that are probed and have two classes there."""
    unseen = frozen.split["unseen"]
    known = {column.column: column for column in asked}
    if named := tuple(dict.fromkeys(recipe.probe.neighbours)):
        return [known.get(name, _Asked(name, "categorical", False, None)) for name in named]
    return [c for c in asked if rows.get_column(c.column)[unseen].drop_nulls().n_unique() >= 2]


def _need_columns(run: Run, recipe: Recipe, rows: pl.DataFrame, asked: Sequence[_Asked]) -> None:
    labels = [name for name in rows.columns if name not in ("line", "split", "image")]
    probed = [column.column for column in asked]
    complaints = [
        f"run '{run.root}' has no label column '{name}', which its recipe names.{nearest(name, labels)}\n"
        f"  Its columns: {', '.join(labels)}."
        for name in dict.fromkeys([*probed, *recipe.probe.neighbours])
        if name not in labels
    ]
    complaints += [
        f"run '{run.root}': [probe] largest names column '{name}', which is not probed.{nearest(name, probed)}\n"
        "  Add it to [probe] columns, or take it out."
        for name in recipe.probe.largest
        if name not in probed
    ]
    if complaints:
        raise RunError("\n".join(complaints))


# Linear -------------------------------------------------------------------------------------------


def _classify(asked: _Asked, cells: Sequence[str | None], frozen: _Frozen) -> tuple[Record, Arrays]:
    """A linear classifier of the classes that train rows have."""
    train, validation, test = (frozen.split[name] for name in ("train", "validation", "test"))
    codes, classes = codes_of(cells)
    if asked.largest is not None:
        codes = np.where(among_largest(codes, codes[train], asked.largest), codes, -1)
    present = np.unique(codes[train][codes[train] >= 0])
    if present.size < 2:
        raise _NothingToAsk(f"split train has {present.size} of the two classes that a classifier needs at least")
    if not np.isin(codes[test], present).any():
        raise _NothingToAsk("no row of split test has a label of a class that split train has")
    x = frozen.features
    result = linear_probe(x[train], codes[train], x[validation], codes[validation], x[test], codes[test], classes)
    right = (result.predicted == result.true).astype(np.float64)
    f1 = statistic_interval(result.predicted, result.true, macro_f1, draws=frozen.draws)
    record = {
        "column": asked.column,
        "trained": asked.trained,
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


# Neighbours ---------------------------------------------------------------------------------------


def _retrieve(asked: _Asked, cells: Sequence[str | None], frozen: _Frozen) -> tuple[Record, Arrays]:
    """Retrieval of the same class among rows of unseen groups; their classes may all be new."""
    unseen = frozen.split["unseen"]
    codes, classes = codes_of([cells[row] for row in unseen])
    sizes = np.bincount(codes[codes >= 0], minlength=1)
    if len(classes) < 2 or sizes.max() < 2:
        raise _NothingToAsk(
            f"split unseen has {counted(int(sizes.sum()), 'row')} with a label, of {len(classes)} classes; it takes "
            "two classes, and two rows of one of them"
        )
    result = retrieval(frozen.features[unseen], codes)
    scores = {name: getattr(result, name) for name in ("precision_at_1", "r_precision", "map_at_r")}
    record = {
        "column": asked.column,
        "trained": asked.trained,
        "classes": list(classes),
        "rows": len(result.rows),
        "left_out": result.left_out,
        **{name: interval(values, draws=frozen.draws).to_json() for name, values in scores.items()},
        "chance": result.chance,
        "map_at_r_chance": result.map_at_r_chance,
    }
    kept = {name: values.astype(np.float32) for name, values in scores.items()}
    return record, {"row": unseen[result.rows], **kept}


# By kind of similarity ----------------------------------------------------------------------------

Ask = Callable[[_Asked, Sequence[str | None], _Frozen], tuple[Record, Arrays]]

# A kind of similarity that is not here has no such probe, and its columns are skipped with that reason.
_LINEAR: Mapping[str, Ask] = {"categorical": _classify}
_NEIGHBOURS: Mapping[str, Ask] = {"categorical": _retrieve}


def _by_kind(known: Mapping[str, Ask], asked: _Asked) -> Ask:
    if asked.kind not in known:
        raise _NothingToAsk(f"no probe of this sort reads similarity kind '{asked.kind}', only {', '.join(known)}")
    return known[asked.kind]
