"""Uniformity: how evenly the features of each method lie in all directions, and how near those of one class are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from mscon.evaluate.report.gather import Gathered


@dataclass(frozen=True, slots=True)
class Uniformity:
    """Of one method, means over seeds: `mscon.evaluate.metrics.uniformity`."""

    method: str
    score: float
    tolerance: Mapping[str, float]


def uniformities(gathered: Gathered) -> tuple[Uniformity, ...]:
    """Of each method whose probes scored it in every seed."""
    lines = []
    for method in gathered.methods:
        probes = [member.run.read_probe() for member in method.members]
        records = [probe["uniformity"] for probe in probes if "uniformity" in probe]
        if len(records) < len(probes):
            continue
        cosines = [{one["column"]: one["cosine"] for one in record["tolerance"]} for record in records]
        shared = [column for column in cosines[0] if all(column in of_seed for of_seed in cosines)]
        tolerance = {column: float(np.mean([of_seed[column] for of_seed in cosines])) for column in shared}
        lines.append(Uniformity(method.title, float(np.mean([record["score"] for record in records])), tolerance))
    return tuple(lines)


def uniformity_text(probe: Mapping[str, Any]) -> str:
    """The same of one run in a line; "" where it was not scored."""
    record = probe.get("uniformity")
    if not record:
        return ""
    tolerance = ", ".join(f"{one['column']} {one['cosine']:.2f}" for one in record["tolerance"])
    of_classes = f"; mean cosine of rows of one class: {tolerance}" if tolerance else ""
    return f"uniformity of the features {record['score']:.2f} (0: all rows coincide; lower is more even){of_classes}"
