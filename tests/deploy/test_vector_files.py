"""Vectors in fewer bits: what they are decoded to, in every kind of file, whole, in shards and joined."""

from __future__ import annotations

import json

import numpy as np
import pyarrow
import pyarrow.ipc
import pyarrow.parquet
import pytest

import mscon
from mscon.cli import main
from mscon.data.table.table import read_table
from mscon.deploy import shards
from mscon.deploy.shards import embed_table
from mscon.deploy.vector_files import read_vectors, write_vectors
from mscon.deploy.vectors import Quantisation, Statistics, unit
from mscon.errors import RunError

SUFFIXES = (".parquet", ".arrow", ".npz")


def vectors(rows: int, *widths: int) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(rows, sum(widths))).astype(np.float32)


# numbers ------------------------------------------------------------------------------------------


def fitted(precision: str, matrix: np.ndarray, *widths: int, is_unit: bool = False) -> Quantisation:
    return Quantisation.fit(precision, widths, Statistics.of(matrix), is_unit)


def test_int8_is_off_by_half_a_step_of_each_dimension_at_most():
    matrix = vectors(50, 8) * np.geomspace(1e-3, 1e3, 8, dtype=np.float32) + 5
    quantisation = fitted("int8", matrix, 5, 3)
    stored = quantisation.encode(matrix)
    assert (
        stored.dtype == np.int8
        and stored.min(axis=0).tolist() == [-127] * 8
        and stored.max(axis=0).tolist() == [127] * 8
    )
    steps = (matrix.max(axis=0) - matrix.min(axis=0)) / 254
    np.testing.assert_allclose(quantisation.steps, steps, rtol=1e-3)
    off = np.abs(quantisation.decode(stored) - matrix).max(axis=0)
    assert (off <= steps * 0.501 + 1e-6).all() and (off > steps * 0.4).all()


def test_decoded_vectors_of_each_space_have_unit_length_where_those_before_had():
    matrix = np.concatenate([unit(vectors(40, 6)), unit(vectors(40, 9))], axis=1)
    for precision in ("int8", "binary"):
        quantisation = fitted(precision, matrix, 6, 9, is_unit=True)
        decoded = quantisation.decode(quantisation.encode(matrix))
        for block in (decoded[:, :6], decoded[:, 6:]):
            np.testing.assert_allclose(np.linalg.norm(block, axis=1), 1.0, rtol=1e-6)


@pytest.mark.parametrize("precision", ["int8", "binary"])
def test_equal_rows_are_decoded_exactly(precision):
    """Also those of a space without a direction."""
    matrix = np.array([[0, 0, 0.6, 0.8]] * 3, np.float32)
    quantisation = fitted(precision, matrix, 2, 2, is_unit=True)
    np.testing.assert_allclose(quantisation.decode(quantisation.encode(matrix)), matrix, atol=1e-6)


def test_bits_are_signs_about_the_mean_and_each_space_has_bytes_of_its_own():
    rows = np.array([[1, -2, 3, -4, -5, -6, -7, 8, 9, -1, 0.5, 2]], np.float32)
    matrix = 7 + np.concatenate([rows, -rows])
    quantisation = fitted("binary", matrix, 9, 3)
    stored = quantisation.encode(matrix)
    assert stored.dtype == np.uint8 and [f"{byte:08b}" for byte in stored[0]] == ["10100001", "10000000", "01100000"]
    deviation = np.sqrt(2 / np.pi * np.array([np.square(rows[0, :9]).mean(), np.square(rows[0, 9:]).mean()]))
    np.testing.assert_allclose(
        quantisation.decode(stored)[0], 7 + np.sign(rows[0]) * np.repeat(deviation, (9, 3)), rtol=1e-6
    )


def test_statistics_of_parts_add_up():
    matrix = vectors(20, 4)
    whole, parts = (
        Statistics.of(matrix),
        Statistics.of(matrix[:7]) + Statistics.of(matrix[:0]) + Statistics.of(matrix[7:]),
    )
    assert parts.rows == 20
    for name in ("low", "high", "total", "squares"):
        np.testing.assert_allclose(getattr(parts, name), getattr(whole, name), rtol=1e-12)


GOOD = {"precision": "int8", "widths": [2], "offsets": [0.0, 0.0], "steps": [1.0, 1.0], "is_unit": True}


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"precision": "int4"}, "'int4' of widths"),
        ({"widths": [0, 2]}, "no quantisation"),
        ({"widths": [2.0]}, "no quantisation"),
        ({"is_unit": "no"}, "no quantisation"),
        ({"widths": [2, 2]}, "not 4 finite numbers"),
        ({"steps": [1.0, float("nan")]}, "not 2 finite numbers"),
    ],
)
def test_metadata_that_contradict_themselves_are_refused(wrong, words):
    assert Quantisation.of_plain(GOOD).to_plain() == {
        **GOOD,
        "widths": (2,),
        "offsets": (0.0, 0.0),
        "steps": (1.0, 1.0),
    }
    with pytest.raises(ValueError, match=words):
        Quantisation.of_plain(GOOD | wrong)


def test_integers_that_their_metadata_do_not_describe_are_refused():
    binary = Quantisation.of_plain(
        {"precision": "binary", "widths": [9], "offsets": [0.0] * 9, "steps": [1.0] * 9, "is_unit": False}
    )
    with pytest.raises(ValueError, match=r"uint8 of shape \[2, 1\] is no binary of \(9,\)"):
        binary.decode(np.zeros((2, 1), np.uint8))
    with pytest.raises(ValueError, match="is no int8"):
        Quantisation.of_plain(GOOD).decode(np.zeros((2, 2), np.uint8))


# files --------------------------------------------------------------------------------------------


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("rows", [0, 3])
@pytest.mark.parametrize(("precision", "dtype"), [("float16", "float16"), ("int8", "int8"), ("binary", "uint8")])
def test_a_file_is_read_as_its_quantisation_decodes_it(tmp_path, suffix, rows, precision, dtype):
    path, matrix = tmp_path / f"v{suffix}", vectors(rows, 5, 3)
    keys = {"line": np.arange(rows), "image": np.array([f"{n}.png" for n in range(rows)], dtype=np.str_)}
    rated = {"uncertainty": np.linspace(0, 1, rows, dtype=np.float32)}
    write_vectors(path, {**keys, "mix": matrix, **rated}, {"mix": (5, 3)}, precision)
    arrays = read_vectors(path)
    assert list(arrays) == ["line", "image", "mix", "uncertainty"]
    assert arrays["image"].tolist() == keys["image"].tolist()
    np.testing.assert_array_equal(arrays["uncertainty"], rated["uncertainty"])
    quantisation = fitted(precision, matrix, 5, 3, is_unit=True) if precision != "float16" else None
    expected = matrix.astype(np.float16) if quantisation is None else quantisation.decode(quantisation.encode(matrix))
    assert arrays["mix"].dtype == np.float32 and arrays["mix"].shape == (rows, 8)
    np.testing.assert_array_equal(arrays["mix"], expected.astype(np.float32))
    assert str(raw(path, "mix").dtype) == dtype


def raw(path, name: str) -> np.ndarray:
    """A column as any other reader gets it."""
    if path.suffix == ".npz":
        return np.load(path)[name]
    if path.suffix == ".arrow":
        column = pyarrow.ipc.open_file(path).read_all()[name]
    else:
        column = pyarrow.parquet.read_table(path)[name]
    flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(len(column), column.type.list_size)


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("precision", ["float16", "int8", "binary"])
def test_joined_shards_are_what_one_shard_gives(run, pictures, tmp_path, monkeypatch, suffix, precision):
    """By the ranges of all rows."""
    model, table = mscon.load(run.root), read_table(pictures / "new.csv")
    settings = {"all_spaces": True, "precision": precision, "batch_size": 5}
    whole = embed_table(model, table, tmp_path / f"whole{suffix}", **settings)
    monkeypatch.setattr(shards, "ROWS", 5)
    joined = embed_table(model, table, tmp_path / f"joined{suffix}", **settings)
    one, other = read_vectors(whole), read_vectors(joined)
    assert list(one) == list(other) == ["line", "image", "features", "projection_kind", "projection_colour", "mix"]
    for name, array in one.items():
        np.testing.assert_array_equal(array, other[name])
    exact = model.embed_all([pictures / f"{n}.png" for n in range(12)])
    for name, array in exact.columns.items():
        spread = np.abs(array - array.mean(axis=0)).max()
        relative, absolute = {"float16": (1e-3, 1e-6), "int8": (0, 0.02 * spread), "binary": (0, 2 * spread)}[precision]
        np.testing.assert_allclose(one[name], array, rtol=relative, atol=absolute)
    np.testing.assert_allclose(
        one["mix"], np.concatenate([one["projection_kind"], one["projection_colour"]], axis=1), atol=1e-6
    )


def test_shards_that_stay_are_stored_so_and_used_again(run, pictures, tmp_path, monkeypatch, capsys):
    out = tmp_path / "v.parquet"
    arguments = ["embed", str(run.root), "--table", str(pictures / "new.csv"), "--out", str(out), "--shard-rows", "5"]
    assert main([*arguments, "--precision", "int8"]) == 0
    folder = tmp_path / "v.parquet.shards"
    index = json.loads((folder / "index.json").read_text())
    assert index["precision"] == "int8" and index["columns"] == {"features": 16}
    assert [raw(folder / shard["file"], "features").dtype for shard in index["shards"]] == [np.int8] * 3
    written = {path: path.stat().st_mtime_ns for path in folder.glob("*.parquet")}
    assert main([*arguments, "--precision", "int8"]) == 0
    assert {path: path.stat().st_mtime_ns for path in folder.glob("*.parquet")} == written
    assert main(arguments) == 0  # another precision, so other files
    assert not written.keys() & set(folder.glob("*.parquet"))


def test_files_of_fewer_bits_are_smaller(tmp_path):
    sizes = {}
    for precision in ("float32", "float16", "int8", "binary"):
        path = tmp_path / f"{precision}.npz"
        write_vectors(path, {"v": vectors(1000, 64)}, {"v": (64,)}, precision)
        sizes[precision] = path.stat().st_size
    assert sizes["float16"] < sizes["float32"] / 1.9
    assert sizes["int8"] < sizes["float32"] / 3.5 and sizes["binary"] < sizes["float32"] / 20


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("v.csv", b"", r"ends in .parquet, .arrow or .npz"),
        ("v.parquet", b"nonsense", r"cannot be read as a file of `mscon embed`"),
        ("v.arrow", b"nonsense", r"cannot be read as a file of `mscon embed`"),
        ("v.npz", b"nonsense", r"cannot be read as a file of `mscon embed`"),
        ("none.npz", None, r"cannot be read as a file of `mscon embed`: .*No such file"),
    ],
)
def test_what_is_no_file_of_vectors_is_told(tmp_path, name, content, words):
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(RunError, match=words):
        read_vectors(tmp_path / name)


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_a_file_that_is_cut_off_is_told(tmp_path, suffix):
    path = tmp_path / f"v{suffix}"
    write_vectors(path, {"v": vectors(100, 8)}, {"v": (8,)}, "int8")
    path.write_bytes(path.read_bytes()[:-200])
    with pytest.raises(RunError, match="cannot be read as a file"):
        read_vectors(path)
