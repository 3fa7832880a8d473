"""The image column: every cell names a file within the folder of the images, and no two rows the same."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl

from mscon.data.inputs import images
from mscon.data.inputs.boxes import MARK, ImageSource, box_of
from mscon.data.inputs.decoding import side_and_mode
from mscon.data.inputs.image_faults import fault_message
from mscon.data.inputs.image_files import OUTSIDE, each_file, find_images, known_fault, ways_out
from mscon.data.inputs.shards import ImageAt
from mscon.data.table.table import Table, unit
from mscon.errors import TableError, first_few, nearest
from mscon.run.recipe import Data

# What separates the numbers of a box is any of ",", ";", brackets and blanks.
_NUMBERS = re.compile(r"[^\s,;()\[\]]+")


def image_cells(table: Table, data: Data) -> pl.Series:
    """The cells of the image column, by which rows are named; empty where there is no such column."""
    if data.image in table.frame.columns:
        return table.frame.get_column(data.image).alias("image")
    return pl.Series("image", [""], dtype=pl.String).new_from_index(0, len(table))


def with_boxes(table: Table, data: Data) -> Table:
    """The table whose image cells end in the boxes of [data] box; where a box is missing, they name the whole image.

    Raises:
        TableError: if there is no such column.
    """
    if not data.box or data.input != "image":
        return table
    if data.box in table.vectors:
        known = [None if np.isnan(box).any() else box.tolist() for box in table.vectors[data.box]]
        boxes = [None if box is None else ",".join(f"{number:.8g}" for number in box) for box in known]
    else:
        boxes = [None if cell is None else ",".join(_NUMBERS.findall(cell)) for cell in table.cells(data.box)]
    images = [
        cell if cell is None or box is None else f"{cell}{MARK}{box}"
        for cell, box in zip(table.cells(data.image), boxes, strict=True)
    ]
    frame = table.frame.drop(data.box, strict=False).with_columns(pl.Series(data.image, images, dtype=pl.String))
    return replace(table, frame=frame, vectors={name: v for name, v in table.vectors.items() if name != data.box})


def unusable_images(table: Table, data: Data, root: Path) -> set[int]:
    """Rows whose image cannot be read, where they may be left out; else none, after every check that decodes nothing.

    Raises:
        TableError: with all complaints about the image column.
    """
    if data.image not in table.frame.columns:
        raise TableError(_no_column(table, data))
    if not root.is_dir():
        raise TableError(f"{table.name}: the folder of the images, '{root}', does not exist. Set it with --images DIR.")
    cells = table.cells(data.image)
    named = [(row, cell) for row, cell in enumerate(cells) if cell is not None]
    complaints = []
    if empty := [row for row, cell in enumerate(cells) if cell is None]:
        what = f"the cell of column {data.image!r} is empty."
        complaints.append(table.complaint(empty, what, "Every row needs an image."))
    files = dict(zip((row for row, _ in named), find_images(root, [cell for _, cell in named], data), strict=True))
    if outside := [row for row, file in files.items() if file is None]:
        what = f"image {cells[outside[0]]!r} {OUTSIDE} ({root})."
        advice = ways_out(root, [cell for row in outside if (cell := cells[row]) is not None], data.link_folders)
        complaints.append(table.complaint(outside, what, advice))
    inside = {row: file for row, file in files.items() if file is not None}
    complaints += _repeated(table, inside, cells)

    def in_words(faults: dict[int, str]) -> str:
        return fault_message(faults, [cell or "" for cell in cells], table.lines, table.name, root)

    faults = {row: file.fault for row, file in inside.items() if isinstance(file, ImageAt) and not file.may_be_left_out}
    if data.missing_images == "error":
        absent = {row: fault for row, file in inside.items() if (fault := known_fault(file))}
        faults |= absent
        if absent:
            # Others are decoded once all are there; what no decoder will read is seen in their heads now.
            present = [row for row, file in inside.items() if row not in faults and isinstance(file, Path)]
            heads = each_file([inside[row] for row in present], lambda _, file: side_and_mode(file), "")
            faults |= {present[number]: fault for number, fault in heads.items()}
    complaints += [in_words(faults)] if faults else []
    if complaints:
        raise TableError("\n".join(complaints))
    if data.missing_images == "error":
        return set()
    try:
        unreadable = images.unreadable(root, [cell for _, cell in named], data)
    except images.Unanswered as error:
        raise TableError(in_words({named[number][0]: fault for number, fault in error.faults.items()})) from None
    return {named[number][0] for number in unreadable}


def _no_column(table: Table, data: Data) -> str:
    """The message for a table without the image column: it has another name, or the inputs are not images."""
    if data.image in table.unreadable:
        return f"{table.name}: {table.no_column(data.image)}"
    columns = table.frame.columns
    same = next((name for name in columns if name.casefold() == data.image.casefold()), None)
    # 'make' is near to 'image' by its letters; a table of columns is likelier then.
    hint = nearest(data.image, columns, cutoff=0.7) if same is None else f" Did you mean '{same}'?"
    vectors = next(iter(table.vectors), "clip.npy")
    return (
        f"{table.name}: there is no column {data.image!r} with the paths of images.{hint}\n"
        f"  Columns: {first_few([repr(name) for name in columns], 20)}.\n"
        "  [data] image of the recipe names it. If rows are not images, set under [data] what is encoded:\n"
        '  input = "columns" with numbers = [...] or categories = [...], input = "text" with text = "...",\n'
        f'  or input = "vectors" with vectors = "{vectors}". Without a recipe, in Python: '
        "mscon.fit(table, labels, numbers=[...], categories=[...])."
    )


def _repeated(table: Table, inside: dict[int, ImageSource], cells: Sequence[str | None]) -> list[str]:
    """A complaint if one file is named by several rows, however it is spelt."""
    first: dict[tuple[str, ...], int] = {}
    again = [(row, first[key]) for row, file in inside.items() if first.setdefault(key := _place(file), row) != row]
    if not again:
        return []
    row, earlier = again[0]
    return [
        table.complaint(
            [row for row, _ in again],
            f"image {cells[row]!r} stands in {unit(table.name)} {table.lines[earlier]} already.",
            "An image may have one row only: in two splits it would be trained on and tested on.",
        )
    ]


def _place(file: ImageSource) -> tuple[str, ...]:
    """What no two images have in common."""
    box = str(box_of(file) or "")
    if not isinstance(file, ImageAt):
        return os.path.normpath(str(file)), box
    place = file.place if isinstance(file.place, str) else os.path.normpath(file.place)
    return place, file.address.member, str(file.address.row), box
