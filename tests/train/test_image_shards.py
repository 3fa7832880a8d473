"""All verbs on tables whose images are in shards, here or elsewhere: what files give, bit for bit."""

from __future__ import annotations

import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import polars as pl
import pytest
from tests.train.test_fit import assert_same

from image_shards import parquet, tar
from mscon.cli import main
from mscon.data.inputs import images_on_demand, remote_files
from mscon.data.table.table import Table
from mscon.errors import TableError
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train.fit import fit, resume

REMOTE = ["data.remote=['memory://bucket/']", "train.checkpoint=best"]


@pytest.fixture
def bucket(monkeypatch) -> Iterator[Any]:
    monkeypatch.setattr(remote_files, "_PAUSE", 0.0)
    monkeypatch.setattr(remote_files, "_silent", {})
    files = fsspec.filesystem("memory")
    yield files
    files.store.clear()


@pytest.fixture
def sharded(table: Table, tmp_path: Path, bucket: Any) -> Path:
    """The same rows: a third of the images in a tar file beside the table, one in a remote Parquet file, one remote."""
    folder = tmp_path / "sharded"
    folder.mkdir()
    names = [str(name) for name in table.cells("image")]
    contents = [(table.folder / name).read_bytes() for name in names]
    (folder / "a.tar").write_bytes(tar({name: contents[n] for n, name in enumerate(names) if n % 3 == 0}))
    bucket.pipe("/bucket/b.parquet", parquet(tmp_path / "b.parquet", contents).read_bytes())
    for number in range(2, len(names), 3):
        bucket.pipe(f"/bucket/{names[number]}", contents[number])
    cells = [
        (f"tar://{name}::a.tar", f"parquet://image/{n}::memory://bucket/b.parquet", f"memory://bucket/{name}")[n % 3]
        for n, name in enumerate(names)
    ]
    path = folder / "bars.csv"
    columns = ["split", "shape", "shade"]
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", *columns])
        writer.writerows(zip(cells, *(table.cells(column) for column in columns), strict=True))
    return path


@pytest.mark.parametrize("decode", ["once", "always"])
def test_training_from_shards_is_training_from_files(
    recipe_with: Callable[..., Recipe], table: Table, sharded: Path, tmp_path: Path, decode: str
):
    of_files = fit(recipe_with("train.checkpoint=best"), table, tmp_path / "files", progress=False)
    of_shards = fit(recipe_with(*REMOTE, f"data.decode={decode}"), sharded, tmp_path / "shards", progress=False)
    assert of_files is not None and of_shards is not None
    assert_same(of_files, of_shards)


def test_a_training_that_a_host_breaks_off_goes_on_bit_for_bit(recipe_with, sharded, tmp_path, bucket, monkeypatch):
    recipe = recipe_with(*REMOTE, "data.decode=always")
    whole = fit(recipe, sharded, tmp_path / "whole", progress=False)
    decode, steps = images_on_demand.decode_with_fingerprint, iter(range(1_000))

    def broken(image: Any, *rest: Any) -> Any:
        if next(steps) == 32 + 12 + 1:  # after the first epoch and its validation
            bucket.rm("/bucket", recursive=True)
        return decode(image, *rest)

    contents = {path: bucket.cat(path) for path in bucket.find("/bucket")}
    monkeypatch.setattr(images_on_demand, "decode_with_fingerprint", broken)
    monkeypatch.setattr("mscon.data.inputs.remote_files._cached", lambda *_: None)  # it is too small for all blocks
    with pytest.raises(
        TableError, match=r"(?s)bars\.csv, line \d+: image '.*memory://bucket/.*keeps its checkpoint of ep"
    ):
        fit(recipe, sharded, tmp_path / "run", progress=False)
    monkeypatch.undo()
    for path, content in contents.items():
        bucket.pipe(path, content)
    resume(tmp_path / "run", progress=False)
    assert_same(whole, Run.open(tmp_path / "run"))


@pytest.mark.usefixtures("short_probes")
def test_check_train_probe_explore_and_embed_read_shards(recipe_with, sharded, table, tmp_path, capsys, monkeypatch):
    recipe, run = tmp_path / "r.toml", tmp_path / "run"
    recipe.write_text(recipe_with(*REMOTE, "data.decode=always", "train.epochs=1").to_toml())
    assert main(["check", str(recipe), "--table", str(sharded)]) == 0
    assert "images, grey, 16 x 16 pixels" in capsys.readouterr().out
    assert main(["train", str(recipe), "--table", str(sharded), "--out", str(run)]) == 0
    assert Run.open(run).read_probe()["linear"]
    assert main(["explore", str(run), "--out", str(tmp_path / "e.html")]) == 0
    vectors = tmp_path / "v.parquet"
    assert main(["embed", str(run), "--table", str(sharded), "--out", str(vectors)]) == 0
    of_files = tmp_path / "w.parquet"
    assert main(["embed", str(run), "--table", str(table.path), "--out", str(of_files)]) == 0
    assert np.array_equal(
        pl.read_parquet(vectors)["features"].to_numpy(), pl.read_parquet(of_files)["features"].to_numpy()
    )
    # A packed model allows nothing by itself.
    packed = tmp_path / "m.safetensors"
    assert main(["export", str(run), "--to", "safetensors", "--out", str(packed)]) == 0
    embed = ["embed", str(packed), "--table", str(sharded), "--out", str(tmp_path / "x.parquet")]
    capsys.readouterr()
    assert main(embed) == 2
    message = capsys.readouterr().err
    assert message.count("mscon: ") == 1
    assert (
        "bars.csv, line 3: image 'parquet://image/1::memory://bucket/b.parquet' is an address that [data] remote"
        in message
    )
    assert "--remote memory://bucket/" in message
    assert main([*embed, "--missing-images", "drop"]) == 2
    assert not (tmp_path / "x.parquet").exists()
    assert main([*embed, "--remote", "https://"]) == 2
    assert "--remote: remote must hold beginnings of addresses" in capsys.readouterr().err
    assert main([*embed, "--remote", "memory://bucket/"]) == 0
    assert (
        main(["embed", str(run), "--table", str(sharded), "--out", str(sharded.parent / "a.tar"), "--overwrite"]) == 2
    )


def test_rows_are_left_out_by_embed_for_their_own_faults_only(
    recipe_with, sharded, tmp_path, bucket, monkeypatch, capsys
):
    fit(recipe_with(*REMOTE, "train.epochs=0"), sharded, tmp_path / "run", progress=False)
    bucket.rm("/bucket/5.png")
    embed = ["embed", str(tmp_path / "run"), "--table", str(sharded), "--out", str(tmp_path / "v.parquet")]
    assert main(embed) == 2
    assert (
        "bars.csv, line 7: image 'memory://bucket/5.png' is at an address where there is no file."
        in capsys.readouterr().err
    )
    assert main([*embed, "--missing-images", "drop"]) == 0
    assert "1 row of 64 left out" in capsys.readouterr().err
    assert len(pl.read_parquet(tmp_path / "v.parquet")) == 63

    def no_answer(*_: object, **__: object) -> None:
        raise TimeoutError

    monkeypatch.setattr(type(bucket), "info", no_answer)
    assert main([*embed, "--missing-images", "drop", "--overwrite"]) == 2
    assert "cannot be fetched (memory://bucket: TimeoutError)" in capsys.readouterr().err


def test_init_reads_the_members_of_a_tar_beside_the_table(table, tmp_path, capsys):
    names = [str(name) for name in table.cells("image")]
    (tmp_path / "a.tar").write_bytes(tar({name: (table.folder / name).read_bytes() for name in names}))
    shapes = table.cells("shape")
    lines = [f"tar://{name}::a.tar,{shape}" for name, shape in zip(names, shapes, strict=True)]
    (tmp_path / "t.csv").write_text("\n".join(["image,shape", *lines]) + "\n")
    assert main(["init", str(tmp_path / "t.csv")]) == 0
    text = capsys.readouterr().out
    assert "channels = 1" in text
    assert "image_size = 20" in text
