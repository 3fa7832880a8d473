"""Dataset: rows, their images and their codes, a batch at a time. There is one such class for all data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import polars as pl
import torch
from jaxtyping import Int64, Shaped, UInt8
from torch import Tensor

from mscon import catalogue
from mscon.data.images import ImageStore
from mscon.data.split import SPLITS
from mscon.data.table import no_column
from mscon.errors import TableError
from mscon.recipe import Recipe
from mscon.similarities.base import Cell, Similarity
from mscon.similarities.same_row import SameRow


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some rows, as a model and a loss want them.

    Attributes:
        images: as stored, not yet augmented.
        codes: for each similarity the codes of these rows.
        rows: their numbers in the dataset.
    """

    images: UInt8[Tensor, "rows channels size size"]
    codes: tuple[Shaped[Tensor, "rows ..."], ...]
    rows: Int64[Tensor, " rows"]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(self.images.to(device), tuple(code.to(device) for code in self.codes), self.rows.to(device))


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """All rows of a run: every split, every similarity.

    Attributes:
        rows: as `select_rows` gives them.
        similarities: fitted on the training rows.
        store: one image a row.
        codes: for each similarity the codes of all rows. Encoded once over all rows, since a
            code may be a row's own (same_row).
    """

    rows: pl.DataFrame
    similarities: tuple[Similarity, ...]
    store: ImageStore
    codes: tuple[Shaped[Tensor, "rows ..."], ...]

    # Rows of a batch for each number asked for.
    rows_each: ClassVar[int] = 1

    @classmethod
    def build(cls, rows: pl.DataFrame, similarities: Sequence[Similarity], store: ImageStore) -> Dataset:
        """Encode every similarity over all rows.

        Raises:
            ValueError: if rows and images differ in number.
            TableError: if a similarity's column is not there.
        """
        if rows.height != len(store):
            raise ValueError(f"there are {rows.height} rows but {len(store)} images.")
        codes = tuple(s.encode(_cells(rows, s.column, isinstance(s, SameRow))) for s in similarities)
        return cls(rows, tuple(similarities), store, codes)

    def __len__(self) -> int:
        return self.rows.height

    def indices(self, split: str) -> Int64[Tensor, " rows"]:
        """Numbers of the rows of a split, in the order of the table; maybe none.

        Raises:
            ValueError: if there is no such split.
        """
        if split not in SPLITS:
            raise ValueError(f"split must be one of {', '.join(SPLITS)}, got {split!r}.")
        return torch.from_numpy((self.rows.get_column("split") == split).arg_true().to_numpy().astype("int64"))

    def batch(self, indices: Int64[Tensor, " rows"]) -> Batch:
        """The rows with these numbers, in this order.

        Raises:
            IndexError: for a row that is not there.
        """
        images = torch.from_numpy(self.store[indices.numpy()])
        return Batch(images, tuple(codes[indices] for codes in self.codes), indices)


def fit_similarities(rows: pl.DataFrame, recipe: Recipe, where: str = "") -> tuple[Similarity, ...]:
    """The similarities of a recipe, each fitted on the cells of the training rows.

    Args:
        rows: as `select_rows` gives them.
        recipe: names them, in the order of the heads.
        where: begins every message, for example "shoes.csv: ".

    Raises:
        TableError: once, for all columns that cannot be read as the recipe asks.
        RecipeError: if there is no such similarity.
    """
    train = rows.filter(pl.col("split") == "train")
    lines = train.get_column("line").to_list()
    fitted, complaints = [], []
    for part in recipe.similarities:
        kind = catalogue.find("similarity", part.name, where)
        try:
            cells = _cells(train, part.column, issubclass(kind, SameRow))
            fitted.append(kind.fit(part.column, cells, lines, **part.settings))
        except TableError as error:
            complaints.append(f"{where}{error}")
    if complaints:
        raise TableError("\n".join(complaints))
    return tuple(fitted)


def _cells(rows: pl.DataFrame, column: str, is_same_row: bool) -> list[Cell]:
    """The cells a similarity reads. Of `same_row` the column is but a name, also where the table has one called so."""
    if is_same_row:
        return [None] * rows.height
    if column not in rows.columns:
        raise TableError(no_column(column, rows.columns))
    return rows.get_column(column).to_list()
