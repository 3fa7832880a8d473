"""Probes of one column: its scores as a record of probe.json, and its predictions for predictions.safetensors.

`linear` predicts the column of test rows from frozen features; `neighbours` compares rows of split unseen, or test,
with their nearest rows. Both go by the kind of the column's targets.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int, Shaped

from mscon.data.table.groups import row_groups
from mscon.errors import counted
from mscon.evaluate.estimators import CannotProbe
from mscon.evaluate.linear import LinearResult, linear_probe
from mscon.evaluate.metrics import influence
from mscon.evaluate.metrics.bootstrap import interval, macro_f1_interval
from mscon.evaluate.metrics.catalog import MEASURES
from mscon.evaluate.metrics.retrieval import RetrievalResult, label_retrieval, nearest_difference, retrieval
from mscon.evaluate.targets import ProbeTarget, among_largest, codes_of
from mscon.method.similarities.base import TargetKind
from mscon.run.recipe import Recipe

Record = dict[str, Any]
Arrays = dict[str, np.ndarray]
ColumnResult = tuple[Record, Arrays]


@dataclass(frozen=True, slots=True)
class FrozenFeatures:
    """Features of all rows, which rows are of which split, and how bootstrap intervals are drawn.

    Attributes:
        features: of all rows.
        split: the rows of each split.
        draws: of an interval.
        neighbours_among: the split whose rows are compared with one another.
        groups: the number of each row's group, see `row_groups`; None where rows are drawn one by one.
    """

    features: Float[np.ndarray, "rows width"]
    split: Mapping[str, Int[np.ndarray, " split_rows"]]
    draws: int
    neighbours_among: str = "unseen"
    groups: Int[np.ndarray, " rows"] | None = None

    @classmethod
    def of(cls, features: Float[np.ndarray, "rows width"], rows: pl.DataFrame, recipe: Recipe) -> FrozenFeatures:
        """Those of the rows of a run, with the settings of its recipe."""
        split = rows.get_column("split").to_numpy()
        names = ("train", "validation", "test", "unseen")
        of_split = {name: np.flatnonzero(split == name) for name in names}
        probe = recipe.probe
        return cls(features, of_split, probe.draws, probe.neighbours_among, row_groups(rows, recipe.data.split_by))

    def sampling(self, rows: Int[np.ndarray, " some"]) -> dict[str, Any]:
        """How intervals of scores of these rows are drawn: arguments of `mscon.evaluate.metrics.bootstrap.interval`."""
        return {"draws": self.draws, "groups": None if self.groups is None else self.groups[rows]}

    def intervals(self, scores: Mapping[str, Float[np.ndarray, " some"]], rows: Int[np.ndarray, " some"]) -> Record:
        """The mean of each measure over rows with its bootstrap interval, as plain values."""
        sampling, record = self.sampling(rows), {}
        for name, values in scores.items():
            score = interval(values, **sampling)
            record[name] = replace(score, high=min(score.high, MEASURES[name].ceiling)).to_json()
        return record


# Linear -------------------------------------------------------------------------------------------


def linear(column: ProbeTarget, frozen: FrozenFeatures) -> list[ColumnResult]:
    """A linear probe of a column; of a hierarchy one for each level, the coarsest first.

    Raises:
        CannotProbe: if the rows leave nothing to be predicted.
    """
    if column.kind != "class":
        return [_linear(column.kind, column.target(), column.names, frozen)]
    results = []
    for codes, classes in column.class_levels():
        if column.largest is not None:
            codes = np.where(among_largest(codes, codes[frozen.split["train"]], column.largest), codes, -1)
        results.append(_linear("class", codes, classes, frozen))
    if len(results) == 1:
        return results
    return [({"level": i, "levels": len(results), **record}, arrays) for i, (record, arrays) in enumerate(results, 1)]


def _linear(
    kind: TargetKind, target: Shaped[np.ndarray, "rows ..."], names: Sequence[str], frozen: FrozenFeatures
) -> ColumnResult:
    x, (train, validation, test) = frozen.features, (frozen.split[name] for name in ("train", "validation", "test"))
    result = linear_probe(
        kind, x[train], target[train], x[validation], target[validation], x[test], target[test], names
    )
    record = {
        **({"classes": list(result.names)} if kind != "number" else {}),
        **({"left_out": list(result.left_out)} if kind == "labels" else {}),
        **result.to_json(),
        **frozen.intervals(result.scores, test[result.rows]),
    }
    arrays = {"row": test[result.rows], "true": result.true, "predicted": result.predicted}
    if kind == "class":
        return {**record, **_of_classes(result, frozen.sampling(test[result.rows]))}, arrays
    if kind == "labels":
        arrays |= {
            "true": result.true.astype(np.uint8),
            "predicted": (result.predicted > 0.5).astype(np.uint8),
            "probability": result.predicted,
        }
    guess = {"baseline": dict(result.baseline), "validation_score": result.validation_score}
    return {**record, **guess}, {**arrays, **result.scores}


def _of_classes(result: LinearResult, sampling: Mapping[str, Any]) -> Record:
    count = len(result.names)
    confusion = np.bincount(result.true * count + result.predicted, minlength=count**2).reshape(count, count)
    return {
        "macro_f1": macro_f1_interval(result.predicted, result.true, **sampling).to_json(),
        "majority": result.baseline["accuracy"],
        "validation_accuracy": result.validation_score,
        "confusion": confusion.tolist(),
    }


# Neighbours ---------------------------------------------------------------------------------------


def neighbours(column: ProbeTarget, frozen: FrozenFeatures) -> list[ColumnResult]:
    """Of rows of one split, whether the nearest others of that split have the same cell.

    Classes may all be new there, as those of groups that the encoder never saw. Of labels any in common counts; of
    numbers and levels the difference is scored.

    Raises:
        CannotProbe: if those rows leave nothing to be found.
    """
    name = frozen.neighbours_among
    rows = frozen.split[name]
    features = frozen.features[rows]
    if column.kind == "class":
        cells = column.whole_cells()
        codes, classes = codes_of([cells[row] for row in rows])
        sizes = np.bincount(codes[codes >= 0], minlength=1)
        if len(classes) < 2 or sizes.max() < 2:
            raise CannotProbe(
                f"split {name} has {counted(int(sizes.sum()), 'row')} with a label, of {len(classes)} classes; it "
                "takes two classes, and two rows of one of them"
            )
        return [_retrieved(retrieval(features, codes), classes, frozen)]
    targets = column.target()[rows]
    if column.kind == "labels":
        if not ((np.nan_to_num(targets) > 0.5).sum(axis=0) >= 2).any():
            raise CannotProbe(f"no two rows of split {name} have a label in common that split train has too")
        return [_retrieved(label_retrieval(features, targets), column.names, frozen)]
    if np.unique(targets[np.isfinite(targets)]).size < 2:
        raise CannotProbe(f"split {name} has fewer than two rows with different numbers or levels")
    result = nearest_difference(features, targets)
    scores = {
        "neighbour_difference": result.difference,
        "neighbour_spearman": influence.rank_correlation(result.number, result.nearest),
    }
    record = {
        "rows": len(result.rows),
        **frozen.intervals(scores, rows[result.rows]),
        "baseline": {"neighbour_difference": result.chance, "neighbour_spearman": 0.0},
    }
    return [(record, {"row": rows[result.rows], **scores})]


def _retrieved(result: RetrievalResult, classes: Sequence[str], frozen: FrozenFeatures) -> ColumnResult:
    scores = {name: getattr(result, name) for name in ("precision_at_1", "r_precision", "map_at_r")}
    rows = frozen.split[frozen.neighbours_among][result.rows]
    record = {
        "classes": list(classes),
        "rows": len(result.rows),
        "left_out": result.left_out,
        **frozen.intervals(scores, rows),
        "chance": result.chance,
        "map_at_r_chance": result.map_at_r_chance,
    }
    arrays = {name: values.astype(np.float32) for name, values in scores.items()}
    return record, {"row": rows, **arrays}
