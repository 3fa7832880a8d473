"""A folder of Parquet files is one table."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from mscon.data.table.table import read_table
from mscon.errors import TableError


def write(folder: Path, **frames: pl.DataFrame) -> Path:
    folder.mkdir()
    for name, frame in frames.items():
        frame.write_parquet(folder / f"{name.replace('_', '-')}.parquet")
    return folder


A, B = pl.DataFrame({"k": ["a", "b"], "n": [1.0, 2.5]}), pl.DataFrame({"n": [None, 4.0], "k": ["c", None]})


def test_the_rows_of_all_files_follow_one_another_in_the_order_of_names(tmp_path):
    table = read_table(write(tmp_path / "t", part_1=B, part_0=A))
    assert table.frame.rows() == [("a", "1"), ("b", "2.5"), ("c", None), (None, "4")]
    assert table.frame.columns == ["k", "n"]
    assert table.place(2) == "t, row 3"
    assert table.folder == tmp_path / "t"


def test_files_that_are_named_after_splits_tell_the_split(tmp_path):
    files = {"train_00000_of_00002": A, "train_00001_of_00002": A, "val_00000_of_00001": B}
    table = read_table(write(tmp_path / "t", **files))
    assert table.cells("split") == ["train"] * 4 + ["val"] * 2
    with_split = {name: frame.with_columns(split=pl.lit("test")) for name, frame in files.items()}
    assert read_table(write(tmp_path / "u", **with_split)).cells("split") == ["test"] * 6
    assert "split" not in read_table(write(tmp_path / "v", train=A, other=B)).frame.columns


def test_columns_that_differ_are_named_with_the_files(tmp_path):
    with pytest.raises(TableError, match=r"'m', 'n' are not in both 'a.parquet' and 'b.parquet'"):
        read_table(write(tmp_path / "t", a=A, b=A.rename({"n": "m"})))
    with pytest.raises(TableError, match="a column has another type in one part than in another"):
        read_table(write(tmp_path / "u", a=A, b=A.with_columns(n=pl.lit("x"))))
    (tmp_path / "u" / "b.parquet").write_bytes(b"PAR1")
    with pytest.raises(TableError, match=r"b\.parquet is not a Parquet file"):
        read_table(tmp_path / "u")
