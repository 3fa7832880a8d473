"""How often `mscon affinity` is right about which columns help which, by the runs of a comparison.

    mscon compare recipe.toml --table table.csv --held-out a b --out out
    python benchmarks/affinity.py out

`mscon compare` trains each method with all label columns and with each of them held out. The score of another column
with a column, minus that without it, is the truth: how much the column helps. It is compared with what the run with all
columns says, before anything is left out: the affinity of the column's space to the other column, its lead over that of
the features, the mutual information of their labels, the CKA of their spaces, and the cosine of their gradients.
Nothing is written.

Printed are each case, the rank correlation of each measure with the truth, and the share of cases on which a measure
above its median goes with a truth above its median (0.5 is chance).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from mscon.evaluate.affinity import Affinity, affinity_of
from mscon.evaluate.space_scores import SpaceScores
from mscon.run.run import Run

MEASURES = ("lead", "affinity", "nmi", "cka", "cosine")


@dataclass(frozen=True, slots=True)
class Case:
    """A column held out, another one that is scored, and what was said of both."""

    method: str
    column: str
    target: str
    gain: float
    measures: dict[str, float | None]


def scores(run: Run) -> dict[str, float]:
    """Of each column the measure that leads for its kind, higher is better."""
    probe = run.read_probe()
    space = SpaceScores({"linear": probe["linear"], "neighbours": []}, [], run.read_predictions())
    by_column: dict[str, list[float]] = {}
    for number, record in enumerate(probe["linear"]):
        measure, values = space.leading("linear", number)
        by_column.setdefault(record["column"], []).append(measure.sign * float(values.mean()))
    return {column: float(np.mean(values)) for column, values in by_column.items()}


def measures_of(affinity: Affinity, column: str, target: str) -> dict[str, float | None]:
    known: dict[str, float | None] = dict.fromkeys(MEASURES)
    for entry in affinity.targets:
        if entry.column == target:
            known["affinity"] = value = entry.spaces.get(column)
            known["lead"] = None if value is None or entry.features is None else value - entry.features
    for pair in affinity.pairs:
        if {*pair.columns} == {column, target}:
            known |= {"nmi": pair.nmi, "cka": pair.cka, "cosine": pair.cosine and pair.cosine.value}
    return known


def cases(folder: Path, compared: dict[str, Any]) -> Iterator[Case]:
    for column, methods in compared["runs_held_out"].items():
        for method, without in methods.items():
            whole = compared["runs"].get(method, [])
            if not whole or set(whole) == set(without) or len(whole) != len(without):
                continue  # a method that never reads the column
            runs = [[Run.open(folder / "runs" / name) for name in names] for names in (whole, without)]
            if column not in runs[0][0].read_recipe().columns:
                continue
            before, after = ([scores(run) for run in group] for group in runs)
            affinities = [affinity_of(run) for run in runs[0]]
            for target in before[0].keys() & after[0].keys() - {column}:
                gain = float(np.mean([b[target] - a[target] for b, a in zip(before, after, strict=True)]))
                each = [measures_of(one, column, target) for one in affinities]
                yield Case(method, column, target, gain, {m: mean([e[m] for e in each]) for m in MEASURES})


def mean(values: list[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known else None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path, help="of `mscon compare --out`")
    every: list[Case] = []
    print(f"| held out | target | method | gain, points | {' | '.join(MEASURES)} |")
    print("|---" * (4 + len(MEASURES)) + "|")
    for folder in parser.parse_args().folders:
        for case in cases(folder, json.loads((folder / "compare.json").read_text("utf-8"))):
            every.append(case)
            numbers = ["-" if (v := case.measures[m]) is None else f"{v:.3f}" for m in MEASURES]
            print(
                f"| {case.column} | {case.target} | {case.method} | {100 * case.gain:+.1f} | {' | '.join(numbers)} |",
                flush=True,
            )
    for measure in MEASURES:
        pairs = [(value, case.gain) for case in every if (value := case.measures[measure]) is not None]
        if len(pairs) < 4:
            print(f"{measure}: {len(pairs)} cases are too few")
            continue
        values, gains = (np.array(side) for side in zip(*pairs, strict=True))
        hits = float(((values > np.median(values)) == (gains > np.median(gains))).mean())
        print(
            f"{measure}: {len(pairs)} cases, rank correlation {spearmanr(values, gains).statistic:.2f}, hits {hits:.2f}"
        )


if __name__ == "__main__":
    main()
