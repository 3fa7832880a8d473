"""A noisy column, and what helps: `python experiments/doubted.py TABLE VECTORS OUT [--column weight] [--redraw 0.533]`.

TABLE is glyphs.csv of `mscon prepare glyphs`, VECTORS a .npy file with a vector for each of its rows, such as ImageNet
features. An MLP learns `character`, `slant` and `weight`. One of them (--column) is a copy in which a share of the
labels is drawn anew, by train.seed, in the rows of all splits: of four classes 0.533, of 26 classes 0.416 makes 40 %
wrong. Scores are those of linear probes that learn and are scored with the labels of the table. Prints a table in
Markdown: means over seeds, and paired differences from equal weights with an interval of 95 % over rows and seeds.

Runs go to OUT, and those that are there are reused.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

import mscon
from mscon.comparison.planned import slug
from mscon.data.table.table import read_table
from mscon.evaluate.column_probes import FrozenFeatures
from mscon.evaluate.features import extract
from mscon.evaluate.linear import linear_probe
from mscon.evaluate.metrics.bootstrap import paired_difference
from mscon.evaluate.targets import codes_of
from mscon.run import recipe as recipes
from mscon.run.run import Run

TRAINED, UNTRAINED = ("character", "slant", "weight"), ("category",)
SCORED = (*TRAINED, *UNTRAINED)
EQUAL, DROPPED, CLEAN = "equal", "column dropped (oracle)", "clean labels (oracle)"
BY_DOUBT: Mapping[str, dict[str, Any]] = {
    "label issues dropped": {"labels": "drop"},
    "labels weighed": {"labels": "weigh"},
    "columns weighed": {"labels": "all", "weigh_columns": True},
}
WEIGHTINGS: Mapping[str, dict[str, Any]] = {
    EQUAL: {"name": "equal"},
    "uncertainty (the paper's)": {"name": "uncertainty"},
    "relative": {"name": "relative"},
    "exact": {"name": "exact"},
}
METHODS = (*WEIGHTINGS, DROPPED, *BY_DOUBT, CLEAN)


def subset(table: Path, vectors: Path, rows: int, out: Path) -> Path:
    """So many training rows, with all validation and test rows."""
    frame = pl.read_csv(table, infer_schema=False).with_row_index()
    train = frame.filter(pl.col("split") == "train").sample(rows, seed=0)
    others = frame.filter(pl.col("split").is_in(["validation", "test"]))
    some = pl.concat([train, others]).sort("index")
    out.mkdir(parents=True, exist_ok=True)
    x = np.load(vectors, mmap_mode="r")
    np.save(out / "vectors.npy", x.reshape(len(x), -1)[some["index"].to_numpy()].astype(np.float32))
    some.select("split", *SCORED).write_csv(out / "glyphs.csv")
    return out / "glyphs.csv"


def recipe_of(method: str, column: str, redraw: float, seed: int, epochs: int, judged: Path) -> recipes.Recipe:
    """Of a method; without epochs of the run that is judged."""
    noisy = [] if method == DROPPED else [column if method == CLEAN else "noisy"]
    columns = [*(name for name in TRAINED if name != column), *noisy]
    plain: dict[str, Any] = {
        "title": method,
        "similarity": [{"column": name, "name": "categorical"} for name in columns],
        "data": {"input": "vectors", "vectors": "vectors.npy"},
        "encoder": {"name": "mlp", "settings": {"units": 256, "layers": 2}},
        "weighting": WEIGHTINGS.get(method, WEIGHTINGS[EQUAL]),
        "train": {"epochs": epochs, "batch_size": 128, "seed": seed, "learning_rate": 2e-3, "precision": "float32"},
    }
    if "noisy" in columns:
        plain["derived"] = [{"column": "noisy", "of": column, "redraw": redraw, "rows": "all", "seed": seed}]
    if method in BY_DOUBT:
        plain["doubt"] = {"run": str(judged), **BY_DOUBT[method]}
    return recipes.of_plain(plain)


def trained(recipe: recipes.Recipe, table: Path, out: Path) -> Run:
    if (out / "run.json").is_file() and "trained" in Run.open(out).read_facts():
        return Run.open(out)
    run = mscon.fit(recipe, read_table(table), out, overwrite=True, progress=False)
    assert run is not None
    return run


def scores(run: Run) -> dict[str, np.ndarray]:
    """Of each column whether each test row is predicted rightly, by labels of the table."""
    extract(run, progress=False)
    rows, x = run.read_rows(), run.read_features()
    frozen = FrozenFeatures.of(x, rows, run.read_recipe())
    train, validation, test = (frozen.split[name] for name in ("train", "validation", "test"))
    by_column = {}
    for column in SCORED:
        codes, names = codes_of(rows[column].to_list())
        result = linear_probe(
            "class", x[train], codes[train], x[validation], codes[validation], x[test], codes[test], names
        )
        assert len(result.rows) == len(test)
        by_column[column] = result.scores["accuracy"]
    return by_column


def scores_of(recipe: recipes.Recipe, table: Path, folder: Path) -> dict[str, np.ndarray]:
    """Of a method, trained and probed unless that is done."""
    file = folder / f"{slug(recipe.title)}.npz"
    if not file.is_file():
        by_column = scores(trained(recipe, table, folder / slug(recipe.title)))
        np.savez(file, **by_column)
    with np.load(file, allow_pickle=False) as arrays:
        return {column: arrays[column] for column in SCORED}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path)
    parser.add_argument("vectors", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--column", choices=TRAINED, default="weight")
    parser.add_argument("--redraw", type=float, default=1.6 / 3)
    parser.add_argument("--rows", type=int, default=2_000)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seeds", type=int, default=3)
    arguments = parser.parse_args()
    began = time.process_time()
    table = subset(arguments.table, arguments.vectors, arguments.rows, arguments.out)
    left_out = () if arguments.redraw else (DROPPED, CLEAN)
    by_method: dict[str, list[dict[str, np.ndarray]]] = {method: [] for method in METHODS if method not in left_out}
    for seed in range(arguments.seeds):
        folder = arguments.out / f"{arguments.column}-{arguments.redraw:.3f}" / f"seed{seed}"
        judged = trained(
            recipe_of(EQUAL, arguments.column, arguments.redraw, seed, 0, folder), table, folder / "judged"
        )
        if not judged.has_doubt:
            mscon.doubt(judged, progress=False)
        shares = {c["column"]: round(100 * c["share"]["value"], 1) for c in judged.read_doubt()["columns"]}
        rows = judged.read_rows()
        wrong = rows.filter(pl.col(arguments.column) != pl.col("noisy"))["line"].implode()
        issues = judged.read_judged_labels().filter((pl.col("column") == "noisy") & pl.col("is_label_issue"))
        right = issues["line"].is_in(wrong).mean() or 0.0
        print(
            f"seed {seed}: {100 * wrong.explode().len() / rows.height:.1f} % wrong; estimated {shares}; "
            f"{issues.height} label issues, {100 * float(right):.0f} % of them wrong; "
            f"{time.process_time() - began:.0f} s",
            flush=True,
        )
        for method in by_method:
            recipe = recipe_of(method, arguments.column, arguments.redraw, seed, arguments.epochs, judged.root)
            by_method[method].append(scores_of(recipe, table, folder))
    print(f"{time.process_time() - began:.0f} s of processor time\n")
    heads = (*SCORED, "mean", f"{arguments.column} - equal weights", "mean - equal weights")
    print(f"| method | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
    for method, runs in by_method.items():
        cells = [f"{100 * np.mean([s[column].mean() for s in runs]):.1f}" for column in SCORED]
        cells += [f"{100 * _mean(runs).mean():.1f}"]
        cells += [_gain(*(np.stack([s[arguments.column] for s in some]) for some in (runs, by_method[EQUAL])))]
        cells += [_gain(_mean(runs), _mean(by_method[EQUAL]))]
        print(f"| {method} | {' | '.join(cells)} |")


def _mean(runs: Sequence[Mapping[str, np.ndarray]]) -> np.ndarray:
    """Over the columns, [seeds, rows]."""
    return np.stack([np.mean([*by_column.values()], axis=0) for by_column in runs])


def _gain(after: np.ndarray, before: np.ndarray) -> str:
    gain = paired_difference(after, before)
    return f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"


if __name__ == "__main__":
    main()
