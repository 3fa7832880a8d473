"""A Hugging Face dataset saved on disk: folders of Arrow files, read without the package `datasets`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import polars as pl

from mscon.data.table.formats.json_lines import RepeatedKey, without_repeats
from mscon.data.table.formats.typed import joined, table_of
from mscon.data.table.table import Table
from mscon.errors import TableError

_MARKS = ("dataset_dict.json", "dataset_info.json", "state.json")

_ADVICE = "Write it anew with `dataset.save_to_disk(...)`."


def is_dataset(path: Path) -> bool:
    """Whether a folder is what `save_to_disk` writes."""
    return any((path / name).is_file() for name in _MARKS)


def read(path: Path) -> Table:
    """Rows of all splits, one after the other, as `Dataset.save_to_disk` or `DatasetDict.save_to_disk` wrote them.

    The names of the splits become a column `split`, unless there is one. A class label is its name, and its -1 is
    missing. Images are those stored within, or the paths that are given.

    Raises:
        TableError: for files that are gone or damaged, and see `table_of`.
        OSError: if a file cannot be read.
    """
    if not (path / "dataset_dict.json").is_file():
        return table_of(path, _one(path, path.name))
    splits = _json(path / "dataset_dict.json", path.name).get("splits")
    if not isinstance(splits, list) or not splits or not all(isinstance(s, str) for s in splits):
        raise TableError(f"{path.name}: dataset_dict.json names no splits. {_ADVICE}")
    frames = {}
    for split in splits:
        if Path(split).name != split or split in ("", ".", ".."):
            raise TableError(f"{path.name}: dataset_dict.json names a split {split!r}, which is no name of a folder.")
        frame = _one(path / split, f"{path.name}/{split}")
        # Theirs are free names; "validation" and "test" are usual, and others are complained about with what is near.
        frames[split] = frame if "split" in frame.columns else frame.with_columns(split=pl.lit(split))
    return table_of(path, joined(path.name, frames))


def _one(folder: Path, name: str) -> pl.DataFrame:
    """The rows of a folder of Arrow files."""
    state, info = _json(folder / "state.json", name), _json(folder / "dataset_info.json", name)
    listed = state.get("_data_files")
    entries = listed if isinstance(listed, list) else []
    files = [str(entry["filename"]) for entry in entries if isinstance(entry, dict) and "filename" in entry]
    if not files or len(files) < len(entries) or not all(Path(file).name == file for file in files):
        raise TableError(f"{name}: state.json names no files with rows. {_ADVICE}")
    if state.get("_indices_files"):
        raise TableError(f"{name}: its rows are a selection that was saved as numbers. Call `flatten_indices()` first.")
    frames = []
    for file in files:
        try:
            with (folder / file).open("rb") as opened:
                frames.append(pl.read_ipc_stream(opened))
        except FileNotFoundError:
            raise TableError(f"{name}: '{file}' is not there, though state.json names it. {_ADVICE}") from None
        except pl.exceptions.PanicException:  # that is what polars does with names that repeat
            raise TableError(
                f"{name}: '{file}' is not an Arrow file that can be read. Column names must differ. {_ADVICE}"
            ) from None
        except pl.exceptions.PolarsError as error:
            first = str(error).splitlines()[0]
            raise TableError(f"{name}: '{file}' is not an Arrow file that can be read: {first}") from None
    frame = pl.concat(frames)
    features = info.get("features")
    return _with_class_names(frame, features if isinstance(features, dict) else {}, name)


def _with_class_names(frame: pl.DataFrame, features: dict[str, Any], name: str) -> pl.DataFrame:
    for column, feature in features.items():
        if column not in frame.columns or not isinstance(feature, dict) or feature.get("_type") != "ClassLabel":
            continue
        names = feature.get("names")
        if not isinstance(names, list) or not all(isinstance(n, str) for n in names):
            continue
        codes = frame.get_column(column)
        if not codes.dtype.is_integer():
            continue
        if beyond := (codes >= len(names)).fill_null(False).arg_true().to_list():
            raise TableError(
                f"{name}, row {beyond[0] + 1}: column {column!r} is {codes[beyond[0]]}, but dataset_info.json names "
                f"{len(names)} classes."
            )
        known = codes.to_frame("code").select(pl.when(pl.col("code") >= 0).then(pl.col("code")).cast(pl.UInt32))
        labels = pl.Series(column, names, dtype=pl.String).gather(known.to_series().fill_null(0))
        frame = frame.with_columns(
            pl.DataFrame({"label": labels, "code": known.to_series()})
            .select(pl.when(pl.col("code").is_not_null()).then(pl.col("label")))
            .to_series()
            .alias(column)
        )
    return frame


def _json(path: Path, name: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text("utf-8"), object_pairs_hook=without_repeats)
    except FileNotFoundError:
        raise TableError(f"{name}: '{path.name}' is not there. {_ADVICE}") from None
    except RepeatedKey as key:
        raise TableError(
            f"{name}: column names must differ, but '{key}' stands in {path.name} more than once."
        ) from None
    except (ValueError, RecursionError) as error:
        raise TableError(f"{name}: '{path.name}' is not JSON that can be read: {error}") from None
    if not isinstance(content, dict):
        raise TableError(f"{name}: '{path.name}' does not hold what `save_to_disk` writes. {_ADVICE}")
    return content
