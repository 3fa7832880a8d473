"""Rows nearest to a few rows, by the features and by each similarity's projection, with their pictures."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from mscon.evaluate.metrics.nearest import CosineNeighbours
from mscon.evaluate.report.gather import Member
from mscon.evaluate.report.pictures import data_uri
from mscon.method.agreement import Agreement, in_words, shown
from mscon.run.recipe import data_of

if TYPE_CHECKING:
    from mscon.data.table.label_columns import LabelColumn

QUERIES, NEAREST = 4, 6
_MOST_GALLERY = 20_000
_SIDE = 96


@dataclass(frozen=True, slots=True)
class Neighbour:
    """One row near a query.

    Attributes:
        uri: its thumbnail; None if the image could not be read.
        row: its position in the run's rows.
        image: the name of its image file.
        label: its own label in the column of the similarity, or how many columns agree.
        word: how that label agrees with the query's, as the similarity says; None where it reads no column.
        agreement: the same, with the number where it is between; empty where one of them has no label.
        cosine: how near.
    """

    uri: str | None
    row: int
    image: str
    label: str
    word: Agreement | None
    agreement: str
    cosine: float


@dataclass(frozen=True, slots=True)
class Answer:
    """The nearest rows under one similarity."""

    by: str
    own: str | None
    nearest: tuple[Neighbour, ...]


@dataclass(frozen=True, slots=True)
class Query:
    """A row of the test split, its labels, and an answer for the features and for each similarity."""

    uri: str | None
    row: int
    image: str
    labels: tuple[tuple[str, str | None], ...]
    answers: tuple[Answer, ...]


@dataclass(frozen=True, slots=True)
class Grid:
    """All queries; why there are no pictures if there are none; and which columns' agreement is not known, and why."""

    queries: tuple[Query, ...]
    gallery: int
    without_pictures: str
    notes: tuple[str, ...] = ()


def grid(member: Member, rows: pl.DataFrame, labels: Mapping[str, LabelColumn], seed: int = 0) -> Grid:
    """Nearest neighbours of a few test rows among all rows that training never saw.

    Args:
        member: the run whose features and projections are asked.
        rows: of the run.
        labels: the columns to show, by name.
        seed: of the choice of queries.
    """
    run = member.run
    splits = rows["split"].to_list()
    gallery = np.flatnonzero(np.isin(np.asarray(splits, dtype=object), ("test", "unseen")))
    if len(gallery) > _MOST_GALLERY:
        gallery = np.sort(np.random.default_rng([seed, 1]).choice(gallery, _MOST_GALLERY, replace=False))
    test = gallery[[splits[row] == "test" for row in gallery]] if len(gallery) else gallery
    if len(test) == 0 or len(gallery) < 2:
        return Grid((), 0, "The table has no test rows, so there are no neighbours to look at.")
    asked = np.sort(np.random.default_rng(seed).choice(test, min(QUERIES, len(test)), replace=False))

    spaces: list[tuple[str, str | None, np.ndarray]] = [("features", None, run.read_features())]
    names = [part["column"] for part in member.recipe["similarity"]]
    spaces += [
        (column, column if column in labels else None, vectors)
        for column, vectors in zip(names, run.read_projections(), strict=False)
    ]
    found = [(by, column, *nearest(vectors, asked, gallery)) for by, column, vectors in spaces]

    needed = np.unique(np.concatenate([asked, *(near.ravel() for _, _, near, _ in found)]))
    pictures, trouble = _thumbnails(member, rows, needed)
    shown = _Shown(labels, rows["image"].to_list(), pictures)
    queries = tuple(
        shown.query(
            int(row),
            tuple(
                Answer(
                    by,
                    labels[column].cells[int(row)] if column else None,
                    shown.neighbours(int(row), near[i], cosines[i], labels[column] if column else None),
                )
                for by, column, near, cosines in found
            ),
        )
        for i, row in enumerate(asked)
    )
    notes = tuple(f"{note[0].upper()}{note[1:]}." for label in labels.values() if (note := label.note))
    return Grid(queries, len(gallery), trouble, notes)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is told of each row: its labels by column, the name of its image, and its thumbnail where there is one."""

    labels: Mapping[str, LabelColumn]
    images: Sequence[str]
    pictures: Mapping[int, str]

    def query(self, row: int, answers: tuple[Answer, ...]) -> Query:
        labels = tuple((name, column.cells[row]) for name, column in self.labels.items())
        return Query(self.pictures.get(row), row, self._name(row), labels, answers)

    def neighbours(
        self,
        query: int,
        near: Int[np.ndarray, " near"],
        cosines: Float[np.ndarray, " near"],
        column: LabelColumn | None,
    ) -> tuple[Neighbour, ...]:
        """The rows near a query, compared with it in one column; or, where there is none, in all of them."""
        compared = self.labels.values() if column is None else [column]
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
            picture = self.pictures.get(row)
            neighbours.append(Neighbour(picture, row, self._name(row), label, word, agreement, float(cosines[place])))
        return tuple(neighbours)

    def _name(self, row: int) -> str:
        return self.images[row].rpartition("/")[2]


def nearest(
    vectors: Float[np.ndarray, "rows dim"],
    asked: Int[np.ndarray, " asked"],
    gallery: Int[np.ndarray, " gallery"],
    count: int = NEAREST,
) -> tuple[Int[np.ndarray, "asked count"], Float[np.ndarray, "asked count"]]:
    """Rows of the gallery nearest to each of its rows in `asked` by cosine, and the cosines."""
    near, cosines = CosineNeighbours(vectors[gallery]).nearest(count, np.searchsorted(gallery, asked))
    return gallery[near], cosines


def _thumbnails(member: Member, rows: pl.DataFrame, shown: Int[np.ndarray, " shown"]) -> tuple[dict[int, str], str]:
    """Data URIs by row; or none, and a sentence that says why."""
    from mscon.data.inputs.images import some_images

    data = data_of(member.recipe)
    if data.input != "image":
        return {}, "The rows are no images, so they are shown by their number."
    facts = member.run.read_facts()
    root = facts.get("images_root")
    if root is None:
        return {}, "The run does not say where its images are, so they are not shown."
    images, faults = some_images(rows, shown, Path(root), data)
    if faults:
        # Not why: that message names folders of the machine, and a report is passed on.
        return {}, "The images could not be read when this report was made, so rows are shown by their number."
    return {int(row): thumbnail(image) for row, image in zip(shown, images, strict=True)}, ""


def thumbnail(image: np.ndarray) -> str:
    """One image [channels, height, width] of uint8 as a data URI, at most 96 pixels wide."""
    from PIL import Image

    pixels = image[0] if image.shape[0] == 1 else image.transpose(1, 2, 0)
    small = Image.fromarray(np.ascontiguousarray(pixels))
    if max(small.size) > _SIDE:
        small.thumbnail((_SIDE, _SIDE))
    buffer = io.BytesIO()
    # Drawings of few pixels stay exact; photographs would be ten times larger that way.
    if max(small.size) <= 32:
        small.save(buffer, format="png", optimize=True)
        return data_uri(buffer.getvalue(), "image/png")
    small.convert("RGB").save(buffer, format="jpeg", quality=80)
    return data_uri(buffer.getvalue(), "image/jpeg")
