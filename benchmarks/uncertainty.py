"""What ways to say how uncertain rows are, are worth: on stored features of runs that were trained and probed.

    python benchmarks/uncertainty.py --runs glyphs out/glyphs/runs/* --runs icons out/icons/runs/*     prints the tables
    ... --write                                   also writes benchmarks/results/uncertainty.md and uncertainty.json

The runs of one table have the same rows. Nothing is trained, and runs are only read. Each way gives a number a row.
Judged are, over the columns of classes, those that a run was trained on and the others apart:

- accuracy of linear probes on the 80 % most certain test rows, over that on all of them, in points;
- precision@10 of test rows under an equal mix, among training and test rows, likewise;
- the area under the risk-coverage curve (AURC, %; lower is better);
- how often an unseen row is above a test row (AUROC, %).

Values are means over runs with 95 % intervals over runs and rows.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from machine import machine
from sklearn.linear_model import LogisticRegression

from mscon.evaluate.column_probes import FrozenFeatures
from mscon.evaluate.metrics.bootstrap import Interval, seeded_interval
from mscon.evaluate.metrics.risk_coverage import area_under_risk, gain, new_above_known
from mscon.evaluate.row_uncertainty import fit_uncertainty, memberships_of, precision_of
from mscon.evaluate.space_scores import SpaceScores, spread
from mscon.evaluate.targets import ProbeTarget, probe_columns
from mscon.model.class_posterior import Membership
from mscon.model.row_uncertainty import rank_among, unit_length
from mscon.run import atomic
from mscon.run.run import Run

RESULTS = Path(__file__).parent / "results"
CHOSEN = "chosen: ambiguity and the nearest row"
MEASURES = ("accuracy", "precision@10", "AURC", "accuracy, other", "precision@10, other", "AURC, other", "AUROC")
_NEAR = 10

Rows = Float[np.ndarray, " rows"]
Scores = list[tuple[Int[np.ndarray, " some"], Float[np.ndarray, " some"]]]


def near(queries: Float[np.ndarray, "q dim"], train: Float[np.ndarray, "t dim"]) -> tuple[np.ndarray, np.ndarray]:
    """The nearest 10 training rows, nearest first, and their distances on the unit sphere."""
    cosines = unit_length(queries).astype(np.float32) @ unit_length(train).astype(np.float32).T
    rows = np.argpartition(-cosines, _NEAR, axis=1)[:, :_NEAR]
    distances = np.sqrt((2 - 2 * np.take_along_axis(cosines, rows, axis=1)).clip(1e-9))
    order = np.argsort(distances, axis=1)
    return np.take_along_axis(rows, order, axis=1), np.take_along_axis(distances, order, axis=1)


def precision_matrix(vectors: Float[np.ndarray, "rows dim"]) -> Float[np.ndarray, "dim dim"]:
    covariance = np.cov(vectors.T)
    ridge = 1e-3 * np.trace(covariance) / len(covariance) * np.eye(len(covariance))
    return np.linalg.inv(covariance + ridge)


def mahalanobis(x: Float[np.ndarray, "rows dim"], centre: Float[np.ndarray, " dim"], inverse: np.ndarray) -> Rows:
    return np.einsum("nd,nd->n", (x - centre) @ inverse, x - centre)


def of_classes(x: np.ndarray, train: Int[np.ndarray, " train"], members: Membership) -> tuple[Rows, Rows, Rows]:
    """By one column of classes: Mahalanobis distance to the nearest class, the same relative to that of all rows, and
    the entropy of a logistic regression, as a share of its largest value."""
    is_trained = np.isin(members[:, 0], train)
    rows, y = members[is_trained].T
    centres = np.stack([x[rows[y == k]].mean(axis=0) for k in np.unique(y)])
    inverse = precision_matrix(x[rows] - centres[np.searchsorted(np.unique(y), y)])
    to_class = np.min([mahalanobis(x, centre, inverse) for centre in centres], axis=0)
    relative = to_class - mahalanobis(x, x[train].mean(axis=0), precision_matrix(x[train]))
    scaled = (x - x[train].mean(axis=0)) / x[train].std(axis=0).clip(1e-6)
    p = LogisticRegression(C=0.1, max_iter=100, tol=1e-3).fit(scaled[rows], y).predict_proba(scaled)
    return to_class, relative, -(p * np.log(p.clip(1e-12))).sum(axis=1) / np.log(p.shape[1])


def candidates(
    frozen: FrozenFeatures, projections: np.ndarray, names: tuple[str, ...], columns: list[ProbeTarget]
) -> dict[str, Rows]:
    """For each way a number a row, of all rows; those of training rows mean nothing."""
    x, train, validation = frozen.features.astype(np.float64), frozen.split["train"], frozen.split["validation"]
    uncertainty, of_rows = fit_uncertainty(frozen, projections, names, columns)
    novelty, ambiguities = uncertainty.parts(frozen.features, projections)
    _, distances = near(x, x[train])
    centred = x - x[train].mean(axis=0)
    size, directions = np.linalg.eigh(np.cov(x[train].T))
    whitened = centred @ directions / np.sqrt(size.clip(0) + 1e-2 * size.max())
    ways: dict[str, Rows] = {
        "nearest training row, features": novelty,
        "10th nearest training row, features": distances[:, -1],
        "nearest over 10th nearest, features": distances[:, 0] / distances[:, -1],
        "nearest training row, whitened features": near(whitened, whitened[train])[1][:, 0],
        "nearest training row, projections": near(
            np.concatenate(projections, axis=1), np.concatenate(projections[:, train], axis=1)
        )[1][:, 0],
        "Mahalanobis distance, features": mahalanobis(x, x[train].mean(axis=0), precision_matrix(x[train])),
        "norm of the features, negative": -np.linalg.norm(x, axis=1),
    }
    if len(ambiguities):
        ways["ambiguity (entropy of eq. 5), projections"] = ambiguities.mean(axis=0)
        spaces = {column.column: column.space for column in uncertainty.columns}
        by_class = []
        disagreement = []
        for column in columns:
            if column.column in spaces:
                members = memberships_of(column, train)
                space = projections[spaces[column.column]]
                has = np.zeros((len(x), members[:, 1].max() + 1))
                has[members[:, 0], members[:, 1]] = 1
                share = has[train][near(space, space[train])[0]].mean(axis=1)
                disagreement.append(1 - (share**2).sum(axis=1))
                if column.kind == "class":
                    by_class.append(of_classes(x, train, members))
        ways["disagreement of the nearest 10, projections"] = np.mean(disagreement, axis=0)
        if by_class:
            to_class, relative, entropy = np.mean(by_class, axis=0)
            ways["Mahalanobis distance to a class, features"] = to_class
            ways["relative Mahalanobis distance, features"] = relative
            ways["entropy of a logistic regression, features"] = entropy
    parts = {"nearest": "nearest training row, features", "whitened": "nearest training row, whitened features"}
    parts |= {"ambiguity": "ambiguity (entropy of eq. 5), projections"}
    parts |= {"entropy": "entropy of a logistic regression, features"}
    ranks = {
        short: rank_among(np.sort(ways[name][validation]), ways[name]) for short, name in parts.items() if name in ways
    }

    def combined(*of: str, by: Callable[[np.ndarray], np.ndarray]) -> Rows:
        return by(np.stack([ranks[one] for one in of if one in ranks]))

    def rare(of: np.ndarray) -> np.ndarray:
        return -np.log(1 - of + 0.5 / len(validation)).sum(axis=0)

    ways[CHOSEN] = of_rows
    ways["ambiguity and the nearest row, mean of ranks"] = combined(
        "ambiguity", "nearest", by=lambda of: of.mean(axis=0)
    )
    ways["ambiguity and the nearest row, higher rank"] = combined("ambiguity", "nearest", by=lambda of: of.max(axis=0))
    ways["ambiguity and the nearest whitened row"] = combined("ambiguity", "whitened", by=rare)
    ways["entropy of a logistic regression and the nearest row"] = combined("entropy", "nearest", by=rare)
    return ways


def measured(run: Run) -> dict[str, dict[str, Rows]]:
    """For each way and measure influence values: of test rows, for AUROC of test and unseen rows."""
    recipe, rows = run.read_recipe(), run.read_rows()
    columns = probe_columns(run, recipe, rows)["linear"]
    frozen = FrozenFeatures.of(run.read_features(), rows, recipe)
    projections, probe = run.read_projections(), run.read_probe()
    scores = SpaceScores({"linear": probe["linear"], "neighbours": []}, [], run.read_predictions())
    test, unseen = frozen.split["test"], frozen.split["unseen"]
    precision = precision_of(frozen, projections, columns)
    judged: dict[str, Scores] = {}
    for trained, suffix in ((True, ""), (False, ", other")):
        numbers = [n for n, one in enumerate(probe["linear"]) if one["kind"] == "class" and one["trained"] is trained]
        judged[f"accuracy{suffix}"] = [
            (scores.arrays[f"linear/{n}/row"], scores.leading("linear", n)[1]) for n in numbers
        ]
        judged[f"precision@10{suffix}"] = [(r, s) for is_trained, r, s in precision if is_trained is trained]
    values: dict[str, dict[str, Rows]] = {}
    for name, u in candidates(frozen, projections, recipe.columns, columns).items():
        of_way = {}
        for measure, of_columns in judged.items():
            if of_columns:
                gains = [(r, gain(u[r], s, float(np.quantile(u[r], 0.8)))) for r, s in of_columns]
                of_way[measure] = np.mean([spread(test, r, v) for r, v in gains], axis=0)
            if of_columns and measure.startswith("accuracy"):
                areas = [(r, area_under_risk(u[r], 1 - s)) for r, s in of_columns]
                of_way[measure.replace("accuracy", "AURC")] = np.mean([spread(test, r, v) for r, v in areas], axis=0)
        if len(unseen):
            of_way["AUROC"] = new_above_known(u[test], u[unseen])
        values[name] = of_way
    return values


def table(by_run: Mapping[str, Mapping[str, Mapping[str, Rows]]]) -> tuple[list[str], dict[str, Any]]:
    """Lines of Markdown, and the same as plain values."""
    names = list(dict.fromkeys(name for of_run in by_run.values() for name in of_run))
    lines = [f"| | {' | '.join(MEASURES)} |", f"|---|{'---:|' * len(MEASURES)}"]
    record: dict[str, Any] = {}
    for name in names:
        cells = []
        for measure in MEASURES:
            stacked = [
                of_run[name][measure] for of_run in by_run.values() if name in of_run and measure in of_run[name]
            ]
            score = seeded_interval(np.stack(stacked)) if stacked else None
            cells.append(shown(score, measure))
            record.setdefault(name, {})[measure] = None if score is None else {**score.to_json(), "runs": len(stacked)}
        title = f"**{name}**" if name == CHOSEN else name
        lines.append(f"| {title} | {' | '.join(cells)} |")
    return lines, record


def shown(score: Interval | None, measure: str) -> str:
    if score is None:
        return ""
    sign = "+" if score.value > 0 and measure.startswith(("accuracy", "precision")) else ""
    return f"{sign}{100 * score.value:.1f} ({100 * score.low:.1f} to {100 * score.high:.1f})"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", nargs="+", action="append", required=True, metavar=("NAME", "RUN"))
    parser.add_argument("--write", action="store_true", help="write the tables under benchmarks/results")
    arguments = parser.parse_args()
    record: dict[str, Any] = {"machine": machine()}
    text = ["# How uncertain rows are", ""]
    text += [*(__doc__ or "").splitlines()[5:], ""]
    for name, *folders in arguments.runs:
        by_run = {}
        for folder in folders:
            run = Run.open(folder)
            by_run[run.name] = measured(run)
        lines, mean = table(by_run)
        each = {
            run: {way: {m: float(v.mean()) for m, v in of.items()} for way, of in ways.items()}
            for run, ways in by_run.items()
        }
        record[name] = {"runs": each, "mean": mean}
        text += [f"## {name}: {', '.join(by_run)}", "", *lines, ""]
        print("\n".join(text[-len(lines) - 3 :]), flush=True)
    text += [record["machine"] + ".", "", "Made by `python benchmarks/uncertainty.py --write`.", ""]
    if arguments.write:
        atomic.write_text(RESULTS / "uncertainty.md", "\n".join(text))
        atomic.write_json(RESULTS / "uncertainty.json", record)


if __name__ == "__main__":
    main()
