"""Frames in memory: the same cells as from a file."""

from __future__ import annotations

import datetime
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mscon.data.table.table import read_table
from mscon.errors import TableError


def test_a_polars_frame_is_read_as_the_parquet_file_of_it(tmp_path):
    frame = pl.DataFrame(
        {"kind": ["a ", None], "heel": [3.0, 0.5], "day": [datetime.date(2024, 2, 29)] * 2, "v": [[1, 2], [3, 4]]}
    )
    frame.write_parquet(tmp_path / "t.parquet")
    direct, filed = read_table(frame), read_table(tmp_path / "t.parquet")
    assert direct.frame.equals(filed.frame)
    np.testing.assert_array_equal(direct.vectors["v"], filed.vectors["v"])
    assert direct.place(1) == "DataFrame, row 2"
    assert read_table(frame, name="shoes").name == "shoes"


def test_equal_frames_have_one_hash_and_others_another():
    frame = pl.DataFrame({"k": ["a", "b"], "v": [[1.0], [2.0]]})
    hashes = [
        read_table(f).sha256 for f in (frame, frame.clone(), frame[::-1], frame.rename({"k": "l"}), frame.drop("v"))
    ]
    assert hashes[0] == hashes[1]
    assert len(set(hashes)) == 4


def test_names_that_differ_in_spaces_only_are_refused():
    with pytest.raises(TableError, match=r"DataFrame: column names must differ.*'k'"):
        read_table(pl.DataFrame({"k": [1], "k ": [2]}))


def test_frames_without_rows_or_columns_are_refused():
    with pytest.raises(TableError, match="no rows"):
        read_table(pl.DataFrame({"k": []}))
    with pytest.raises(TableError, match="has no columns"):
        read_table(pl.DataFrame())


def test_what_is_no_table_is_the_callers_mistake():
    with pytest.raises(ValueError, match="a path, or a polars or pandas DataFrame, not dict"):
        read_table({"k": [1]})


def test_lists_of_several_lengths_and_lists_of_lists_are_told_by_row():
    with pytest.raises(TableError, match=r"holds lists of 2 numbers, but of 1 in row 3.\n  1 of 3 rows"):
        read_table(pl.DataFrame({"v": [[1, 2], [1, 2], [1]]}))
    with pytest.raises(TableError, match="holds lists of lists"):
        read_table(pl.DataFrame({"v": [[[1, 2]], [[3, 4]]]}))
    with pytest.raises(TableError, match="lists without a number"):
        read_table(pl.DataFrame({"v": pl.Series([[], []], dtype=pl.List(pl.Float64))}))


def test_pandas_is_never_imported_for_a_user_who_has_not():
    code = "import sys, mscon.data.table.table; assert 'pandas' not in sys.modules and 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_pandas_frame_is_read_column_by_column():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed, and mscon does not need it")
    frame = pandas.DataFrame(
        {
            "whole": [1, 2, None],
            "text": ["x", None, " z "],
            "kind": pandas.Categorical(["u", "v", "u"]),
            "truth": [True, False, True],
            "vector": [np.array([1.0, 2.0])] * 3,
            "day": pandas.to_datetime(["2024-02-29"] * 3).date,
            "mixed": [1, "q", None],
        }
    )
    table = read_table(frame)
    assert table.cells("whole") == ["1", "2", None]
    assert table.cells("text") == ["x", None, "z"]
    assert table.cells("kind") == ["u", "v", "u"]
    assert table.cells("truth") == ["true", "false", "true"]
    assert table.cells("day") == ["2024-02-29"] * 3
    assert table.cells("mixed") == ["1", "q", None]
    assert table.vectors["vector"].tolist() == [[1, 2]] * 3
    with pytest.raises(TableError, match="more than once: 'a'"):
        read_table(pandas.DataFrame([[1, 2]], columns=["a", "a"]))


def test_types_of_pandas_own_are_read_as_numpys_are():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed, and mscon does not need it")
    frame = pandas.DataFrame(
        {
            "truth": pandas.array([True, None, False], dtype="boolean"),
            "large": pandas.array([2**60 + 1, None, 1], dtype="Int64"),
            "single": pandas.array([0.1, None, 3], dtype="Float32"),
            "mixed": [2.0, "q", True],
            "band": pandas.cut([1, 2, np.nan], 2),
            "month": pandas.PeriodIndex(["2020-01", None, "2020-03"], freq="M"),
            "path": [Path("a") / "b.png", None, "c.png"],
            "day": pandas.to_datetime(["2024-02-29", None, "2024-02-29 12:00:00.5"], format="mixed"),
        }
    )
    assert read_table(frame).frame.to_dict(as_series=False) == {
        "truth": ["true", None, "false"],
        "large": [str(2**60 + 1), None, "1"],
        "single": ["0.1", None, "3"],
        "mixed": ["2", "q", "true"],
        "band": ["(0.999, 1.5]", "(1.5, 2.0]", None],
        "month": ["2020-01", None, "2020-03"],
        "path": ["a/b.png", None, "c.png"],
        "day": ["2024-02-29 00:00:00", None, "2024-02-29 12:00:00.500000"],
    }


def test_lists_among_other_things_are_refused_and_not_spelt_out():
    pandas = pytest.importorskip("pandas", reason="pandas is not installed, and mscon does not need it")
    for odd in (["x"], {"x": 1}, {1}, b"x"):
        with pytest.raises(TableError, match=r"'k' \(objects of Python\)\. A cell is text"):
            read_table(pandas.DataFrame({"k": [odd, "x", 1]}))


def test_a_moment_is_written_without_a_fraction_of_nothing():
    moments = pl.Series("t", [datetime.datetime(2024, 2, 29, 12), datetime.datetime(2024, 2, 29, 12, 0, 0, 500_000)])
    assert read_table(pl.DataFrame([moments])).cells("t") == ["2024-02-29 12:00:00", "2024-02-29 12:00:00.500000"]
    there = moments.dt.replace_time_zone("Europe/Berlin")
    assert read_table(pl.DataFrame([there])).cells("t")[0] == "2024-02-29 12:00:00+01:00"
