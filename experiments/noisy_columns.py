"""What experiments on noisy label columns share: runs that are kept, scores by right labels, paired differences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

import mscon
from mscon.data.table.table import read_table
from mscon.evaluate.column_probes import FrozenFeatures
from mscon.evaluate.features import extract
from mscon.evaluate.linear import linear_probe
from mscon.evaluate.metrics.bootstrap import paired_difference
from mscon.evaluate.targets import codes_of
from mscon.run import recipe as recipes
from mscon.run.run import Run

Scores = Mapping[str, np.ndarray]
"""Of each column whether each test row is predicted rightly, by labels of the table."""


def subset(frame: pl.DataFrame, vectors: np.ndarray, rows: int, columns: Sequence[str], out: Path) -> Path:
    """A table of so many training rows, with all validation and test rows, and their vectors beside it."""
    numbered = frame.with_row_index()
    train = numbered.filter(pl.col("split") == "train").sample(rows, seed=0)
    others = numbered.filter(pl.col("split").is_in(["validation", "test"]))
    some = pl.concat([train, others]).sort("index")
    out.mkdir(parents=True, exist_ok=True)
    np.save(out / "vectors.npy", vectors[some["index"].to_numpy()].astype(np.float32))
    some.select("split", *columns).write_csv(out / "table.csv")
    return out / "table.csv"


def trained(recipe: recipes.Recipe, table: Path, out: Path) -> Run:
    """A run of a recipe; the one that is there, if it has ended."""
    if (out / "run.json").is_file() and "trained" in Run.open(out).read_facts():
        return Run.open(out)
    run = mscon.fit(recipe, read_table(table), out, overwrite=True, progress=False)
    assert run is not None
    return run


def judged(recipe: recipes.Recipe, table: Path, out: Path) -> Run:
    """A run whose labels `mscon doubt` has judged."""
    run = trained(recipe, table, out)
    if not run.has_doubt:
        mscon.doubt(run, progress=False)
    return run


def scores(run: Run, columns: Sequence[str], *, tuned: bool = True, rows: str = "test") -> Scores:
    """Linear probes of a run.

    Args:
        columns: of the table.
        tuned: whether the penalty is chosen on validation rows; else it is `mscon.evaluate.linear.DEFAULT`, which takes
            a seventh of the time.
        rows: of which split the scores are.
    """
    extract(run, progress=False)
    frame, x = run.read_rows(), run.read_features()
    frozen = FrozenFeatures.of(x, frame, run.read_recipe())
    train, validation, test = (frozen.split[name] for name in ("train", "validation", rows))
    validation = validation if tuned else validation[:0]
    by_column = {}
    for column in columns:
        codes, names = codes_of(frame[column].to_list())
        result = linear_probe(
            "class", x[train], codes[train], x[validation], codes[validation], x[test], codes[test], names
        )
        assert len(result.rows) == len(test)
        by_column[column] = result.scores["accuracy"]
    return by_column


def stored_scores(file: Path, columns: Sequence[str]) -> Scores | None:
    """Those that `store_scores` wrote."""
    if not file.is_file():
        return None
    with np.load(file, allow_pickle=False) as arrays:
        return {column: arrays[column] for column in columns}


def store_scores(file: Path, by_column: Scores) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    np.savez(file, **by_column)


def mean_over(columns: Sequence[str], runs: Sequence[Scores]) -> np.ndarray:
    """Over some columns, [seeds, rows]."""
    return np.stack([np.mean([by_column[column] for column in columns], axis=0) for by_column in runs])


def gain(after: np.ndarray, before: np.ndarray) -> str:
    """A paired difference in points, with an interval of 95 % over rows and seeds."""
    difference = paired_difference(after, before)
    return f"{100 * difference.value:+.1f} ({100 * difference.low:+.1f} to {100 * difference.high:+.1f})"
