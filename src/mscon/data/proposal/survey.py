"""Survey: what a table holds, as far as a recipe depends on it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from mscon.data.inputs.encoded_columns import is_numbers
from mscon.data.inputs.image_files import find_images, link_folder
from mscon.data.inputs.open import images_root
from mscon.data.proposal.inputs import EncodedInput, Input, encoded_input, side_and_channels
from mscon.data.proposal.labels import Columns, Label, label_columns
from mscon.data.proposal.recipe_text import quoted
from mscon.data.table.rows import select_rows
from mscon.data.table.split import SPLITS
from mscon.data.table.table import Table
from mscon.errors import TableError
from mscon.run.recipe import ALL, Data

LARGEST_SMALL = 64
"""Pixels of the largest images that small_cnn is meant for; a pretrained encoder serves images from there on."""

_PRETRAINED_SIZE = 112


@dataclass(frozen=True, slots=True, eq=False)
class Survey:
    """What a table holds.

    Attributes:
        rows: as `select_rows` gives them.
        data: how the recipe reads the table.
        split_note: why the split is drawn though there is a column of that name.
        encoded: columns that are encoded, with what they hold; empty where the input is something else.
        unused: columns of classes that would be labels, had the user not named others.
    """

    table: Table
    rows: pl.DataFrame
    data: Data
    source: EncodedInput
    columns: Columns
    split_note: str
    encoded: dict[str, str]
    unused: tuple[Label, ...]

    @property
    def train(self) -> pl.DataFrame:
        return self.rows.filter(split="train")


def survey_of(table: Table, labels: Sequence[str], kind: Input | None, images: Path | None) -> Survey:
    """Survey a table.

    Args:
        labels, kind, images: as of `init`.

    Raises:
        TableError: as `init`.
    """
    source = encoded_input(table, kind, table.folder if images is None else images)
    split, split_note = _split(table)
    data = Data(input=source.input, split=split)
    if source.input == "image":
        data = replace(data, image=source.source)
    elif source.input == "vectors":
        data = replace(data, vectors=source.source)
    elif source.input == "text":
        data = replace(data, text=source.source)
    else:
        data = replace(data, numbers=ALL)
    root = images_root(table, data, images)
    if source.input == "image":
        cells = table.frame.get_column(data.image).drop_nulls().to_list()
        outside = [cell for cell, file in zip(cells, find_images(root, cells, data), strict=True) if file is None]
        folder = link_folder(root, outside)
        data = replace(data, link_folders=(folder,) if folder else ())
    rows, data = _select(table, data, root)
    if source.input == "image":
        side, channels = side_and_channels(table, data, root)
        data = replace(data, channels=channels, image_size=_image_size(side))
    used = [*data.encoded, data.split]
    columns, encoded = label_columns(table, rows, used, labels), dict[str, str]()
    unused: tuple[Label, ...] = ()
    if labels or source.input == "columns":
        others = label_columns(table, rows, [*used, *labels], ())
        if source.input == "columns":
            columns, encoded = _shared_out(table, rows, columns if labels else None, others)
            numbers = tuple(name for name in encoded if is_numbers(rows.get_column(name)))
            categories = tuple(name for name in encoded if name not in numbers)
            data = replace(data, numbers=numbers, categories=categories)
        else:
            columns = replace(columns, left_out=others.left_out, groups=others.groups)
            unused = tuple(label for label in others.labels if label.kind == "categorical")
    return Survey(table, rows, data, source, columns, split_note, encoded, unused)


def _select(table: Table, data: Data, root: Path) -> tuple[pl.DataFrame, Data]:
    """The rows, and [data]: rows whose image cannot be read are left out where there are some."""
    try:
        return select_rows(table, data, (), root), data
    except TableError as error:
        if data.input != "image":
            raise
        lenient = replace(data, missing_images="drop")
        try:
            return select_rows(table, lenient, (), root), lenient
        except TableError:
            raise error from None


def _image_size(side: int) -> int:
    return _PRETRAINED_SIZE if side >= LARGEST_SMALL else max(side or LARGEST_SMALL, 8)


def _split(table: Table) -> tuple[str, str]:
    """The split column, "" for none; and why a column of that name is none."""
    for name in table.frame.columns:
        cells = table.frame.get_column(name)
        if not cells.null_count() and {"train", "test"} <= set(cells.unique().to_list()) <= set(SPLITS):
            return name, ""
    usual = next((name for name in table.frame.columns if name.casefold() == Data().split), None)
    if usual is None:
        return Data().split, ""
    return "", f"column {quoted(usual)} is not used: each of its cells must be one of {', '.join(SPLITS)}"


def _shared_out(
    table: Table, rows: pl.DataFrame, named: Columns | None, others: Columns
) -> tuple[Columns, dict[str, str]]:
    """Labels and encoded columns, where columns of the table are both.

    Args:
        named: the labels that the user names; None to guess: numbers are encoded, the rest are labels.
        others: all other columns.
    """
    encodable = [label for label in others.labels if _is_encodable(rows, label)]
    numbers = [label for label in encodable if label.kind == "continuous"]
    if named is not None:
        inputs = encodable
    elif numbers and len(numbers) < len(others.labels):
        inputs = numbers
    else:  # all are of one sort: the last is the label, as in most tables
        inputs = [label for label in encodable if label is not others.labels[-1]]
    if not inputs:
        raise TableError(
            f"{table.name}: no column is left for the encoder to read. It needs numbers or categories beside the "
            "labels, a column of images, texts or lists of numbers, or a .npy file of vectors."
        )
    labels = named.labels if named else tuple(label for label in others.labels if label not in inputs)
    odd = [label for label in others.labels if label not in inputs and label not in labels]
    left = {label.column: f"{label.summary.size}: neither numbers alone nor one name a cell" for label in odd}
    return Columns(labels, {**others.left_out, **left}, others.groups), {label.column: label.holds for label in inputs}


def _is_encodable(rows: pl.DataFrame, label: Label) -> bool:
    return label.kind == "categorical" or (label.kind == "continuous" and is_numbers(rows.get_column(label.column)))
