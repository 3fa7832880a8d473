"""Embedding the table that a run was trained on: what has changed since is told, and embedded as it is."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mscon.cli import main
from mscon.data.inputs import image_files
from mscon.data.table.table import read_table
from mscon.deploy.packed import pack
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train.fit import fit

COMMON = '[[similarity]]\ncolumn = "kind"\n[train]\nepochs = 1\nbatch_size = 8\nprecision = "float32"\n'
RECIPES = {
    "vector": '[data]\ninput = "vectors"\nvectors = "v.npy"\n[encoder]\nname = "linear"\n' + COMMON,
    "image": "[data]\nimage_size = 8\nchannels = 1\n[encoder]\nwidth = 4\n" + COMMON,
}


@pytest.fixture(params=["vector", "image"])
def what(request) -> str:
    return request.param


@pytest.fixture
def folder(tmp_path) -> Path:
    generator = np.random.default_rng(0)
    np.save(tmp_path / "v.npy", generator.normal(size=(20, 4)))
    for number, pixels in enumerate(generator.integers(0, 256, (20, 8, 8), dtype=np.uint8)):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    names = [f"{n}.png" for n in range(20)]
    pl.DataFrame({"image": names, "kind": list("ab") * 10, "split": ["train"] * 14 + ["test"] * 6}).write_csv(
        tmp_path / "t.csv"
    )
    return tmp_path


def trained(folder: Path, what: str) -> Run:
    run = fit(recipes.parse(RECIPES[what]), read_table(folder / "t.csv"), folder / "run", progress=False)
    assert run is not None
    return run


def change(folder: Path, row: int) -> None:
    values = np.load(folder / "v.npy")
    values[row] = 0
    np.save(folder / "v.npy", values)
    Image.new("L", (8, 8)).save(folder / f"{row}.png")


def embedded(model: Path, table: Path, capsys: pytest.CaptureFixture[str], *options: str) -> str:
    """What was said on standard error."""
    out = table.with_name("out.npz")
    capsys.readouterr()
    assert main(["embed", str(model), "--table", str(table), "--out", str(out), "--overwrite", *options]) == 0
    printed = capsys.readouterr()
    assert printed.out.strip() == str(out)
    return printed.err


def test_rows_that_have_changed_since_training_get_one_note(folder, what, capsys):
    run = trained(folder, what)
    assert embedded(run.root, folder / "t.csv", capsys) == ""
    before = np.load(folder / "out.npz")["features"]
    change(folder, 3)
    change(folder, 15)
    note = embedded(run.root, folder / "t.csv", capsys)
    assert note.startswith(f"note: 2 rows of 20 have another {what} than in training (lines 5, 17 of t.csv; looked in")
    assert note.count("\n") == 1
    differ = (np.load(folder / "out.npz")["features"] != before).any(axis=1)
    assert np.flatnonzero(differ).tolist() == [3, 15]


def test_another_table_and_a_packed_model_know_no_rows(folder, what, capsys):
    run = trained(folder, what)
    change(folder, 3)
    (folder / "other.csv").write_text((folder / "t.csv").read_text() + "\n")
    assert embedded(run.root, folder / "other.csv", capsys) == ""
    pack(run, folder / "model.safetensors")
    assert embedded(folder / "model.safetensors", folder / "t.csv", capsys) == ""


def test_images_that_are_left_out_are_not_told_twice(folder, capsys):
    run = trained(folder, "image")
    (folder / "3.png").unlink()
    note = embedded(run.root, folder / "t.csv", capsys, "--missing-images", "drop")
    assert "1 row of 20 left out" in note
    assert "than in training" not in note


@pytest.mark.parametrize("how", ["link", "content"])
def test_an_image_that_is_exchanged_between_check_and_use_is_refused(folder, how, monkeypatch, capsys):
    """The file that a path led to when it was judged to lie in the folder is the one that is embedded."""
    trained(folder, "image")
    (folder / "secret").mkdir()
    images = folder / "images"
    images.mkdir()
    for number in range(20):
        (folder / f"{number}.png").rename(images / f"{number}.png")
    Image.new("L", (8, 8)).save(folder / "secret" / "s.png")
    decode = image_files.decode_some

    def exchanged(*arguments):
        (images / "3.png").unlink()
        if how == "link":
            (images / "3.png").symlink_to(folder / "secret" / "s.png")
        else:
            Image.new("L", (8, 8)).save(images / "3.png")
        return decode(*arguments)

    monkeypatch.setattr(image_files, "decode_some", exchanged)
    out = folder / "out.parquet"
    command = [
        "embed",
        str(folder / "run"),
        "--table",
        str(folder / "t.csv"),
        "--images",
        str(images),
        "--out",
        str(out),
    ]
    assert main(command) == 2
    assert "t.csv, line 5: image '3.png' has changed since this command began" in capsys.readouterr().err
    assert not out.exists()
