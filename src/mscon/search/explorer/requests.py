"""Requests of a page to its server, read from JSON that anybody may have written. One message names all mistakes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from jaxtyping import Bool

from mscon.errors import MSConError, RunError, nearest
from mscon.search.explorer.columns import Column
from mscon.search.mix import Mix

MOST_EXAMPLES = 100
MOST_IMAGES = 16
MOST_HITS = 240
MOST_WITHIN = 20_000


@dataclass(frozen=True, slots=True)
class Filter:
    """Rows that a filter lets through: by their label, by their number, and maybe also those without either.

    Attributes:
        column: number of the column.
        codes: of its labels.
        low, high: of its numbers, both included.
        blank: whether rows without a label pass.
    """

    column: int
    codes: tuple[int, ...] = ()
    low: float = -math.inf
    high: float = math.inf
    blank: bool = False

    def rows(self, column: Column) -> Bool[np.ndarray, " rows"]:
        """Which of all rows pass."""
        if column.kind == "number":
            # A comparison with NaN is false: the missing do not pass by it.
            through = (column.values >= self.low) & (column.values <= self.high)
            return through | np.isnan(column.values) if self.blank else through
        through = np.isin(column.codes, self.codes)
        return through | (column.codes < 0) if self.blank else through


@dataclass(frozen=True, slots=True)
class Request:
    """What a page asks its server for.

    Attributes:
        mix: how much each similarity counts; None where nothing is ranked.
        like, unlike: rows that are examples.
        images: of uploads the names that the server gave them; examples to be like.
        middle: a filter whose rows' middle is an example.
        filters: which rows may be found: all must hold.
        within: rows that may be found; None for all.
        count: how many are wanted.
    """

    mix: Mix | None = None
    like: tuple[int, ...] = ()
    unlike: tuple[int, ...] = ()
    images: tuple[str, ...] = ()
    middle: Filter | None = None
    filters: tuple[Filter, ...] = ()
    within: tuple[int, ...] | None = None
    count: int = 24

    @property
    def has_example(self) -> bool:
        """Whether there is something to be like."""
        return bool(self.like or self.images or self.middle)


@dataclass(frozen=True)
class Reader:
    """Reads questions about one run.

    Args:
        rows: how many it has.
        columns: its label columns.
        mix: reads a mix, and raises RunError for what is none.
    """

    rows: int
    columns: Sequence[Column]
    mix: Callable[[Mapping[str, Any]], Mix]

    def search(self, body: bytes) -> Request:
        """The rows most like some examples: {"mix": {name: weight}, "like": [row], "unlike": [row],
        "images": [name], "middle": {"column", "codes"}, "filters": [...], "within": [row], "count"}.

        Raises:
            RunError: once for all that is wrong.
        """
        return self._read(body, ("mix", "like", "unlike", "images", "middle", "filters", "within", "count"))

    def browse(self, body: bytes) -> Request:
        """Some rows that pass filters: {"filters": [...], "within": [row], "count"}.

        Raises:
            RunError: once for all that is wrong.
        """
        return self._read(body, ("filters", "within", "count"))

    def rows_by_number(self, body: bytes) -> Request:
        """Some rows by their numbers, as `like`: {"rows": [row]}.

        Raises:
            RunError: once for all that is wrong.
        """
        return self._read(body, ("rows",))

    def _read(self, body: bytes, known: Sequence[str]) -> Request:
        fields, complaints = parse(body), _Complaints()
        for name in fields:
            if name not in known:
                listed = ", ".join(known)
                complaints.add(f"there is no '{_shown(name)}' to ask for.{nearest(name, known)} Known: {listed}.")
        mix = complaints.of(lambda: self._mix(fields["mix"])) if "mix" in fields else None
        examples = {
            name: self._rows(fields.get(name, []), name, MOST_EXAMPLES, complaints) for name in ("like", "unlike")
        }
        if "rows" in known:
            examples["like"] = self._rows(fields.get("rows"), "rows", MOST_HITS, complaints)
        middle = None
        if fields.get("middle") is not None:
            middle = complaints.of(lambda: self._filter(fields["middle"], "middle"))
            if middle is not None and self.columns[middle.column].kind == "number":
                complaints.add("middle: numbers have no label to be the middle of.")
        request = Request(
            mix=mix,
            like=examples["like"],
            unlike=examples["unlike"],
            images=self._images(fields.get("images", []), complaints),
            middle=middle,
            filters=self._filters(fields.get("filters", []), complaints),
            within=None
            if fields.get("within") is None
            else self._rows(fields["within"], "within", MOST_WITHIN, complaints),
            count=_count(fields.get("count", 24), complaints),
        )
        if "mix" in known and "mix" not in fields:
            complaints.add("'mix' is missing: how much each similarity counts.")
        if "mix" in known and not complaints.messages and not request.has_example:
            complaints.add("there is no example to be like. Add one ('like', 'images' or 'middle').")
        complaints.raise_any()
        return request

    def _mix(self, weights: Any) -> Mix:
        if not isinstance(weights, dict):
            raise RunError("'mix' must be an object of similarities and weights.")
        return self.mix(weights)

    def _rows(self, value: Any, name: str, most: int, complaints: _Complaints) -> tuple[int, ...]:
        if not isinstance(value, list) or not all(_is_whole(row) for row in value):
            complaints.add(f"'{name}' must be a list of whole numbers, of rows.")
            return ()
        if len(value) > most:
            complaints.add(f"'{name}' has {len(value):,} rows; at most {most:,} are taken.")
        outside = [row for row in value if not 0 <= row < self.rows]
        if outside:
            complaints.add(f"there is no row {_shown(outside[0])} ('{name}'): rows go from 0 to {self.rows - 1:,}.")
        return tuple(dict.fromkeys(value))

    def _images(self, value: Any, complaints: _Complaints) -> tuple[str, ...]:
        if not isinstance(value, list) or not all(isinstance(name, str) for name in value):
            complaints.add("'images' must be a list of names that uploads were given.")
            return ()
        if len(value) > MOST_IMAGES:
            complaints.add(f"'images' has {len(value):,}; at most {MOST_IMAGES} are taken.")
        return tuple(dict.fromkeys(value))

    def _filters(self, value: Any, complaints: _Complaints) -> tuple[Filter, ...]:
        if not isinstance(value, list):
            complaints.add("'filters' must be a list.")
            return ()
        if len(value) > len(self.columns):
            complaints.add(f"'filters' has {len(value):,}; there are {len(self.columns)} columns.")
            return ()
        read = [complaints.of(partial(self._filter, one, "filters")) for one in value]
        return tuple(one for one in read if one is not None)

    def _filter(self, value: Any, place: str) -> Filter:
        if not isinstance(value, dict):
            raise RunError(f"{place}: each must be an object with a 'column'.")
        names = [column.name for column in self.columns]
        name = value.get("column")
        if not isinstance(name, str) or name not in names:
            raise RunError(f"{place}: there is no column '{_shown(name)}'.{nearest(str(name)[:100], names)}")
        number = names.index(name)
        column = self.columns[number]
        fields = ("low", "high") if column.kind == "number" else ("codes",)
        if extra := sorted(set(value) - {"column", "blank", *fields}):
            raise RunError(
                f"{place}: column '{name}' has no '{_shown(extra[0])}' to filter by, but {', '.join(fields)}."
            )
        blank = value.get("blank", False)
        if not isinstance(blank, bool):
            raise RunError(f"{place}: 'blank' must be true or false.")
        if column.kind == "number":
            low, high = (_bound(value.get(end), end, place) for end in ("low", "high"))
            return Filter(
                number, low=-math.inf if low is None else low, high=math.inf if high is None else high, blank=blank
            )
        codes, there = value.get("codes", []), len(column.sets or column.labels)
        if not isinstance(codes, list) or not all(_is_whole(code) and 0 <= code < there for code in codes):
            raise RunError(f"{place}: 'codes' must be a list of whole numbers from 0 to {there - 1:,}, of '{name}'.")
        return Filter(number, codes=tuple(sorted(set(codes))), blank=blank)


def parse(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RunError: if it is none, or has a number that JSON does not know, such as NaN.
    """

    def refuse(name: str) -> None:
        raise ValueError(f"{name} is no number of JSON")

    try:
        value = json.loads(body.decode("utf-8"), parse_constant=refuse)
    except (ValueError, RecursionError) as error:
        raise RunError(f"this is not JSON as it should be: {_shown(error)}.") from None
    if not isinstance(value, dict):
        raise RunError("a question must be a JSON object.")
    return value


class _Complaints:
    """All that is wrong, to be said at once."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    def add(self, text: str) -> None:
        self.messages.append(text)

    def of(self, read: Callable[[], Any]) -> Any:
        """What is read, or None and a complaint."""
        try:
            return read()
        except MSConError as error:
            self.add(str(error))
            return None

    def raise_any(self) -> None:
        if self.messages:
            raise RunError("\n".join(dict.fromkeys(self.messages)))


def _count(value: Any, complaints: _Complaints) -> int:
    if not _is_whole(value) or not 1 <= value <= MOST_HITS:
        complaints.add(f"'count' must be a whole number from 1 to {MOST_HITS}, got {_shown(value)}.")
        return 1
    return int(value)


def _bound(value: Any, end: str, place: str) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise RunError(f"{place}: '{end}' must be a number, got {_shown(value)}.")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise RunError(f"{place}: '{end}' must be a finite number, got {_shown(value)}.")
    return number


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _shown(value: Any) -> str:
    """Some of a value: it may be long."""
    text = str(value)
    return text if len(text) <= 100 else text[:99] + "…"
