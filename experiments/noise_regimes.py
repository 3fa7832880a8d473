"""Where a noisy column hurts, and what helps: `python experiments/noise_regimes.py glyphs|icons|diamonds SOURCE OUT`.

SOURCE is a run of `mscon train` without epochs on frozen ImageNet features (glyphs, icons), whose rows and features are
read; or diamonds.csv of `mscon prepare diamonds`. Vectors are the first 128 principal components of the features in a
random rotation, or the numbers of the stones. An MLP learns three label columns. In a noisy column half of the labels
are wrong, drawn by seed over all classes in the rows of all splits. Regimes differ in one thing each, see `REGIMES`.
Scores are those of linear probes that learn and are scored with the labels of the table.

    --noise 0.5            share of wrong labels; 0 for clean columns
    --only "equal,exact"   methods, of those that `METHODS` names

Prints a table in Markdown for each regime: means over seeds, and paired differences from equal weights with an interval
of 95 % over rows and seeds. Scores go to OUT, and those that are there are not computed again, so that the script
continues when it was stopped. Objectives that this version does not have are left out.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from noisy_columns import Scores, gain, judged, mean_over, scores, store_scores, stored_scores, subset, trained

from mscon.comparison.planned import slug
from mscon.method import catalogue
from mscon.run import recipe as recipes
from mscon.run.run import Run

WIDTH = 128


@dataclass(frozen=True)
class Columns:
    """The columns of a data set: three to train on, those that are only probed, and which become noisy."""

    trained: tuple[str, str, str]
    unseen: tuple[str, ...]
    one: str
    of_many_classes: str
    numbers: tuple[str, ...] = ()

    @property
    def scored(self) -> tuple[str, ...]:
        return (*self.trained, *self.unseen)


SOURCES = {
    "glyphs": Columns(("character", "slant", "weight"), ("category",), "weight", "character"),
    "icons": Columns(("section", "category", "weight"), ("style",), "weight", "section"),
    "diamonds": Columns(
        ("cut", "color", "clarity"),
        ("size",),
        "cut",
        "clarity",
        ("carat", "depth", "table", "x", "y", "z", "price"),
    ),
}


@dataclass(frozen=True)
class Regime:
    """How a training differs from that of `REGIMES["one noisy column"]`."""

    noisy: str = "one"
    rows: int = 1_000
    epochs: int = 20
    units: int = 256
    layers: int = 2

    def columns(self, of: Columns) -> tuple[str, ...]:
        by_name = {"one": (of.one,), "many": (of.of_many_classes,), "several": (of.of_many_classes, of.one)}
        return by_name[self.noisy]


REGIMES = {
    "one noisy column": Regime(),
    "many classes": Regime(noisy="many"),
    "several noisy columns": Regime(noisy="several"),
    "long training": Regime(epochs=60),
    "large network": Regime(units=512, layers=3),
    "narrow features": Regime(units=16),
    "small table": Regime(rows=250),
}
ONLY_IF_NOISY = ("many classes", "several noisy columns")

EQUAL, DROPPED, CLEAN, SAME_ROW = "equal", "column dropped (oracle)", "clean labels (oracle)", "equal + same row"
PAPER = "uncertainty (the paper's)"
METHODS: Mapping[str, dict[str, Any]] = {
    EQUAL: {},
    SAME_ROW: {},
    DROPPED: {},
    CLEAN: {},
    PAPER: {"weighting": {"name": "uncertainty"}},
    "relative": {"weighting": {"name": "relative"}},
    "SINCERE": {"objective": {"name": "sincere"}},
    "relative on SINCERE": {"weighting": {"name": "relative"}, "objective": {"name": "sincere"}},
    "exact": {"weighting": {"name": "exact"}},
    "held_out": {"weighting": {"name": "held_out"}},
    "excess_mtl": {"weighting": {"name": "excess_mtl"}},
    "excess_mtl step 1": {"weighting": {"name": "excess_mtl", "step_size": 1.0}},
    "torchjd UPGrad": {"weighting": {"name": "torchjd", "aggregator": "UPGrad"}},
    "columns weighed": {"doubt": {"labels": "all", "weigh_columns": True}},
    "label issues dropped": {"doubt": {"labels": "drop"}},
    "labels weighed": {"doubt": {"labels": "weigh"}},
    "RINCE": {"objective": {"name": "rince"}},
    "SymNCE": {"objective": {"name": "symnce"}},
}


def is_there(method: str) -> bool:
    objective = METHODS[method].get("objective", {"name": "supcon"})["name"]
    return objective in catalogue.names("objective")


def read_source(name: str, source: Path) -> tuple[pl.DataFrame, np.ndarray]:
    """Labels of all rows, and their vectors."""
    columns = SOURCES[name]
    if columns.numbers:
        frame = pl.read_csv(source, infer_schema=False).drop_nulls(columns.numbers)
        # As many rows to validate and test on as the other sources have.
        at_most = {"train": 5_000, "validation": 650, "test": 1_300}
        frame = pl.concat(frame.filter(split=name).sample(rows, seed=0) for name, rows in at_most.items())
        return frame, frame.select(pl.col(c).cast(pl.Float64) for c in columns.numbers).to_numpy()
    run = Run.open(source)
    frame, x = run.read_rows(), np.asarray(run.read_features(), dtype=np.float64)
    if "categories" in frame.columns:  # the first of each set of labels
        frame = frame.with_columns(category=pl.col("categories").str.split(";").list.first())
    of_train = x[(frame["split"] == "train").to_numpy()]
    _, _, components = np.linalg.svd(of_train - of_train.mean(axis=0), full_matrices=False)
    # The encoder standardises each number: a rotation keeps the last components from counting as much as the first.
    rotation, _ = np.linalg.qr(np.random.default_rng(0).standard_normal((WIDTH, WIDTH)))
    return frame, (x - of_train.mean(axis=0)) @ components[:WIDTH].T @ rotation


def recipe_of(
    method: str, regime: Regime, columns: Columns, shares: Mapping[str, float], seed: int, judge: Path
) -> recipes.Recipe:
    """Of a method; `shares` are those of labels that are drawn anew, of the noisy columns."""
    noisy = {column: f"noisy {column}" for column in shares}
    if method == CLEAN:
        used = [*columns.trained]
    else:
        used = [noisy.get(c, c) for c in columns.trained if not (c in noisy and method == DROPPED)]
    similarities: list[dict[str, Any]] = [{"column": name, "name": "categorical"} for name in used]
    plain: dict[str, Any] = {
        "title": method,
        "similarity": similarities + ([{"name": "same_row"}] if method == SAME_ROW else []),
        "data": {"input": "vectors", "vectors": "vectors.npy"},
        "encoder": {"name": "mlp", "settings": {"units": regime.units, "layers": regime.layers}},
        "train": {
            "epochs": regime.epochs,
            "batch_size": 128,
            "seed": seed,
            "learning_rate": 2e-3,
            "precision": "float32",
            "validate_every": max(1, regime.epochs // 10),
        },
        "derived": [
            {"column": noisy[c], "of": c, "redraw": share, "rows": "all", "seed": 100 * number + seed}
            for number, (c, share) in enumerate(shares.items())
            if noisy[c] in used
        ],
        **METHODS[method],
    }
    if "doubt" in METHODS[method]:
        plain["doubt"] = {"run": str(judge), **METHODS[method]["doubt"]}
    return recipes.of_plain(plain)


def scores_of(recipe: recipes.Recipe, columns: Columns, table: Path, file: Path) -> Scores:
    """Of a method, with the share of each similarity in the weights of the last steps; the run itself is not kept."""
    by_column = stored_scores(file, columns.scored)
    if by_column is None:
        run = trained(recipe, table, file.with_suffix(""))
        weight = [record["weight"] for record in run.read_log() if record["kind"] == "step"][-1]
        by_column = scores(run, columns.scored, tuned=False)
        total = sum(weight.values())
        shares = {f"weight {name}": np.array(value / total) for name, value in weight.items()}
        store_scores(file, {**by_column, **shares})
        shutil.rmtree(run.root)
    return by_column


def weight_of(file: Path, noisy: Sequence[str]) -> float:
    """Mean share of the noisy columns in the weights, times the number of similarities; NaN if they were not there."""
    with np.load(file, allow_pickle=False) as arrays:
        weights = {name: float(arrays[name]) for name in arrays.files if name.startswith("weight ")}
    names = [name for column in noisy for name in weights if name in (f"weight noisy {column}", f"weight {column}")]
    return len(weights) * float(np.mean([weights[name] for name in names])) if names else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=SOURCES)
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--noise", type=float, default=0.5)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[*METHODS])
    parser.add_argument("--regimes", type=lambda text: text.split(","), default=[*REGIMES])
    arguments = parser.parse_args()
    began, columns, out = time.process_time(), SOURCES[arguments.name], arguments.out / arguments.name
    frame, vectors = read_source(arguments.name, arguments.source)
    classes = {column: frame[column].n_unique() for column in columns.trained}
    methods = [m for m in METHODS if m in arguments.only and is_there(m)]
    methods = methods if arguments.noise else [m for m in methods if m not in (DROPPED, CLEAN)]
    of_regimes: dict[str, dict[str, np.ndarray]] = {}
    for name in arguments.regimes:
        if not arguments.noise and name in ONLY_IF_NOISY:
            continue
        regime = REGIMES[name]
        table = out / f"{regime.rows}" / "table.csv"
        if not table.is_file():
            subset(frame, vectors, regime.rows, columns.scored, table.parent)
        noisy = regime.columns(columns)
        # Of K classes one draw in K leaves the label as it was.
        shares = {c: arguments.noise * classes[c] / (classes[c] - 1) for c in noisy if arguments.noise}
        runs: dict[str, list[Scores]] = {method: [] for method in methods}
        files: dict[str, list[Path]] = {method: [] for method in methods}
        for seed in range(arguments.seeds):
            judge = out / f"{regime.rows}" / f"judged {regime.noisy if shares else 'clean'} {arguments.noise} {seed}"
            for method in methods:
                if "doubt" in METHODS[method]:
                    start = recipe_of(EQUAL, Regime(regime.noisy, regime.rows, epochs=0), columns, shares, seed, judge)
                    judged(start, table, judge)
                file = out / f"{slug(name)}-{arguments.noise}" / f"{slug(method)}-{seed}.npz"
                recipe = recipe_of(method, regime, columns, shares, seed, judge)
                runs[method].append(scores_of(recipe, columns, table, file))
                files[method].append(file)
        print(f"\n{name}: {', '.join(noisy)} {100 * arguments.noise:.0f} % wrong; {regime}")
        print(f"{time.process_time() - began:.0f} s of processor time so far\n")
        print(table_of(columns.scored, list(shares), runs, files), flush=True)
        of_regimes[name] = {method: mean_over(columns.scored, some) for method, some in runs.items()}
    print(f"\nMean over columns, minus that of the better of '{EQUAL}' and '{DROPPED}'\n")
    print(f"| method | {' | '.join(of_regimes)} |\n|{'---|' * (len(of_regimes) + 1)}")
    bars = [f"{(bar := better_of(means))}, {100 * means[bar].mean():.1f}" for means in of_regimes.values()]
    print(f"| the better | {' | '.join(bars)} |")
    for method in methods:
        cells = [gain(means[method], means[better_of(means)]) for means in of_regimes.values()]
        print(f"| {method} | {' | '.join(cells)} |")


def better_of(means: Mapping[str, np.ndarray]) -> str:
    """Of equal weights and leaving the noisy columns out."""
    return max((m for m in (EQUAL, DROPPED) if m in means), key=lambda method: means[method].mean())


def table_of(
    scored: Sequence[str],
    noisy: Sequence[str],
    runs: Mapping[str, Sequence[Scores]],
    files: Mapping[str, Sequence[Path]],
) -> str:
    """Markdown: a row for each method, in %."""
    means = {method: mean_over(scored, some) for method, some in runs.items()}
    others = {method: mean_over([c for c in scored if c not in noisy], some) for method, some in runs.items()}
    bar = better_of(means)
    references = [m for m in dict.fromkeys((EQUAL, bar, PAPER)) if m in means]
    heads = (*scored, "mean", *(f"mean - {m}" for m in references), f"other columns - {EQUAL}", "weight of the noisy")
    lines = [f"| method | {' | '.join(heads)} |", f"|{'---|' * (len(heads) + 1)}"]
    for method, some in runs.items():
        cells = [f"{100 * np.mean([s[column].mean() for s in some]):.1f}" for column in scored]
        cells += [f"{100 * means[method].mean():.1f}"]
        cells += [gain(means[method], means[reference]) for reference in references]
        cells += [gain(others[method], others[EQUAL])]
        weight = np.mean([weight_of(file, noisy) for file in files[method]])
        lines.append(f"| {method} | {' | '.join(cells)} | {'' if np.isnan(weight) else f'{weight:.2f}'} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
