"""Label quality: which columns have wrong labels, in sentences, and the labels that are most probably wrong."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mscon.errors import counted

# Where fewer labels than this equal the prediction, rows that are hard to predict are taken for wrong labels too
# (docs/label_quality.md, the sections of the icons).
_PREDICTABLE = 0.5


def sentences(doubt: Mapping[str, Any]) -> list[str]:
    """What doubt.json says, a sentence or more for each column."""
    judged = [f"{record['column']}: {_of_column(record)}" for record in doubt["columns"]]
    return judged + [f"{record['column']}: not judged: {record['reason']}." for record in doubt["skipped"]]


def _of_column(record: Mapping[str, Any]) -> str:
    share = record["share"]
    between = f"{_percent(share['low'])} to {_percent(share['high'])} %"
    what = "sets have a label that looks" if record["kind"] == "labels" else "labels look"
    text = f"about {_percent(share['value'])} % of the {what} wrong ({between})"
    text += f"; {counted(record['issues'], 'label issue')} among {counted(record['rows'], 'label')}."
    if record["kind"] in ("class", "rank") and record["agreement"] < _PREDICTABLE:
        text += (
            f" Only {_percent(record['agreement'])} % of the labels can be predicted, so this is an upper bound: hard "
            "rows count as wrong too."
        )
    if rare := record["too_rare"]:
        text += f" {counted(rare, 'label')} cannot be judged, because too few rows have the same."
    return text


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.1f}"
