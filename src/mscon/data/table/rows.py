"""The rows and columns of a table that a recipe uses, checked completely before anything is trained."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import polars as pl

from mscon.data.batches.dataset import malformed
from mscon.data.inputs import teachers
from mscon.data.inputs.open import check_inputs, images_root
from mscon.data.table.image_column import image_cells, unusable_images, with_boxes
from mscon.data.table.label_noise import with_derived
from mscon.data.table.split import draw_split, read_split
from mscon.data.table.table import Table, unit
from mscon.errors import TableError, counted, numbered
from mscon.run.recipe import AUTO, Data, Derived, Probe, SimilarityPart

T = TypeVar("T")


def select_rows(
    table: Table,
    data: Data,
    parts: Sequence[SimilarityPart],
    root: Path | None = None,
    *,
    probe: Probe | None = None,
    derived: Sequence[Derived] = (),
) -> pl.DataFrame:
    """The rows of a table that a run uses, after every check that needs no decoded image.

    A label that occurs outside the training rows only is no fault: a similarity has no code for it, so there it
    counts as missing, and probes leave it out. Whether images can be decoded is asked here only where rows may be
    dropped for it; else `images.open_store` says.

    Args:
        table: the user's table.
        data: names the columns, and says what happens to rows without a readable image.
        parts: the similarities; their columns must be there, with something in them to be learnt.
        root: folder that the image paths, or the file of vectors, are relative to; by default what `images_root`
            says of the table.
        probe: names more columns that must be there.
        derived: columns to make of others.

    Returns:
        Rows of which every cell is empty are left out, unless a vector each is what is encoded. Columns `line`
        (integer), `split`, `image` (as written; empty where there is no such column, and images are not
        what is encoded), then every other column of the table as text, null where missing, then the derived ones. A
        column that is called line, split or image but plays another part is left out, and so are texts of vectors.

    Raises:
        TableError: once, with all complaints.
    """
    root = images_root(table, data) if root is None else root
    table = with_boxes(_without_blank_rows(table, data), data)
    complaints: list[str] = []

    def attempt(check: Callable[[], T]) -> T | None:
        try:
            return check()
        except TableError as error:
            complaints.append(str(error))
            return None

    split = attempt(lambda: _split(table, data))
    draws_no_test = data.split not in table.frame.columns and not data.split_shares[2]
    if data.input == "image":
        dropped = attempt(lambda: unusable_images(table, data, root))
    else:
        dropped = set()  # a vector for each row is what the files hold, so none may go
        complaints += check_inputs(table, data, root)
    used = [row for row in range(len(table)) if row not in dropped] if dropped else range(len(table))
    if split is not None:
        complaints += _split_complaints(table, [split[row] for row in used], draws_no_test)
    # Where the split is at fault, any will do to see what else is.
    train = ["train"] * len(table)
    whole = attempt(lambda: with_derived(table, split or train, derived)) if derived else table
    complaints += teachers.complaints(table, parts, root, data)
    complaints += [] if whole is None else _column_complaints(whole, data, parts, probe or Probe(), split, used)
    if complaints:
        # Else whoever fits similarities tells of these, with whatever they find beside.
        complaints += [] if whole is None else _malformed(whole, parts)
        raise TableError("\n".join(dict.fromkeys(complaints)))

    assert split is not None
    assert whole is not None
    elsewhere = {"line", "split", "image", data.image, data.split, *map(teachers.source_of, teachers.stored(parts))}
    fixed = [
        pl.Series("line", table.lines, dtype=pl.Int64),
        pl.Series("split", split, dtype=pl.String),
        image_cells(table, data),
    ]
    others = [whole.frame.get_column(name) for name in whole.frame.columns if name not in elsewhere]
    rows = pl.DataFrame([*fixed, *others])
    return rows[used] if dropped else rows


def left_out(rows: pl.DataFrame, table: Table) -> str:
    """Notes of the table, and sentences on those of its rows that are not among `rows`; empty if there is nothing."""
    used = set(rows.get_column("line").to_list())
    blank = table.lines_at(table.blank_rows)
    kinds = {"of which every cell is empty": blank, "whose image cannot be read": set(table.lines) - set(blank)}
    sentences = (
        f"{table.name}: {counted(len(lines), 'row')} of {len(table):,} left out, {why} "
        f"({numbered(unit(table.name), sorted(lines))})."
        for why, others in kinds.items()
        if (lines := set(others) - used)
    )
    return " ".join([*table.notes, *sentences])


def _without_blank_rows(table: Table, data: Data) -> Table:
    """The table without rows that have no cell, as spreadsheets leave them at the end.

    Where each row has a vector in a file, or in a column of lists, a row without labels is a row like any other.
    """
    blank = () if data.input == "vectors" or table.vectors else table.blank_rows
    return table.without(blank) if blank else table


def _split(table: Table, data: Data) -> Sequence[str]:
    columns = table.frame.columns
    if data.split in columns:
        if data.split_by:
            raise TableError(
                f"{table.name} has a split column {data.split!r}, and the recipe sets split_by = {data.split_by!r} "
                'too. Take split_by out, or set split = "" to have the table split here.'
            )
        return read_split(table, data.split)
    alike = [name for name in columns if name.casefold() == data.split.casefold()]
    # The default name may be absent: such tables are split here. A name the user chose may not.
    if data.split and (alike or data.split != Data().split):
        raise TableError(
            f"{table.name}: {table.no_column(data.split)}\n"
            "  It is the [data] split of the recipe; an empty name has the table split here."
        )
    if data.split_by and data.split_by not in columns:
        raise TableError(f"{table.name}: {table.no_column(data.split_by)}\n  It is the [data] split_by of the recipe.")
    groups = table.cells(data.split_by) if data.split_by else None
    return draw_split(len(table), data.split_shares, data.split_seed, groups)


def _split_complaints(table: Table, split: Sequence[str], draws_no_test: bool) -> list[str]:
    counts = ", ".join(f"{split.count(name):,} {name}" for name in dict.fromkeys(split)) or "none at all"
    instead = (
        "\n  To score on the validation rows, call their split 'test'; to have the table split here, set split = \"\" "
        "under [data]."
        if "validation" in split
        else ""
    )
    return [
        f"{table.name}: no row is left in the split '{name}', which {purpose} (rows: {counts})."
        + (instead if name == "test" else "")
        for name, purpose in (("train", "the encoder learns from"), ("test", "the probes are scored on"))
        if name not in split and not (name == "test" and draws_no_test)
    ]


def _column_complaints(
    table: Table,
    data: Data,
    parts: Sequence[SimilarityPart],
    probe: Probe,
    split: Sequence[str] | None,
    used: Sequence[int],
) -> list[str]:
    """Complaints about label columns that are not there, or from which nothing can be learnt."""
    similarities = list(dict.fromkeys(column for part in parts for column in part.reads))
    named_by = {
        "a [[similarity]]": similarities,
        "[probe] columns": probe.columns,
        "[probe] neighbours": probe.neighbours,
        "[probe] largest": tuple(probe.largest),
    }
    encoded = data.encoded
    complaints = []
    for setting, columns in named_by.items():
        for column in columns:
            if column in table.vectors or column in table.pictures:
                what = "lists of numbers" if column in table.vectors else "images"
                complaints.append(
                    f"{table.name}: column {column!r} is named by {setting} of the recipe, but it holds {what}, not "
                    "labels."
                )
            elif column in encoded and column in similarities:
                complaints.append(
                    f"{table.name}: column {column!r} is named by a [[similarity]] and by [data], so the encoder would "
                    "read the answer. Take it out of one of them."
                )
            elif column not in table.frame.columns:
                complaints.append(f"{table.name}: {table.no_column(column)}\n  It is named by {setting} of the recipe.")
            elif column in ("line", "split", "image", data.image, data.split):
                complaints.append(
                    f"{table.name}: column {column!r} is named by {setting} of the recipe, but it is no label column: "
                    "'line', 'split' and 'image' are names that mscon uses itself.\n"
                    "  Rename it, or leave it out of the recipe."
                )
            elif fault := _poor(table, column, split, used, probed=column not in similarities):
                complaints.append(fault)
    return complaints


def _malformed(table: Table, parts: Sequence[SimilarityPart]) -> list[str]:
    """Complaints about cells that the similarities cannot read, of those whose columns are there."""
    readable = [part for part in parts if part.name != AUTO and set(part.reads) <= set(table.frame.columns)]
    # A table of vectors only has no column of cells, and a frame without columns has no rows.
    lines, cells = pl.Series("line", table.lines, dtype=pl.Int64), table.frame.drop("line", strict=False)
    rows = pl.DataFrame([lines, *cells.get_columns()])
    return malformed(rows, readable, where=f"{table.name}: ", unit=unit(table.name))


def _poor(table: Table, column: str, split: Sequence[str] | None, used: Sequence[int], probed: bool) -> str:
    """What is wrong with a column in which fewer than two different values can be learnt; empty if nothing is."""
    cells = table.cells(column)

    def values(name: str) -> set[str]:
        return {cell for row in used if (cell := cells[row]) is not None and (split is None or split[row] == name)}

    train_values = values("train")
    # Neighbours are sought among rows of unseen groups, so a column with labels there only can still be asked of them.
    if len(train_values) >= 2 or (probed and len(values("unseen")) >= 2):
        return ""
    where = "row" if split is None else "train row"
    if not train_values:
        return f"{table.name}: column {column!r} is empty in every {where}. Leave it out of the recipe."
    return (
        f"{table.name}: column {column!r} has one value only, {train_values.pop()!r}, in all {where}s that have any, "
        "so nothing can be told apart by it. Leave it out of the recipe."
    )
