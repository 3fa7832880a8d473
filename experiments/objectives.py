"""Which objective to take: `python experiments/objectives.py glyphs|icons SOURCE OUT`.

SOURCE is a run of `mscon train` without epochs on frozen ImageNet features, as in `noise_regimes.py`, from which rows
and features are read. An MLP learns three label columns and the same row from 1,000 rows of vectors, by each objective
that can train from labels or views. Each has one setting that is chosen among three values: by the mean accuracy on
validation rows over the trained columns, from one training with right labels each. Then it is trained for each seed,
with right labels and with 40 % wrong labels in one column. Linear probes learn and are scored with right labels.

Objectives for one kind of column serve the weight alone, beside `supcon` for the other columns: of numbers the weight
of glyphs as a number, of a background its class "regular", the plain drawing. Triplets are drawn, of as many rows as
the others see views.

Prints a table in Markdown: means over seeds, and paired differences from `supcon` with an interval of 95 % over rows
and seeds. Scores go to OUT, and those that are there are not computed again, so that the script continues when it
was stopped. Objectives that this version does not have are left out.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
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
        serves: the similarities that have it where it is not all; the others have `supcon`. "number" stands for the
            column of numbers, which then takes the place of the column of words.
        sections: of the recipe, beside those that all have.
    """

    name: str
    values: tuple[float, ...] = TEMPERATURES
    setting: str = "temperature"
    settings: Mapping[str, Any] = field(default_factory=dict)
    columns: bool = True
    same_row: bool = True
    serves: tuple[str, ...] = ()
    sections: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Source:
    """A data set of 1,000 training rows.

    Attributes:
        columns: of labels.
        number: the column whose numbers `columns.one` puts in words; "" without one.
        table: of all rows.
        values: how many a column has that may get wrong labels.
        temperature: of `supcon` where it serves the other columns.
    """

    columns: Columns
    number: str
    table: Path
    values: Mapping[str, int]
    temperature: float


NUMBERS = {"glyphs": "weight_number"}
SUPCON = "supcon"
BECLR: Mapping[str, Any] = {
    "settings": {"neighbours": 10, "warm_up": 70},
    "sections": {"candidates": {"memory_size": 1_024}},
}
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
    "beclr": Candidate("beclr", (0.5, 1.0, 2.0), **BECLR),
    "beclr, views alone": Candidate("beclr", (0.5, 1.0, 2.0), columns=False, **BECLR),
    "subspaces": Candidate("subspaces", (0.1, 0.2, 0.4), "margin"),
    "triplet_margin, drawn triplets": Candidate(
        "triplet_margin",
        (0.1, 0.2, 0.4),
        "margin",
        same_row=False,
        sections={"triplets": {"count": 2 * ROWS // 3}, "views": {"count": 1}},
    ),
    "supcon, weight as a number": Candidate("supcon", serves=("number",)),
    "rank_n_contrast, weight as a number": Candidate("rank_n_contrast", (0.5, 2.0, 8.0), serves=("number",)),
    "supremix, weight as a number": Candidate("supremix", serves=("number",)),
    "sepclr, weight and same row": Candidate(
        "sepclr", (0.1, 0.5, 2.0), "spread", {"background": "regular"}, serves=("weight", "same_row")
    ),
    "cross_entropy": Candidate("cross_entropy", (1e-3, 2e-3, 4e-3), "train.learning_rate", same_row=False),
}


def recipe_of(candidate: Candidate, value: float, source: Source, wrong: float, seed: int) -> recipes.Recipe:
    """Of an objective with a value of its setting; `wrong` is the share of wrong labels of one column."""
    one = source.number if "number" in candidate.serves else source.columns.one
    used = [one if column == source.columns.one else column for column in source.columns.trained]
    section, _, setting = candidate.setting.rpartition(".")
    objective = {"name": candidate.name, **candidate.settings, **({} if section else {setting: value})}
    other = {"name": SUPCON, "temperature": source.temperature} if candidate.serves else objective
    serves = [one if name == "number" else name for name in candidate.serves]
    kinds = [(name, "continuous" if name == source.number else "categorical") for name in used if candidate.columns]
    similarities: list[dict[str, Any]] = [{"column": name, "name": kind} for name, kind in kinds]
    if candidate.same_row:
        similarities.append({"name": "same_row"})
    for similarity in similarities:
        if similarity.get("column", similarity["name"]) in serves:
            similarity["objective"] = objective
    plain: dict[str, Any] = {
        "title": candidate.name,
        "similarity": similarities,
        "objective": other,
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
        **candidate.sections,
    }
    if candidate.columns and wrong:
        # Of K values one draw in K leaves the label as it was.
        values = source.values[one]
        redraw = wrong * values / (values - 1)
        noisy = f"noisy {one}"
        similarities[used.index(one)]["column"] = noisy
        plain["derived"] = [{"column": noisy, "of": one, "redraw": redraw, "rows": "all", "seed": seed}]
    return recipes.of_plain(plain)


def scores_of(recipe: recipes.Recipe, source: Source, file: Path, rows: str) -> Scores:
    """Of the validation or test rows; the run itself is not kept."""
    by_column = stored_scores(file, source.columns.scored)
    if by_column is None:
        run = trained(recipe, source.table, file.with_suffix(""))
        by_column = scores(run, source.columns.scored, tuned=False, rows=rows)
        store_scores(file, by_column)
        shutil.rmtree(run.root)
    return by_column


def chosen_value(method: str, candidate: Candidate, source: Source, out: Path) -> float:
    """The value of the setting with the best mean over trained columns on validation rows."""

    def mean(value: float) -> float:
        file = out / "validation" / f"{slug(method)}-{value}.npz"
        by_column = scores_of(recipe_of(candidate, value, source, 0.0, 0), source, file, "validation")
        return float(mean_over(source.columns.trained, [by_column]).mean())

    return max(candidate.values, key=mean)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("name", choices=["glyphs", "icons"])
    parser.add_argument("source", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=[*CANDIDATES])
    arguments = parser.parse_args()
    began, columns, out = time.process_time(), SOURCES[arguments.name], arguments.out / arguments.name
    frame, vectors = read_source(arguments.name, arguments.source)
    table, number = out / "table.csv", NUMBERS.get(arguments.name, "")
    noisy = (columns.one, number) if number else (columns.one,)
    if not table.is_file():
        subset(frame, vectors, ROWS, tuple(dict.fromkeys((*columns.scored, *noisy))), out)
    source = Source(columns, number, table, {name: frame[name].n_unique() for name in noisy}, 0.0)
    objectives = catalogue.names("objective")
    source = replace(source, temperature=chosen_value(SUPCON, CANDIDATES[SUPCON], source, out))
    candidates = {
        name: candidate
        for name, candidate in CANDIDATES.items()
        if candidate.name in objectives
        and name in (SUPCON, *arguments.only)
        and (number or "number" not in candidate.serves)
    }
    values = {name: chosen_value(name, candidate, source, out) for name, candidate in candidates.items()}
    for wrong in (0.0, NOISE):
        runs: dict[str, list[Scores]] = {}
        for name, candidate in candidates.items():
            folder = out / f"{wrong if candidate.columns else 0.0}"
            runs[name] = [
                scores_of(
                    recipe_of(candidate, values[name], source, wrong, seed),
                    source,
                    folder / f"{slug(name)}-{values[name]}-{seed}.npz",
                    "test",
                )
                for seed in range(arguments.seeds)
            ]
        print(f"\n{arguments.name}, {100 * wrong:.0f} % of the labels of {columns.one} wrong")
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
