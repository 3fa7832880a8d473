"""The image column: every cell names a file within the folder of the images, and no two rows the same."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from mscon.data.inputs import images
from mscon.data.inputs.decoding import side_and_mode
from mscon.data.inputs.image_files import OUTSIDE, each_file, is_address, locate, ways_out
from mscon.data.table.table import Table, unit
from mscon.errors import TableError, first_few, nearest
from mscon.run.recipe import Data


def image_cells(table: Table, data: Data) -> pl.Series:
    """The cells of the image column, by which rows are named; empty where there is no such column."""
    if data.image in table.frame.columns:
        return table.frame.get_column(data.image).alias("image")
    return pl.Series("image", [""], dtype=pl.String).new_from_index(0, len(table))


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
    if addresses := [row for row, cell in named if is_address(cell)]:
        what = f"image {_short(cells[addresses[0]])} is an address, not the path of a file."
        advice = "Download the images, and name their files, relative to the table or to --images DIR."
        complaints.append(table.complaint(addresses, what, advice))
        named = [(row, cell) for row, cell in named if not is_address(cell)]
    paths = locate(root, [cell for _, cell in named], data.link_folders)
    if outside := [row for (row, _), path in zip(named, paths, strict=True) if path is None]:
        what = f"image {cells[outside[0]]!r} {OUTSIDE} ({root})."
        advice = ways_out(root, [cell for row in outside if (cell := cells[row]) is not None], data.link_folders)
        complaints.append(table.complaint(outside, what, advice))
    inside = {row: path for (row, _), path in zip(named, paths, strict=True) if path is not None}
    complaints += _repeated(table, inside, cells)
    faults = {row: "does not exist" for row, path in inside.items() if not os.path.isfile(path)}
    if data.missing_images == "error" and faults:
        # Others are decoded once all are there; what no decoder will read is seen in their heads now.
        present = [row for row in inside if row not in faults]
        heads = each_file([inside[row] for row in present], lambda _, path: side_and_mode(path), "")
        faults |= {present[number]: fault for number, fault in heads.items()}
        complaints.append(images.fault_message(faults, [cell or "" for cell in cells], table.lines, table.name, root))
    if complaints:
        raise TableError("\n".join(complaints))
    if data.missing_images == "error":
        return set()
    unreadable = images.unreadable(root, [cell for _, cell in named], data)
    return {named[number][0] for number in unreadable}


def _short(cell: str | None) -> str:
    return repr(cell if cell is None or len(cell) <= 80 else f"{cell[:77]}...")


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


def _repeated(table: Table, inside: dict[int, Path], cells: Sequence[str | None]) -> list[str]:
    """A complaint if one file is named by several rows, however it is spelt."""
    first: dict[str, int] = {}
    again = [
        (row, first[key]) for row, path in inside.items() if first.setdefault(key := os.path.normpath(path), row) != row
    ]
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
