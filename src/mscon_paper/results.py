"""Results: the numbers of an experiment, read from its finished runs. Trains nothing, writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mscon.evaluate.metrics.bootstrap import Interval, interval, paired_difference, seeded_interval
from mscon.evaluate.report.compare import compare
from mscon.evaluate.report.gather import Gathered, gather
from mscon.run.run import Run
from mscon_paper.experiment import Case, Experiment, PlannedRun, Row
from mscon_paper.table import Difference, ExperimentResult, Quantity, Reading


def read(
    experiment: Experiment,
    planned: Sequence[PlannedRun],
    pool: Path,
    faults: Mapping[str, str],
    *,
    changed: Sequence[str] = (),
) -> ExperimentResult:
    """The numbers of an experiment from its finished runs.

    Args:
        experiment: the experiment.
        planned: its runs.
        pool: the folder they lie in.
        faults: why some of them are not there, by name.
        changed: in what they are not the runs of the experiment as it is written.
    """
    groups: dict[tuple[str, str], list[PlannedRun]] = {}
    for one in planned:
        groups.setdefault((one.case.name, one.row.title), []).append(one)
    cells = [
        _RunGroup(
            group[0].row,
            group[0].case,
            tuple(Run(pool / p.name) for p in group if p.name not in faults and (pool / p.name).is_dir()),
            next((faults[p.name].splitlines()[0] for p in group if p.name in faults), ""),
        )
        for group in groups.values()
    ]
    readers = {"transfer": _few_labels, "views": _spaces, "tuning": _validation}
    readings, differences = readers.get(experiment.kind, _accuracies)(experiment, cells)
    rates = _best_rates(experiment, readings) if experiment.kind == "tuning" else {}
    return ExperimentResult(experiment, tuple(readings), tuple(differences), tuple(changed), rates)


@dataclass(frozen=True, slots=True)
class _RunGroup:
    """The finished runs of a row in a case, one a seed; `fault` if one is not there."""

    row: Row
    case: Case
    runs: tuple[Run, ...]
    fault: str

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(run.name for run in self.runs)

    def reading(self, measure: Quantity, column: str, ours: Interval | None, **more: Any) -> Reading:
        reason = self.fault or ("" if ours is not None else "not measured in these runs")
        facts = {"case": self.case.name, "x": self.case.x, "seeds": len(self.runs), "runs": self.names, **more}
        return Reading(self.row.title, measure=measure, column=column, ours=ours, reason=reason, **facts)


Read = tuple[list[Reading], list[Difference]]


def _accuracies(experiment: Experiment, cells: Sequence[_RunGroup]) -> Read:
    """Accuracies of linear probes, weights, and the differences that are claimed."""
    readings: list[Reading] = []
    differences: list[Difference] = []
    values: dict[tuple[str, str, str], np.ndarray] = {}
    for case in experiment.cases:
        mine = [cell for cell in cells if cell.case.name == case.name]
        measured = list(_measured(experiment, case))
        accuracy = [column for measure, column in measured if measure == "accuracy"]
        compared = _compared([run for cell in mine for run in cell.runs], accuracy)
        values |= {(row, case.name, column): v for (row, column), (_, v) in compared.items()}
        shown = {"case": ""} if experiment.hold_out else {}
        for cell in mine:
            for measure, column in measured:
                if measure == "weight":
                    ours, standing = _weight(cell.runs, column), None
                    if ours is None and cell.runs:
                        continue  # it was not trained on
                else:
                    if cell.row.method.once and column not in experiment.probed:
                        continue  # of a derived column, which changes with the case
                    score = compared.get((cell.row.title, column))
                    ours, standing = (None, None) if score is None else (score[0].score, score[0].standing)
                readings.append(cell.reading(measure, column, ours, standing=standing, **shown))
        differences += _claims(experiment, case, accuracy, values)
    order = {row.title: i for i, row in enumerate(experiment.rows())}
    readings.sort(key=lambda r: order[r.row])  # stable: cases stay in order within a row
    if experiment.usual:
        differences += _between_cases(experiment, values)
    return readings, differences


def _claims(
    experiment: Experiment, case: Case, columns: Sequence[str], values: Mapping[tuple[str, str, str], np.ndarray]
) -> Iterator[Difference]:
    """The differences that the experiment claims, in one case. A row that is run once is compared in every case."""
    first = experiment.cases[0].name
    for better, worse in _claimed(experiment):
        for column in columns:
            if better.method.once and column not in experiment.probed:
                continue  # of a derived column, which changes with the case
            a, b = (values.get((row.title, first if row.method.once else case.name, column)) for row in (better, worse))
            if a is not None and b is not None:
                name = "" if experiment.hold_out else case.name
                yield Difference(better.title, worse.title, name, column, _gap(a, b))


def _gap(a: np.ndarray, b: np.ndarray) -> Interval:
    """Paired difference over as many seeds as both have."""
    both = min(len(a), len(b))
    return paired_difference(a[:both], b[:both])


def _between_cases(experiment: Experiment, values: Mapping[tuple[str, str, str], np.ndarray]) -> Iterator[Difference]:
    """What each other case costs or gains a row, against the usual one."""
    axis = f"{experiment.sweep[0]} " if experiment.sweep else ""
    for row in experiment.rows():
        for case in (case.name for case in experiment.cases if case.name != experiment.usual):
            for column in experiment.probed:
                a, b = (values.get((row.title, name, column)) for name in (case, experiment.usual))
                if a is not None and b is not None:
                    better, worse = (f"{row.title}, {axis}{name}" for name in (case, experiment.usual))
                    yield Difference(better, worse, "", column, _gap(a, b))


def _measured(experiment: Experiment, case: Case) -> Iterator[tuple[Quantity, str]]:
    """What is read in a case: measure and column."""
    for what in experiment.read:
        if what == "in_domain":
            yield from (("accuracy", c) for c in case.columns if c in experiment.probed)
        elif what == "out_of_domain":
            yield from (("accuracy", c) for c in experiment.out_of_domain)
        elif what == "held_out":
            yield ("accuracy", case.name)
        elif what == "weights":
            yield from (("weight", c) for c in case.columns)
        else:
            measure, _, column = what.partition(":")
            yield ("weight" if measure == "weight" else "accuracy", column)


def _compared(runs: Sequence[Run], columns: Sequence[str]) -> dict[tuple[str, str], tuple[Any, np.ndarray]]:
    """By row and column: the cell of the comparison, and the values [seeds, rows] behind it."""
    if not runs or not columns:
        return {}
    gathered = gather(runs)
    questions = tuple(q for q in gathered.questions if q.measure == "accuracy" and q.column in columns)
    compared = compare(Gathered(gathered.methods, questions))
    return {
        (method.title, question.column): (cell, values)
        for question, column in zip(questions, compared.columns, strict=True)
        for method, cell, values in zip(gathered.methods, column.cells, question.values, strict=True)
        if cell is not None and values is not None
    }


def _claimed(experiment: Experiment) -> Iterator[tuple[Row, Row]]:
    rows = {row.method.name: row for row in experiment.rows() if row.column is None}
    for better, worse in experiment.claims:
        if better in rows and worse in rows:
            yield rows[better], rows[worse]


def _weight(runs: Sequence[Run], column: str) -> Interval | None:
    """The weight of a column in the last epoch, where the weights have a mean of 1; range over seeds."""
    weights = [weight for run in runs if (weight := last_weights(run.read_log()).get(column)) is not None]
    return _range(weights)


def last_weights(log: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Mean weight of each similarity over the records of the last epoch, scaled to have a mean of 1."""
    steps = [record for record in log if record.get("kind") == "step" and record.get("weight")]
    if not steps:
        return {}
    last = [record["weight"] for record in steps if record["epoch"] == steps[-1]["epoch"]]
    means = {
        column: float(np.mean(present))
        for column in last[0]
        if (present := [record[column] for record in last if record.get(column) is not None])
    }
    mean = sum(means.values()) / max(len(means), 1)
    return {column: weight / mean for column, weight in means.items()} if mean > 0 else {}


def _range(values: Sequence[float]) -> Interval | None:
    if not values:
        return None
    spread = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return Interval(float(np.mean(values)), min(values), max(values), spread)


# Transfer, views, tuning --------------------------------------------------------------------------


def _few_labels(experiment: Experiment, cells: Sequence[_RunGroup]) -> Read:
    readings = []
    for cell in cells:
        curves = [{curve["column"]: curve["accuracy"] for curve in run.read_transfer()["curves"]} for run in cell.runs]
        for column in experiment.out_of_domain:
            for at, number in enumerate(experiment.transfer["rows_a_class"]):
                values = np.array([one[column][at] for one in curves])
                # Draws take the place of rows: the same for every run, as `transfer` draws them.
                ours = seeded_interval(values) if len(values) else None
                readings.append(cell.reading("accuracy", column, ours, case=str(number), x=float(number)))
    return readings, []


def _spaces(experiment: Experiment, cells: Sequence[_RunGroup]) -> Read:
    """In each head's space and in that of the features: how often the nearest test row shares a label."""
    from mscon.evaluate.metrics.retrieval import retrieval
    from mscon.evaluate.targets import codes_of

    readings = []
    for cell in cells:
        for run in cell.runs[:1]:
            test = np.flatnonzero(run.read_rows().get_column("split").to_numpy() == "test")
            for space, vectors in spaces(run).items():
                for column in experiment.probed:
                    cells_of = run.read_rows().get_column(column).cast(pl.String).to_list()
                    codes, _ = codes_of([cells_of[row] for row in test])
                    if len(codes) == 0 or np.bincount(codes[codes >= 0], minlength=1).max() < 2:
                        continue
                    result = retrieval(vectors[test], codes)
                    ours = interval(result.precision_at_1.astype(np.float64))
                    one = cell.reading("precision@1", column, ours)
                    readings.append(replace(one, row=f"space of {space}"))
    return readings, []


def spaces(run: Run) -> dict[str, np.ndarray]:
    """Vectors of all rows of a run, by what they are: one space a similarity, and the features."""
    columns = [part["column"] for part in run.read_recipe_values()["similarity"]]
    return {**dict(zip(columns, run.read_projections(), strict=True)), "features": run.read_features()}


def _validation(experiment: Experiment, cells: Sequence[_RunGroup]) -> Read:
    """Accuracy on validation rows, averaged over the columns that a row trains on. No test row is used."""
    readings = []
    for cell in cells:
        columns = [cell.row.column] if cell.row.column else list(cell.case.columns)
        means = []
        for run in cell.runs:
            by_column = {score["column"]: score["validation_accuracy"] for score in run.read_probe()["linear"]}
            means.append(float(np.mean([by_column[column] for column in columns])))
        readings.append(cell.reading("validation accuracy", "", _range(means)))
    order = {row.title: i for i, row in enumerate(experiment.rows())}
    return sorted(readings, key=lambda r: order[r.row]), []


def _best_rates(experiment: Experiment, readings: Sequence[Reading]) -> dict[str, float]:
    """For each method the learning rate with the best mean over its rows; of equals the lowest."""
    rates = {}
    for method in experiment.methods:
        titles = {row.title for row in experiment.rows() if row.method is method}
        sums: dict[float, float] = {}
        for r in readings:
            if r.row in titles and r.x is not None:
                # A rate at which one of its rows broke down is out.
                sums[r.x] = sums.get(r.x, 0.0) + (r.ours.value if r.ours else -np.inf)
        if sums and max(sums.values()) > -np.inf:
            rates[method.name] = max(sorted(sums), key=lambda x: sums[x])
    return rates
