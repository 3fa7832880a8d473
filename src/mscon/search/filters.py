"""Filters: which rows may be found, by their labels.

    gender=women            the label; one of the labels of a cell; a path or all below it
    heel=2..4               from 2 to 4, both included; also 2.. and ..4
    heel>=3                 also >, <=, <

Numbers compare in any column that holds some, levels in their order. Filters of different columns must all hold. Of one
column, values and ranges are alternatives (gender=women, gender=girls), while comparisons must all hold (heel>2,
heel<=4). A row whose cell is missing fulfils no filter.
"""

from __future__ import annotations

import math
import operator
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool

from mscon.data.table.label_columns import LabelColumn, LabelColumns
from mscon.errors import RunError, counted, nearest, shortened
from mscon.search.complaints import Complaints

_COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}
_SIGNS = (*_COMPARE, "=")
_FORM = "A filter is written gender=women, heel=2..4 or heel>=3."


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition on the cells of one column.

    Attributes:
        column: its name.
        sign: "=", ">=", "<=", ">" or "<".
        value: what stands behind it; behind "=" maybe a range such as "2..4".
    """

    column: str
    sign: str
    value: str

    def __str__(self) -> str:
        return f"{self.column}{self.sign}{self.value}"

    def rows(self, column: LabelColumn) -> Bool[np.ndarray, " rows"]:
        """Rows that fulfil it.

        Raises:
            RunError: if no row has the value, or the column has nothing to compare.
        """
        if self.sign != "=":
            compare, bound = _COMPARE[self.sign], self._bound(column, self.value)
            return column.where(lambda cell: (at := column.place(cell)) is not None and compare(at, bound))
        fulfil = column.where(lambda cell: column.holds(cell, self.value))
        if fulfil.any():
            return fulfil
        low, dots, high = self.value.partition("..")
        if not dots or not (low.strip() or high.strip()):
            raise RunError(column.no_value(self.value))
        least = self._bound(column, low) if low.strip() else -math.inf
        most = self._bound(column, high) if high.strip() else math.inf
        if least > most:
            raise RunError(f"filter '{self}': the range ends before it begins. Write {column.name}={high}..{low}.")
        return column.where(lambda cell: (at := column.place(cell)) is not None and least <= at <= most)

    def _bound(self, column: LabelColumn, text: str) -> float:
        text = text.strip()
        if not any(column.place(cell) is not None for cell in column.counts):
            raise RunError(
                f"filter '{self}': column '{column.name}' holds no numbers, so it has no order to compare by."
            )
        if (place := column.place(text)) is None:
            what = f"no level of column '{column.name}'" if column.levels else "no number"
            listed = f"\n  Levels: {', '.join(column.levels)}." if column.levels else ""
            raise RunError(f"filter '{self}': '{text}' is {what}.{nearest(text, column.levels)}{listed}")
        return place


def parse(text: str, labels: LabelColumns) -> Condition:
    """A condition as it is written on the command line.

    Raises:
        RunError: if it is none, or there is no such column.
    """
    # A column may have a sign in its name, so names that are there are tried first, the longest of them first.
    for name in sorted(labels.searchable, key=len, reverse=True):
        if text.startswith(name) and (sign := _sign(text[len(name) :].lstrip())):
            value = text[len(name) :].lstrip()[len(sign) :].strip()
            if not value:
                raise RunError(f"filter '{text}': a value is missing behind '{sign}'. {_FORM}")
            return Condition(name, sign, value)
    name = re.split(r"[<>=]", text, maxsplit=1)[0].strip()
    if not name or name == text.strip():
        raise RunError(f"filter '{text}' has no '=' and no comparison. {_FORM}")
    labels[name]  # complains, with what there is
    raise RunError(f"filter '{text}' cannot be read. {_FORM}")


def conditions(filters: Sequence[str] | Mapping[str, Any] | str | None, labels: LabelColumns) -> list[Condition]:
    """Conditions as a caller writes them.

    Args:
        filters: written conditions; or a mapping from columns to a value, a list of alternatives, or a range as a pair
            of numbers, either of which may be None: {"gender": ["women", "girls"], "heel": (2, None)}.

    Raises:
        RunError: once, for all that cannot be read.
    """
    if not isinstance(filters, str | Mapping | Sequence | None):
        raise ValueError(f"filters must be text, a list of texts or a dictionary, got {shortened(filters)}.")
    if not isinstance(filters, Mapping):
        return _each([filters] if isinstance(filters, str) else list(filters or ()), lambda text: parse(text, labels))
    parsed: list[Condition] = []
    for name, value in filters.items():
        for one in value if isinstance(value, list) else [value]:
            parsed.append(Condition(str(name), "=", _range(one) if isinstance(one, tuple) else str(one)))
    return parsed


def rows_of(filters: Sequence[Condition], labels: LabelColumns) -> Bool[np.ndarray, " rows"] | None:
    """Rows that fulfil the conditions; None where there are none to fulfil, so that all rows do.

    Raises:
        RunError: once, for all that name a column or a value that is not there; and if no row is left, with how many
            each leaves.
    """
    if not filters:
        return None
    each = _each(filters, lambda condition: condition.rows(labels[condition.column]))
    left = np.ones(labels.rows.height, dtype=bool)
    for name in dict.fromkeys(condition.column for condition in filters):
        of_column = [(c, rows) for c, rows in zip(filters, each, strict=True) if c.column == name]
        if alternatives := [rows for condition, rows in of_column if condition.sign == "="]:
            left &= np.logical_or.reduce(alternatives)
        for rows in (rows for condition, rows in of_column if condition.sign != "="):
            left &= rows
    if not left.any():
        counts = "".join(f"\n  {c}: {counted(int(rows.sum()), 'row')}" for c, rows in zip(filters, each, strict=True))
        together = "" if len(filters) == 1 else "\n  all together: 0 rows"
        raise RunError(f"nothing is left of {counted(len(left), 'row')} to search in.{counts}{together}")
    return left


def _each(values: Sequence[Any], read: Callable[[Any], Any]) -> list[Any]:
    """All of them read; or one message about all that cannot be."""
    complaints = Complaints()
    results = complaints.each(read, values)
    complaints.raise_any()
    return results


def _range(ends: tuple[Any, ...]) -> str:
    if len(ends) != 2 or not all(end is None or isinstance(end, str) or _is_finite_number(end) for end in ends):
        raise ValueError(f"a range is a pair of numbers or levels, either of which may be None, got {ends!r}.")
    low, high = ("" if end is None else str(end) for end in ends)
    if not (low or high):
        raise ValueError("a range needs one end at least, got (None, None).")
    return f"{low}..{high}"


def _sign(text: str) -> str:
    return next((sign for sign in _SIGNS if text.startswith(sign)), "")


def _is_finite_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
