"""Similarity: one answer to "alike in what?"."""

from __future__ import annotations

import dataclasses
import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Sequence
from typing import Any, ClassVar, Literal, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int, Shaped
from torch import Tensor

from mscon.errors import TableError, counted
from mscon.method.labels import Values, tensor_of
from mscon.method.near_values import near_values
from mscon.method.pairs import Pairs

Cell = str | None
"""A cell of a table as it was written; None where it was empty. Missing is missing, never a class."""

BETWEEN_COLUMNS = "\x1f"
"""Stands between the cells of several columns that one similarity reads; ASCII's separator of units."""

# A malformed cell is mostly a slip of the hand, and one wants to jump to each of them.
_LINES_SHOWN = 20

TargetKind = Literal["class", "labels", "rank", "number", "nothing"]
"""What a probe can predict of a similarity's cells: see `Similarity.target`."""

Geometry = Literal["class", "set", "path", "line", "same_row", "none"]
"""How the values of a column lie: names apart from one another; sets of labels; paths down a tree; points on a line,
which are numbers or levels of an order; rows that are each like itself only; or none of these."""

# Pairs of cells are compared so many at a time, each block as a table of its different cells.
_PAIRS = 512


def joined(columns: Sequence[Sequence[Cell]]) -> list[Cell]:
    """The cells of several columns as one, row by row; None where all of them are missing."""
    return [
        BETWEEN_COLUMNS.join(cell or "" for cell in cells) if any(cell is not None for cell in cells) else None
        for cells in zip(*columns, strict=True)
    ]


def _as_lists(value: Any) -> Any:
    return [_as_lists(part) for part in value] if isinstance(value, tuple) else value


class MalformedCells(TableError):
    """Cells that a kind cannot read, in the one form that all such messages have: how many, what, where, what to do.

    Args:
        column: the column they stand in.
        faults: the line of each of them and what stands there, at least one.
        total: cells of the column that are not empty.
        what: what is wrong with them, as it follows "is" or "are".
        advice: what to do next.
    """

    def __init__(self, column: str, faults: Sequence[tuple[int, Cell]], total: int, what: str, advice: str) -> None:
        self.column, self.faults, self.total, self.what, self.advice = column, tuple(faults), total, what, advice
        super().__init__(self.message("line"))

    def message(self, unit: str) -> str:
        """The message for a table whose rows are counted in "line"s, or in "row"s: a kind cannot know."""
        faults = self.faults
        listed = ", ".join(f"{unit} {number} {cell!r}" for number, cell in faults[:_LINES_SHOWN])
        more = f" and {len(faults) - _LINES_SHOWN:,} more" if len(faults) > _LINES_SHOWN else ""
        number = f"{len(faults):,} of {counted(self.total, 'cell')} {'is' if len(faults) == 1 else 'are'}"
        return f"column '{self.column}': {number} {self.what}: {listed}{more}.\n  {self.advice}"


def check_cells(
    column: str,
    cells: Sequence[Cell],
    lines: Sequence[int],
    is_malformed: Callable[[str], bool],
    what: tuple[str, str],
    advice: str,
) -> None:
    """Raise MalformedCells if there are such cells, for all of them; `what` they are if there is one, or several."""
    filled = [(line, cell) for line, cell in zip(lines, cells, strict=True) if cell is not None]
    if faults := [(line, cell) for line, cell in filled if is_malformed(cell)]:
        raise MalformedCells(column, faults, len(filled), what[len(faults) > 1], advice)


def check_differ(column: str, values: Collection[object], what: str) -> None:
    """Raise TableError unless there are two different values in the training rows; `what` says which one there is."""
    if not values:
        raise TableError(f"column '{column}' has no value in any training row. Leave it out of the recipe.")
    if len(values) == 1:
        raise TableError(
            f"column '{column}' has {what}, in all training rows, so nothing can be told apart by it. Leave it out of "
            "the recipe."
        )


@runtime_checkable
class Rule(Protocol):
    """What a training step needs of a similarity: how codes compare.

    Attributes:
        column: its name.
        is_partition: as of `Similarity`.
    """

    @property
    def column(self) -> str: ...

    @property
    def is_partition(self) -> bool: ...

    def compare(self, anchors: Shaped[Tensor, "anchors ..."], candidates: Shaped[Tensor, "candidates ..."]) -> Pairs:
        """How alike, and whether known, for all anchors against all candidates."""
        ...


class Similarity(ABC):
    """Reads the cells of one column into codes, and compares codes. Knows labels, no embeddings.

    Attributes:
        column: the column it reads, also its name in logs and reports.
        is_partition: True if rows are only ever "same class" or "not"; then codes are class ids
            (int64, -1 where missing) and `classes` names them.
        target_kind: what `target` gives, and so which probe predicts it: "class", "labels", "rank", "number", or
            "nothing" where the cells hold nothing that a probe could predict.
        geometry: how the values of the column lie, and so how they are filtered and shown.
        suited_objective: name of the objective that suits it best.
        reads_vectors: True if it reads no cells but a vector a row, which `encode_tensor` turns into codes.
    """

    is_partition: ClassVar[bool] = False
    target_kind: ClassVar[TargetKind] = "nothing"
    geometry: ClassVar[Geometry] = "none"
    suited_objective: ClassVar[str] = "supcon"
    reads_vectors: ClassVar[bool] = False
    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it reads; where there are several, the cells it is given are `joined`."""
        return (self.column,)

    @property
    def target_names(self) -> tuple[str, ...]:
        """Names of what `target` numbers: classes, labels or levels; empty for numbers and for nothing."""
        return ()

    def target(self, cells: Sequence[Cell]) -> Shaped[np.ndarray, "rows ..."]:
        """What a probe predicts for each row, in every split.

        By `target_kind`:
            "class": class index (int64), -1 where the cell is missing or no training row has its class. Of a
                hierarchy the finest level.
            "labels": [rows, labels] of 0 and 1 (float64), a whole row of NaN where missing.
            "rank": rank of the level from 0 (float64), NaN where missing.
            "number": the value in the column's own unit (float64), NaN where missing.
            "nothing": -1 for every row.
        """
        return np.full(len(cells), -1, dtype=np.int64)

    def class_levels(self, cells: Sequence[Cell]) -> list[tuple[Int[np.ndarray, " rows"], tuple[str, ...]]]:
        """Where the target is a class: its index a row and the names of the classes, of each level that has classes.

        There is one level but in a hierarchy, whose coarsest level comes first.
        """
        return [(self.target(cells), self.target_names)]

    def batch_classes(self, cells: Sequence[Cell], at_least: int) -> Int[np.ndarray, " rows"]:
        """A class number a row for balanced batches, which hold enough rows of a class or none; -1 for no class.

        Rows of a class are to be alike to each other, so that each finds a positive in its batch. By default classes
        and levels are what they are; numbers are put into runs of near values (`near_values`); of all else rows of
        equal codes are a class.

        Args:
            cells: of some rows, as the similarity reads them.
            at_least: rows that a class is to have in a batch.
        """
        if self.target_kind == "number":
            return near_values(self.target(cells), at_least, self.alike_within or 0.0)
        if self.target_kind in ("class", "rank"):
            target = self.target(cells).astype(np.float64)
            return np.where(np.isfinite(target), target, -1).astype(np.int64)
        codes = self.encode(cells)
        _, same = np.unique(codes.reshape(len(cells), -1).numpy(), axis=0, return_inverse=True)
        return np.where(self.missing(codes).numpy(), -1, same.reshape(-1))

    @property
    def alike_within(self) -> float | None:
        """The difference within which numbers are alike, in the unit of the column; None where no setting says so."""
        return None

    @property
    def half_counts(self) -> bool:
        """Whether nearly all rows are a little alike, so that two count as alike from a weight of 0.5 on."""
        return not self.is_partition and self.geometry in ("line", "none")

    def parts(self, cell: str) -> tuple[str, ...]:
        """What a cell consists of: the labels of a set, the levels of a path from the coarsest on, else the cell."""
        return (cell,)

    def shown(self, cell: str) -> str:
        """A cell for people: as it was written, or the cells of several columns with " / " between them."""
        return cell.replace(BETWEEN_COLUMNS, " / ")

    def agreement(self, cells: Sequence[Cell], others: Sequence[Cell]) -> Float[np.ndarray, " pairs"]:
        """How alike the cells of each pair are: the weight that training gives them, in [0, 1], NaN where unknown.

        Whatever judges two cells after training asks this. Each different pair is compared once, in blocks, so that
        memory does not grow with the number of pairs squared.

        Args:
            cells: of each pair the one cell, as the similarity reads it, see `columns`.
            others: of each pair the other.

        Raises:
            ValueError: if these are not as many as those.
        """
        if len(cells) != len(others):
            raise ValueError(f"agreement is of pairs of cells, got {len(cells)} cells and {len(others)} others.")
        if not self.columns or not len(cells):
            return np.full(len(cells), math.nan)
        place = {cell: number for number, cell in enumerate(dict.fromkeys((*cells, *others)))}
        codes, count = self.encode(list(place)), len(place)
        numbers = np.array([place[one] * count + place[other] for one, other in zip(cells, others, strict=True)])
        distinct, which = np.unique(numbers, return_inverse=True)
        weights = np.full(len(distinct), math.nan)
        for start in range(0, len(distinct), _PAIRS):
            block = slice(start, start + _PAIRS)
            left, row = np.unique(distinct[block] // count, return_inverse=True)
            right, at = np.unique(distinct[block] % count, return_inverse=True)
            pairs = self.compare(codes[left], codes[right])
            weights[block] = np.where(pairs.known.numpy()[row, at], pairs.weight.double().numpy()[row, at], math.nan)
        return weights[which]

    @classmethod
    def check(cls, column: str, cells: Sequence[Cell], lines: Sequence[int], **settings: Any) -> None:
        """Raise an error for cells that this kind cannot read, in any split. By default it reads all.

        Args:
            column: the column, for the message.
            cells: of rows of any split.
            lines: on which line of its file each of them stands.
            settings: as of `fit`.

        Raises:
            TableError: once, for all such cells, with their lines.
        """
        del column, cells, lines, settings

    @classmethod
    @abstractmethod
    def fit(cls, column: str, cells: Sequence[Cell], lines: Sequence[int], *args: Any, **settings: Any) -> Similarity:
        """Learn what codes stand for from the cells of the training rows.

        Its keyword-only parameters are the settings that a recipe may give.

        Raises:
            TableError: if the column cannot be read as this kind, with the lines at fault.
            RecipeError: if a setting cannot be meant.
        """

    @abstractmethod
    def encode(self, cells: Sequence[Cell]) -> Shaped[Tensor, "rows ..."]:
        """Cells to codes, a row each. Values that no training row has are missing."""

    def encode_tensor(self, labels: Values) -> Shaped[Tensor, "rows ..."]:
        """The labels of a batch to codes, for a training loop that has tensors and no cells.

        By default labels are codes already, as `encode` gives them; each kind says what else it takes.

        Args:
            labels: a row each; a tensor (codes lie where it lies), an array or a list of numbers.

        Raises:
            ValueError: for labels that this kind cannot read, with what was got and expected.
        """
        return tensor_of(f"labels '{self.column}'", labels)

    @abstractmethod
    def compare(self, anchors: Shaped[Tensor, "anchors ..."], candidates: Shaped[Tensor, "candidates ..."]) -> Pairs:
        """How alike, and whether known, for all anchors against all candidates."""

    @abstractmethod
    def missing(self, codes: Shaped[Tensor, "rows ..."]) -> Bool[Tensor, " rows"]:
        """Rows about which this similarity says nothing."""

    def to_json(self) -> dict[str, object]:
        """What `from_json` needs to rebuild it; plain JSON values. By default the fields of a dataclass."""
        values = {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}  # type: ignore[arg-type]
        return {name: _as_lists(value) for name, value in values.items()}

    @classmethod
    @abstractmethod
    def from_json(cls, state: dict[str, object]) -> Similarity:
        """The inverse of `to_json`."""
