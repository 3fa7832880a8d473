"""Result: what a probe says of one column, as a record for probe.json, and arrays row by row."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from mscon.evaluate.metrics.bootstrap import interval
from mscon.evaluate.targets import ProbeTarget
from mscon.method.similarities.base import TargetKind

Record = dict[str, Any]
Arrays = dict[str, np.ndarray]
ProbeResult = tuple[Record, Arrays]

_Six = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray, np.ndarray]


class CannotProbe(Exception):
    """A column cannot be probed on these rows, and why."""


@dataclass(frozen=True, slots=True)
class Frozen:
    """Features of all rows, and which rows are of which split; intervals are by so many `draws`."""

    features: Float[np.ndarray, "rows width"]
    split: Mapping[str, Int[np.ndarray, " split_rows"]]
    draws: int

    def with_targets(self, y: np.ndarray) -> _Six:
        """Features and targets of the train, the validation and the test rows, one after the other."""
        x = self.features
        train, validation, test = (self.split[name] for name in ("train", "validation", "test"))
        return x[train], y[train], x[validation], y[validation], x[test], y[test]


Probe = Callable[[ProbeTarget, Frozen], list[ProbeResult]]


def by_kind(probes: Mapping[TargetKind, Probe], column: ProbeTarget) -> Probe:
    """The probe for columns of this kind.

    Raises:
        CannotProbe: if its similarity has no targets.
    """
    if column.kind not in probes:
        raise CannotProbe("its similarity has no target_kind, so there is nothing to predict")
    return probes[column.kind]


def intervals(values: Mapping[str, Float[np.ndarray, " rows"]], draws: int) -> Record:
    """The mean of each measure over rows with its bootstrap interval, as plain values."""
    return {name: interval(row_values, draws=draws).to_json() for name, row_values in values.items()}
