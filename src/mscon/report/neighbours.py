"""Rows nearest to a few rows, by the features and by each similarity's projection, with their pictures."""

from __future__ import annotations

import io
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Float, Int

from mscon.errors import MSConError
from mscon.recipe import Data
from mscon.report.gather import Member
from mscon.report.pictures import data_uri

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
        agrees: 1 if that label is the query's, 0 if it is another, between them where sets of labels, or paths, have
            a part in common; None where one of them has none, where it is a number, or the similarity reads no column.
        cosine: how near.
    """

    uri: str | None
    row: int
    image: str
    label: str
    agrees: float | None
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
    """All queries, and why there are no pictures if there are none."""

    queries: tuple[Query, ...]
    gallery: int
    without_pictures: str


def grid(
    member: Member, rows: pl.DataFrame, columns: Sequence[str], numbers: Collection[str] = (), seed: int = 0
) -> Grid:
    """Nearest neighbours of a few test rows among all rows that training never saw.

    Args:
        member: the run whose features and projections are asked.
        rows: of the run.
        columns: label columns to show.
        numbers: those of them that are numbers, which are shown and not called the same or another.
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

    labels = {column: rows[column].to_list() for column in columns}
    spaces: list[tuple[str, str | None, np.ndarray]] = [("features", None, run.features)]
    names = [part["column"] for part in member.recipe["similarity"]]
    spaces += [
        (column, column if column in labels else None, vectors)
        for column, vectors in zip(names, run.projections, strict=False)
    ]
    found = [(by, column, *nearest(vectors, asked, gallery)) for by, column, vectors in spaces]

    needed = np.unique(np.concatenate([asked, *(near.ravel() for _, _, near, _ in found)]))
    pictures, trouble = _thumbnails(member, rows, needed)
    parts = {part["column"]: part for part in member.recipe["similarity"]}
    shown = _Shown(labels, rows["image"].to_list(), pictures, numbers, parts)
    queries = tuple(
        shown.query(
            int(row),
            tuple(
                Answer(
                    by,
                    labels[column][row] if column else None,
                    tuple(
                        shown.neighbour(int(row), int(other), float(cosine), column)
                        for other, cosine in zip(near[i], cosines[i], strict=True)
                    ),
                )
                for by, column, near, cosines in found
            ),
        )
        for i, row in enumerate(asked)
    )
    return Grid(queries, len(gallery), trouble)


@dataclass(frozen=True, slots=True)
class _Shown:
    """What is told of each row: its labels by column, the name of its image, and its thumbnail where there is one."""

    labels: Mapping[str, Sequence[str | None]]
    images: Sequence[str]
    pictures: Mapping[int, str]
    numbers: Collection[str]
    similarities: Mapping[str, Mapping[str, Any]]

    def query(self, row: int, answers: tuple[Answer, ...]) -> Query:
        labels = tuple((column, values[row]) for column, values in self.labels.items())
        return Query(self.pictures.get(row), row, self._name(row), labels, answers)

    def neighbour(self, query: int, row: int, cosine: float, column: str | None) -> Neighbour:
        agrees: float | None = None
        if column is None:
            both = [(v[query], v[row]) for v in self.labels.values() if v[query] is not None and v[row] is not None]
            label = f"{sum(a == b for a, b in both)} of {len(both)} alike"
        else:
            mine, theirs = self.labels[column][query], self.labels[column][row]
            label = "no label" if theirs is None else theirs
            if mine is not None and theirs is not None and column not in self.numbers:
                agrees = agreement(mine, theirs, self.similarities.get(column, {}))
        return Neighbour(self.pictures.get(row), row, self._name(row), label, agrees, cosine)

    def _name(self, row: int) -> str:
        return self.images[row].rpartition("/")[2]


def agreement(mine: str, theirs: str, similarity: Mapping[str, Any]) -> float:
    """How far two cells say the same, as their similarity reads them.

    Args:
        mine: a cell, and `theirs` another.
        similarity: its part of the recipe, as plain values.

    Returns:
        1 or 0 of classes and levels; of sets of labels the shared over either's (Jaccard), of paths the share of the
        longer one that they go together.
    """
    if mine == theirs:
        return 1.0
    kind, separator = similarity.get("name", "categorical"), similarity.get("separator", "")
    if kind == "multi_label" and separator:
        a, b = ({label.strip() for label in cell.split(separator)} - {""} for cell in (mine, theirs))
        return len(a & b) / len(a | b) if a | b else 1.0
    if kind == "hierarchical" and separator and not similarity.get("under"):
        a_path, b_path = ([level.strip() for level in cell.split(separator)] for cell in (mine, theirs))
        together = 0
        for x, y in zip(a_path, b_path, strict=False):
            if x != y:
                break
            together += 1
        return together / max(len(a_path), len(b_path))
    return 0.0


def nearest(
    vectors: Float[np.ndarray, "rows dim"],
    asked: Int[np.ndarray, " asked"],
    gallery: Int[np.ndarray, " gallery"],
    count: int = NEAREST,
) -> tuple[Int[np.ndarray, "asked count"], Float[np.ndarray, "asked count"]]:
    """Rows of the gallery with the highest cosine to each asked row, and the cosines; the row itself left out.

    Of equal cosines the earlier row comes first. Fewer than `count` if the gallery is small.
    """
    unit = vectors[gallery].astype(np.float32)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-12)
    query = vectors[asked].astype(np.float32)
    query /= np.maximum(np.linalg.norm(query, axis=1, keepdims=True), 1e-12)
    cosines = query @ unit.T
    cosines[asked[:, None] == gallery[None, :]] = -np.inf
    order = np.argsort(-cosines, axis=1, kind="stable")[:, : min(count, len(gallery) - 1)]
    return gallery[order], np.take_along_axis(cosines, order, axis=1)


def _thumbnails(member: Member, rows: pl.DataFrame, shown: Int[np.ndarray, " shown"]) -> tuple[dict[int, str], str]:
    """Data URIs by row; or none, and a sentence that says why."""
    from mscon.data.images import open_store

    settings: Mapping[str, Any] = member.recipe.get("data", {})
    if settings.get("input", "image") != "image":
        return {}, "The rows are no images, so they are shown by their number."
    facts = member.run.facts
    name = str(facts.get("table", {}).get("name", "table"))
    root = facts.get("images_root")
    if root is None:
        return {}, "The run does not say where its images are, so they are not shown."
    known = {field.name for field in fields(Data)}
    given: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in settings.items() if k in known}
    data = Data(**given)
    try:
        images = open_store(rows, Path(root), data, name)[shown]
    except (MSConError, OSError):
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
