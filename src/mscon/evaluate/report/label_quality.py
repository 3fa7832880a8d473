"""Label quality: which columns have wrong labels, in sentences, and the labels that are most probably wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mscon.data.table.cell_text import cell_text
from mscon.errors import counted
from mscon.evaluate.report.methods import Member
from mscon.evaluate.report.neighbours import Row, pictures_of, rows_on_page
from mscon.run.recipe import data_of

# Labels that are shown of each column.
_MOST_SHOWN = 8

# Where fewer labels than this equal the prediction, the estimated share may be far off in both directions
# (docs/label_quality.md: the color of diamonds, the sections of icons).
_PREDICTABLE = 0.5


@dataclass(frozen=True, slots=True)
class Doubtful:
    """A label that is probably wrong: its row, what is written, what is predicted, how probably the first is right."""

    row: Row
    label: str
    predicted: str
    percent: int


@dataclass(frozen=True, slots=True)
class LabelQuality:
    """What is known of the labels of a run.

    Attributes:
        sentences: of all columns.
        columns: with their most doubtful labels.
        features: that judged them, in words.
        has_witnesses: whether other label columns judged them, too.
    """

    sentences: tuple[str, ...] = ()
    columns: tuple[tuple[str, tuple[Doubtful, ...]], ...] = ()
    features: str = ""
    has_witnesses: bool = False


def label_quality(
    member: Member, rows: pl.DataFrame, labels: tuple[str, ...], images: Path | None = None
) -> LabelQuality:
    """What `mscon doubt` found; nothing where it has not judged the labels of this run, or the run was trained since.

    Args:
        member: the run.
        rows: of the run.
        labels: label columns of the page, which tell of a row what pictures do of others.
        images: folder of the images; None for where they lay when the run was trained.
    """
    run = member.run
    if not run.has_doubt:
        return LabelQuality()
    doubt, judged = run.read_doubt(), run.read_judged_labels().filter(pl.col("is_label_issue"))
    place = {line: number for number, line in enumerate(rows["line"].to_list())}
    shown = {
        record["column"]: judged.filter((pl.col("column") == record["column"]) & pl.col("line").is_in(list(place)))
        .head(_MOST_SHOWN)
        .select("line", "given_label", "predicted_label", "label_score")
        .rows()
        for record in doubt["columns"]
    }
    numbers = np.unique([place[line] for issues in shown.values() for line, *_ in issues]).astype(np.int64)
    pictures, _, _ = pictures_of(member, rows, numbers, images) if len(numbers) else ({}, "", "")
    on_page = rows_on_page(rows, numbers, data_of(member.recipe), labels, pictures)
    columns = tuple(
        (
            column,
            tuple(
                Doubtful(on_page[place[line]], cell_text(label), predicted, round(100 * score))
                for line, label, predicted, score in issues
            ),
        )
        for column, issues in shown.items()
        if issues
    )
    has_witnesses = any(record["witnesses"] for record in doubt["columns"])
    return LabelQuality(tuple(sentences(doubt)), columns, doubt["features"], has_witnesses)


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
            f" Only {_percent(record['agreement'])} % of the labels can be predicted, so this is a rough estimate: "
            "hard rows may count as wrong, and a class that is often called one other as right."
        )
    if rare := record["too_rare"]:
        text += f" {counted(rare, 'label')} cannot be judged, because too few rows have the same."
    return text


def _percent(share: float) -> str:
    return f"{100 * share:.0f}" if share >= 0.0995 else f"{100 * share:.1f}"
