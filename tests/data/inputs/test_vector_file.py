"""A file of vectors: rows as they were when it was opened, or a message."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file

from mscon.data.inputs.vector_file import VectorFile
from mscon.data.inputs.vectors import open_file
from mscon.errors import TableError

ROWS = 3_000
VALUES = np.arange(ROWS * 5, dtype=np.float32).reshape(ROWS, 5)

# A few here and there, many in a row, none.
SELECTIONS = (np.array([2_999, 0, 17]), np.arange(1_000, 1_900), np.array([], dtype=np.int64))


@pytest.fixture
def path(tmp_path) -> Path:
    np.save(tmp_path / "x.npy", VALUES)
    return tmp_path / "x.npy"


def opened(path: Path) -> VectorFile:
    return open_file(path, ROWS, "t.csv")


def test_rows_are_those_of_the_file_whatever_its_kind(tmp_path, path):
    np.save(tmp_path / "fortran.npy", np.asfortranarray(VALUES))
    np.save(tmp_path / "big-endian.npy", VALUES.astype(">f4"))
    np.save(tmp_path / "half.npy", VALUES.astype(np.float16))
    save_file({"features": VALUES, "another": VALUES[:7]}, tmp_path / "x.safetensors")
    for file in tmp_path.iterdir():
        expected = VALUES.astype(np.float16) if file.stem == "half" else VALUES
        for rows in SELECTIONS:
            selection = opened(file)[rows]
            np.testing.assert_array_equal(selection, expected[rows], err_msg=file.name)
            selection[:] = 0  # a copy
        np.testing.assert_array_equal(opened(file)[SELECTIONS[1]], expected[SELECTIONS[1]])


def rewritten(path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4_000)
        file.write(b"\xff")
    os.utime(path, ns=(1, 1))  # times of a disk that knows seconds only may otherwise be the same


def replaced(path: Path) -> None:
    status = path.stat()
    np.save(path.with_suffix(".new.npy"), VALUES[::-1])
    os.utime(path.with_suffix(".new.npy"), ns=(status.st_atime_ns, status.st_mtime_ns))
    path.with_suffix(".new.npy").replace(path)


def cut(path: Path) -> None:
    os.truncate(path, 0)


def longer(path: Path) -> None:
    with path.open("ab") as file:
        file.write(b"\0")


@pytest.mark.parametrize("change", [rewritten, replaced, cut, longer, Path.unlink])
@pytest.mark.parametrize("rows", SELECTIONS, ids=["few", "many", "none"])
def test_a_file_that_has_changed_since_it_was_opened_is_told(path, change: Callable[[Path], None], rows):
    file = opened(path)
    file[rows]
    change(path)
    with pytest.raises(TableError, match=r"the file of vectors '.*x\.npy' has changed while it was being read"):
        file[rows]


def test_a_change_between_looking_and_reading_is_told(path, monkeypatch):
    """Also one that takes away what is about to be read; of a mapped file the process would be killed."""
    file = opened(path)
    look = VectorFile._need_same

    def look_too_early(self: VectorFile) -> None:
        look(self)
        cut(path)

    monkeypatch.setattr(VectorFile, "_need_same", look_too_early)
    with pytest.raises(TableError, match="has changed while it was being read"):
        file[SELECTIONS[1]]


def test_a_file_that_changes_while_it_is_being_opened_is_told(path, monkeypatch):
    from mscon.data.inputs import vectors

    mapping = vectors.map_file

    def slowly(*arguments: object) -> np.ndarray:
        mapped_array = mapping(*arguments)
        longer(path)
        return mapped_array

    monkeypatch.setattr(vectors, "map_file", slowly)
    with pytest.raises(TableError, match="has changed while it was being read"):
        opened(path)[SELECTIONS[0]]
