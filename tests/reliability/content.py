"""Content: what files say, without what differs from time to time."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import polars as pl
from safetensors import safe_open

# The one file of a run that describes the others; `wrong_sums` reads it.
SUMS = "checksums.jsonl"


def content(root: Path) -> dict[str, Any]:
    """For each file under a folder, by its path there, something that is equal where the files say the same."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and path.name != SUMS)
    return {str(path.relative_to(root)): _comparable(path) for path in files}


def tree(folder: Path) -> dict[str, bytes | str]:
    """Every byte of the files under a folder, and where links point to, by their paths there."""
    paths = sorted(path for path in folder.rglob("*") if path.is_symlink() or path.is_file())
    return {str(p.relative_to(folder)): os.readlink(p) if p.is_symlink() else p.read_bytes() for p in paths}


def changed(now: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Files of an expected content that say something else now, or are gone."""
    return [f"{n} is {'another' if n in now else 'not there'}" for n in expected if now.get(n) != expected[n]]


def left_over(now: Mapping[str, Any], expected: Mapping[str, Any]) -> list[str]:
    """Files that an expected content has not."""
    return [f"{name} is left over" for name in now if name not in expected]


def wrong_sums(run: Path) -> Iterator[str]:
    """Files of a run with a content that the run itself has not noted for them."""
    lines = (run / SUMS).read_bytes().splitlines() if (run / SUMS).is_file() else []
    noted: dict[str, set[str]] = {}
    for line in lines:
        with contextlib.suppress(ValueError):  # a line that was torn
            noted.setdefault((record := json.loads(line))["file"], set()).add(record["sha256"])
    for name in content(run):
        # A log grows by lines, each of which can be read or not; names with a dot are those of unfinished files.
        if name == "log.jsonl" or Path(name).name.startswith("."):
            continue
        if hashlib.sha256((run / name).read_bytes()).hexdigest() not in noted.get(name, ()):
            yield f"{name} is {'another than' if name in noted else 'not'} in {SUMS}"


def _comparable(path: Path) -> Any:
    # Whatever a damaged file makes of its reader, it says its bytes then; a panic of polars is no Exception.
    with contextlib.suppress(Exception, pl.exceptions.PanicException):
        if path.suffix == ".json":
            return _timeless(json.loads(path.read_text("utf-8")))
        if path.suffix == ".jsonl":
            return [_timeless(json.loads(line)) for line in path.read_text("utf-8").splitlines()]
        if path.suffix == ".safetensors":
            return _tensors(path)
        if path.suffix == ".parquet":
            return pl.read_parquet(path).to_dicts()
    return path.read_bytes()


def _tensors(path: Path) -> Any:
    with safe_open(path, framework="np") as file:
        metadata = dict(file.metadata() or {})
    if "state" in metadata:
        metadata["state"] = _timeless(json.loads(metadata["state"]))
    raw = path.read_bytes()
    length = 8 + int.from_bytes(raw[:8], "little")
    header = json.loads(raw[8:length])
    return metadata, {k: v for k, v in header.items() if k != "__metadata__"}, raw[length:]


def _timeless(value: Any) -> Any:
    """Without times, and without what a run says of having been resumed."""
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in ("seconds", "resumed")}
    return [_timeless(v) for v in value] if isinstance(value, list) else value
