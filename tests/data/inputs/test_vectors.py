"""Vectors: mapped from files that are what they should be, and refused by row where they are not."""

from __future__ import annotations

import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import save_file

from mscon.data.inputs import vectors
from mscon.data.inputs.vectors import VectorStore, checked, map_file
from mscon.errors import TableError


def read_file(path: Path, rows: int = 6) -> np.ndarray:
    return map_file(path, rows, "t.csv")


def message(path: Path, rows: int = 6) -> str:
    with pytest.raises(TableError) as caught:
        read_file(path, rows)
    return str(caught.value)


def store(values: np.ndarray, train: int | None = None) -> VectorStore:
    is_train = np.arange(len(values)) < (len(values) if train is None else train)
    return checked(values, is_train, pl.Series(range(2, len(values) + 2)), "t.csv", "'x.npy'")


def mapped(array: np.ndarray) -> bool:
    return isinstance(array, np.memmap) or isinstance(array.base, np.memmap)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64, np.uint8, np.int8])
def test_both_kinds_of_file_are_mapped_and_say_the_same(tmp_path, dtype):
    values = np.arange(18).reshape(6, 3).astype(dtype)
    np.save(tmp_path / "x.npy", values)
    save_file({"anything": values}, tmp_path / "x.safetensors")
    save_file({"features": values, "other": values[:2]}, tmp_path / "y.safetensors")
    for name in ("x.npy", "x.safetensors", "y.safetensors"):
        array = read_file(tmp_path / name)
        assert mapped(array), name
        np.testing.assert_array_equal(array, values)


def test_the_count_must_be_that_of_the_table(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((5, 3)))
    assert "t.csv has 6 rows, but 'x.npy' has 5 vectors." in message(tmp_path / "x.npy")


@pytest.mark.parametrize(
    "values", [np.zeros(6), np.zeros((6, 2, 2)), np.zeros((6, 0)), np.zeros((6, 2), dtype=complex)]
)
def test_anything_but_one_vector_of_numbers_a_row_is_refused(tmp_path, values):
    np.save(tmp_path / "x.npy", values)
    assert "must hold one vector of numbers for each row" in message(tmp_path / "x.npy")


class _Bomb:
    def __reduce__(self) -> Any:
        return Path.touch, (Path("exploded"),)


def test_nothing_is_unpickled(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    np.save(tmp_path / "x.npy", np.array([[_Bomb()]] * 6, dtype=object), allow_pickle=True)
    assert "Python objects are not read" in message(tmp_path / "x.npy")
    (tmp_path / "y.npy").write_bytes(pickle.dumps(_Bomb()))
    assert "no .npy file of numbers" in message(tmp_path / "y.npy")
    assert not (tmp_path / "exploded").exists()


def test_files_that_are_gone_empty_cut_or_archives_are_told_apart(tmp_path):
    np.save(tmp_path / "x.npy", np.zeros((6, 3)))
    content = (tmp_path / "x.npy").read_bytes()
    (tmp_path / "cut.npy").write_bytes(content[:-8])
    (tmp_path / "empty.npy").write_bytes(b"")
    with (tmp_path / "many.npy").open("wb") as file:
        np.savez(file, a=np.zeros(3))
    assert "does not exist" in message(tmp_path / "none.npy")
    assert "damaged or cut off" in message(tmp_path / "cut.npy")
    assert "it is empty" in message(tmp_path / "empty.npy")
    assert "archive" in message(tmp_path / "many.npy")


def header(path: Path, entry: dict[str, Any], size: int = 72) -> str:
    text = json.dumps(entry).encode()
    path.write_bytes(len(text).to_bytes(8, "little") + text + b"\0" * size)
    return message(path)


def test_headers_that_lie_are_refused(tmp_path):
    path = tmp_path / "x.safetensors"
    good = {"dtype": "F32", "shape": [6, 3], "data_offsets": [0, 72]}
    assert "cut off" in header(path, {"a": good}, size=71)
    assert "cut off" in header(path, {"a": {**good, "shape": [6, 4]}})
    assert "not that of a safetensors file" in header(path, {"a": {**good, "data_offsets": [-72, 0]}})
    assert "not that of a safetensors file" in header(path, {"a": {"dtype": "F32"}})
    assert "not that of a safetensors file" in header(path, {"a": 1})
    assert "its numbers are BF16" in header(path, {"a": {**good, "dtype": "BF16"}})
    assert "called 'features'; it holds 'a', 'b'" in header(path, {"a": good, "b": good})
    path.write_bytes(b"\xff" * 100)
    assert "no safetensors file" in message(path)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 1e300])
def test_numbers_that_are_not_finite_in_single_precision_are_told_by_row(bad):
    values = np.zeros((9, 2))
    values[[3, 7], 1] = bad
    with pytest.raises(TableError) as caught:
        store(values)
    assert "t.csv, line 5: the vector of this row in 'x.npy' (row 3, counted from 0)" in str(caught.value)
    assert "2 of 9 rows have this problem: lines 5, 9." in str(caught.value)


def test_in_a_column_of_the_table_a_missing_vector_is_told_from_a_broken_one():
    lines = pl.Series([2, 5, 7])
    is_train = np.ones(3, dtype=bool)
    missing = np.array([[1, 2], [np.nan] * 2, [np.nan, 1]], dtype=np.float32)
    for values, what in ((missing, "there is no vector in column 'v'."), (missing[[0, 2, 1]], "NaN, infinite or")):
        with pytest.raises(TableError) as caught:
            vectors.checked(values, is_train, lines, "t.jsonl", "column 'v'")
        assert f"t.jsonl, line 5: {what}" in str(caught.value).replace(
            "the vector in column 'v' has a number that is ", ""
        )
        assert "take these rows out of the table." in str(caught.value)
        assert "counted from 0" not in str(caught.value)


@given(st.integers(1, 40), st.integers(1, 40), st.integers(0, 10_000))
def test_mean_and_std_are_those_of_the_training_rows_however_the_file_is_cut(rows, block, seed):
    values = 1e3 + np.random.default_rng(seed).normal(size=(rows + 3, 2))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(vectors, "_ROWS_AT_ONCE", block)
        vector_store = store(values, train=rows)
    single = values[:rows].astype(np.float32).astype(np.float64)
    np.testing.assert_allclose(vector_store.mean, single.mean(axis=0), rtol=1e-6)
    expected = single.std(axis=0)
    np.testing.assert_allclose(vector_store.std, np.where(expected > 1e-4, expected, 1.0), rtol=1e-4)


def test_a_dimension_that_does_not_vary_is_not_divided_by_nothing():
    assert store(np.full((5, 1), 0.1)).std.tolist() == [1.0]


def test_rows_are_copies_in_single_precision_and_must_be_there():
    values = np.arange(6, dtype=np.float16).reshape(3, 2)
    vector_store = store(values)
    block = vector_store[[2, 0]]
    assert block.dtype == np.float32
    np.testing.assert_array_equal(block, [[4, 5], [0, 1]])
    block[:] = 9
    assert values[2, 0] == 4
    for row in (-1, 3):
        with pytest.raises(IndexError):
            vector_store[[row]]


HOSTILE_NPY = {
    "a head that is no Python": b"\x93NUMPY\x03\x00\x03\x00\x00\x00'''" + bytes(48),
    "a head of brackets": b"\x93NUMPY\x03\x00\xb8\x0b\x00\x00" + b"(" * 3_000,
    "a length that is true": b"\x93NUMPY\x01\x00\x3e\x00"
    + b"{'descr': '<f4', 'fortran_order': False, 'shape': (6, True), }"
    + bytes(48),
}


@pytest.mark.parametrize("content", HOSTILE_NPY.values(), ids=HOSTILE_NPY)
def test_a_hostile_npy_file_is_one_message(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    with pytest.raises(TableError, match=r"the vectors '.*x.npy' cannot be read: it is damaged or cut off \("):
        map_file(tmp_path / "x.npy", 6, "t.csv")


@pytest.mark.parametrize("content", [b"PK\x03\x04", b"PK\x05\x06" + bytes(18)])
def test_what_begins_as_an_archive_is_one_message(tmp_path, content):
    (tmp_path / "x.npy").write_bytes(content)
    assert "cannot be read: it is an archive" in message(tmp_path / "x.npy")


@pytest.mark.parametrize(
    "entry", [{"shape": [6, True]}, {"dtype": {"a": 1}}, {"dtype": []}, {"data_offsets": [0, 7.5]}]
)
def test_a_hostile_safetensors_header_is_one_message(tmp_path, entry):
    header = json.dumps({"x": {"dtype": "F32", "shape": [6, 1], "data_offsets": [0, 24], **entry}}).encode()
    (tmp_path / "x.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(24))
    with pytest.raises(TableError, match=r"x.safetensors' cannot be read: its (header|numbers)"):
        map_file(tmp_path / "x.safetensors", 6, "t.csv")


def test_a_message_repeats_no_more_than_the_beginning_of_what_a_file_says(tmp_path):
    long = "x" * 30_000
    path = tmp_path / "x.npy"
    path.write_bytes(b"\x93NUMPY\x02\x00" + (9_001).to_bytes(4, "little") + b"-" * 9_000 + b"1" + bytes(48))
    assert "damaged or cut off" in message(path) and len(message(path)) < 1_000
    np.save(path, np.zeros(6, [(f"{long[:30]}{n}", np.float32) for n in range(150)]))
    assert "one vector of numbers for each row" in message(path) and len(message(path)) < 1_000
    tensor = {"dtype": "F32", "shape": [6, 3], "data_offsets": [0, 72]}
    path = tmp_path / "x.safetensors"
    for entry in ({long: tensor, "y": tensor}, {"x": {**tensor, "dtype": long}}):
        assert "xxx" in header(path, entry) and len(header(path, entry)) < 1_000
