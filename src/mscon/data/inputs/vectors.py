"""Vectors as inputs: of a file with one vector per row of the table, or in memory.

Files are mapped into memory, so only the rows in use are loaded. No torch here, and nothing is unpickled.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Bool, Float32, Int, Int64, Shaped, UInt8

from mscon.data.inputs import fingerprints
from mscon.data.inputs.vector_file import VectorFile
from mscon.data.table.table import at_lines, stamp_of
from mscon.errors import TableError, counted, first_few, shortened

SUFFIXES = (".npy", ".safetensors")

# The tensor that is meant where a safetensors file holds several.
_TENSOR = "features"

_SAFETENSORS = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "I8": np.int8, "U8": np.uint8}

# Rows, and at most bytes, that are looked at together while a whole file is checked.
_ROWS_AT_ONCE = 16_384
_BYTES_AT_ONCE = 2**26


@dataclass(frozen=True, slots=True, eq=False)
class VectorStore:
    """A vector a row, in the order of the rows.

    Attributes:
        vectors: of any type of number; of a file, or in memory.
        mean, std: of each dimension over the training rows; a dimension that does not vary has std 1.
        fingerprints: of each row (`mscon.data.inputs.fingerprints`); None where the run itself keeps the vectors.
    """

    vectors: Shaped[np.ndarray, "rows dim"] | VectorFile
    mean: Float32[np.ndarray, " dim"]
    std: Float32[np.ndarray, " dim"]
    fingerprints: UInt8[np.ndarray, "rows bytes"] | None = None

    def __len__(self) -> int:
        return self.vectors.shape[0]

    def __getitem__(self, rows: Int[np.ndarray, " batch"] | Sequence[int]) -> Float32[np.ndarray, "batch dim"]:
        """A copy of the vectors of these rows, in single precision.

        Raises:
            IndexError: for a row that is not there; a negative number is no row.
            TableError: if they are of a file, and it has changed since it was opened.
        """
        numbers = np.asarray(rows, dtype=np.int64)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"rows {numbers.min()} to {numbers.max()} asked of {len(self)} vectors.")
        return np.asarray(self.vectors[numbers], dtype=np.float32)

    @property
    def width(self) -> int:
        """Numbers of a vector."""
        return self.vectors.shape[1]

    @property
    def columns(self) -> Int64[np.ndarray, " dim"]:
        """For each dimension the column that it is of: each is one of its own."""
        return np.arange(self.width, dtype=np.int64)

    def to_json(self) -> dict[str, Any]:
        """What a run keeps of it; plain JSON values."""
        return {"input": "vectors", "width": self.width}


def checked(
    vectors: Shaped[np.ndarray, "rows dim"] | VectorFile,
    is_train: Bool[np.ndarray, " rows"],
    lines: pl.Series,
    table_name: str,
    source: str,
    *,
    fingerprinted: bool = False,
) -> VectorStore:
    """A store of vectors that are all finite in single precision. Reads them once, some rows at a time.

    Args:
        vectors: a row for each of the table.
        is_train: rows whose mean and std are taken.
        lines: where each row stands in the table.
        table_name: how messages call the table.
        source: how they call the vectors, such as "'clip.npy'".
        fingerprinted: whether the store is to have fingerprints, which are taken on the way.

    Raises:
        TableError: if a number is NaN, infinite or too large, with the rows; if the file changes meanwhile.
    """
    dim = vectors.shape[1]
    rows_at_once = max(1, min(_ROWS_AT_ONCE, _BYTES_AT_ONCE // (dim * vectors.dtype.itemsize)))
    count, mean, squares = 0, np.zeros(dim), np.zeros(dim)
    broken: list[int] = []
    digests: list[UInt8[np.ndarray, "rows bytes"]] = []
    for start in range(0, len(vectors), rows_at_once):
        part = slice(start, start + rows_at_once)
        as_stored = vectors[np.arange(len(vectors))[part]]
        if fingerprinted:
            digests.append(fingerprints.of_vectors(as_stored))
        with np.errstate(over="ignore"):  # what single precision cannot hold becomes infinite, and is found here
            block = np.asarray(as_stored, dtype=np.float32)
        fine = np.isfinite(block).all(axis=1)
        broken += (np.flatnonzero(~fine) + start).tolist()
        trained = block[is_train[part] & fine].astype(np.float64)
        if len(trained) and not broken:
            # Chan et al. 1979: means and squares of blocks together, without the loss of sum(x^2) - n mean^2.
            block_mean = trained.mean(axis=0)
            squares += np.square(trained - block_mean).sum(axis=0)
            squares += np.square(block_mean - mean) * (count * len(trained) / (count + len(trained)))
            mean += (block_mean - mean) * (len(trained) / (count + len(trained)))
            count += len(trained)
    if broken:
        in_table = source.startswith("column ")
        first = vectors[np.array(broken[:1])]
        # A list that is missing is read as a row of NaN.
        if in_table and np.isnan(first).all():
            what = f"there is no vector in {source}."
        elif in_table:
            what = f"the vector in {source} has a number that is NaN, infinite or too large."
        else:
            what = (
                f"the vector of this row in {source} (row {broken[0]}, counted from 0) has a number that is NaN, "
                "infinite or too large."
            )
        out_of = "the table" if in_table else "both the table and the vectors"
        raise TableError(
            at_lines(
                table_name,
                [lines[row] for row in broken],
                len(vectors),
                what,
                f"Mend these vectors, or take these rows out of {out_of}.",
            )
        )
    std = np.sqrt(squares / max(count, 1))
    # Rounding alone makes a dimension seem to vary by a ten-millionth of what it is.
    varies = std > 1e-7 * np.abs(mean)
    return VectorStore(
        vectors,
        mean.astype(np.float32),
        np.where(varies, std, 1.0).astype(np.float32),
        np.concatenate(digests) if digests else None,
    )


def open_file(path: Path, rows: int, table_name: str) -> VectorFile:
    """The same as `map_file`, but an error is raised if the file changes from now on."""
    stamp = stamp_of(path)
    return VectorFile(path, map_file(path, rows, table_name), stamp)


def map_file(path: Path, rows: int, table_name: str, other: str = "") -> Shaped[np.ndarray, "rows dim"]:
    """The vectors of a .npy or .safetensors file, mapped into memory; their values are not checked yet.

    Of a safetensors file it is the only tensor, or the one called "features".

    Args:
        path: the file.
        rows: how many vectors there must be.
        table_name: how messages call the table.
        other: how the user names another file, where not as in training: a sentence for messages.

    Raises:
        TableError: if the file is missing, of another kind or damaged, holds anything but one vector of numbers a
            row, or as many rows as the table has not.
    """
    array = map_array(path, table_name, other)
    if array.ndim != 2 or not array.shape[1] or array.dtype.kind not in "fiu":
        raise TableError(
            f"{table_name}: '{path.name}' must hold one vector of numbers for each row, [rows, numbers], but it holds "
            f"{list(array.shape)} of {str(array.dtype)[:200]}."
        )
    if len(array) != rows:
        raise TableError(
            f"{table_name} has {counted(rows, 'row')}, but '{path.name}' has {counted(len(array), 'vector')}.\n"
            "  They belong together in order, the first vector to the first row; write a vector for every row."
            + (f"\n  {other}" if other else "")
        )
    return array


def map_array(path: Path, name: str, other: str = "") -> Shaped[np.ndarray, ...]:
    """The array of a .npy or .safetensors file, of any shape, mapped into memory.

    Args:
        path: the file.
        name: what messages begin with.
        other: see `map_file`.

    Raises:
        TableError: if the file is missing, of another kind or damaged.
    """
    try:
        return _map_npy(path) if path.suffix.lower() == ".npy" else _map_safetensors(path)
    except FileNotFoundError:
        raise TableError(
            f"{name}: the file of vectors '{path}' does not exist.\n"
            f"  {other or 'If it moved, pass --images DIR, its folder.'}"
        ) from None
    except OSError as error:
        raise TableError(f"{name}: the vectors '{path}' cannot be read: {error.strerror or error}.") from None
    except ValueError as error:
        raise TableError(f"{name}: the vectors '{path}' cannot be read: {error}") from None


def _map_npy(path: Path) -> np.ndarray:
    no_numbers = ValueError(
        "it is no .npy file of numbers. Python objects are not read, since they could run code; write "
        "np.asarray(vectors, dtype=np.float32)."
    )
    with path.open("rb") as file:
        magic = file.read(6)
    if not magic:
        raise ValueError("it is empty.")
    if magic.startswith(b"PK"):  # of np.savez
        raise ValueError("it is an archive. Save one array with np.save.")
    if len(magic) == 6 and magic != b"\x93NUMPY":
        raise no_numbers
    try:
        return np.lib.format.open_memmap(path, mode="r")
    except OSError:
        raise
    except Exception as error:  # a hostile head makes numpy raise nearly anything, also TokenError
        if "python objects" in str(error).lower():
            raise no_numbers from None
        raise ValueError(f"it is damaged or cut off ({str(error).partition('.')[0][:200]}).") from None


def _map_safetensors(path: Path) -> np.ndarray:
    """One tensor of a file, mapped: the library's own readers copy it.

    Source: the format is that of https://github.com/huggingface/safetensors.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if not 2 <= length <= min(size - 8, 100_000_000):
            raise ValueError("it is no safetensors file, or cut off.")
        try:
            header = json.loads(file.read(length))
            tensors = {name: entry for name, entry in header.items() if name != "__metadata__"}
            if len(tensors) != 1 and _TENSOR not in tensors:
                listed = first_few([shortened(name) for name in tensors]) or "none"
                raise ValueError(f"it must hold one tensor, or one that is called '{_TENSOR}'; it holds {listed}.")
            entry = tensors.get(_TENSOR) or next(iter(tensors.values()))
            kind, shape, (begin, end) = str(entry["dtype"]), tuple(entry["shape"]), entry["data_offsets"]
        except (AttributeError, KeyError, TypeError, RecursionError, json.JSONDecodeError, UnicodeDecodeError):
            raise ValueError("its header is not that of a safetensors file.") from None
    if kind not in _SAFETENSORS:
        raise ValueError(f"its numbers are {kind[:200]}; {', '.join(_SAFETENSORS)} can be read. Save them as float32.")
    dtype = np.dtype(_SAFETENSORS[kind]).newbyteorder("<")
    if not all(type(n) is int and n >= 0 for n in (*shape, begin, end)):
        raise ValueError("its header is not that of a safetensors file.")
    if end - begin != int(np.prod(shape, dtype=object)) * dtype.itemsize or 8 + length + end > size:
        raise ValueError("it is cut off, or its header is not that of a safetensors file.")
    if not end - begin:
        return np.zeros(shape, dtype)
    return np.memmap(path, dtype, mode="r", offset=8 + length + begin, shape=shape)
