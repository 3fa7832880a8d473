"""Vector files: vectors of rows in Parquet, Arrow or NumPy files, in the precision in which they are stored.

What integers stand for (`Quantisation`) is written with their column: in Parquet and Arrow files as the metadata of an
extension type "mscon.vectors", whose storage every reader knows; in NumPy files as the bytes of JSON in the array
"quantisation".
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Shaped

from mscon.deploy.vectors import FEATURES, Precision, Quantisation, Statistics
from mscon.errors import RunError

SUFFIXES = (".parquet", ".arrow", ".npz")
SUFFIXES_TEXT = f"{', '.join(SUFFIXES[:-1])} or {SUFFIXES[-1]}"

Spaces = Mapping[str, tuple[int, ...]]
"""Columns of vectors, and the widths of the spaces that stand side by side in each."""

_TYPE, _ARRAY = "mscon.vectors", "quantisation"


def write_vectors(
    path: Path, arrays: Mapping[str, Shaped[np.ndarray, "rows ..."]], spaces: Spaces, precision: Precision
) -> None:
    """A file of vectors as float32, stored in some precision, with what else is known of each row."""
    quantised = _quantised(precision, spaces, [arrays])
    stored = {name: _stored(array, quantised.get(name), precision) for name, array in arrays.items()}
    if path.suffix == ".npz":
        about: dict[str, Any] = {name: one.to_plain() for name, one in quantised.items()}
        members: dict[str, Any] = {
            **stored,
            **({_ARRAY: np.frombuffer(json.dumps(about).encode(), np.uint8)} if about else {}),
        }
        with path.open("wb") as file:
            np.savez(file, **members)
        return
    frame = pl.DataFrame([_series(name, array, quantised.get(name)) for name, array in stored.items()])
    (frame.write_parquet if path.suffix == ".parquet" else frame.write_ipc)(path)


def join(parts: Sequence[Path], path: Path, spaces: Spaces, precision: Precision) -> None:
    """Files of float32 vectors as one, which may be of another precision: integers by the ranges of all rows."""
    if path.suffix == ".npz":
        loaded = [_load(part) for part in parts]
        write_vectors(path, {n: np.concatenate([one[n] for one in loaded]) for n in loaded[0]}, spaces, precision)
        return
    # Streamed: the table may be larger than the memory.
    scan = pl.scan_parquet if path.suffix == ".parquet" else pl.scan_ipc
    rows = scan(list(parts))
    if precision != "float32":
        quantised = _quantised(precision, spaces, map(_load, parts))

        def stored(frame: pl.DataFrame) -> pl.DataFrame:
            arrays = {
                name: _stored(frame.get_column(name).to_numpy(), quantised.get(name), precision) for name in spaces
            }
            return frame.with_columns(_series(name, array, quantised.get(name)) for name, array in arrays.items())

        schema = stored(scan(parts[0]).head(0).collect()).schema
        rows = rows.map_batches(stored, schema=schema, streamable=True)
    (rows.sink_parquet if path.suffix == ".parquet" else rows.sink_ipc)(path)


def read_vectors(path: str | Path) -> dict[str, Shaped[np.ndarray, "rows ..."]]:
    """The columns of a file that `mscon embed` wrote in any precision, with vectors as float32.

    Raises:
        RunError: if the file cannot be read, or is of another kind.
    """
    path = Path(path)
    if path.suffix not in SUFFIXES:
        raise RunError(f"'{path}': the name of a file of vectors ends in {SUFFIXES_TEXT}.")
    try:
        return _load(path)
    except (OSError, ValueError, KeyError, TypeError, zipfile.BadZipFile, pl.exceptions.PolarsError) as error:
        raise RunError(f"'{path}' cannot be read as a file of `mscon embed`: {error}") from None


def _load(path: Path) -> dict[str, np.ndarray]:
    about: dict[str, Any] = {}
    if path.suffix == ".npz":
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:  # numpy leaves what it opens open
            arrays = dict(file)
        if _ARRAY in arrays:
            about = json.loads(arrays.pop(_ARRAY).tobytes())
    else:
        frame = (pl.read_parquet if path.suffix == ".parquet" else pl.read_ipc)(path)
        types = {n: t for n, t in frame.schema.items() if isinstance(t, pl.BaseExtension) and t.ext_name() == _TYPE}
        about = {name: json.loads(str(dtype.ext_metadata())) for name, dtype in types.items()}
        arrays = {
            column.name: (column.ext.storage() if column.name in types else column).to_numpy() for column in frame
        }
    arrays |= {name: Quantisation.of_plain(plain).decode(arrays[name]) for name, plain in about.items()}
    return {name: array.astype(np.float32) if array.dtype == np.float16 else array for name, array in arrays.items()}


def _quantised(
    precision: Precision, spaces: Spaces, parts: Iterable[Mapping[str, np.ndarray]]
) -> dict[str, Quantisation]:
    """How each column is quantised, with ranges of the vectors of all parts; nothing for floating-point numbers."""
    if precision != "int8" and precision != "binary":
        return {}
    each = ({name: Statistics.of(part[name]) for name in spaces} for part in parts)
    statistics = reduce(lambda before, part: {name: before[name] + part[name] for name in spaces}, each)
    return {n: Quantisation.fit(precision, widths, statistics[n], n != FEATURES) for n, widths in spaces.items()}


def _stored(array: np.ndarray, quantisation: Quantisation | None, precision: Precision) -> np.ndarray:
    if quantisation is not None:
        return quantisation.encode(array)
    return array.astype(np.float16) if precision == "float16" and array.ndim == 2 else array


def _series(name: str, array: np.ndarray, quantisation: Quantisation | None) -> pl.Series:
    if array.ndim == 1:
        return pl.Series(name, array, dtype=pl.String if array.dtype.kind == "U" else None)
    series = pl.Series(name, array.reshape(-1)).reshape(array.shape)
    if quantisation is None:
        return series
    return series.ext.to(pl.Extension(_TYPE, series.dtype, json.dumps(quantisation.to_plain())))
