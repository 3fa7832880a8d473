"""Tables of strangers: files and folders of every format, read, checked, proposed for, and encoded."""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from mscon.data.batches.dataset import encode_all, fit_similarities
from mscon.data.proposal.proposal import init
from mscon.data.table import infer_kind
from mscon.data.table.rows import select_rows
from mscon.data.table.table import read_table
from mscon.run import recipe as recipes
from reliability.fuzz.hostile import JSON_TEXTS, Edit, changed, changes, edited, edits, numbers, values, words
from reliability.fuzz.surface import Surface

_KINDS = ("categorical", "continuous", "multi_label", "hierarchical", "ordinal", "auto", "same_row")

_headers = st.lists(words, min_size=1, max_size=5) | st.just(["image", "kind", "split", "tone", "size"])
_cells = words | numbers.map(str)


@st.composite
def _contents(draw: st.DrawFn) -> tuple[list[str], list[list[str]]]:
    """Column names and cells, mostly usual, with some that are not; seldom all of them odd."""
    if not draw(st.integers(0, 3)):
        header = draw(_headers)
        return header, draw(st.lists(st.lists(_cells, min_size=len(header), max_size=len(header)), max_size=12))
    header = ["kind", "size", "tags", "path", "note"]
    count = draw(st.integers(6, 30))
    rows = [["abc"[n % 3], str(n % 7 / 2), "p;q" if n % 2 else "q", f"x/{n % 3}", "lm"[n % 2]] for n in range(count)]
    for row, column, odd in draw(st.lists(st.tuples(st.integers(0, 29), st.integers(0, 4), _cells), max_size=5)):
        rows[row % count][column] = odd
    for column, odd in draw(st.lists(st.tuples(st.integers(0, 4), words), max_size=1)):
        header[column] = odd
    return header, rows


@st.composite
def _delimited(draw: st.DrawFn) -> tuple[str, bytes]:
    ending, delimiter = draw(st.sampled_from(((".csv", ","), (".tsv", "\t"))))
    header, rows = draw(_contents())
    quoted = draw(st.booleans())
    end = draw(st.sampled_from(("\n", "\r\n", "\r", "\n\n")))

    def line(cells: list[str]) -> str:
        return delimiter.join('"' + c.replace('"', '""') + '"' if quoted else c for c in cells)

    text = end.join(map(line, [header, *rows])) + end
    encoding = draw(st.sampled_from(("utf-8", "utf-8", "utf-8", "utf-8-sig", "utf-16", "latin-1", "cp1252")))
    return ending, text.encode(encoding, "replace")


@st.composite
def _json_lines(draw: st.DrawFn) -> tuple[str, bytes]:
    header, rows = draw(_contents())
    records: list[dict[str, Any]] = [dict(zip(header, row, strict=True)) for row in rows]
    if draw(st.booleans()):
        records += draw(st.lists(st.fixed_dictionaries(dict.fromkeys(header, values)), max_size=3))
    lines = [json.dumps(record) for record in records]
    if draw(st.booleans()):
        lines += draw(st.lists(st.sampled_from(JSON_TEXTS), max_size=1))
    return draw(st.sampled_from((".jsonl", ".ndjson"))), "\n".join(lines).encode("utf-8", "surrogatepass")


_TYPES: dict[Any, SearchStrategy[Any]] = {
    pl.Int64: st.integers(-(2**63), 2**63 - 1),
    pl.UInt64: st.integers(0, 2**64 - 1),
    pl.Int8: st.integers(-128, 127),
    pl.Float32: st.floats(width=32),
    pl.Float64: st.floats(),
    pl.Boolean: st.booleans(),
    pl.String: words.filter(lambda word: len(word) < 1_000),
    pl.Binary: st.binary(max_size=20),
    pl.Categorical: st.sampled_from("abc"),
    pl.Date: st.dates(),
    pl.Datetime: st.datetimes(),
    pl.Time: st.times(),
    pl.Duration: st.timedeltas(),
    pl.Null: st.none(),
    pl.List(pl.Float64): st.lists(st.floats(), max_size=3),
    pl.Array(pl.Float32, 2): st.lists(st.floats(width=32), min_size=2, max_size=2),
    pl.List(pl.String): st.lists(st.sampled_from("abc"), max_size=3),
    pl.List(pl.List(pl.Int64)): st.lists(st.lists(st.integers(0, 9), max_size=2), max_size=2),
    pl.Struct({"bytes": pl.Binary, "path": pl.String}): st.fixed_dictionaries(
        {"bytes": st.none() | st.binary(max_size=20), "path": st.none() | words}
    ),
    pl.Struct({"x": pl.Int64}): st.fixed_dictionaries({"x": st.integers(0, 9)}),
}


@st.composite
def _frames(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.integers(0, 9))
    names = draw(st.lists(words, max_size=4, unique=True))
    columns = []
    for name in names:
        kind = draw(st.sampled_from(list(_TYPES)))
        cells = draw(st.lists(st.none() | _TYPES[kind], min_size=rows, max_size=rows))
        columns.append(pl.Series(name, cells, dtype=kind, strict=False))
    return pl.DataFrame(columns)


@st.composite
def _parquet(draw: st.DrawFn) -> tuple[str, bytes]:
    file = io.BytesIO()
    try:
        draw(_frames()).write_parquet(file, compression=draw(st.sampled_from(("zstd", "snappy", "uncompressed"))))
    except pl.exceptions.PolarsError:
        return ".parquet", b"PAR1"
    return ".parquet", file.getvalue()


@st.composite
def _hugging_face(draw: st.DrawFn) -> dict[str, bytes]:
    """Files of a folder."""
    file = io.BytesIO()
    try:
        draw(_frames()).write_ipc_stream(file)
    except pl.exceptions.PolarsError:
        file = io.BytesIO(b"")
    state = {"_data_files": [{"filename": "data-0.arrow"}], "_split": "train"}
    info = {"features": {"kind": {"names": ["a", "b"], "_type": "ClassLabel"}}}
    files = {
        "state.json": json.dumps(draw(st.just(state) | changes.map(lambda c: _anew(state, c)))).encode(),
        "dataset_info.json": json.dumps(draw(st.just(info) | changes.map(lambda c: _anew(info, c)))).encode(),
        "data-0.arrow": edited(file.getvalue(), draw(st.just([]) | edits)),
    }
    if draw(st.booleans()):
        split = draw(st.sampled_from(("train", "..", ".", "", "/", "a/b", "\0")))
        return {"dataset_dict.json": json.dumps({"splits": [split]}).encode()} | {
            f"train/{name}": content for name, content in files.items()
        }
    return files


def _anew(value: Any, what: Any) -> Any:
    return changed(json.loads(json.dumps(value)), what)


_FOLDER_NAMES = ("train", "test", "a", "b", ".hidden", "x.jpg", "\u202e", "a b", "-rf", "$(touch x)")


@st.composite
def _class_folders(draw: st.DrawFn) -> dict[str, bytes]:
    parts = st.lists(st.sampled_from(_FOLDER_NAMES), min_size=1, max_size=3).map("/".join)
    paths = draw(st.lists(parts, max_size=6, unique=True))
    return {f"{path}/{number}.jpg": b"" for number, path in enumerate(paths)}


class Tables(Surface):
    tries, share = 1_700, 30

    def cases(self) -> SearchStrategy[Any]:
        files = st.tuples(_delimited() | _json_lines() | _parquet(), st.just([]) | st.just([]) | edits).map(_file)
        return st.tuples(
            files | _hugging_face() | _class_folders(),
            st.lists(st.sampled_from(_KINDS), min_size=1, max_size=3),
            st.sampled_from(("columns", "columns", "text", "image", "vectors")),
        )

    def attempt(self, scene: Any, case: Any, folder: Path) -> None:
        files, kinds, encoded = case
        table = _written(files, folder)
        content = read_table(table)
        init(content)
        _used(content, kinds, encoded)


def _used(table: Any, kinds: list[str], encoded: str) -> None:
    columns = table.frame.columns
    chosen = dict(zip(columns, kinds, strict=False))  # a column each
    similarities = [{"name": kind} if kind == "same_row" else {"name": kind, "column": c} for c, kind in chosen.items()]
    data = {"input": encoded, "split": ""}
    data |= {"columns": {"numbers": "*"}, "text": {"text": columns[-1] if columns else "x"}}.get(encoded, {})
    recipe = recipes.of_plain({"similarity": similarities, "data": data})
    rows = select_rows(table, recipe.data, recipe.similarities)
    parts, _ = infer_kind.resolve(rows, recipe.similarities)
    encode_all(rows, fit_similarities(rows, parts))


def _file(drawn: tuple[tuple[str, bytes], list[Edit]]) -> dict[str, bytes]:
    (ending, content), what = drawn
    return {f"t{ending}": edited(content, what)}


def _written(files: dict[str, bytes], folder: Path) -> Path:
    """Of one file its path, of several that of their folder."""
    root = folder / "table"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir()
    for name, content in files.items():
        path = root / name
        if not path.exists() and all(not p.is_file() for p in path.parents):
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root / next(iter(files)) if len(files) == 1 and next(iter(files)).startswith("t.") else root
