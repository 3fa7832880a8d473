"""From a run to plain values: all that a page is made of, and nothing that it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import Float, Int, Int8

from mscon.data.table.label_columns import LabelColumns
from mscon.evaluate.metrics.nearest import CosineNeighbours
from mscon.run.recipe import Data, data_of, is_trained
from mscon.run.run import Run
from mscon.search.explorer.columns import Column, read_columns
from mscon.search.explorer.label_errors import NEAREST, Doubt, doubt, judged_doubt
from mscon.search.explorer.maps import Maps, draw_maps
from mscon.search.explorer.thumbnails import thumbnails
from mscon.search.index import Index, read_index
from mscon.search.names import names_of

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
        names: of each row the file of its image, or its line.
        spaces: names of the similarities.
        vectors: projections, each row scaled by its own largest number; only directions matter. None of a page that
            is served.
        columns: label columns, the uncertainty of rows where it is known, and last the split.
        doubts: by the position of its column.
        maps: of each space.
        pictures: a data URI a row; empty if the rows have none.
        texts: what is encoded of each row; empty if that is a picture or a vector.
        input: what rows are: "image", "text", "columns" or "vectors".
        name_column: the column that rows are called by; empty for `names`.
        note: what a reader must know about which rows these are; empty if they are all.
    """

    title: str
    table: str
    total: int
    ids: Int[np.ndarray, " rows"]
    lines: Int[np.ndarray, " rows"]
    names: tuple[str, ...]
    spaces: tuple[str, ...]
    vectors: Int8[np.ndarray, "spaces stored dim"]
    columns: tuple[Column, ...]
    doubts: Mapping[int, Doubt]
    maps: tuple[Maps, ...]
    pictures: tuple[str, ...]
    texts: tuple[str, ...]
    note: str
    input: str = "image"
    name_column: str = ""


def gather(
    run: Run,
    *,
    most: int = MOST_ROWS,
    images: Path | None = None,
    with_images: bool = True,
    name_column: str | None = None,
    seconds: float = 60.0,
) -> Gathered:
    """All that the explorer of a run shows.

    Args:
        run: trained and probed.
        most: rows to take; of a larger run a sample, spread evenly over splits and labels.
        images: folder of the images; None for where they lay when the run was trained.
        with_images: False to show rows as text, also where they are images.
        name_column: the column that rows are called by; "" for none of them, None to guess it.
        seconds: see `draw_maps`.

    Raises:
        RunError: if there are no projections, if they are older than the checkpoint or of other rows, if there is no
            such column, or if images cannot be read.
        ValueError: if `most` is not from 1 to 20,000.
    """
    if not 1 <= most <= MOST_ROWS:
        raise ValueError(f"a page has from 1 to {MOST_ROWS:,} rows, got {most:,}.")
    index = read_index(run, name_column=name_column)
    data = data_of(index.recipe)
    sampled = sample(index.rows, index.similarities, most)
    columns = read_columns(index.labels, text_columns(data), sampled, index.uncertainty)
    vectors = index.spaces.vectors(sampled).astype(np.float32)
    pictures: Sequence[str] = ()
    if data.input == "image" and with_images:
        files = index.rows[sampled.tolist()]["image"].to_list()
        pictures = thumbnails(run, files, images, data, _budget(len(sampled), vectors, columns))
    total = index.rows.height
    note = (
        f"{len(sampled):,} of {total:,} rows, drawn evenly over splits and labels. Neighbours, middles and suspicious "
        "labels are sought among these only."
    )
    return gathered(
        index,
        sampled,
        vectors,
        columns,
        quantised=quantised(vectors),
        pictures=tuple(pictures),
        note=note if len(sampled) < total else "",
        seconds=seconds,
    )


def gathered(
    index: Index,
    sampled: Int[np.ndarray, " rows"],
    vectors: Float[np.ndarray, "spaces rows dim"],
    columns: Sequence[Column],
    *,
    quantised: Int8[np.ndarray, "spaces stored dim"],
    pictures: tuple[str, ...],
    note: str,
    seconds: float,
) -> Gathered:
    """What a page and one that is served have in common: some rows, their columns, maps and suspicious labels.

    Args:
        index: the run.
        sampled: numbers of the rows.
        vectors: of these.
        columns: of these rows.
        quantised, pictures, note: see `Gathered`.
        seconds: see `draw_maps`.
    """
    rows, data = index.rows[sampled.tolist()], data_of(index.recipe)
    untrained = "Nothing was trained (train.epochs = 0), so spaces are of heads that have learnt nothing."
    judged = index.run.read_judged_labels() if index.run.has_doubt else None
    notes = [f"{column.note[0].upper()}{column.note[1:]}." for column in columns if column.note]
    return Gathered(
        title=str(index.recipe.get("title") or index.run.name),
        table=str(index.run.read_facts().get("table", {}).get("name", "the table")),
        total=index.rows.height,
        ids=sampled,
        lines=rows["line"].to_numpy().astype(np.int64),
        names=tuple(names_of(rows, data)),
        spaces=index.similarities,
        vectors=quantised,
        columns=tuple(columns),
        doubts=doubts_of(columns, index.labels, vectors, sampled, judged),
        maps=tuple(draw_maps(vectors, seconds)),
        pictures=pictures,
        texts=tuple(texts_of(rows, data)),
        input=data.input,
        name_column=index.name_column,
        note=" ".join(filter(None, [untrained * (not is_trained(index.recipe)), note, *notes])),
    )


def doubts_of(
    columns: Sequence[Column],
    labels: LabelColumns,
    vectors: Float[np.ndarray, "spaces rows dim"],
    rows: Int[np.ndarray, " rows"],
    judged: pl.DataFrame | None = None,
) -> dict[int, Doubt]:
    """Doubts about labels, by the position of the column.

    Those of `judged`, which `mscon doubt` wrote; else about trained columns whose similarity may be used.
    """
    doubts = dict[int, Doubt]()
    for number, column in enumerate(columns):
        known = None if judged is None else judged_doubt(judged, column.name, labels.rows["line"].to_numpy()[rows])
        if known is not None:
            doubts[number] = known
        elif column.space is not None and labels[column.name].similarity is not None:
            near, _ = CosineNeighbours(vectors[column.space]).nearest(NEAREST)
            doubts[number] = doubt(labels[column.name], near, rows)
    return doubts


def sample(rows: pl.DataFrame, columns: Sequence[str], most: int, seed: int = 0) -> Int[np.ndarray, " rows"]:
    """Positions of at most `most` rows, ascending: at equal steps through all of them, sorted by split and labels.

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


def text_columns(data: Data) -> tuple[str, ...]:
    """Columns that are no labels, since their text is what is encoded."""
    return (data.text,) if data.input == "text" else ()


def texts_of(rows: pl.DataFrame, data: Data) -> list[str]:
    """The text of each row that is encoded; empty for other inputs, whose cells are shown by their columns."""
    if data.input != "text" or data.text not in rows.columns:
        return []
    texts = [str(cell or "") for cell in rows[data.text].to_list()]
    return [text if len(text) <= _LONGEST_TEXT else text[: _LONGEST_TEXT - 1] + "…" for text in texts]


def _budget(count: int, vectors: Float[np.ndarray, "spaces rows dim"], columns: Sequence[Column]) -> int:
    """Characters that a picture may take, so that the page keeps to its size."""
    others = vectors.shape[0] * (vectors.shape[2] * 4 / 3 + 24) + 12 * len(columns) + 60
    return max(int(_PAGE / max(min(count, _PAGE_ROWS), 500) - others), 200)
