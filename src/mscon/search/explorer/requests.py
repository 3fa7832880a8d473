"""Requests of a page to its server, read from JSON that anybody may have written. One message names all mistakes."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

import msgspec
import numpy as np
from jaxtyping import Bool
from msgspec import Meta

from mscon.errors import RunError, nearest
from mscon.search.complaints import Complaints
from mscon.search.explorer.columns import Column
from mscon.search.mix import Mix

MOST_EXAMPLES = 100
MOST_IMAGES = 16
MOST_HITS = 240
MOST_WITHIN = 20_000
MOST_LETTERS = 200

# What each field must be, for msgspec and in words.
_FIELDS: Mapping[str, tuple[Any, str]] = {
    "mix": (dict[str, Any], "an object of similarities and weights"),
    "like": (Annotated[list[int], Meta(max_length=MOST_EXAMPLES)], f"a list of at most {MOST_EXAMPLES} whole numbers"),
    "unlike": (
        Annotated[list[int], Meta(max_length=MOST_EXAMPLES)],
        f"a list of at most {MOST_EXAMPLES} whole numbers",
    ),
    "text": (Annotated[str, Meta(max_length=MOST_LETTERS)], f"a text of at most {MOST_LETTERS} letters"),
    "lines": (Annotated[list[int], Meta(max_length=MOST_HITS)], f"a list of at most {MOST_HITS} whole numbers"),
    "rows": (Annotated[list[int], Meta(max_length=MOST_HITS)], f"a list of at most {MOST_HITS} whole numbers"),
    "within": (
        Annotated[list[int], Meta(max_length=MOST_WITHIN)] | None,
        f"a list of at most {MOST_WITHIN:,} whole numbers",
    ),
    "images": (
        Annotated[list[str], Meta(max_length=MOST_IMAGES)],
        f"a list of names that uploads were given, at most {MOST_IMAGES}",
    ),
    "middle": (dict[str, Any] | None, "an object with a 'column'"),
    "filters": (list[dict[str, Any]], "a list of objects with a 'column'"),
    "count": (Annotated[int, Meta(ge=1, le=MOST_HITS)], f"a whole number from 1 to {MOST_HITS}"),
    "codes": (list[Annotated[int, Meta(ge=0)]], "a list of whole numbers, of labels"),
    "low": (float | None, "a finite number"),
    "high": (float | None, "a finite number"),
    "blank": (bool, "true or false"),
}

_RESTRICTIONS = ("filters", "within", "text", "count")


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
        words: in lower case; each must stand in some column of a row that may be found.
        lines: of the table, whose rows are wanted.
        count: how many are wanted.
    """

    mix: Mix | None = None
    like: tuple[int, ...] = ()
    unlike: tuple[int, ...] = ()
    images: tuple[str, ...] = ()
    middle: Filter | None = None
    filters: tuple[Filter, ...] = ()
    within: tuple[int, ...] | None = None
    words: tuple[str, ...] = ()
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

    def search(self, body: bytes) -> Request:
        """The rows most like some examples: {"mix": {name: weight}, "like": [row], "unlike": [row],
        "images": [name], "middle": {"column", "codes"}, "filters": [...], "within": [row], "text", "count"}.

        Raises:
            RunError: once for all that is wrong.
        """
        request = self._read(body, ("mix", "like", "unlike", "images", "middle", *_RESTRICTIONS), "mix")
        if not (request.like or request.images or request.middle):
            raise RunError("there is no example to be like. Add one ('like', 'images' or 'middle').")
        return request

    def browse(self, body: bytes) -> Request:
        """Some rows that pass filters: {"filters": [...], "within": [row], "text", "count"}.

        Raises:
            RunError: once for all that is wrong.
        """
        return self._read(body, _RESTRICTIONS)

    def rows_by_number(self, body: bytes) -> Request:
        """Some rows by their numbers, as `like`, or by their lines: {"rows": [row]} or {"lines": [line]}.

        Raises:
            RunError: once for all that is wrong.
        """
        return self._read(body, ("rows", "lines"))

    def _read(self, body: bytes, known: Sequence[str], needed: str = "") -> Request:
        complaints = Complaints()
        fields = _fields(parse(body), known, complaints)
        if needed and needed not in fields and not complaints:
            complaints.add(f"'{needed}' is missing.")
        rows = {
            name: complaints.of(self._rows, fields[name], name) or ()
            for name in ("like", "unlike", "rows", "within")
            if fields.get(name) is not None
        }
        middle = None if fields.get("middle") is None else complaints.of(self._filter, fields["middle"])
        if middle is not None and self.columns[middle.column].kind == "number":
            complaints.add("middle: numbers have no label to be the middle of.")
        if len(fields.get("filters", ())) > len(self.columns):
            complaints.add(f"'filters' has {len(fields['filters']):,}; there are {len(self.columns)} columns.")
        request = Request(
            mix=complaints.of(self.mix, fields["mix"]) if "mix" in fields else None,
            like=rows.get("like", rows.get("rows", ())),
            unlike=rows.get("unlike", ()),
            images=tuple(dict.fromkeys(fields.get("images", ()))),
            middle=middle,
            filters=tuple(complaints.each(self._filter, fields.get("filters", ())[: len(self.columns)])),
            within=rows.get("within"),
            words=tuple(fields.get("text", "").lower().split()),
            lines=tuple(fields.get("lines", ())),
            count=fields.get("count", 24),
        )
        complaints.raise_any()
        return request

    def _rows(self, rows: Sequence[int], name: str) -> tuple[int, ...]:
        outside = next((row for row in rows if not 0 <= row < self.rows), None)
        if outside is not None:
            raise RunError(f"there is no row {_shown(outside)} ('{name}'): rows go from 0 to {self.rows - 1:,}.")
        return tuple(dict.fromkeys(rows))

    def _filter(self, value: Mapping[str, Any]) -> Filter:
        names = [column.name for column in self.columns]
        name = value.get("column")
        if name not in names:
            raise RunError(f"there is no column '{_shown(name)}'.{nearest(str(name)[:100], names)}")
        column = self.columns[names.index(name)]
        ends = ("low", "high") if column.kind == "number" else ("codes",)
        complaints = Complaints()
        others = {field: content for field, content in value.items() if field != "column"}
        fields = _fields(others, ("blank", *ends), complaints, f"column '{name}'")
        count = len(column.sets or column.labels)
        if max(fields.get("codes", ()), default=0) >= max(count, 1):
            complaints.add(f"'codes' must be whole numbers from 0 to {count - 1:,}, of column '{name}'.")
        complaints.raise_any()
        bounds = {end: fields[end] for end in ("low", "high") if fields.get(end) is not None}
        codes = tuple(sorted(set(fields.get("codes", ()))))
        return Filter(names.index(name), codes, blank=fields.get("blank", False), **bounds)


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


def _fields(
    values: Mapping[str, Any], known: Sequence[str], complaints: Complaints, where: str = "a request"
) -> dict[str, Any]:
    """Those that are what they must be; complaints about all others."""
    fields = {}
    for name, value in values.items():
        if name not in known:
            complaints.add(f"{where} has no '{_shown(name)}'.{nearest(name, known)} Known: {', '.join(known)}.")
            continue
        kind, words = _FIELDS[name]
        try:
            field = msgspec.convert(value, kind)
            if isinstance(field, float) and not math.isfinite(field):
                raise msgspec.ValidationError
            fields[name] = field
        except msgspec.ValidationError:
            complaints.add(f"'{name}' must be {words}, got {_shown(value)}.")
    return fields


def _shown(value: Any) -> str:
    """Some of a value: it may be long."""
    text = str(value)
    return text if len(text) <= 100 else text[:99] + "…"
