"""Judged labels: what [doubt] of a recipe takes from a run that `mscon doubt` has judged, as weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float32
from torch import Tensor

from mscon.data.batches.dataset import cells_of
from mscon.data.table.table import unit
from mscon.errors import MSConError, RecipeError, counted, first_few
from mscon.method.similarities.base import Similarity
from mscon.run.recipe import Doubt, Recipe
from mscon.run.run import Run

JUDGEMENTS = ("doubt.json", "doubt.parquet")


@dataclass(frozen=True, slots=True, eq=False)
class JudgedLabels:
    """What a training takes from judged labels.

    Attributes:
        weights: the probability with which each label is used in an epoch; None where all labels are used.
        facts: of each judged column, plain values for run.json; empty where nothing is judged.
    """

    weights: Float32[Tensor, "similarities rows"] | None
    facts: Mapping[str, Mapping[str, Any]]


def judged_run(doubt: Doubt) -> Run:
    """The run whose labels `mscon doubt` has judged.

    Raises:
        RecipeError: if it is not there, or its labels have not been judged.
    """
    try:
        run = Run.open(doubt.run)
    except MSConError as error:
        raise RecipeError(f"[doubt] run: {error}") from None
    if not all((run.root / name).is_file() for name in JUDGEMENTS):
        raise RecipeError(f"[doubt] run: the labels of run '{run.root}' are not judged. Run `mscon doubt {run.root}`.")
    return run


def judged_labels(
    recipe: Recipe, rows: pl.DataFrame, similarities: Sequence[Similarity], table_name: str
) -> JudgedLabels:
    """Weights of labels and columns, by the judgements of another run on the same table.

    A similarity that reads no cells, or whose column is not judged there, is left as it is.

    Args:
        recipe: its [doubt] names the run.
        rows: of the training, as `select_rows` gives them.
        similarities: of the recipe, fitted.
        table_name: for messages.

    Raises:
        RecipeError: once, for all columns whose judged labels are not those of the rows, or that have fewer than two
            different labels left; if no similarity is judged, or no judged column has any right label.
        RunError: if a file of the other run is damaged.
    """
    doubt = recipe.doubt
    if not doubt.run or not any(s.columns for s in similarities):  # a method of a comparison may have no label column
        return JudgedLabels(None, {})
    if doubt.labels == "weigh" and recipe.triplets.used:
        raise RecipeError(
            '[doubt] labels = "weigh" is for batches of rows, but [triplets] asks for triplets. Set labels = "drop".'
        )
    run = judged_run(doubt)
    labels, shares = run.read_judged_labels(), {c["column"]: c["share"]["value"] for c in run.read_doubt()["columns"]}
    judged = {number: s for number, s in enumerate(similarities) if s.columns and s.column in shares}
    if not judged:
        known = ", ".join(shares) or "none"
        raise RecipeError(f"[doubt] run '{run.root}' has judged no column of this recipe. Its judged columns: {known}.")
    factors = _factors({s.column: shares[s.column] for s in judged.values()} if doubt.weigh_columns else {})
    complaints, facts = list[str](), dict[str, dict[str, Any]]()
    weights = np.ones((len(similarities), rows.height), dtype=np.float32)
    for number, similarity in judged.items():
        of_column = labels.filter(pl.col("column") == similarity.column)
        if fault := _mismatch(similarity, rows, of_column, table_name):
            complaints.append(fault)
            continue
        weights[number] = _weights(rows, of_column, doubt.labels)
        facts[similarity.column] = {
            "judged": _judged_in_training(rows, of_column),
            "dropped": int((weights[number] == 0).sum()),
            "expected_missing": float((1 - weights[number].astype(np.float64)).sum()),
            "factor": factors.get(similarity.column, 1.0),
        }
        if _values_left(similarity, rows, weights[number]) < 2:
            complaints.append(
                f"column '{similarity.column}': without label issues the training rows have fewer than two different "
                'labels. Leave the column out, or set labels = "weigh" under [doubt].'
            )
    if complaints:
        raise RecipeError(f"[doubt] run '{run.root}': " + "\n  ".join(complaints))
    return JudgedLabels(None if doubt.labels == "all" else torch.from_numpy(weights), facts)


def with_factors(recipe: Recipe, facts: Mapping[str, Mapping[str, Any]]) -> Recipe:
    """The recipe in which the importance of each judged column is multiplied by its factor.

    Args:
        recipe: of the training.
        facts: of `JudgedLabels`.
    """
    parts = [
        replace(part, importance=part.importance * facts[part.column].get("factor", 1.0))
        if part.column in facts
        else part
        for part in recipe.similarities
    ]
    return replace(recipe, similarities=tuple(parts))


def _mismatch(similarity: Similarity, rows: pl.DataFrame, labels: pl.DataFrame, table_name: str) -> str:
    """What is wrong if a run has judged other labels than the rows have, in words; "" if nothing is."""
    cells = cells_of(rows, similarity.columns)
    shown = ["" if cell is None else similarity.shown(cell) for cell in cells]
    present = dict(zip(rows.get_column("line").to_list(), shown, strict=True))
    faults = [
        (line, label, present.get(line))
        for line, label in labels.select("line", "given_label").iter_rows()
        if present.get(line) != label
    ]
    if not faults:
        return ""
    word = unit(table_name)
    examples = [
        f"{word} {line} (judged {label!r}, now {'no row' if cell is None else repr(cell) if cell else 'empty'})"
        for line, label, cell in sorted(faults)
    ]
    differ = f"{len(faults):,} of {counted(labels.height, 'judged label')} of column '{similarity.column}' differ"
    return (
        f"{differ} from those of {table_name}: {first_few(examples)}.\n"
        "  It must be a run of the same table. Run `mscon doubt` on such a run, or take [doubt] out."
    )


def _weights(rows: pl.DataFrame, labels: pl.DataFrame, how: str) -> Float32[np.ndarray, " rows"]:
    """Of each row; those outside the training rows, or not judged, have weight 1."""
    of_label = {"drop": 1 - pl.col("is_label_issue").cast(pl.Float64), "weigh": pl.col("label_score")}
    weight = dict(labels.select("line", of_label.get(how, pl.lit(1.0))).iter_rows())
    splits = rows.select("line", "split").iter_rows()
    return np.array([weight.get(line, 1.0) if split == "train" else 1.0 for line, split in splits], dtype=np.float32)


def _judged_in_training(rows: pl.DataFrame, labels: pl.DataFrame) -> int:
    return rows.filter(pl.col("split") == "train").join(labels, on="line", how="semi").height


def _values_left(similarity: Similarity, rows: pl.DataFrame, weights: Float32[np.ndarray, " rows"]) -> int:
    """How many different cells the training rows have that are used at least in some epochs."""
    cells, is_train = cells_of(rows, similarity.columns), (rows.get_column("split") == "train").to_list()
    used = zip(cells, is_train, weights.tolist(), strict=True)
    return len({cell for cell, train, weight in used if train and weight > 0 and cell is not None})


def _factors(shares: Mapping[str, float]) -> dict[str, float]:
    """Of each column the share of right labels, scaled to a mean of 1."""
    right = {column: 1 - share for column, share in shares.items()}
    total = sum(right.values())
    if right and not total > 0:
        raise RecipeError("[doubt] weigh_columns: all labels of all judged columns look wrong, so nothing is left.")
    return {column: share * len(right) / total for column, share in right.items()}
