"""How well predictions of `mscon predict` are calibrated: fits the predictors of copies of runs, measured on test rows.

    python benchmarks/predict.py runs/glyphs-1 runs/glyphs-2 runs/diamonds --kinds weight_number=continuous --write

The runs are only read. `--splits 3` draws validation and test rows anew among themselves, in three ways, with rows of a
group of [data] split_by together; training rows stay, so the features know none of them. `--kinds` names further
columns with their kinds, where a run has them; `--leave-out` columns that take too long. "By chance" is the calibration
error that perfect confidences have on as many test rows. The debiased error is free of chance: the root of the mean
squared distance of the bins, less what it is expected to be by chance, with a 95 % interval over test rows, or over the
groups of [data] split_by. It is negative where the bins are nearer than by chance.
"""

from __future__ import annotations

import argparse
import math
import shutil
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from machine import machine

from mscon.data.table.groups import row_groups
from mscon.evaluate.metrics.calibration import BINS, expected_calibration_error
from mscon.evaluate.predictors import need_predictors
from mscon.run.run import Run

RESULTS = Path(__file__).parent / "results" / "predict.md"
THRESHOLD = 0.8
DRAWS = 1_000


def squared_error(confidence: np.ndarray, is_right: np.ndarray) -> float:
    """The mean squared distance of confidence from accuracy over bins, less its expectation by chance.

    Source: Kumar et al. 2019, "Verified Uncertainty Calibration", https://arxiv.org/abs/1909.10155, section 5.
    """
    place = (confidence * BINS).astype(int).clip(max=BINS - 1)
    sums = [np.bincount(place, values, BINS) for values in (np.ones(len(place)), is_right, confidence)]
    rows, right, sure = (of_bins[sums[0] > 1] for of_bins in sums)
    by_chance = right * (1 - right / rows) / (rows - 1)
    return float((((right - sure) ** 2 / rows) - by_chance).sum() / len(confidence))


def is_as_by_chance(confidence: np.ndarray, is_right: np.ndarray) -> bool:
    """Whether perfect confidences would have as large a calibration error in 5 % of all draws or more."""
    generator = np.random.default_rng(0)
    draws = [expected_calibration_error(confidence, generator.random(len(confidence)) < confidence) for _ in range(200)]
    return expected_calibration_error(confidence, is_right) <= float(np.quantile(draws, 0.95))


def debiased(confidence: np.ndarray, is_right: np.ndarray, groups: np.ndarray) -> tuple[float, float, float]:
    """The root of `squared_error`, with the sign of it, and its interval over groups.

    Draws of rows are of more rows that are there twice, so their mean lies higher; they are moved to the error itself.
    """
    numbers, place = np.unique(groups, return_inverse=True)
    members = [np.flatnonzero(place == number) for number in range(len(numbers))]
    generator = np.random.default_rng(0)
    draws = []
    for _ in range(DRAWS):
        rows = np.concatenate([members[number] for number in generator.integers(len(numbers), size=len(numbers))])
        draws.append(squared_error(confidence[rows], is_right[rows]))
    error = squared_error(confidence, is_right)
    low, high = np.quantile(draws, (0.025, 0.975)) - np.mean(draws) + error
    value, least, most = (math.copysign(math.sqrt(abs(square)), square) for square in (error, low, high))
    return value, least, most


def redrawn(split: np.ndarray, groups: np.ndarray, seed: int) -> np.ndarray:
    """Splits in which validation and test have other rows of both, about as many as before."""
    held_out = np.flatnonzero(np.isin(split, ("validation", "test")))
    rank = np.random.default_rng(seed).permutation(int(groups.max()) + 1)[groups[held_out]]
    order, drawn = held_out[np.argsort(rank, kind="stable")], split.copy()
    drawn[order] = "test"
    last = order[(split == "validation").sum() - 1]
    drawn[held_out[rank <= rank[held_out == last]]] = "validation"
    return drawn


def measured(source: Path, kinds: Mapping[str, str], leave_out: list[str], split: int | None) -> list[dict[str, Any]]:
    """A record a predictor; of a hierarchy its finest level."""
    with tempfile.TemporaryDirectory() as folder:
        run = Run.open(shutil.copytree(source, Path(folder) / "run"), trust=True)
        recipe, rows = run.read_recipe(), run.read_rows()
        groups = row_groups(rows, recipe.data.split_by)
        of_rows = np.arange(rows.height) if groups is None else groups
        name = f"{Path(run.read_facts()['table']['name']).stem}: {source.name}"
        if split is not None:
            name += f", split {split}"
            rows = rows.with_columns(split=pl.Series(redrawn(rows["split"].to_numpy(), of_rows, split)))
            run.write_rows(rows)
        further = {column: kind for column, kind in kinds.items() if column in rows.columns}
        columns = [column for column in (*recipe.probe.columns, *further) if column not in leave_out]
        probe = replace(recipe.probe, columns=tuple(dict.fromkeys(columns)), kinds={**recipe.probe.kinds, **further})
        run.write_recipe(replace(recipe, probe=probe))
        began = time.perf_counter()
        need_predictors(run, progress=False)
        seconds = time.perf_counter() - began
        about, arrays = run.read_predictors(lambda about, arrays: (about, dict(arrays)))
    records = []
    for number, one in enumerate(about["predictors"]):
        record: dict[str, Any] = {"run": name, "seconds": seconds, "column": one["column"], "kind": one["kind"]}
        record |= {count: one["record"][count] for count in ("validation_rows", "test_rows")}
        if one["kind"] == "number":
            record["coverage"] = one["record"].get("coverage")
        else:
            record |= one["record"]["levels"][-1]
            cells = rows.filter(pl.col("split") == "test").get_column(one["column"])
            is_tested = (
                cells.is_in(one["cells"][-1]).fill_null(False) if one["kind"] == "class" else cells.is_not_null()
            )
            tested = np.flatnonzero((rows["split"] == "test").to_numpy())[is_tested.to_numpy()]
            of_finest = [arrays[f"{number}/{what}"][:, -1] for what in ("confidence", "is_right")]
            record["as_by_chance"] = is_as_by_chance(*of_finest)
            record["debiased"] = debiased(*of_finest, of_rows[tested])
            is_sure = arrays[f"{number}/confidence"][:, -1] >= THRESHOLD
            record["sure"] = float(is_sure.mean())
            record["sure_accuracy"] = float(arrays[f"{number}/is_right"][is_sure, -1].mean()) if is_sure.any() else None
        records.append(record)
    return records


def percent(share: float | None) -> str:
    return "" if share is None else f"{100 * share:.1f}"


def text(records: list[dict[str, Any]], command: str) -> str:
    lines = [
        "# Calibration of predictions",
        "",
        "In %, on test rows. “By chance” is the calibration error that perfect confidences have on as many rows.",
        "The debiased error is a root mean square and free of chance, with a 95 % interval over rows, or over groups",
        "of rows that were split together; it is negative where bins are nearer than by chance. “Sure” are rows whose",
        f"confidence is {THRESHOLD} or more. Coverage is that of intervals of 90 %.",
        "",
        "| run | column | kind | rows: validation, test | accuracy | calibration error: before | after | by chance | "
        "debiased | sure | accuracy of these | coverage |",
        "|---|---|---|---|---|---|---|---|---|---|---|---|",
    ]
    for r in records:
        cells = [r["run"], r["column"], r["kind"], f"{r['validation_rows']:,}, {r['test_rows']:,}"]
        cells += [percent(r.get(name)) for name in ("accuracy", "before", "after", "by_chance")]
        value, low, high = map(percent, r.get("debiased", (None,) * 3))
        cells += [f"{value} ({low} to {high})" if value else ""]
        cells += [percent(r.get(name)) for name in ("sure", "sure_accuracy", "coverage")]
        lines.append(f"| {' | '.join(cells)} |")
    classes = [r for r in records if r["kind"] == "class" and "after" in r]
    if classes:
        means = [sum(r[name] for r in classes) / len(classes) for name in ("before", "after", "by_chance")]
        below = sum(r["after"] < 0.03 for r in classes)
        lines += [
            "",
            f"Mean calibration error of the {len(classes)} predictors of classes: {percent(means[0])} before, "
            f"{percent(means[1])} after, {percent(means[2])} by chance; {below} are below 3. Of "
            f"{sum(r['debiased'][1] < 0.03 for r in classes)} the interval of the debiased error reaches below 3, of "
            f"{sum(r['debiased'][2] < 0.03 for r in classes)} it lies below 3. Of "
            f"{sum(r['as_by_chance'] for r in classes)} perfect confidences would have as large an error in 5 % of all "
            "draws of as many rows, or more.",
        ]
    if covered := [100 * r["coverage"] for r in records if r.get("coverage")]:
        near = sum(abs(share - 90) <= 2 for share in covered)
        lines += [
            "",
            f"Coverage of {len(covered)} predictors of numbers: {np.mean(covered):.1f} on average, "
            f"{min(covered):.1f} to {max(covered):.1f}; {near} are within 2 of 90.",
        ]
    seconds = {r["run"]: r["seconds"] for r in records}
    lines += ["", "Seconds of the first use: " + ", ".join(f"{name} {s:.0f}" for name, s in seconds.items()) + "."]
    return "\n".join([*lines, "", f"{machine()}.", "", f"Made by `{command}`.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, nargs="+")
    parser.add_argument("--kinds", nargs="+", default=[], metavar="COLUMN=KIND")
    parser.add_argument("--leave-out", nargs="+", default=[], metavar="COLUMN")
    parser.add_argument("--splits", type=int, default=0, help="how often to draw validation and test rows anew")
    parser.add_argument("--write", action="store_true", help=f"write {RESULTS.name}")
    arguments = parser.parse_args()
    kinds = dict(pair.split("=", 1) for pair in arguments.kinds)
    splits = list(range(arguments.splits)) or [None]
    pairs = [(run, split) for run in arguments.runs for split in splits]
    records = [record for run, split in pairs for record in measured(run, kinds, arguments.leave_out, split)]
    options = [f"--kinds {' '.join(arguments.kinds)}"] if kinds else []
    options += [f"--leave-out {' '.join(arguments.leave_out)}"] if arguments.leave_out else []
    options += [f"--splits {arguments.splits}"] if arguments.splits else []
    names = [f"runs/{run.name}" for run in arguments.runs]
    table = text(records, " ".join(["python benchmarks/predict.py", *names, *options, "--write"]))
    print(table)
    if arguments.write:
        RESULTS.write_text(table, "utf-8")


if __name__ == "__main__":
    main()
