"""Judged labels: what [doubt] of a recipe leaves out of training, in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mscon.errors import counted


def judged_labels_text(facts: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """A heading, and a line for each judged column.

    Args:
        facts: of each column, as run.json has them: `judged` labels of training rows, how many are `dropped`, how many
            are `expected_missing` in an epoch, and the `factor` of its importance.
    """
    lines = ["Labels that [doubt] has judged, in training rows:"]
    for column, of_column in facts.items():
        words = f"{counted(of_column['judged'], 'judged label')}, {of_column['dropped']:,} dropped"
        if (missing := of_column["expected_missing"]) > of_column["dropped"]:
            words += f", about {missing:,.0f} missing in an epoch"
        if (factor := of_column["factor"]) != 1:
            words += f", importance times {factor:.2f}"
        lines.append(f"    {column!r}: {words}")
    return lines
