"""Wrong labels that were planted: how many `mscon doubt` finds, beside cleanlab, and how well it estimates their share.

    python benchmarks/doubt.py glyphs=RUN:slant,weight icons=RUN:weight       prints the tables
    python benchmarks/doubt.py ... --seeds 0 1 --rows 4000 --write            also writes benchmarks/results/doubt.md

RUN is a run of 0 epochs, or with --width N one whose first N features are those that it began from: features must not
know the labels. Columns behind the colon are judged, and all of them and those after a second colon are witnesses, as
in glyphs=RUN:slant,weight:category,character. Labels of the table count as right, so what is wrong there already counts
against every method.

"symmetric": a wrong label is any other class; "confusable": it is the class that models most often take for the right
one; "boundary": rows that models hardly tell from another class go wrong more often, and are called that class. Only
the judged column gets wrong labels, but for "everywhere": symmetric ones there, and in each witness as many cells of
other rows. cleanlab (needed here, not by mscon) gets the probabilities out of fold of the same logistic regression,
folds and features, with the products of few numbers as doubt has them. Precision is among as many rows as labels are
wrong, the least trusted first. Differences are paired by wrong label, with a bootstrap interval of 95 % over rows.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from cleanlab.count import estimate_joint
from cleanlab.rank import get_label_quality_scores
from machine import machine
from wrong_labels import of_other_rows, planted

from mscon.data.table.groups import row_groups
from mscon.errors import counted
from mscon.evaluate.label_quality.issues import Material, issues_of
from mscon.evaluate.label_quality.out_of_fold import (
    class_probabilities,
    folds_of,
    groups_of,
    neighbours_of,
    space_of,
    with_products,
)
from mscon.evaluate.label_quality.witnesses import inputs_of, others
from mscon.evaluate.metrics.bootstrap import interval, paired_difference
from mscon.evaluate.targets import ProbeTarget, codes_of
from mscon.run import atomic
from mscon.run.run import Run

RESULTS = Path(__file__).parent / "results"
CASES = (
    ("symmetric", 0.0),
    ("symmetric", 0.1),
    ("symmetric", 0.2),
    ("symmetric", 0.4),
    ("confusable", 0.1),
    ("confusable", 0.2),
    ("boundary", 0.2),
    ("everywhere", 0.2),
)


@dataclass(frozen=True)
class Data:
    """Features and labels of one run; rows beyond `--rows` are left out at random."""

    name: str
    features: np.ndarray
    columns: dict[str, list[str | None]]
    judged: tuple[str, ...]
    groups: np.ndarray | None

    @classmethod
    def read(cls, text: str, rows: int, width: int | None) -> Data:
        name, _, rest = text.partition("=")
        root, judged, *more = rest.split(":")
        run = Run.open(root)
        frame, features = run.read_rows(), run.read_features()[:, :width]
        kept = np.sort(np.random.default_rng(0).permutation(len(features))[:rows])
        names = [*judged.split(","), *(more[0].split(",") if more else [])]
        columns = {column: frame[column].cast(pl.String)[kept].to_list() for column in names}
        groups = row_groups(frame, run.read_recipe_values().get("data", {}).get("split_by", ""))
        return cls(name, features[kept], columns, tuple(judged.split(",")), None if groups is None else groups[kept])

    def target(self, column: str, cells: Sequence[str | None] | None = None) -> ProbeTarget:
        return ProbeTarget(column, self.columns[column] if cells is None else cells, None, True, None)


def ranks_of_wrong(score: np.ndarray, wrong: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Of each wrong label the share of right ones that are trusted more, and whether it is among the least trusted."""
    right = np.sort(score[~wrong])
    above = (
        len(right) - (np.searchsorted(right, score[wrong], "left") + np.searchsorted(right, score[wrong], "right")) / 2
    )
    least = np.zeros(len(score), dtype=bool)
    least[np.argsort(score, kind="stable")[: wrong.sum()]] = True
    return above / len(right), least[wrong].astype(np.float64)


def measured(data: Data, seed: int, is_first: bool) -> list[dict[str, Any]]:
    """Records of one seed; what has no wrong label is judged with the first seed only."""
    groups = groups_of(data.features, data.groups)
    space = space_of(data.features)
    near, fold, inputs = neighbours_of(space, groups), folds_of(groups), with_products(space)
    records = []
    for column in data.judged:
        codes, names = codes_of(data.columns[column])
        clean = class_probabilities(inputs, codes, len(names), fold)
        for how, rate in CASES:
            # Of two classes each is the other's only one, so confusable errors are symmetric.
            if (rate or is_first) and (len(names) > 2 or how != "confusable"):
                began = time.process_time()
                labels = planted(codes, how, rate, clean, seed)
                target = data.target(column, [names[code] for code in labels])
                witnesses = [
                    data.target(name, of_other_rows(cells, rate, seed) if how == "everywhere" else None)
                    for name, cells in data.columns.items()
                    if name != column
                ]
                beside = others(target, witnesses)
                alone = issues_of(target, Material(inputs, near, fold))
                with_witnesses = issues_of(target, Material(inputs_of(space, beside), near, fold))
                probabilities = class_probabilities(inputs, labels, len(names), fold)
                joint = estimate_joint(labels, probabilities)
                scores = {"witnesses": with_witnesses.right, "alone": alone.right} | {
                    method: get_label_quality_scores(labels, probabilities, method=method)
                    for method in ("self_confidence", "normalized_margin")
                }
                wrong = labels != codes
                record: dict[str, Any] = {
                    "data": data.name,
                    "column": column,
                    "classes": len(names),
                    "accuracy": float((clean.argmax(axis=1) == codes).mean()),
                    "how": how,
                    "rate": float(wrong.mean()),
                    "seed": seed,
                    "share": {
                        "contradicted": float((probabilities.argmax(axis=1) != labels).mean()),
                        "cleanlab": 1 - float(np.trace(joint)),
                        "alone": float(alone.influence.mean()),
                        "witnesses": float(with_witnesses.influence.mean()),
                    },
                    "interval": interval(with_witnesses.influence, groups=groups).to_json(),
                    "found": {name: ranks_of_wrong(score, wrong) for name, score in scores.items()} if rate else {},
                    "wrong": np.flatnonzero(wrong),
                    "issues": (int(with_witnesses.is_issue.sum()), int(wrong[with_witnesses.is_issue].sum())),
                }
                records.append(record)
                print(_line(record), f"{time.process_time() - began:.0f} s", flush=True)
    return records


def _line(record: dict[str, Any]) -> str:
    found = {name: f"{a.mean():.3f} {p.mean():.3f}" for name, (a, p) in record["found"].items()}
    return " ".join(
        map(
            str,
            (
                record["data"],
                record["column"],
                record["how"],
                round(record["rate"], 3),
                found,
                {name: round(value, 3) for name, value in record["share"].items()},
            ),
        )
    )


ORDER = ("self_confidence", "normalized_margin", "alone", "witnesses")


def _found(group: Sequence[dict[str, Any]]) -> tuple[dict[str, np.ndarray], str, np.ndarray]:
    """Of each method AUROC and precision by wrong label, the better score of cleanlab, and the rows of the labels."""
    parts = {n: np.concatenate([np.stack(r["found"][n]) for r in group], axis=1) for n in ORDER}
    best = max(ORDER[:2], key=lambda n: float(parts[n][1].mean()))
    return parts, best, np.concatenate([r["wrong"] for r in group])


def column_table(records: Sequence[dict[str, Any]]) -> list[str]:
    """The two kinds of errors and two rates that goals are set for, pooled for each column."""
    lines = [
        "| data, column (classes) | cleanlab, the better score | doubt, no witnesses | doubt | "
        "AUROC: doubt - cleanlab | precision: doubt - cleanlab | no witnesses - cleanlab | doubt - no witnesses |",
        "|---|---|---|---|---|---|---|---|",
    ]
    goals = [r for r in records if r["how"] in ("symmetric", "confusable") and 0.05 < r["rate"] < 0.25]
    for column in dict.fromkeys((r["data"], r["column"], r["classes"]) for r in goals):
        parts, best, rows = _found([r for r in goals if (r["data"], r["column"], r["classes"]) == column])
        cells = [f"{parts[n][0].mean():.3f} / {100 * parts[n][1].mean():.0f}" for n in (best, "alone", "witnesses")]
        pairs = [(0, "witnesses", best), (1, "witnesses", best), (1, "alone", best), (1, "witnesses", "alone")]
        gains = [_gain(parts[after][which], parts[before][which], rows) for which, after, before in pairs]
        lines.append(f"| {column[0]}, {column[1]} ({column[2]}) | {' | '.join([*cells, *gains])} |")
    return lines


def finding_table(records: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| data, column (classes) | wrong labels | cleanlab, self-confidence | cleanlab, margin | "
        "doubt, no witnesses | doubt | precision: doubt, no witnesses - best of cleanlab | doubt - no witnesses |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for group in _groups([r for r in records if r["found"]]):
        first = group[0]
        parts, best, rows = _found(group)
        cells = [f"{parts[n][0].mean():.3f} / {100 * parts[n][1].mean():.0f}" for n in ORDER]
        gains = [_gain(parts["alone"][1], parts[best][1], rows), _gain(parts["witnesses"][1], parts["alone"][1], rows)]
        name = f"{first['data']}, {first['column']} ({first['classes']})"
        lines.append(f"| {name} | {100 * first['rate']:.0f} % {first['how']} | {' | '.join([*cells, *gains])} |")
    return lines


def _gain(after: np.ndarray, before: np.ndarray, rows: np.ndarray) -> str:
    """In points; labels of one row, of several seeds, are drawn together."""
    gain = paired_difference(after[None], before[None], groups=rows)
    return f"{100 * gain.value:+.1f} ({100 * gain.low:+.1f} to {100 * gain.high:+.1f})"


def share_table(records: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| data, column (classes) | predictable | wrong labels | cleanlab's joint | no witnesses | "
        "doubt, interval of 95 % | issues, of which wrong |",
        "|---|---|---|---|---|---|---|",
    ]
    for group in _groups(records):
        first = group[0]
        means = [max(0.0, np.mean([r["share"][n] for r in group])) for n in ("cleanlab", "alone", "witnesses")]
        shares = [f"{100 * mean:.1f}" for mean in means]
        low, high = (100 * np.mean([r["interval"][end] for r in group]) for end in ("low", "high"))
        issues = np.mean([r["issues"][0] for r in group])
        right = np.mean([r["issues"][1] for r in group]) / max(issues, 1)
        name = f"{first['data']}, {first['column']} ({first['classes']})"
        lines.append(
            f"| {name} | {100 * first['accuracy']:.0f} % | {100 * first['rate']:.1f} % {first['how']} | {shares[0]} | "
            f"{shares[1]} | {shares[2]} ({max(0, low):.1f} to {high:.1f}) | {issues:.0f}, {100 * right:.0f} % |"
        )
    return lines


def error_table(records: Sequence[dict[str, Any]]) -> list[str]:
    lines = [
        "| wrong labels | 1 - out-of-fold agreement | cleanlab's joint | doubt, no witnesses | doubt | "
        "doubt too high by | intervals that hold the share |",
        "|---|---|---|---|---|---|---|",
    ]
    kinds = dict.fromkeys("none" if not r["rate"] else r["how"] for r in records)
    for kind in kinds:
        group = [r for r in records if kind == (r["how"] if r["rate"] else "none")]
        error = {n: 100 * np.array([r["share"][n] - r["rate"] for r in group]) for n in group[0]["share"]}
        absolute = " | ".join(f"{np.abs(error[n]).mean():.1f}" for n in error)
        holding = sum(max(r["interval"]["low"], 0) <= r["rate"] <= r["interval"]["high"] for r in group)
        lines.append(f"| {kind} | {absolute} | {error['witnesses'].mean():+.1f} | {holding} of {len(group)} |")
    return lines


def _groups(records: Sequence[dict[str, Any]]) -> list[list[dict[str, Any]]]:
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for record in records:
        key = (record["data"], record["column"], record["how"], round(record["rate"], 2))
        groups.setdefault(key, []).append(record)
    return list(groups.values())


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="NAME=RUN:COLUMNS[:WITNESSES]")
    parser.add_argument("--rows", type=int, default=4_000)
    parser.add_argument("--width", type=int)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    records: list[dict[str, Any]] = []
    tables = [Data.read(data, arguments.rows, arguments.width) for data in arguments.data]
    for number, seed in enumerate(arguments.seeds):
        for data in tables:
            records += measured(data, seed, number == 0)
            if arguments.write and (number == 0 or data is tables[-1]):
                text = page(records, arguments.rows, number + 1)
                _, heading, about_time = (RESULTS / "doubt.md").read_text("utf-8").partition("\n## Time\n")
                atomic.write_text(RESULTS / "doubt.md", text + heading + about_time)  # doubt_time.py writes the latter
    print(page(records, arguments.rows, len(arguments.seeds)))


def page(records: Sequence[dict[str, Any]], rows: int, seeds: int) -> str:
    return "\n".join(
        [
            "# Planted wrong labels",
            "",
            f"`benchmarks/doubt.py --rows {rows}`, {counted(seeds, 'seed')}. {machine()}.",
            "",
            "Finding them: AUROC / precision in % among as many rows as labels are wrong. Of each column the",
            "means of 10 and 20 % of symmetric and confusable errors, and differences in points (interval of 95 %):",
            "",
            *column_table(records),
            "",
            "Each case:",
            "",
            *finding_table(records),
            "",
            "Their estimated share, in %:",
            "",
            *share_table(records),
            "",
            "Mean distance of the estimate from the true share, in points:",
            "",
            *error_table(records),
            "",
        ]
    )


if __name__ == "__main__":
    main()
