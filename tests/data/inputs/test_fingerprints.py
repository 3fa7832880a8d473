"""Fingerprints: what is the same has the same, and what has changed is told by row."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest

from mscon.data.inputs.fingerprints import SIZE, changes, of_file, of_vectors
from mscon.errors import RunError
from mscon.run.recipe import Data

VECTORS = Data(input="vectors", vectors="x.npy")


def test_they_are_the_beginning_of_sha256():
    # echo -n abc | sha256sum
    assert of_file(io.BytesIO(b"abc")).tobytes().hex() == "ba7816bf8f01cfea414140de5dae2223"
    assert of_file(io.BytesIO(b"")).shape == (SIZE,)


def test_equal_rows_of_one_type_have_one_fingerprint_however_they_lie_in_memory():
    values = np.arange(12, dtype=np.float32).reshape(4, 3)
    values[2] = values[0]
    prints = of_vectors(values)
    assert np.array_equal(prints[0], prints[2])
    assert len(np.unique(prints, axis=0)) == 3
    assert np.array_equal(of_vectors(np.asfortranarray(values)), prints)
    assert np.array_equal(of_vectors(values[1:]), prints[1:])
    assert not (of_vectors(values.view(np.int32)) == prints).all(axis=1).any()
    assert of_vectors(values[:0]).shape == (0, SIZE)


def test_changes_are_told_with_number_lines_and_place():
    trained = of_vectors(np.arange(16.0).reshape(8, 2))
    lines = list(range(2, 10))
    now = trained.copy()
    assert changes(trained, now, lines, "t.csv", VECTORS, Path("/data")) == (0, "")
    now[3, 15] ^= 1
    assert changes(trained, now, lines, "t.csv", VECTORS, Path("/data")) == (
        1,
        "1 row of 8 has another vector than in training (line 5 of t.csv; looked in '/data/x.npy', compared "
        "with fingerprints.safetensors of the run).",
    )
    assert changes(trained, now[::-1], lines, "t.parquet", Data(), Path("/data")) == (
        8,
        "8 rows of 8 have another image than in training (rows 2, 3, 4, 5, 6 and 3 more of t.parquet; looked in "
        "'/data', compared with fingerprints.safetensors of the run).",
    )


def test_what_the_run_keeps_itself_is_not_compared_and_files_of_two_runs_are_not_mixed():
    prints = of_vectors(np.zeros((3, 2)))
    assert changes(None, prints, [2, 3, 4], "t.csv", Data(), Path()) == (0, "")
    assert changes(None, None, [2, 3, 4], "t.csv", Data(), Path()) == (0, "")
    with pytest.raises(RunError, match=r"2 rows, but its fingerprints\.safetensors is of 3 rows"):
        changes(prints, prints[:2], [2, 3], "t.csv", Data(), Path())
