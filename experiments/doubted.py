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
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from noisy_columns import Scores, gain, judged, mean_over, scores, store_scores, stored_scores, subset, trained

from mscon.comparison.planned import slug
from mscon.run import recipe as recipes

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


def scores_of(recipe: recipes.Recipe, table: Path, folder: Path) -> Scores:
    """Of a method, trained and probed unless that is done."""
    file = folder / f"{slug(recipe.title)}.npz"
    by_column = stored_scores(file, SCORED)
    if by_column is None:
        by_column = scores(trained(recipe, table, folder / slug(recipe.title)), SCORED)
        store_scores(file, by_column)
    return by_column


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
    frame = pl.read_csv(arguments.table, infer_schema=False)
    vectors = np.load(arguments.vectors, mmap_mode="r").reshape(frame.height, -1)
    table = subset(frame, vectors, arguments.rows, SCORED, arguments.out)
    left_out = () if arguments.redraw else (DROPPED, CLEAN)
    by_method: dict[str, list[Scores]] = {method: [] for method in METHODS if method not in left_out}
    for seed in range(arguments.seeds):
        folder = arguments.out / f"{arguments.column}-{arguments.redraw:.3f}" / f"seed{seed}"
        start = recipe_of(EQUAL, arguments.column, arguments.redraw, seed, 0, folder)
        judge = judged(start, table, folder / "judged")
        shares = {c["column"]: round(100 * c["share"]["value"], 1) for c in judge.read_doubt()["columns"]}
        rows = judge.read_rows()
        wrong = rows.filter(pl.col(arguments.column) != pl.col("noisy"))["line"].implode()
        issues = judge.read_judged_labels().filter((pl.col("column") == "noisy") & pl.col("is_label_issue"))
        right = issues["line"].is_in(wrong).mean() or 0.0
        print(
            f"seed {seed}: {100 * wrong.explode().len() / rows.height:.1f} % wrong; estimated {shares}; "
            f"{issues.height} label issues, {100 * float(right):.0f} % of them wrong; "
            f"{time.process_time() - began:.0f} s",
            flush=True,
        )
        for method in by_method:
            recipe = recipe_of(method, arguments.column, arguments.redraw, seed, arguments.epochs, judge.root)
            by_method[method].append(scores_of(recipe, table, folder))
    print(f"{time.process_time() - began:.0f} s of processor time\n")
    heads = (*SCORED, "mean", f"{arguments.column} - equal weights", "mean - equal weights")
    print(f"| method | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 1)}")
    for method, runs in by_method.items():
        cells = [f"{100 * np.mean([s[column].mean() for s in runs]):.1f}" for column in SCORED]
        cells += [f"{100 * mean_over(SCORED, runs).mean():.1f}"]
        cells += [gain(*(mean_over([arguments.column], some) for some in (runs, by_method[EQUAL])))]
        cells += [gain(*(mean_over(SCORED, some) for some in (runs, by_method[EQUAL])))]
        print(f"| {method} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
