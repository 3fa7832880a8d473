"""Columns of the table as inputs: numbers and categories become vectors by rules learnt from the training rows.

- A number is standardised: (value - mean) / std. Missing is the mean, 0, and where training rows miss it a further
  dimension says so with a 1.
- A category is one dimension a value. Missing is a value like any other where training rows miss it. What no training
  row has, and what is not among the 256 most frequent, is 0 in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import msgspec
import numpy as np
import polars as pl
from jaxtyping import Float32, Int, Int32, Int64

from mscon.data.inputs.number_cells import numbers_of, too_large
from mscon.data.table.table import no_column
from mscon.errors import RunError, TableError
from mscon.run.ranges import Finite, Positive

MOST_VALUES = 256


@dataclass(frozen=True, slots=True)
class Number:
    """How a column of numbers is encoded.

    Attributes:
        column: its name.
        mean, std: of the training rows, in the column's own unit.
        says_missing: whether a further dimension tells which rows miss it.
    """

    column: str
    mean: Finite
    std: Positive
    says_missing: bool

    @property
    def width(self) -> int:
        return 1 + self.says_missing


@dataclass(frozen=True, slots=True)
class Category:
    """How a column of categories is encoded.

    Attributes:
        column: its name.
        values: of the training rows, a dimension each, the most frequent first.
        says_missing: whether a last dimension stands for missing.
    """

    column: str
    values: tuple[str, ...]
    says_missing: bool

    @property
    def width(self) -> int:
        return len(self.values) + self.says_missing


@dataclass(frozen=True, slots=True, eq=False)
class ColumnStore:
    """Rows as vectors, computed on access: a category is stored as one number, not as hundreds of zeros.

    Attributes:
        coding: how they are written.
        numbers: those of the number columns.
        codes: for each category column the dimension of it that is 1, or -1 for none.
    """

    coding: ColumnCoding
    numbers: Float32[np.ndarray, "rows numbers"]
    codes: Int32[np.ndarray, "rows categories"]

    def __len__(self) -> int:
        return self.numbers.shape[0]

    def __getitem__(self, rows: Int[np.ndarray, " batch"] | Sequence[int]) -> Float32[np.ndarray, "batch dim"]:
        """The vectors of these rows.

        Raises:
            IndexError: for a row that is not there; a negative number is no row.
        """
        numbers = np.asarray(rows, dtype=np.int64)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"rows {numbers.min()} to {numbers.max()} asked of {len(self)} rows.")
        vectors = np.zeros((numbers.size, self.width), dtype=np.float32)
        begin = self.numbers.shape[1]
        vectors[:, :begin] = self.numbers[numbers]
        for at, category in enumerate(self.coding.categories):
            codes = self.codes[numbers, at]
            known = np.flatnonzero(codes >= 0)
            vectors[known, begin + codes[known]] = 1.0
            begin += category.width
        return vectors

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self.coding.width

    @property
    def columns(self) -> Int64[np.ndarray, " dim"]:
        """For each dimension the column that it is of."""
        widths = [part.width for part in self.coding.parts]
        return np.repeat(np.arange(len(widths)), widths)

    @property
    def mean(self) -> Float32[np.ndarray, " dim"]:
        """Zeros: the numbers are standardised already."""
        return np.zeros(self.width, dtype=np.float32)

    @property
    def std(self) -> Float32[np.ndarray, " dim"]:
        return np.ones(self.width, dtype=np.float32)

    def to_json(self) -> dict[str, Any]:
        """What a run keeps of it; plain JSON values."""
        return {"input": "columns", "width": self.width, **self.coding.to_json()}


@dataclass(frozen=True, slots=True)
class ColumnCoding:
    """How columns become vectors: all numbers, then all categories."""

    numbers: tuple[Number, ...]
    categories: tuple[Category, ...]

    @property
    def parts(self) -> tuple[Number | Category, ...]:
        return (*self.numbers, *self.categories)

    @property
    def width(self) -> int:
        return sum(part.width for part in self.parts)

    @property
    def dimensions(self) -> list[str]:
        """What each number of a vector is, in order, for a program that makes vectors without mscon."""
        words = []
        for number in self.numbers:
            words.append(f"{number.column}: (x - {number.mean!r}) / {number.std!r}, 0 where missing")
            words += [f"{number.column}: 1 where missing"] * number.says_missing
        for category in self.categories:
            words += [f"{category.column}: 1 where {value!r}" for value in category.values]
            words += [f"{category.column}: 1 where missing"] * category.says_missing
        return words

    @classmethod
    def fit(
        cls, rows: pl.DataFrame, numbers: Sequence[str], categories: Sequence[str], table_name: str
    ) -> ColumnCoding:
        """Learn the rules from the rows of split train.

        Args:
            rows: as `select_rows` gives them.
            numbers, categories: names of columns.
            table_name: how messages call the table.

        Raises:
            TableError: once for all cells that are no numbers, and all columns that do not vary.
        """
        train = rows.filter(pl.col("split") == "train")
        complaints: list[str] = []
        read: list[Number] = []
        listed: list[Category] = []
        for name in numbers:
            try:
                read.append(_number(rows, train, name, table_name))
            except TableError as error:
                complaints.append(str(error))
        for name in categories:
            try:
                listed.append(_category(train, name, table_name))
            except TableError as error:
                complaints.append(str(error))
        if complaints:
            raise TableError("\n".join(complaints))
        return cls(tuple(read), tuple(listed))

    def encode(self, rows: pl.DataFrame, table_name: str) -> ColumnStore:
        """All rows by these rules.

        Raises:
            TableError: for cells that are no numbers, or too large ones.
        """
        if absent := [part.column for part in self.parts if part.column not in rows.columns]:
            raise TableError(f"{table_name}: {no_column(absent[0], rows.columns)}")
        numbers = np.zeros((rows.height, sum(n.width for n in self.numbers)), dtype=np.float32)
        at = 0
        for part in self.numbers:
            values = numbers_of(rows, part.column, table_name)
            missing = np.isnan(values)
            with np.errstate(over="ignore"):  # what single precision cannot hold becomes infinite, and is a fault
                numbers[:, at] = np.where(missing, 0.0, (values - part.mean) / part.std)
            if broken := np.flatnonzero(~np.isfinite(numbers[:, at])).tolist():
                raise too_large(rows, part.column, broken, table_name)
            if part.says_missing:
                numbers[:, at + 1] = missing
            at += part.width
        codes = np.full((rows.height, len(self.categories)), -1, dtype=np.int32)
        for number, category in enumerate(self.categories):
            cells, known = rows.get_column(category.column), list(category.values)
            places = cells.replace_strict(known, list(range(len(known))), default=None, return_dtype=pl.Int32)
            last = len(known) if category.says_missing else -1
            codes[:, number] = np.where(cells.is_null().to_numpy(), last, places.fill_null(-1).to_numpy())
        return ColumnStore(self, numbers, codes)

    def to_json(self) -> dict[str, Any]:
        """What `from_json` needs to rebuild it; plain JSON values."""
        return {
            "numbers": [asdict(number) for number in self.numbers],
            "categories": [{**asdict(category), "values": list(category.values)} for category in self.categories],
        }

    @classmethod
    def from_json(cls, state: Mapping[str, Any]) -> ColumnCoding:
        """The inverse of `to_json`.

        Raises:
            RunError: for what `to_json` does not write.
        """
        try:
            coding = msgspec.convert(state, cls)
        except msgspec.ValidationError as error:
            raise RunError(f"how columns become vectors is not told as mscon writes it: {error}.") from None
        if coding.width != (width := state.get("width", coding.width)):
            raise RunError(f"columns become vectors of {coding.width:,} numbers, but {width:,} are told.")
        return coding


def _number(rows: pl.DataFrame, train: pl.DataFrame, column: str, table_name: str) -> Number:
    numbers_of(rows, column, table_name)  # so that no row is at fault, of whatever split
    values = numbers_of(train, column, table_name)
    known = values[~np.isnan(values)]
    says_missing = known.size < values.size
    std = float(known.std()) if known.size else 0.0
    if not known.size or not (std > 1e-12 * abs(float(known.mean())) or says_missing):
        what = f"one value only, {known[0]:g}," if known.size else "no value"
        raise TableError(
            f"{table_name}: the number column {column!r} has {what} in all training rows, so it tells nothing. Take it "
            "out of [data] numbers."
        )
    return Number(column, float(known.mean()), std if std > 0 else 1.0, says_missing)


def _category(train: pl.DataFrame, column: str, table_name: str) -> Category:
    counts = train.get_column(column).drop_nulls().value_counts()
    # Most frequent first; the name decides between equals, so that the order is the same every time.
    ordered = counts.sort(["count", column], descending=[True, False]).get_column(column).to_list()
    says_missing = train.get_column(column).null_count() > 0
    if len(ordered) + says_missing < 2 or not ordered:
        what = f"one value only, {ordered[0]!r}," if ordered else "no value"
        raise TableError(
            f"{table_name}: the category column {column!r} has {what} in all training rows, so it tells nothing. Take "
            "it out of [data] categories."
        )
    return Category(column, tuple(ordered[:MOST_VALUES]), says_missing)
