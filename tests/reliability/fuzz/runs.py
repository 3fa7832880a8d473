"""Run directories of strangers: every file as no version of mscon writes it, through every verb that reads it.

What somebody else sends may have checksums that fit, or none; damage that does not fit them is tried in
`reliability.damage`.
"""

from __future__ import annotations

import io
import json
import shutil
import tomllib
from pathlib import Path
from typing import Any

import polars as pl
import tomli_w
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from mscon.run import checksums
from reliability.damage import VERBS, write_scene
from reliability.fuzz.hostile import (
    changed,
    changes,
    edited,
    edits,
    header_changed,
    json_changed,
    json_texts,
    leaves,
    words,
)
from reliability.fuzz.surface import Surface, verb

_RUN = "finished"
_VERBS = VERBS[_RUN]

# Of a recipe that asks for much, much is done: these it may say.
_AMOUNTS = ("epochs", "draws", "units", "layers", "hidden_dim", "output_dim", "memory_size", "batch_size")


class Runs(Surface):
    tries, share = 250, 6
    seconds, megabytes = 30.0, 512

    def cases(self) -> SearchStrategy[Any]:
        rows = st.tuples(
            st.sampled_from(("drop", "rename", "type", "null", "fewer", "more", "none", "cell")),
            st.integers(0, 9),
            leaves.filter(lambda v: not isinstance(v, int) or abs(v) < 2**63) | words,
        )
        return st.tuples(
            st.sampled_from(_VERBS),
            st.integers(0, 100),
            st.tuples(changes, st.just([]) | st.just([]) | edits, json_texts, rows, st.integers(0, 9)),
            st.sampled_from(("none", "fit")),
        )

    def write(self, folder: Path) -> None:
        write_scene(folder / "scene")

    def prepare(self, folder: Path) -> Path:
        return folder / "around" / "scene"

    def attempt(self, scene: Path, case: Any, folder: Path) -> None:
        arguments, number, how, sums = case
        for path in folder.iterdir():
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for name in ("t.csv", "v.npy", "r.toml"):
            shutil.copy(scene / name, folder)
        shutil.copytree(scene / _RUN, folder / _RUN)
        files = sorted(p for p in (folder / _RUN).rglob("*") if p.is_file() and p.suffix != ".html")
        path = files[number % len(files)]
        path.write_bytes(_hostile(path, *how))
        (folder / _RUN / checksums.NAME).unlink(missing_ok=True)
        if sums == "fit":
            for file in sorted(p for p in (folder / _RUN).rglob("*") if p.is_file()):
                checksums.record(folder / _RUN, str(file.relative_to(folder / _RUN)))
        outside = {p.name: p.read_bytes() for p in folder.iterdir() if p.is_file()}
        try:
            verb(arguments)
        finally:
            for name, content in outside.items():
                assert (folder / name).read_bytes() == content, f"{name} is another"


def _hostile(path: Path, what: Any, bytes_changes: Any, text: str, rows: Any, kind: int) -> bytes:
    """The file with other content that can be read: or other bytes, or any JSON."""
    content = path.read_bytes()
    if kind == 0:
        return text.encode("utf-8", "surrogatepass")
    if bytes_changes or path.suffix in (".md", ""):
        return edited(content, bytes_changes)
    if path.suffix == ".json":
        return json_changed(content, what)
    if path.suffix == ".jsonl":
        lines = content.splitlines()
        lines[kind % len(lines)] = json_changed(lines[kind % len(lines)], what)
        return b"\n".join(lines) + b"\n"
    if path.suffix == ".safetensors":
        return header_changed(content, lambda header: changed(header, what))
    if path.suffix == ".parquet":
        return _parquet(content, *rows)
    if path.suffix == ".toml":
        return _toml(content, what)
    return edited(content, bytes_changes)


def _toml(content: bytes, what: Any) -> bytes:
    before = tomllib.loads(content.decode())
    after = changed(json.loads(json.dumps(before)), what)
    if not isinstance(after, dict):
        return json.dumps(after).encode()
    for section, settings in after.items():
        if isinstance(settings, dict):
            after[section] |= {k: v for k, v in before.get(section, {}).items() if k in _AMOUNTS}
    try:
        return tomli_w.dumps(after).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, AttributeError):  # TOML has no null
        return content


def _parquet(content: bytes, what: str, number: int, value: Any) -> bytes:
    frame = pl.read_parquet(io.BytesIO(content))
    name = frame.columns[number % len(frame.columns)]
    if what == "drop":
        frame = frame.drop(name)
    elif what == "rename":
        frame = frame.rename({name: str(value) if str(value) not in frame.columns else "other"})
    elif what == "type":
        kind = (pl.Int64, pl.Float64, pl.Boolean, pl.Categorical, pl.Date, pl.Binary, pl.List(pl.String))[number % 7]
        frame = frame.with_columns(pl.lit(None, dtype=kind).alias(name))
    elif what == "null":
        frame = frame.with_columns(pl.lit(None, dtype=frame.schema[name]).alias(name))
    elif what in ("fewer", "none"):
        frame = frame.head(number if what == "fewer" else 0)
    elif what == "more":
        frame = pl.concat([frame, frame])
    else:
        frame = frame.with_columns(pl.lit(str(value).encode("utf-8", "replace").decode()).alias(name))
    file = io.BytesIO()
    frame.write_parquet(file)
    return file.getvalue()
