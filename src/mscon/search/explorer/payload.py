"""From a run to plain values: all that a page is made of, and nothing that it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int, Int8

from mscon.data.table.label_columns import LabelColumns
from mscon.errors import RunError, counted
from mscon.evaluate.metrics.nearest import CosineNeighbours
from mscon.run.recipe import Data, Train, data_of
from mscon.run.run import Run
from mscon.search.explorer.columns import Column, read_columns
from mscon.search.explorer.label_errors import NEAREST, Doubt, doubt
from mscon.search.explorer.maps import Maps, draw_maps
from mscon.search.explorer.thumbnails import thumbnails

MOST_ROWS = 20_000
"""Rows of one page. More would be slow to open and to search; `gather` draws a sample then."""

# What a page of 10,000 rows may take, in characters; a larger one takes more in proportion.
_PAGE, _PAGE_ROWS = 9_400_000, 10_000
_LONGEST_TEXT = 240


@dataclass(frozen=True, eq=False, slots=True)
class Gathered:
    """A run as a page shows it.

    Attributes:
        title: of the recipe, or the name of the run.
        table: name of the table.
        total: rows of the run.
        ids: of each row of the page its position in the run's rows, ascending.
        lines: of each row its line in the table.
        names: of each row what it is called: the file of its image, or its line.
        spaces: names of the similarities.
        vectors: projections, each row scaled by its own largest number; only directions matter. None of a page that
            is served.
        columns: label columns, the split the last of them.
        doubts: by the position of its column.
        maps: of each space.
        pictures: a data URI a row; empty if the rows have none.
        texts: a text a row; empty if the rows have pictures.
        note: what a reader must know about which rows these are; empty if they are all.
    """

    title: str
    table: str
    total: int
    ids: Int[np.ndarray, " rows"]
    lines: Int[np.ndarray, " rows"]
    names: tuple[str, ...]
    spaces: tuple[str, ...]
    vectors: Int8[np.ndarray, "spaces held dim"]
    columns: tuple[Column, ...]
    doubts: Mapping[int, Doubt]
    maps: tuple[Maps, ...]
    pictures: tuple[str, ...]
    texts: tuple[str, ...]
    note: str


def gather(
    run: Run, *, most: int = MOST_ROWS, images: Path | None = None, with_images: bool = True, seconds: float = 60.0
) -> Gathered:
    """All that the explorer of a run shows.

    Args:
        run: trained and probed.
        most: rows to take; of a larger run a sample, spread evenly over splits and labels.
        images: folder of the images; None for where they lay when the run was trained.
        with_images: False to show rows as text, also where they are images.
        seconds: see `draw_maps`.

    Raises:
        RunError: if there are no projections, if they are older than the checkpoint or of other rows, or if images
            cannot be read.
        ValueError: if `most` is not from 1 to 20,000.
    """
    if not 1 <= most <= MOST_ROWS:
        raise ValueError(f"a page has from 1 to {MOST_ROWS:,} rows, asked for {most:,}.")
    vectors, similarities, rows = _spaces(run)
    data = data_of(run.read_recipe_values())
    taken = sample(rows, [str(s["state"].get("column", "")) for s in similarities], most)
    labels = LabelColumns(rows, run.read_recipe_values(), similarities, run.may_import)
    total, rows, vectors = rows.height, rows[taken], _unit(vectors[:, taken])

    is_picture = data.input == "image" and with_images
    text_column = data.text if data.input == "text" else ""
    columns = read_columns(labels, (text_column,), taken)
    return Gathered(
        title=str(run.read_recipe_values().get("title") or run.name),
        table=str(run.read_facts().get("table", {}).get("name", "the table")),
        total=total,
        ids=taken,
        lines=rows["line"].to_numpy().astype(np.int64),
        names=tuple(names_of(rows, data)),
        spaces=tuple(str(s["state"].get("column", s["name"])) for s in similarities),
        vectors=quantised(vectors),
        columns=tuple(columns),
        doubts=doubts_of(columns, labels, vectors, taken),
        maps=tuple(draw_maps(vectors, seconds)),
        pictures=tuple(
            thumbnails(run, rows["image"].to_list(), images, data.channels, _budget(len(taken), vectors, columns))
        )
        if is_picture
        else (),
        texts=() if is_picture else tuple(texts_of(rows, data)),
        note=" ".join([_note(len(taken), total), *notes_of(columns)]).strip(),
    )


def doubts_of(
    columns: Sequence[Column],
    labels: LabelColumns,
    vectors: Float[np.ndarray, "spaces rows dim"],
    rows: Int[np.ndarray, " rows"],
) -> dict[int, Doubt]:
    """Of the columns that a similarity was trained on and that it can be asked of, by their position."""
    return {
        number: doubt(labels[column.name], CosineNeighbours(vectors[column.space]).nearest(NEAREST)[0], rows)
        for number, column in enumerate(columns)
        if column.space is not None and labels[column.name].similarity is not None
    }


def notes_of(columns: Sequence[Column]) -> list[str]:
    """Sentences on columns whose agreement is not shown."""
    return [f"{column.note[0].upper()}{column.note[1:]}." for column in columns if column.note]


def sample(rows: pl.DataFrame, columns: Sequence[str], most: int, seed: int = 0) -> Int[np.ndarray, " rows"]:
    """Positions of at most `most` rows, ascending: every so-manieth of them, sorted by split and labels.

    So each split, and each combination of labels in it, has its share, within one row.
    """
    if rows.height <= most:
        return np.arange(rows.height, dtype=np.int64)
    by = [name for name in dict.fromkeys(("split", *columns)) if name in rows.columns]
    drawn = np.random.default_rng(seed).random(rows.height)
    order = (
        rows.select(by)
        .with_columns(pl.Series("\x1fdrawn", drawn), pl.Series("\x1fposition", np.arange(rows.height)))
        .sort([*by, "\x1fdrawn"])["\x1fposition"]
        .to_numpy()
    )
    steps = (np.arange(most) * (rows.height / most)).astype(np.int64)
    return np.sort(order[steps]).astype(np.int64)


def quantised(vectors: Float[np.ndarray, "spaces rows dim"]) -> Int8[np.ndarray, "spaces rows dim"]:
    """Eight bits a number. Each row is scaled to use all of them, since only its direction matters."""
    largest = np.abs(vectors).max(axis=2, keepdims=True)
    return np.rint(vectors * (127 / np.where(largest > 0, largest, 1))).astype(np.int8)


def _spaces(run: Run) -> tuple[Float[np.ndarray, "spaces rows dim"], list[dict[str, Any]], pl.DataFrame]:
    vectors, similarities, rows = run.read_projections(), run.read_similarities(), run.read_rows()
    again = f"`mscon probe {run.root}` makes them anew."
    if vectors.ndim != 3 or not vectors.shape[0]:
        raise RunError(f"run '{run.root}' has kept no projection of a similarity to search by: {again}")
    if vectors.shape[:2] != (len(similarities), rows.height):
        raise RunError(
            f"run '{run.root}': its projections are of {counted(vectors.shape[1], 'row')} and "
            f"{vectors.shape[0]} similarities, but the run has {rows.height:,} and {len(similarities)}: {again}"
        )
    settings = run.read_recipe_values().get("train", {})
    checkpoint = str(settings.get("checkpoint", Train().checkpoint))
    if run.has_checkpoint(checkpoint) and not run.features_are_current(checkpoint):
        raise RunError(f"run '{run.root}': its projections are not those of its checkpoint '{checkpoint}': {again}")
    if not np.isfinite(vectors).all():
        raise RunError(f"run '{run.root}': its projections are not finite: {again}")
    return vectors.astype(np.float32), similarities, rows


def _unit(vectors: Float[np.ndarray, "spaces rows dim"]) -> Float[np.ndarray, "spaces rows dim"]:
    length = np.linalg.norm(vectors, axis=2, keepdims=True)
    return vectors / np.where(length > 0, length, 1)


def names_of(rows: pl.DataFrame, data: Data) -> list[str]:
    """What rows are called: the file of their image, or their line."""
    if data.input == "image" and "image" in rows.columns:
        return [str(image).rpartition("/")[2] for image in rows["image"].to_list()]
    return [f"line {line}" for line in rows["line"].to_list()]


def texts_of(rows: pl.DataFrame, data: Data) -> list[str]:
    """What stands for a row that is no picture: its text, the columns that are encoded, or its name."""
    if data.input == "text" and data.text in rows.columns:
        return [_short(str(cell or "")) for cell in rows[data.text].to_list()]
    encoded = [name for name in (*data.numbers, *data.categories) if name in rows.columns]
    if data.input == "columns" and encoded:
        cells = zip(*(rows[name].to_list() for name in encoded), strict=True)
        return [
            _short(", ".join(f"{n} {c}" for n, c in zip(encoded, row, strict=True) if c is not None)) for row in cells
        ]
    return names_of(rows, data)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…"


def _budget(count: int, vectors: Float[np.ndarray, "spaces rows dim"], columns: Sequence[Column]) -> int:
    """Characters that a picture may take, so that the page keeps to its size."""
    others = vectors.shape[0] * (vectors.shape[2] * 4 / 3 + 24) + 12 * len(columns) + 60
    return max(int(_PAGE / max(min(count, _PAGE_ROWS), 500) - others), 200)


def _note(count: int, total: int) -> str:
    if count == total:
        return ""
    return (
        f"{count:,} of {total:,} rows, drawn evenly over splits and labels. Neighbours, middles and suspicious labels "
        "are sought among these only."
    )
