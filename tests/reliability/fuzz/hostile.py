"""Hostile values: what tables, recipes, files and requests of strangers hold."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

# Each is one that has broken some program: this one, or another.
WORDS = (
    "", " ", "a", "b", "0", "1", "1.0", "-0", "007", "1e308", "1e999", "-1e308", "nan", "NaN", "inf", "-inf", "null",
    "None", "True", "true", "1,5", "1_000", "0x10", "٣", "９", "1e-400", "9" * 400, "9007199254740993", "½",
    "a;b", ";", ";;", "a/b", "/", "//", "a/", "../../../etc/passwd", "/etc/passwd", "C:\\x", "file:///etc/passwd",
    "http://127.0.0.1:9/x", "hf:owner/name", "evilmod:Evil", "evilmod", "os:system", "builtins:eval", ":", "a:b:c",
    "__import__('os')", "{{7*7}}", "${HOME}", "$(touch x)", "`id`", "%s%n", "=cmd|' /C calc'!A0", "<script>alert(1)",
    "</script>", "\"'", "a\nb", "a\r\nb", "\0", "\x1b[31m", "\u202e", "\ufeff", "\u200b", "e\u0301", "\U0001f600",
    "line", "split", "image", "train", "test", "validation", "unseen", "row", "*", "same_row", "auto", "teacher",
    "CON", "x" * 300, "a" * 5_000, "a/" * 200, "a;" * 200, "(" * 60, "[" * 60,
)  # fmt: skip

words: SearchStrategy[str] = st.sampled_from(WORDS) | st.text(max_size=12)
with_half_letters: SearchStrategy[str] = words | st.just("\ud800") | st.text(st.characters(), max_size=6)

NUMBERS = (
    0, 1, -1, 2, 3, 16, 255, 256, 4096, 65_536, 65_537, 2**31 - 1, 2**31, 2**32, 2**53, 2**53 + 1, 2**62, 2**63 - 1,
    2**63, 2**64, -(2**63), 10**30, 10**400, 0.5, 1.0, 1e-320, 1e-45, 1e-9, 1e9, 1e30, 1e300, 1e308, -1e308, math.inf,
    -math.inf, math.nan,
)  # fmt: skip
numbers: SearchStrategy[int | float] = st.sampled_from(NUMBERS) | st.integers(-3, 300) | st.floats()

leaves: SearchStrategy[Any] = st.none() | st.booleans() | numbers | words
values: SearchStrategy[Any] = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(words, inner, max_size=4),
    max_leaves=6,
)


def nested(depth: int) -> Any:
    """A list in a list in a list."""
    value: Any = []
    for _ in range(depth):
        value = [value]
    return value


# JSON as text, since some of it no value of Python is written as.
JSON_TEXTS = (
    "", "null", "[]", "{}", "NaN", "1e999", "-1e999", "1" * 5_000, "[" * 100_000, '{"a":' * 50_000, '"\\ud800"',
    '{"a": 1, "a": 2}', '{"a": 1} x', "{'a': 1}", '"', "\x00", "\ufeff{}", '{"a": [1, 2, "x"]}', '{"a": {"b": 1}}',
)  # fmt: skip


def json_text(value: Any) -> str:
    """JSON of any value, with NaN and half letters as Python writes them."""
    return json.dumps(value)


json_texts: SearchStrategy[str] = st.sampled_from(JSON_TEXTS) | values.map(json_text)

# Bytes -------------------------------------------------------------------------------------------

Edit = tuple[str, float, bytes]
_KINDS = ("flip", "cut", "zeros", "insert", "remove", "repeat", "replace", "end")
edits: SearchStrategy[list[Edit]] = st.lists(
    st.tuples(
        st.sampled_from(_KINDS),
        # Heads hold what is read first, and believed.
        st.floats(0, 1, exclude_max=True) | st.floats(0, 0.1),
        st.binary(min_size=1, max_size=8) | st.sampled_from((b"\xff\xff\xff\xff", b"\0\0\0\0", b"\x7f\xff\xff\xff")),
    ),
    max_size=3,
)


def edited(content: bytes, changes: Sequence[Edit]) -> bytes:
    """A file that something has happened to."""
    raw = bytearray(content)
    for kind, share, what in changes:
        at = int(share * len(raw))
        if kind == "flip" and raw:
            raw[at] ^= what[0] or 1
        elif kind == "cut":
            del raw[at:]
        elif kind == "zeros":
            raw[at:] = bytes(len(raw) - at)
        elif kind == "insert":
            raw[at:at] = what
        elif kind == "remove":
            del raw[at : at + len(what)]
        elif kind == "repeat":
            raw[at:at] = raw[at : at + 64] * 8
        elif kind == "replace":
            raw[at : at + len(what)] = what
        elif kind == "end":
            raw += what
    return bytes(raw)


# Plain values ------------------------------------------------------------------------------------

Change = tuple[str, int, Any]
"""What happens to a value within values: "set", "remove" or "add"; at which of all places; and the new value."""

changes: SearchStrategy[list[Change]] = st.lists(
    st.tuples(st.sampled_from(("set", "set", "set", "remove", "add")), st.integers(0, 2**16), values | words | numbers),
    min_size=1,
    max_size=2,
)


def changed(value: Any, what: Sequence[Change]) -> Any:
    """Plain values with some of them, at any depth, changed."""
    holder = [value]
    for kind, number, new in what:
        places = list(_places(holder))
        container, key = places[number % len(places)]
        if kind == "set":
            container[key] = new
        elif kind == "remove" and container is not holder:
            del container[key]
        elif kind == "add" and isinstance(inner := container[key], list):
            inner.append(new)
        elif kind == "add" and isinstance(inner, dict):
            inner[str(new)] = new
    return holder[0]


def _places(container: Any) -> Iterator[tuple[Any, Any]]:
    keys = list(container) if isinstance(container, dict) else range(len(container))
    for key in keys:
        yield container, key
        if isinstance(container[key], dict | list):
            yield from _places(container[key])


def json_changed(content: bytes, what: Sequence[Change]) -> bytes:
    """A JSON file with some values changed."""
    return json.dumps(changed(json.loads(content), what)).encode("utf-8", "surrogatepass")


def header_changed(content: bytes, change: Callable[[Any], Any]) -> bytes:
    """A safetensors file with another header before the same tensors."""
    length = int.from_bytes(content[:8], "little")
    header = json.dumps(change(json.loads(content[8 : 8 + length]))).encode("utf-8", "surrogatepass")
    return len(header).to_bytes(8, "little") + header + content[8 + length :]
