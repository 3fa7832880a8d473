"""Datasets saved on disk: files as `save_to_disk` of datasets 5.2 wrote them, made here without that package."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mscon.data.inputs.image_files import decode_some
from mscon.data.inputs.open import images_root
from mscon.data.table.table import read_table
from mscon.errors import TableError
from mscon.run import recipe as recipes
from selected import selected

FEATURES = {
    "label": {"names": ["boots", "clogs"], "_type": "ClassLabel"},
    "heel": {"dtype": "float32", "_type": "Value"},
}


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))


def saved(folder: Path, *shards: pl.DataFrame, features: dict[str, Any] = FEATURES) -> Path:
    folder.mkdir(parents=True)
    names = [f"data-{i:05d}-of-{len(shards):05d}.arrow" for i in range(len(shards))]
    for name, shard in zip(names, shards, strict=True):
        shard.write_ipc_stream(folder / name)
    (folder / "state.json").write_text(json.dumps({"_data_files": [{"filename": name} for name in names]}))
    (folder / "dataset_info.json").write_text(json.dumps({"features": features}))
    return folder


def rows(*labels: int | None, heel: float = 1.0) -> pl.DataFrame:
    return pl.DataFrame(
        {"label": pl.Series(labels, dtype=pl.Int64), "heel": pl.Series([heel] * len(labels), dtype=pl.Float32)}
    )


def in_splits(root: Path, **splits: pl.DataFrame) -> Path:
    for name, frame in splits.items():
        saved(root / name, frame)
    (root / "dataset_dict.json").write_text(json.dumps({"splits": list(splits)}))
    return root


def test_shards_follow_each_other_and_labels_have_their_names(tmp_path):
    table = read_table(saved(tmp_path / "shoes", rows(0, 1), rows(-1, None, 1)))
    assert table.cells("label") == ["boots", "clogs", None, None, "clogs"]
    assert table.cells("heel") == ["1"] * 5
    assert table.place(4) == "shoes, row 5"


def test_splits_become_a_column(tmp_path):
    table = read_table(in_splits(tmp_path / "shoes", train=rows(0, 1), test=rows(1)))
    assert table.cells("split") == ["train", "train", "test"]


def test_images_within_are_written_once_and_decode_to_what_they_were(tmp_path):
    def encoded(grey: int) -> dict[str, Any]:
        buffer = io.BytesIO()
        Image.new("L", (8, 8), grey).save(buffer, "png")
        return {"bytes": buffer.getvalue(), "path": "same.png"}

    pictures = pl.DataFrame({"image": [encoded(g) for g in (3, 7, 7, 9)], "label": [0, 1, 0, 1]})
    table = read_table(saved(tmp_path / "shoes", pictures))
    recipe = recipes.parse('[[similarity]]\ncolumn = "label"\n[data]\nsplit_shares = [0.5, 0.0, 0.5]')
    rows_used, root = selected(table, recipe), images_root(table, recipe.data)
    greys = [decode_some([root / str(file)], 8, 1)[0][0, 0, 0, 0] for file in rows_used["image"]]
    assert greys == [3, 7, 7, 9]
    before = root.stat().st_mtime_ns
    assert images_root(read_table(tmp_path / "shoes"), recipe.data) == root
    assert root.stat().st_mtime_ns == before


def test_images_that_are_paths_stay_paths(tmp_path):
    pictures = pl.DataFrame(
        {"image": [{"bytes": None, "path": "a/1.png"}, {"bytes": None, "path": None}]},
        schema={"image": pl.Struct({"bytes": pl.Binary, "path": pl.String})},
    )
    assert read_table(saved(tmp_path / "shoes", pictures)).cells("image") == ["a/1.png", None]


def test_sequences_are_vectors(tmp_path):
    frame = rows(0, 1).with_columns(v=pl.Series([[1.0, 2.0], [3.0, 4.0]], dtype=pl.Array(pl.Float32, 2)))
    np.testing.assert_array_equal(read_table(saved(tmp_path / "s", frame)).vectors["v"], [[1, 2], [3, 4]])


def test_what_is_damaged_is_told_by_name(tmp_path):
    cut = saved(tmp_path / "cut", rows(0))
    (cut / "data-00000-of-00001.arrow").write_bytes(b"no arrow")
    with pytest.raises(TableError, match=r"cut: 'data-00000-of-00001.arrow' is not an Arrow file"):
        read_table(cut)
    (cut / "data-00000-of-00001.arrow").unlink()
    with pytest.raises(TableError, match=r"is not there, though state.json names it"):
        read_table(cut)
    (cut / "state.json").write_text('{"_data_files": [{"filename": "../secret.arrow"}]}')
    with pytest.raises(TableError, match="names no files"):
        read_table(cut)
    (cut / "state.json").write_text("{")
    with pytest.raises(TableError, match=r"'state.json' is not JSON"):
        read_table(cut)
    (cut / "state.json").write_text('{"_data_files": [{"filename": "x"}], "_indices_files": [{"filename": "y"}]}')
    with pytest.raises(TableError, match="flatten_indices"):
        read_table(cut)


def test_two_columns_of_one_name_are_refused(tmp_path):
    twice = saved(tmp_path / "twice", rows(0))
    (twice / "dataset_info.json").write_text('{"features": {"k": {}, "k": {}}}')
    with pytest.raises(TableError, match="column names must differ, but 'k'"):
        read_table(twice)
    with pytest.raises(TableError, match="more than once: 'k'"):
        read_table(saved(tmp_path / "spaces", pl.DataFrame({"k": ["a"], " k": ["b"]})))


def test_splits_must_agree_and_stay_within_the_folder(tmp_path):
    odd = in_splits(tmp_path / "odd", train=rows(0), test=rows(1).rename({"heel": "height"}))
    with pytest.raises(TableError, match="same columns, but 'heel', 'height' are not in both"):
        read_table(odd)
    (odd / "dataset_dict.json").write_text('{"splits": ["../elsewhere"]}')
    with pytest.raises(TableError, match="no name of a folder"):
        read_table(odd)


def test_a_label_beyond_the_names_is_told(tmp_path):
    with pytest.raises(TableError, match=r"row 2: column 'label' is 5, but dataset_info.json names 2 classes"):
        read_table(saved(tmp_path / "s", rows(0, 5)))


def test_columns_of_one_name_in_the_arrow_file_are_refused(tmp_path, capfd):
    """polars panics on them. `datasets` cannot write such a file."""
    for frame in (rows(0, 1), rows()):
        folder = saved(tmp_path / str(frame.height), frame.with_columns(heef=pl.lit(1.5, pl.Float32)))
        file = folder / "data-00000-of-00001.arrow"
        assert file.read_bytes().count(b"heef") == 1
        file.write_bytes(file.read_bytes().replace(b"heef", b"heel"))
        with pytest.raises(TableError, match=r"'data-.*arrow' is not an Arrow file .* Column names must differ\."):
            read_table(folder)
