"""Requests of a page to its server, read from JSON that anybody may have written. One message names all mistakes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
from jaxtyping import Bool
from msgspec import Meta

from mscon.errors import RunError, nearest
from mscon.search.complaints import Complaints
from mscon.search.explorer.columns import Column
from mscon.search.mix import Mix
from mscon.search.moves import HIGHER, LOWER

MOST_EXAMPLES = 100
MOST_NEW = 16
MOST_HITS = 240
MOST_WITHIN = 20_000
MOST_LETTERS = 200

MOST_WEIGHT = 100.0

Kind = Literal["search", "browse", "rows", "encode"]
"""The rows most like some examples; some rows that pass filters; rows by their numbers or lines; or a new row."""

_RESTRICTIONS = ("filters", "within", "text", "count")
_KNOWN: Mapping[Kind, Sequence[str]] = {
    "search": ("mix", "like", "unlike", "new", "weights", "middle", "towards", *_RESTRICTIONS),
    "browse": _RESTRICTIONS,
    "rows": ("rows", "lines"),
    "encode": ("row",),
}


def _numbers(most: int) -> tuple[Any, str]:
    return Annotated[list[int], Meta(max_length=most)] | None, f"a list of at most {most:,} whole numbers"


# What each field must be, for msgspec and in words.
_FIELDS: Mapping[str, tuple[Any, str]] = {
    "mix": (dict[str, Any], "an object of similarities and weights"),
    "like": _numbers(MOST_EXAMPLES),
    "unlike": _numbers(MOST_EXAMPLES),
    "rows": _numbers(MOST_HITS),
    "lines": _numbers(MOST_HITS),
    "within": _numbers(MOST_WITHIN),
    "new": (
        Annotated[list[str], Meta(max_length=MOST_NEW)],
        f"a list of names that new rows were given, at most {MOST_NEW}",
    ),
    "weights": (
        Annotated[dict[str, Annotated[float, Meta(gt=0, le=MOST_WEIGHT)]], Meta(max_length=2 * MOST_EXAMPLES)],
        f"an object of rows, or new rows, and numbers above 0, at most {MOST_WEIGHT:g}",
    ),
    "towards": (
        Annotated[list[dict[str, Any]], Meta(max_length=MOST_EXAMPLES)],
        "a list of objects with a 'column', an 'amount', and 'codes', 'near' or 'to'",
    ),
    "to": (Literal[HIGHER, LOWER], f"'{HIGHER}' or '{LOWER}'"),
    "near": (float, "a finite number"),
    "amount": (Annotated[float, Meta(gt=0, le=1)], "a number above 0 and at most 1"),
    "row": (str | list[Any] | dict[str, Any], "a text, a list of numbers or an object of cells"),
    "middle": (dict[str, Any] | None, "an object with a 'column'"),
    "filters": (list[dict[str, Any]], "a list of objects with a 'column'"),
    "text": (Annotated[str, Meta(max_length=MOST_LETTERS)], f"a text of at most {MOST_LETTERS} letters"),
    "count": (Annotated[int, Meta(ge=1, le=MOST_HITS)], f"a whole number from 1 to {MOST_HITS}"),
    "codes": (list[Annotated[int, Meta(ge=0)]], "a list of whole numbers, of labels"),
    "low": (float | None, "a finite number"),
    "high": (float | None, "a finite number"),
    "blank": (bool, "true or false"),
}


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
class Toward:
    """What a query moves towards: rows by their label or near a number, or higher or lower values.

    Attributes:
        filter: the column, and the codes of its labels if it is a label.
        target: a number, "higher" or "lower", as text; empty if it is a label.
        amount: how far, see `mscon.search.moves`.
    """

    filter: Filter
    target: str
    amount: float


@dataclass(frozen=True, slots=True)
class Request:
    """A request of a page to its server; each field has the same name in JSON, unless it says otherwise.

    Attributes:
        mix: how much each similarity counts; None where nothing is ranked.
        like, unlike: rows that are examples.
        new: of new rows the names that the server gave them; examples to be like.
        weights: of examples, by their number or name as text; 1 of all others.
        towards: moves of the query.
        row: a new row, as JSON writes it.
        middle: a filter whose rows' middle is an example; in JSON {"column", "codes"}.
        filters: which rows may be found: all must hold; in JSON {"column", "codes" or "low" and "high", "blank"}.
        within: rows that may be found; None for all.
        words: of "text", in lower case; each must stand in some column of a row that may be found.
        rows, lines: rows by their numbers, and by their lines in the table.
        count: how many rows to return.
    """

    mix: Mix | None = None
    like: tuple[int, ...] = ()
    unlike: tuple[int, ...] = ()
    new: tuple[str, ...] = ()
    weights: tuple[tuple[str, float], ...] = ()
    middle: Filter | None = None
    towards: tuple[Toward, ...] = ()
    row: Any = None
    filters: tuple[Filter, ...] = ()
    within: tuple[int, ...] | None = None
    words: tuple[str, ...] = ()
    rows: tuple[int, ...] = ()
    lines: tuple[int, ...] = ()
    count: int = 24


@dataclass(frozen=True)
class Reader:
    """Reads requests about one run.

    Args:
        rows: how many it has.
        columns: its label columns.
        mix: reads a mix, and raises RunError for what is none.
    """

    rows: int
    columns: Sequence[Column]
    mix: Callable[[Mapping[str, Any]], Mix]

    def read(self, body: bytes, kind: Kind) -> Request:
        """A request of one kind.

        Args:
            body: a JSON object with fields of `Request`.
            kind: what is requested, which says what fields there are.

        Raises:
            RunError: once for all that is wrong.
        """
        complaints = Complaints()
        fields = _fields(parse(body), _KNOWN[kind], complaints, "a request")
        if kind == "encode" and "row" not in fields and not complaints:
            complaints.add("'row' is missing.")
        if kind == "search" and "mix" not in fields and not complaints:
            complaints.add("'mix' is missing.")
        if kind == "search" and not any(fields.get(name) for name in ("like", "new", "middle")) and not complaints:
            complaints.add("there is no example to be like. Add one ('like', 'new' or 'middle').")
        if len(fields.get("filters", ())) > len(self.columns):
            complaints.add(f"'filters' has {len(fields['filters']):,}; there are {len(self.columns)} columns.")
        known: dict[str, Any] = {
            name: complaints.of(self._rows, fields[name], name) or ()
            for name in ("like", "unlike", "rows", "within")
            if fields.get(name) is not None
        }
        if "mix" in fields:
            known["mix"] = complaints.of(self.mix, fields["mix"])
        if fields.get("middle") is not None:
            known["middle"] = complaints.of(self._middle, fields["middle"])
        request = Request(
            **known,
            new=tuple(dict.fromkeys(fields.get("new", ()))),
            weights=tuple(fields.get("weights", {}).items()),
            towards=tuple(complaints.each(self._toward, fields.get("towards", ()))),
            row=fields.get("row"),
            filters=tuple(complaints.each(self._filter, fields.get("filters", ())[: len(self.columns)])),
            words=tuple(fields.get("text", "").lower().split()),
            lines=tuple(fields.get("lines") or ()),
            count=fields.get("count", 24),
        )
        complaints.raise_any()
        return request

    def _rows(self, rows: Sequence[int], name: str) -> tuple[int, ...]:
        outside = next((row for row in rows if not 0 <= row < self.rows), None)
        if outside is not None:
            raise RunError(f"there is no row {_shown(outside)} ('{name}'): rows go from 0 to {self.rows - 1:,}.")
        return tuple(dict.fromkeys(rows))

    def _middle(self, value: Mapping[str, Any]) -> Filter:
        middle = self._filter(value)
        if self.columns[middle.column].kind == "number":
            raise RunError("middle: numbers have no label to take the mean of.")
        return middle

    def _toward(self, value: Mapping[str, Any]) -> Toward:
        complaints = Complaints()
        others = {name: content for name, content in value.items() if name not in ("column", "codes")}
        fields = _fields(others, ("amount", "near", "to"), complaints, "towards")
        place = complaints.of(self._filter, {name: value[name] for name in ("column", "codes") if name in value})
        if len({"codes", "near", "to"} & set(value)) != 1 or "amount" not in value:
            complaints.add("towards needs an 'amount', and one of 'codes', 'near' and 'to'.")
        complaints.raise_any()
        assert place is not None
        return Toward(place, str(fields.get("to", fields.get("near", ""))), fields["amount"])

    def _filter(self, value: Mapping[str, Any]) -> Filter:
        # Names differ in most rows: they are found by words, and have neither codes nor numbers.
        names = {column.name: number for number, column in enumerate(self.columns) if column.kind != "name"}
        name = value.get("column")
        if not isinstance(name, str) or name not in names:
            raise RunError(f"there is no column '{_shown(name)}'.{nearest(str(name)[:100], names)}")
        column, complaints = self.columns[names[name]], Complaints()
        ends = ("low", "high") if column.kind == "number" else ("codes",)
        others = {field: content for field, content in value.items() if field != "column"}
        fields = _fields(others, ("blank", *ends), complaints, f"column '{name}'")
        count = len(column.sets or column.labels)
        if max(fields.get("codes", ()), default=-1) >= count:
            complaints.add(f"'codes' must be whole numbers from 0 to {count - 1:,}, of column '{name}'.")
        complaints.raise_any()
        bounds = {end: fields[end] for end in ("low", "high") if fields.get(end) is not None}
        return Filter(
            names[name], tuple(sorted(set(fields.get("codes", ())))), blank=fields.get("blank", False), **bounds
        )


def parse(body: bytes) -> dict[str, Any]:
    """A JSON object.

    Raises:
        RunError: if it is none, or has a number that JSON does not know, such as NaN.
    """
    try:
        value = json.loads(body.decode("utf-8"), parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise RunError(f"this is not JSON as it should be: {_shown(error)}.") from None
    if not isinstance(value, dict):
        raise RunError("a request must be a JSON object.")
    return value


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no number of JSON")


def _fields(values: Mapping[str, Any], known: Sequence[str], complaints: Complaints, where: str) -> dict[str, Any]:
    """Those that are what they must be; complaints about all others."""
    fields = {}
    for name, value in values.items():
        if name not in known:
            complaints.add(f"{where} has no '{_shown(name)}'.{nearest(name, known)} Known: {', '.join(known)}.")
            continue
        kind, words = _FIELDS[name]
        try:
            field = msgspec.convert(value, kind)
        except (msgspec.ValidationError, UnicodeEncodeError):  # the latter for half a letter, which JSON can spell
            field = math.nan
        if isinstance(field, float) and not math.isfinite(field):
            complaints.add(f"'{name}' must be {words}, got {_shown(value)}.")
        else:
            fields[name] = field
    return fields


def _shown(value: Any) -> str:
    """Some of a value: it may be long."""
    text = str(value)
    return text if len(text) <= 100 else text[:99] + "…"
