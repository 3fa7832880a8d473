"""Scores of one space: all its probes, and how they differ from those of another space of the same rows.

A space is one vector for each row of a run: its features, those that it began from, those of a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mscon.evaluate import column_probes
from mscon.evaluate.column_probes import Arrays, ColumnResult, FrozenFeatures, Record
from mscon.evaluate.estimators import CannotProbe
from mscon.evaluate.metrics.bootstrap import interval, paired_difference
from mscon.evaluate.metrics.catalog import MEASURES, Measure
from mscon.evaluate.targets import ProbeTarget

HOW = ("linear", "neighbours")


@dataclass(frozen=True, slots=True)
class SpaceScores:
    """Records of probe.json, and predictions.

    Attributes:
        records: of each probe, "linear" and "neighbours", one a column (of a hierarchy one a level).
        skipped: columns that were not probed, with the reason.
        arrays: of the i-th record of a probe "PROBE/i/NAME".
    """

    records: Mapping[str, list[Record]] = field(default_factory=lambda: {how: [] for how in HOW})
    skipped: list[Record] = field(default_factory=list)
    arrays: Arrays = field(default_factory=dict)

    def add(
        self, how: str, column: ProbeTarget, frozen: FrozenFeatures, note: Callable[[str], None] = lambda text: None
    ) -> None:
        """Probe one column.

        Args:
            how: "linear" or "neighbours".
            column: what is predicted.
            frozen: the space.
            note: is called with a sentence where the column cannot be probed.
        """
        probe_column: Callable[[ProbeTarget, FrozenFeatures], list[ColumnResult]] = getattr(column_probes, how)
        try:
            if column.kind == "nothing":
                raise CannotProbe("its similarity has no target_kind, so there is nothing to predict")
            results = probe_column(column, frozen)
        except CannotProbe as reason:
            self.skipped.append({"column": column.column, "probe": how, "reason": str(reason)})
            note(f"column '{column.column}' is not probed ({how}): {reason}")
            return
        for record, arrays in results:
            # By number, not by name: a column may be called anything.
            number = len(self.records[how])
            known = {"column": column.column, "kind": column.kind, "trained": column.trained}
            self.records[how].append({**known, **record})
            self.arrays.update({f"{how}/{number}/{key}": array for key, array in arrays.items()})

    def leading(self, how: str, number: int) -> tuple[Measure, Float[np.ndarray, " rows"]]:
        """The measure that speaks for the kind of a record's column, and its values by row."""
        record, place = self.records[how][number], f"{how}/{number}"
        measure = next(m for name, m in MEASURES.items() if m.leads and m.probe == how and name in record)
        if measure.name == "accuracy":
            right: Float[np.ndarray, " rows"] = self.arrays[f"{place}/true"] == self.arrays[f"{place}/predicted"]
            return measure, right.astype(np.float64)
        return measure, self.arrays[f"{place}/{measure.name}"].astype(np.float64)


def score_space(
    frozen: FrozenFeatures,
    columns: Mapping[str, Sequence[ProbeTarget]],
    note: Callable[[str], None] = lambda text: None,
) -> SpaceScores:
    """Every probe of some columns; `columns` are those of each probe, by "linear" and "neighbours"."""
    scores = SpaceScores()
    for how in HOW:
        for column in columns.get(how, ()):
            scores.add(how, column, frozen, note)
    return scores


def with_differences(start: SpaceScores, scores: SpaceScores, frozen: FrozenFeatures) -> dict[str, list[Record]]:
    """The records of a start, each with "difference": by how much a run's score is above it, paired by row."""
    return {
        how: [
            {**record, "difference": _difference(start, scores, how, number, frozen)}
            for number, record in enumerate(start.records[how])
        ]
        for how in HOW
    }


def _difference(
    start: SpaceScores, scores: SpaceScores, how: str, number: int, frozen: FrozenFeatures
) -> dict[str, float]:
    (_, before), (_, after) = start.leading(how, number), scores.leading(how, number)
    rows = start.arrays[f"{how}/{number}/row"]
    return paired_difference(after[None], before[None], **frozen.sampling(rows)).to_json()


def summary(start: SpaceScores, scores: SpaceScores, frozen: FrozenFeatures) -> list[dict[str, Any]]:
    """Mean differences of linear probes, over the columns that a run was trained on and over the others.

    Returns:
        For each of the two, and each unit that differences are in: {"trained", "unit": "%" for all that is shown in
        percent, else the name of the measure, "columns", "difference"}. Columns count alike; levels of a hierarchy
        are averaged first. Rows are drawn once for all columns of a mean, since the same rows are scored by each.
    """
    groups: dict[tuple[bool, str], dict[str, list[int]]] = {}
    for number, record in enumerate(start.records["linear"]):
        measure, _ = start.leading("linear", number)
        unit = "%" if measure.in_percent else measure.name
        groups.setdefault((record["trained"], unit), {}).setdefault(record["column"], []).append(number)
    tested = [start.arrays[f"linear/{n}/row"] for n in range(len(start.records["linear"]))]
    rows = np.unique(np.concatenate(tested)) if tested else np.zeros(0, dtype=np.int64)

    def of_column(numbers: Sequence[int]) -> Float[np.ndarray, " rows"]:
        differences = [scores.leading("linear", n)[1] - start.leading("linear", n)[1] for n in numbers]
        return np.mean([spread(rows, tested[n], d) for n, d in zip(numbers, differences, strict=True)], axis=0)

    return [
        {
            "trained": trained,
            "unit": unit,
            "columns": list(by_column),
            "difference": interval(
                np.mean([of_column(numbers) for numbers in by_column.values()], axis=0), **frozen.sampling(rows)
            ).to_json(),
        }
        for (trained, unit), by_column in sorted(groups.items(), key=lambda item: not item[0][0])
    ]


def spread(
    rows: Int[np.ndarray, " all"], some: Int[np.ndarray, " some"], values: Float[np.ndarray, " some"]
) -> Float[np.ndarray, " all"]:
    """Values of some rows as influence values over all rows: their mean, and their share in the doubt, are the same."""
    spread_values = np.full(len(rows), values.mean())
    spread_values[np.searchsorted(rows, some)] += (values - values.mean()) * (len(rows) / len(some))
    return spread_values
