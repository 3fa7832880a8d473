"""Dataset: rows, their inputs and their codes, one batch at a time."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import ClassVar

import polars as pl
import torch
from jaxtyping import Bool, Float32, Int64, Shaped
from torch import Tensor

from mscon.data.inputs.open import Inputs
from mscon.data.table.split import SPLITS
from mscon.data.table.table import no_column
from mscon.errors import TableError
from mscon.method import catalogue
from mscon.method.similarities.base import Cell, MalformedCells, Similarity, joined
from mscon.run.recipe import SimilarityPart


@dataclass(frozen=True, slots=True, eq=False)
class Batch:
    """Some rows, as a model and a loss want them.

    Attributes:
        inputs: images or vectors as stored, not yet augmented.
        codes: for each similarity the codes of these rows.
        rows: their numbers in the dataset.
    """

    inputs: Shaped[Tensor, "rows ..."]
    codes: tuple[Shaped[Tensor, "rows ..."], ...]
    rows: Int64[Tensor, " rows"]

    def to(self, device: torch.device | str) -> Batch:
        """The same batch on another device."""
        return Batch(self.inputs.to(device), tuple(code.to(device) for code in self.codes), self.rows.to(device))


@dataclass(frozen=True, slots=True, eq=False)
class Dataset:
    """All rows of a run: every split, every similarity.

    Attributes:
        rows: as `select_rows` gives them.
        similarities: fitted on the training rows.
        inputs: an image, a vector or stored views a row.
        codes: for each similarity the codes of all rows. Encoded once over all rows, since a
            code may be a row's own (same_row), and compared with others (teacher).
        label_weights: the probability with which each label is used in an epoch; None where all are.
    """

    rows: pl.DataFrame
    similarities: tuple[Similarity, ...]
    inputs: Inputs
    codes: tuple[Shaped[Tensor, "rows ..."], ...]
    label_weights: Float32[Tensor, "similarities rows"] | None = None

    # Rows of a batch for each number asked for.
    rows_each: ClassVar[int] = 1

    @classmethod
    def build(
        cls,
        rows: pl.DataFrame,
        similarities: Sequence[Similarity],
        inputs: Inputs,
        teachers: Mapping[str, Shaped[Tensor, "rows numbers"]] = MappingProxyType({}),
    ) -> Dataset:
        """Encode every similarity over all rows.

        Args:
            rows: as `select_rows` gives them.
            similarities: fitted on the training rows.
            inputs: an image or a vector a row.
            teachers: the codes of similarities that read vectors, by name (`mscon.data.inputs.teachers`); where there
                are none, nothing is known of any row.

        Raises:
            ValueError: if rows and inputs differ in number.
            TableError: if a similarity's column is not there.
        """
        if rows.height != len(inputs):
            raise ValueError(f"there are {rows.height} rows but {len(inputs)} inputs.")
        codes = encode_all(rows, similarities, teachers)
        return cls(rows, tuple(similarities), inputs, codes)

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
        inputs = torch.from_numpy(self.inputs[indices.numpy()])
        return Batch(inputs, tuple(codes[indices] for codes in self.codes), indices)

    def weighed(self, label_weights: Float32[Tensor, "similarities rows"] | None) -> Dataset:
        """The same rows, in which labels of weight 0 are missing, and others are used with these probabilities.

        Raises:
            ValueError: if there is not a weight for each similarity and row.
        """
        if label_weights is None:
            return self
        if label_weights.shape != (shape := (len(self.similarities), len(self))):
            raise ValueError(f"label weights must be [similarities, rows] = {[*shape]}, got {[*label_weights.shape]}.")
        return replace(self._without(label_weights == 0), label_weights=label_weights)

    def drawn(self, seed: int) -> Dataset:
        """The same rows with the labels of one epoch: each is used with the probability that is its weight."""
        weights = self.label_weights
        if weights is None or not ((weights > 0) & (weights < 1)).any():
            return self
        chance = torch.rand(weights.shape, generator=torch.Generator().manual_seed(seed))
        return self._without(chance >= weights)

    def _without(self, missing: Bool[Tensor, "similarities rows"]) -> Dataset:
        codes = list(self.codes)
        for number, rows in enumerate(missing):
            if rows.any():  # similarities without a column have no code that says missing, and no label to lose
                codes[number] = codes[number].clone()
                codes[number][rows] = self.similarities[number].encode([None])[0]
        return replace(self, codes=tuple(codes))

    def with_inputs(self, inputs: Inputs) -> Dataset:
        """The same rows with other inputs."""
        return replace(self, inputs=inputs)


def encode_all(
    rows: pl.DataFrame,
    similarities: Sequence[Similarity],
    teachers: Mapping[str, Shaped[Tensor, "rows numbers"]] = MappingProxyType({}),
) -> tuple[Shaped[Tensor, "rows ..."], ...]:
    """For each similarity the codes of all rows; the arguments are those of `Dataset.build`.

    Raises:
        TableError: if a similarity's column is not there.
    """
    return tuple(
        teachers[s.column] if s.column in teachers else s.encode(cells_of(rows, s.columns)) for s in similarities
    )


def fit_similarities(
    rows: pl.DataFrame, parts: Sequence[SimilarityPart], where: str = "", *, unit: str = "line"
) -> tuple[Similarity, ...]:
    """Similarities, each fitted on the cells of the training rows.

    Args:
        rows: as `select_rows` gives them.
        parts: their kinds, columns and settings, in the order of the heads; none to be inferred.
        where: begins every message, for example "shoes.csv: ".
        unit: what the rows of the table are counted in, see `mscon.data.table.table.unit`.

    Raises:
        TableError: once, for all columns that cannot be read as the parts ask.
        RecipeError: if there is no such similarity.
    """
    train = rows.filter(pl.col("split") == "train")
    lines = train.get_column("line").to_list()
    fitted, complaints = [], list[str]()
    for part in parts:
        # Rows of all splits together: a malformed cell of a test row is a mistake too, and all are told at once.
        if faults := malformed(rows, [part], where, unit=unit):
            complaints += faults
            continue
        try:
            kind = catalogue.find("similarity", part.name, where)
            fitted.append(kind.fit(part.column, cells_of(train, part.reads), lines, **part.settings))
        except TableError as error:
            complaints.append(_complaint(error, where, unit))
    if complaints:
        raise TableError("\n".join(complaints))
    return tuple(fitted)


def malformed(rows: pl.DataFrame, parts: Sequence[SimilarityPart], where: str = "", *, unit: str = "line") -> list[str]:
    """Complaints about cells that similarities cannot read, for tables in which something else is wrong too.

    Args:
        rows: with columns `line` and those that the parts read; no split is looked at.
        parts, where, unit: as of `fit_similarities`.
    """
    lines, complaints = rows.get_column("line").to_list(), []
    for part in parts:
        try:
            kind = catalogue.find("similarity", part.name, where)
            kind.check(part.column, cells_of(rows, part.reads), lines, **part.settings)
        except TableError as error:
            complaints.append(_complaint(error, where, unit))
    return complaints


def _complaint(error: TableError, where: str, unit: str) -> str:
    return f"{where}{error.message(unit) if isinstance(error, MalformedCells) else error}"


def cells_of(rows: pl.DataFrame, columns: Sequence[str]) -> list[Cell]:
    """The cells that a similarity reads, one a row.

    Args:
        rows: as `select_rows` gives them.
        columns: `columns` of the similarity, or `reads` of its part of the recipe; several are `joined`. `same_row` and
            `teacher` have none: their column is only a name, also where the table has one called so.

    Raises:
        TableError: if a column is not there.
    """
    if absent := [column for column in columns if column not in rows.columns]:
        raise TableError(no_column(absent[0], rows.columns))
    cells = [rows.get_column(column).to_list() for column in columns]
    return joined(cells) if len(cells) > 1 else cells[0] if cells else [None] * rows.height
