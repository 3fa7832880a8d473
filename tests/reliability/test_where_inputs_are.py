"""Images and vectors that moved, that are links, or that have changed: what each verb does with them."""

from __future__ import annotations

import io
import os
import shutil
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image
from safetensors.torch import save_file

from mscon.cli import main
from mscon.model.encoder import build_encoder
from mscon.run import recipe as recipes
from mscon.run.run import Run

COMMON = '[[similarity]]\ncolumn = "kind"\n[train]\nepochs = 2\nbatch_size = 8\nprecision = "float32"\n'
RECIPES = {
    "vectors": '[data]\ninput = "vectors"\nvectors = "v.npy"\n[encoder]\nname = "linear"\n' + COMMON,
    "images": "[data]\nimage_size = 8\nchannels = 1\n[encoder]\nwidth = 4\n" + COMMON,
}


@pytest.fixture(params=["vectors", "images"])
def what(request) -> str:
    return request.param


def write_inputs(folder: Path, links: str = "") -> Path:
    """20 images and their vectors with a table; images may be links, as in a snapshot of the Hugging Face cache."""
    folder.mkdir(parents=True)
    generator = np.random.default_rng(0)
    np.save(folder / "v.npy", generator.normal(size=(20, 4)))
    files = folder / links
    files.mkdir(exist_ok=True)
    for number, pixels in enumerate(generator.integers(0, 256, (20, 8, 8), dtype=np.uint8)):
        Image.fromarray(pixels).save(files / f"{number}{'' if links else '.png'}", "PNG")
        if links:
            (folder / f"{number}.png").symlink_to(os.path.join(links, str(number)))
    names = [f"{n}.png" for n in range(20)]
    splits = ["train"] * 12 + ["validation"] * 2 + ["test"] * 6
    pl.DataFrame({"image": names, "kind": list("ab") * 10, "split": splits}).write_csv(folder / "t.csv")
    return folder


@pytest.fixture
def trained(tmp_path, what, monkeypatch) -> Path:
    """A folder with a run, its recipe and its inputs, which are in "there"."""
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path / "there")
    (tmp_path / "r.toml").write_text(RECIPES[what])
    assert main(["train", "r.toml", "--table", "there/t.csv", "--out", "run", "--no-probe"]) == 0
    return tmp_path


def test_probe_and_resume_find_inputs_that_moved_and_remember_where(trained, what, capsys):
    for copy in ("probed", "resumed"):
        shutil.copytree("run", copy)
    assert main(["probe", "run", "--no-start"]) == 0
    assert main(["resume", "run", "--set", "train.epochs=3", "--no-probe"]) == 0
    Path("there").rename("here")
    capsys.readouterr()
    assert main(["probe", "probed"]) == 2
    assert "pass --images DIR" in capsys.readouterr().err
    facts = Run.open("probed").read_facts()
    assert main(["probe", "probed", "--no-start", "--images", "here"]) == 0
    np.testing.assert_array_equal(Run.open("probed").read_features(), Run.open("run").read_features())
    assert Run.open("probed").read_facts() == {**facts, "images_root": str(Path("here").resolve())}
    assert main(["probe", "probed", "--no-start"]) == 0
    assert main(["resume", "resumed", "--set", "train.epochs=3", "--no-probe"]) == 2
    assert main(["resume", "resumed", "--set", "train.epochs=3", "--no-probe", "--images", "here"]) == 0
    tensors, again = (Run.open(name).read_checkpoint("last")[0] for name in ("run", "resumed"))
    assert all(np.array_equal(tensors[name].numpy(), again[name].numpy()) for name in tensors)
    assert Run.open("resumed").read_facts()["images_root"] == str(Path("here").resolve())


def test_other_inputs_in_the_folder_that_is_named_are_refused(trained, what, capsys):
    shutil.copytree("there", "here")
    change(Path("here"), 3)
    assert main(["probe", "run", "--no-start"]) == 0
    facts = Run.open("run").read_facts()
    for verb in (["probe", "run"], ["resume", "run", "--set", "train.epochs=3"]):
        capsys.readouterr()
        assert main([*verb, "--images", "here"]) == 2
        assert "has another" in capsys.readouterr().err
    assert Run.open("run").read_facts() == facts


def change(folder: Path, row: int) -> None:
    values = np.load(folder / "v.npy")
    values[row] = 0
    np.save(folder / "v.npy", values)
    Image.new("L", (8, 8)).save(folder / f"{row}.png")


def test_search_notes_rows_that_it_shows_whose_input_has_changed(trained, capsys):
    assert main(["probe", "run", "--no-start"]) == 0
    capsys.readouterr()
    assert main(["search", "run", "--query", "0", "-k", "19"]) == 0
    assert capsys.readouterr().err == ""
    change(Path("there"), 3)
    change(Path("there"), 15)
    assert main(["search", "run", "--query", "0", "-k", "19"]) == 0
    note = "note: the images or vectors of rows 3, 15 have changed since training, or are gone"
    assert capsys.readouterr().err.startswith(note)
    shutil.rmtree("there")
    assert main(["search", "run", "--query", "7", "-k", "1"]) == 0
    assert "have changed since training, or are gone" in capsys.readouterr().err


def test_what_is_printed_survives_an_encoding_without_some_letters(trained, monkeypatch):
    assert main(["probe", "run", "--no-start"]) == 0
    for encoding in ("ascii", "latin-1", "cp1252"):
        content = io.BytesIO()
        stream = io.TextIOWrapper(content, encoding=encoding)
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stdout", stream)
            assert main(["probe", "run", "--no-start"]) == 0
            assert main(["search", "run", "--query", "0", "-k", "19"]) == 0
            stream.flush()
        assert "\\u2260 b" in content.getvalue().decode(encoding)


def test_closed_streams_keep_no_verb_from_its_work(trained, monkeypatch):
    with monkeypatch.context() as patch:
        for name in ("stdout", "stderr"):
            patch.setattr(sys, name, None)
        assert main(["resume", "run", "--set", "train.epochs=3"]) == 0
        assert main(["probe", "nothing"]) == 2
        for name in ("stdout", "stderr"):
            getattr(sys, name).close()
    assert Run.open("run").read_probe()["linear"]


def test_a_cache_of_links_is_read_where_the_recipe_says_where_they_lead(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hub").mkdir()
    snapshot = tmp_path / "hub" / "snapshots" / "abc"
    (tmp_path / "hub" / "blobs").mkdir()
    write_inputs(snapshot, "../../blobs")
    (tmp_path / "r.toml").write_text(RECIPES["images"])
    assert main(["check", "r.toml", "--table", str(snapshot / "t.csv")]) == 2
    message = capsys.readouterr().err
    assert "20 of 20 rows have this problem" in message
    assert '[data] link_folders = ["../../blobs"]' in message
    assert main(["init", str(snapshot / "t.csv"), "--out", "guessed.toml"]) == 0
    assert 'link_folders = ["../../blobs"]' in Path("guessed.toml").read_text()
    assert main(["check", "guessed.toml", "--table", str(snapshot / "t.csv")]) == 0
    setting = 'data.link_folders=["../../blobs"]'
    assert main(["check", "r.toml", "--table", str(snapshot / "t.csv"), "--set", setting]) == 0
    train = ["train", "r.toml", "--table", str(snapshot / "t.csv"), "--out", "run", "--set", setting]
    assert main([*train, "--no-probe"]) == 0
    assert main(["probe", "run"]) == 0
    assert main(["embed", "run", "--table", str(snapshot / "t.csv"), "--out", "v.npz"]) == 0
    shutil.copytree(tmp_path / "hub" / "blobs", tmp_path / "elsewhere")
    write_inputs(tmp_path / "other", "../elsewhere")
    embed = ["embed", "run", "--table", "other/t.csv", "--out", "w.npz"]
    assert main(embed) == 2
    assert main([*embed, "--link-folder", "elsewhere"]) == 0
    np.testing.assert_array_equal(np.load("w.npz")["features"], np.load("v.npz")["features"])


def test_absolute_paths_are_read_below_the_folder_that_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path / "data")
    (tmp_path / "tables").mkdir()
    table = pl.read_csv("data/t.csv").with_columns(image=pl.lit(f"{tmp_path / 'data'}/") + pl.col("image"))
    table.write_csv("tables/t.csv")
    (tmp_path / "r.toml").write_text(RECIPES["images"])
    assert main(["check", "r.toml", "--table", "tables/t.csv"]) == 2
    assert f"--images '{tmp_path / 'data'}'" in capsys.readouterr().err
    for images in (str(tmp_path / "data"), str(tmp_path), "/"):
        assert main(["check", "r.toml", "--table", "tables/t.csv", "--images", images]) == 0
    assert main(["train", "r.toml", "--table", "tables/t.csv", "--images", "data", "--out", "run"]) == 0
    assert Run.open("run").read_probe()["linear"]


def test_images_within_a_table_are_taken_out_again_where_the_cache_is_gone(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    write_inputs(tmp_path / "there")
    table = pl.read_csv("there/t.csv")
    content = [(tmp_path / "there" / name).read_bytes() for name in table["image"]]
    table.with_columns(image=pl.Series(content)).write_parquet("t.parquet")
    (tmp_path / "r.toml").write_text(RECIPES["images"])
    assert main(["train", "r.toml", "--table", "t.parquet", "--out", "run"]) == 0
    features = Run.open("run").read_features()
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "other"))
    shutil.rmtree("cache")
    shutil.rmtree("run/features")
    shutil.copytree("run", "again")
    (tmp_path / "again" / "checksums.jsonl").unlink()
    (tmp_path / "run" / "checksums.jsonl").unlink()
    assert main(["probe", "run", "--no-start"]) == 0
    np.testing.assert_array_equal(Run.open("run").read_features(), features)
    assert main(["resume", "run", "--set", "train.epochs=3", "--no-probe"]) == 0
    Path("t.parquet").unlink()
    shutil.rmtree("other")
    capsys.readouterr()
    assert main(["probe", "again", "--no-start"]) == 2
    assert "does not exist" in capsys.readouterr().err


def test_a_file_of_vectors_that_is_a_link_is_read_where_the_recipe_says_where_it_leads(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path / "there")
    (tmp_path / "blobs").mkdir()
    Path("there/v.npy").rename("blobs/v")
    Path("there/v.npy").symlink_to("../blobs/v")
    (tmp_path / "r.toml").write_text(RECIPES["vectors"])
    check = ["check", "r.toml", "--table", "there/t.csv"]
    assert main(check) == 2
    assert '[data] link_folders = ["../blobs"]' in capsys.readouterr().err
    assert main([*check, "--set", 'data.link_folders=["../blob"]']) == 2
    assert "[data] link_folders: there is no folder '../blob', looked for relative to '" in capsys.readouterr().err
    assert main([*check, "--set", 'data.link_folders=["../blobs"]']) == 0


def test_the_vectors_of_a_teacher_are_read_where_the_recipe_says_where_links_lead(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path / "there")
    (tmp_path / "blobs").mkdir()
    Path("there/v.npy").rename("blobs/v")
    for name in ("v.npy", "clip.npy"):
        (tmp_path / "there" / name).symlink_to("../blobs/v")
    teacher = '[[similarity]]\ncolumn = "clip"\nname = "teacher"\nof = "clip.npy"\n'
    (tmp_path / "r.toml").write_text(teacher + RECIPES["vectors"])
    train = ["train", "r.toml", "--table", "there/t.csv", "--out", "run", "--no-probe"]
    assert main(train) == 2
    message = capsys.readouterr().err
    assert "the file of vectors 'clip.npy' lies outside" in message
    assert '[data] link_folders = ["../blobs"]' in message
    assert main([*train, "--set", 'data.link_folders=["../blobs"]']) == 0
    assert Run.open("run").read_facts()["sources"].keys() == {"clip"}
    assert main(["check", "r.toml", "--table", "there/t.csv", "--set", 'data.link_folders=["../blobs"]']) == 0


def test_the_start_of_a_run_is_not_probed_by_other_weights(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    write_inputs(tmp_path / "there")
    (tmp_path / "r.toml").write_text(RECIPES["images"])
    encoder = build_encoder(recipes.parse(RECIPES["images"]).encoder, 1, 8)
    save_file(encoder.backbone.state_dict(), "w.safetensors")
    train = ["train", "r.toml", "--table", "there/t.csv", "--out", "run", "--set", "encoder.weights=w.safetensors"]
    assert main(train) == 0
    assert Run.open("run").read_probe()["start"]["title"] == "start: small_cnn, w.safetensors"
    save_file({name: tensor + 1 for name, tensor in encoder.backbone.state_dict().items()}, "w.safetensors")
    capsys.readouterr()
    assert main(["probe", "run"]) == 0
    assert "began from, 'w.safetensors', have changed since" in capsys.readouterr().err
    assert "start" not in Run.open("run").read_probe()
