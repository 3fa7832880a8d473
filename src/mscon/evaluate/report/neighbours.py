"""Rows nearest to a few rows, by the features and by each similarity's projection, as pictures or as their cells."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from mscon.data.table.cell_text import cell_text
from mscon.errors import RunError, counted
from mscon.evaluate.metrics.nearest import CosineNeighbours
from mscon.evaluate.page.thumbnails import EXACT, data_uri, images_folder
from mscon.evaluate.report.gather import PLACES
from mscon.evaluate.report.methods import Member
from mscon.method.agreement import Agreement, in_words, shown
from mscon.run.recipe import Data, data_of, is_trained

if TYPE_CHECKING:
    from mscon.data.table.label_columns import LabelColumn

QUERIES, NEAREST = 4, 6
_MOST_GALLERY = 20_000
# Of a row that is no image: cells that are shown, and letters of each.
_MOST_CELLS, _LONGEST = 4, 160


@dataclass(frozen=True, slots=True)
class Row:
    """What stands for a row on the page.

    Attributes:
        number: its position in the run's rows.
        name: of its image file, or its line in the table.
        uri: its thumbnail; None where there is none.
        cells: some of its cells with their columns, where rows are no images; a text without its column.
    """

    number: int
    name: str
    uri: str | None
    cells: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One row near a query.

    Attributes:
        row: which.
        label: its own label in the column of the similarity, or how many columns agree.
        word: how that label agrees with the query's, as the similarity says; None where it reads no column.
        agreement: the same, with the number where it is between; empty where one of them has no label.
        cosine: how near.
    """

    row: Row
    label: str
    word: Agreement | None
    agreement: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Nearest:
    """The rows nearest to a query in one space, and the query's label in its column."""

    by: str
    label: str | None
    neighbours: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A row of the test split, its labels, and its nearest rows by the features and by each similarity."""

    row: Row
    labels: tuple[tuple[str, str | None], ...]
    nearest: tuple[Nearest, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """All queries, the number of rows that they search, whether rows are shown as pictures, and what is to be said.

    `missing` tells the user of the command of pictures that are not shown, with folders, which the page keeps private.
    """

    queries: tuple[Query, ...]
    gallery: int
    has_pictures: bool = False
    notes: tuple[str, ...] = ()
    missing: str = ""


def grid(
    member: Member, rows: pl.DataFrame, labels: Mapping[str, LabelColumn], images: Path | None = None, seed: int = 0
) -> Grid:
    """Nearest neighbours of a few test rows among all rows that training never saw.

    Args:
        member: the run whose features and projections are compared.
        rows: of the run.
        labels: the columns to show, by name.
        images: folder of the images; None for where they lay when the run was trained.
        seed: of the choice of queries.

    Raises:
        RunError: if `images` is no folder, or the rows of the run are no images.
    """
    run = member.run
    splits = np.asarray(rows["split"].to_list(), dtype=object)
    gallery = np.flatnonzero(np.isin(splits, ("test", "unseen")))
    if len(gallery) > _MOST_GALLERY:
        gallery = np.sort(np.random.default_rng([seed, 1]).choice(gallery, _MOST_GALLERY, replace=False))
    test = gallery[splits[gallery] == "test"]
    if len(test) == 0 or len(gallery) < 2:
        return Grid((), 0)
    queries = np.sort(np.random.default_rng(seed).choice(test, min(QUERIES, len(test)), replace=False))

    spaces: list[tuple[str, LabelColumn | None, np.ndarray]] = [("features", None, run.read_features())]
    names = [part["column"] for part in member.recipe["similarity"]] if is_trained(member.recipe) else []
    spaces += [(name, labels.get(name), space) for name, space in zip(names, run.read_projections(), strict=False)]
    near = [(by, column, *nearest(vectors, queries, gallery)) for by, column, vectors in spaces]

    on_page = np.unique(np.concatenate([queries, *(positions.ravel() for _, _, positions, _ in near)]))
    pictures, missing, folder = pictures_of(member, rows, on_page, images)
    shown_rows = rows_on_page(rows, on_page, data_of(member.recipe), tuple(labels), pictures)
    drawn = []
    for i, query in enumerate(queries.tolist()):
        results = tuple(
            Nearest(
                by,
                None if column is None else column.cells[query],
                tuple(_neighbours(query, positions[i], cosines[i], labels, column, shown_rows)),
            )
            for by, column, positions, cosines in near
        )
        cells = tuple((name, column.cells[query]) for name, column in labels.items())
        drawn.append(Query(shown_rows[query], cells, results))
    notes = [f"{note[0].upper()}{note[1:]}." for label in labels.values() if (note := label.note)]
    if missing:
        notes.append(f"{missing} when this report was made; such rows are shown by their name.")
    return Grid(tuple(drawn), len(gallery), bool(pictures), tuple(notes), f"{missing}{folder}." if missing else "")


def _neighbours(
    query: int,
    near: Int[np.ndarray, " near"],
    cosines: Float[np.ndarray, " near"],
    labels: Mapping[str, LabelColumn],
    column: LabelColumn | None,
    shown_rows: Mapping[int, Row],
) -> list[Neighbour]:
    """The rows near a query, compared with it in one column; or, where there is none, in all of them."""
    compared = list(labels.values()) if column is None else [column]
    weights = np.array([c.agreement(c.read([query]) * len(near), c.read(near.tolist())) for c in compared])
    neighbours = []
    for place, row in enumerate(near.tolist()):
        known = weights[~np.isnan(weights[:, place]), place] if len(weights) else np.zeros(0)
        word: Agreement | None = None
        label, agreement = f"{known.sum():.3g} of {len(known)} alike", ""
        if column is not None:
            cell, weight = column.cells[row], float(weights[0, place])
            label, word = "no label" if cell is None else cell, in_words(weight)
            agreement = "" if cell is None or column.cells[query] is None else shown(weight)
        neighbours.append(Neighbour(shown_rows[row], label, word, agreement, float(cosines[place])))
    return neighbours


def nearest(
    vectors: Float[np.ndarray, "rows dim"],
    queries: Int[np.ndarray, " queries"],
    gallery: Int[np.ndarray, " gallery"],
    count: int = NEAREST,
) -> tuple[Int[np.ndarray, "queries count"], Float[np.ndarray, "queries count"]]:
    """Rows of the gallery nearest to each of `queries`, which are among them, by cosine, and the cosines."""
    near, cosines = CosineNeighbours(vectors[gallery]).nearest(count, np.searchsorted(gallery, queries))
    return gallery[near], cosines


def rows_on_page(
    rows: pl.DataFrame,
    numbers: Int[np.ndarray, " some"],
    data: Data,
    labels: Sequence[str],
    pictures: Mapping[int, str],
) -> dict[int, Row]:
    """What stands for each of some rows, by its number."""
    some = rows[numbers]
    is_image = data.input == "image"
    columns = [] if is_image else [data.text] if data.input == "text" else _telling(rows.columns, labels, data)
    columns = [name for name in columns if name in rows.columns]
    shown_rows = {}
    for number, record in zip(numbers.tolist(), some.iter_rows(named=True), strict=True):
        name = str(record["image"]).rpartition("/")[2] if is_image else f"line {record['line']}"
        cells = tuple(
            ("" if data.input == "text" else column, _short(cell_text(str(record[column]))))
            for column in columns
            if record[column] is not None
        )
        shown_rows[number] = Row(number, name, pictures.get(number), cells[:_MOST_CELLS])
    return shown_rows


def _telling(columns: Sequence[str], labels: Sequence[str], data: Data) -> list[str]:
    """Columns beside the labels, those first that are not encoded, such as a name."""
    others = [name for name in columns if name not in (*PLACES, *labels)]
    return sorted(others, key=lambda name: name in data.encoded)


def _short(text: str) -> str:
    return text if len(text) <= _LONGEST else text[: _LONGEST - 1] + "…"


def pictures_of(
    member: Member, rows: pl.DataFrame, numbers: Int[np.ndarray, " some"], images: Path | None
) -> tuple[dict[int, str], str, str]:
    """Thumbnails by row; what is missing, in words that may stand on the page; and where they were looked for."""
    from mscon.data.inputs.images import some_images

    data = data_of(member.recipe)
    if data.input != "image":
        if images is not None:
            raise RunError(f"run '{member.run.root}' was not trained on images. Leave out --images.")
        return {}, "", ""
    total = counted(len(numbers), "picture")
    try:
        folder = images_folder(member.run, images)
    except RunError as error:
        if images is not None:
            raise
        return {}, f"None of the {total} could be read", f": {str(error).removesuffix('.')}"
    pixels, faults = some_images(rows, numbers, folder, data)
    exact = data.image_size <= EXACT
    pictures = {
        int(number): data_uri(image, exact=exact)
        for place, (number, image) in enumerate(zip(numbers, pixels, strict=True))
        if place not in faults
    }
    if not faults:
        return pictures, "", ""
    first = str(rows["image"][int(numbers[min(faults)])])
    advice = f" (looked in '{folder}', where it {faults[min(faults)]}). If the pictures moved, pass --images DIR"
    return pictures, f"{len(faults):,} of {total} could not be read, the first is '{first}'", advice
