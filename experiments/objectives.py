"""Which objective to take: `python experiments/objectives.py glyphs|icons SOURCE OUT`.

SOURCE is a run of `mscon train` without epochs on frozen ImageNet features, as in `noise_regimes.py`, from which rows
and features are read. An MLP learns three label columns and the same row from 1,000 rows of vectors, by each objective
that can train from labels or views. Each has one setting that is chosen among three values: by the mean accuracy on
validation rows over the trained columns, from one training with right labels each. Then it is trained for each seed,
with right labels and with 40 % wrong labels in one column. Linear probes learn and are scored with right labels.

Prints a table in Markdown: means over seeds, and paired differences from `supcon` with an interval of 95 % over rows
and seeds. Scores go to OUT, and those that are there are not computed again, so that the script continues when it
was stopped. Objectives that this version does not have are left out, and `triplet_margin`, which takes minutes
for each training: it compares all triplets of a batch.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from noise_regimes import SOURCES, Columns, read_source
from noisy_columns import Scores, gain, mean_over, scores, store_scores, stored_scores, subset, trained

from mscon.comparison.planned import slug
from mscon.method import catalogue
from mscon.run import recipe as recipes

ROWS, NOISE = 1_000, 0.4
TEMPERATURES = (0.05, 0.1, 0.3)


@dataclass(frozen=True)
class Candidate:
    """An objective to try.

    Attributes:
        name: of the objective, as recipes have it.
        values: of the setting that is chosen.
        setting: which that is.
        settings: those that stay.
        columns: whether it learns from label columns; else from views alone.
        same_row: whether it also learns from views of a row.
    """

    name: str
    values: tuple[float, ...] = TEMPERATURES
    setting: str = "temperature"
    settings: Mapping[str, Any] = field(default_factory=dict)
    columns: bool = True
    same_row: bool = True


SUPCON = "supcon"
CANDIDATES: Mapping[str, Candidate] = {
    SUPCON: Candidate("supcon"),
    "supcon, L_in": Candidate("supcon", settings={"positives": "inside"}),
    "supcon, views alone (SimCLR)": Candidate("supcon", columns=False),
    "sincere": Candidate("sincere"),
    "dcl": Candidate("dcl"),
    "rince": Candidate("rince"),
    "symnce": Candidate("symnce"),
    "rank_n_contrast": Candidate("rank_n_contrast", (0.5, 2.0, 8.0)),
    "cacr": Candidate("cacr", (1.0, 2.0, 4.0), "t_negative"),
    "hard_contrastive": Candidate("hard_contrastive"),
    "l_spread": Candidate("l_spread"),
    "tau": Candidate("tau"),
    "amcl": Candidate("amcl", (0.01, 0.1, 1.0), "beta"),
    "simlap": Candidate("simlap", same_row=False),
    "core_tuning": Candidate("core_tuning", (0.1, 1.0, 10.0), "eta", same_row=False),
    "mv_infonce, views alone": Candidate("mv_infonce", columns=False),
    "mv_dhel, views alone": Candidate("mv_dhel", columns=False),
    "swav, views alone": Candidate("swav", settings={"frozen_steps": 14}, columns=False),
    "cross_entropy": Candidate("cross_entropy", (1e-3, 2e-3, 4e-3), "train.learning_rate", same_row=False),
}


def recipe_of(candidate: Candidate, value: float, columns: Columns, wrong: float, seed: int) -> recipes.Recipe:
    """Of an objective with a value of its setting; `wrong` is the share of labels of one column that are drawn anew."""
    noisy = f"noisy {columns.one}"
    used = [noisy if column == columns.one and wrong else column for column in columns.trained]
    similarities: list[dict[str, Any]] = [{"column": name, "name": "categorical"} for name in used if candidate.columns]
    section, _, setting = candidate.setting.rpartition(".")
    plain: dict[str, Any] = {
        "title": candidate.name,
        "similarity": [*similarities, *([{"name": "same_row"}] if candidate.same_row else [])],
        "objective": {"name": candidate.name, **candidate.settings, **({} if section else {setting: value})},
        "data": {"input": "vectors", "vectors": "vectors.npy"},
        "encoder": {"name": "mlp", "settings": {"units": 256, "layers": 2}},
        "train": {
            "epochs": 20,
            "batch_size": 128,
            "seed": seed,
            "learning_rate": 2e-3,
            "precision": "float32",
            **({setting: value} if section else {}),
        },
    }
    if candidate.columns and wrong:
        plain["derived"] = [{"column": noisy, "of": columns.one, "redraw": wrong, "rows": "all", "seed": seed}]
    return recipes.of_plain(plain)


def scores_of(recipe: recipes.Recipe, columns: Columns, table: Path, file: Path, rows: str) -> Scores:
    """Of the validation or test rows; the run itself is not kept."""
    by_column = stored_scores(file, columns.scored)
    if by_column is None:
        run = trained(recipe, table, file.with_suffix(""))
        by_column = scores(run, columns.scored, tuned=False, rows=rows)
        store_scores(file, by_column)
        shutil.rmtree(run.root)
    return by_column


def chosen_value(method: str, candidate: Candidate, columns: Columns, table: Path, out: Path) -> float:
    """The value of the setting with the best mean over trained columns on validation rows."""

    def mean(value: float) -> float:
        file = out / "validation" / f"{slug(method)}-{value}.npz"
        by_column = scores_of(recipe_of(candidate, value, columns, 0.0, 0), columns, table, file, "validation")
        return float(mean_over(columns.trained, [by_column]).mean())

    return max(candidate.values, key=mean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["glyphs", "icons"])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[*CANDIDATES])
    arguments = parser.parse_args()
    began, columns, out = time.process_time(), SOURCES[arguments.name], arguments.out / arguments.name
    frame, vectors = read_source(arguments.name, arguments.source)
    classes = frame[columns.one].n_unique()
    table = out / "table.csv"
    if not table.is_file():
        subset(frame, vectors, ROWS, columns.scored, out)
    objectives = catalogue.names("objective")
    candidates = {n: c for n, c in CANDIDATES.items() if c.name in objectives and n in (SUPCON, *arguments.only)}
    values = {name: chosen_value(name, c, columns, table, out) for name, c in candidates.items()}
    for noise in (0.0, NOISE):
        # Of K classes one draw in K leaves the label as it was.
        wrong = noise * classes / (classes - 1)
        runs: dict[str, list[Scores]] = {}
        for name, candidate in candidates.items():
            folder = out / f"{noise if candidate.columns else 0.0}"
            runs[name] = [
                scores_of(
                    recipe_of(candidate, values[name], columns, wrong, seed),
                    columns,
                    table,
                    folder / f"{slug(name)}-{values[name]}-{seed}.npz",
                    "test",
                )
                for seed in range(arguments.seeds)
            ]
        print(f"\n{arguments.name}, {100 * noise:.0f} % of the labels of {columns.one} wrong")
        print(f"{time.process_time() - began:.0f} s of processor time so far\n")
        heads = (*columns.scored, "trained - supcon", "unseen - supcon", f"{columns.one} - supcon")
        print(f"| objective | setting | {' | '.join(heads)} |\n|{'---|' * (len(heads) + 2)}")
        for name, of_method in runs.items():
            cells = [f"{candidates[name].setting} {values[name]:g}"]
            cells += [f"{100 * np.mean([s[column].mean() for s in of_method]):.1f}" for column in columns.scored]
            for some in (columns.trained, columns.unseen, (columns.one,)):
                cells += [gain(mean_over(some, of_method), mean_over(some, runs[SUPCON]))]
            print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
