"""The main job as a user does it: every verb, on rendered glyphs and on photographs, from files to a report."""

from __future__ import annotations

import csv
import html
import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mscon.cli import main
from mscon.run.run import Run
from mscon.run.starting_recipes import recipe_text
from mscon_paper.sources import glyphs

FAMILIES = ("abeezee", "fira-code", "bitter", "caveat", "lora", "space-mono")


@pytest.fixture(scope="module", autouse=True)
def cache(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MSCON_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="module")
def glyph_table(tmp_path_factory) -> Path:
    """A few dozen glyphs of six families, two of them unseen."""
    root = tmp_path_factory.mktemp("glyphs")
    return glyphs.prepare(root, characters="abcd", families=FAMILIES, unseen_families=2)


@pytest.fixture
def recipe(tmp_path) -> Path:
    path = tmp_path / "glyphs.toml"
    path.write_text(recipe_text("glyphs"))
    return path


SHORT = ["--set", "train.epochs=2", "--set", "train.batch_size=16"]


def test_every_verb_on_glyphs(glyph_table, recipe, tmp_path, capsys):
    table = ["--table", str(glyph_table)]
    run = tmp_path / "runs" / "first"

    assert main(["check", str(recipe), *table, *SHORT]) == 0
    checked = capsys.readouterr().out
    assert "character" in checked
    assert "steps are few, so the encoder may learn little. Set train.epochs = " in checked
    assert main(["check", str(recipe), *table, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)

    assert main(["train", str(recipe), *table, *SHORT, "--out", str(run), "--dry-run"]) == 0
    assert not run.parent.exists()
    assert "steps are few" in capsys.readouterr().err

    assert main(["train", str(recipe), *table, *SHORT, "--out", str(run)]) == 0
    assert main(["resume", str(run)]) == 0
    assert main(["probe", str(run)]) == 0
    scores = capsys.readouterr().out
    assert "character" in scores
    assert "largest class" in scores
    assert main(["report", str(run)]) == 0
    page = (run / "report.html").read_text("utf-8")
    assert "default-src 'none'" in html.unescape(page)
    assert "data:image" in page

    packed, vectors = tmp_path / "glyphs.safetensors", tmp_path / "glyphs.parquet"
    assert main(["export", str(run), "--to", "safetensors", "--out", str(packed)]) == 0
    assert main(["embed", str(packed), *table, "--out", str(vectors), "--similarity", "character"]) == 0
    assert pl.read_parquet(vectors).height == Run.open(run).read_rows().height
    assert main(["card", str(run)]) == 0
    assert main(["push", str(run), "owner/glyphs", "--dry-run", str(tmp_path / "upload")]) == 0
    assert "| character " in (tmp_path / "upload" / "README.md").read_text("utf-8")

    opened = Run.open(run)
    probed = {score["column"] for score in opened.read_probe()["linear"]}
    assert {"character", "slant", "weight", "category"} <= probed
    assert {"family"} <= {score["column"] for score in opened.read_probe()["neighbours"]}
    kinds = {record["kind"] for record in opened.read_log()}
    assert kinds == {"step", "validation"}


def test_a_run_in_the_way_is_refused_and_kept(glyph_table, recipe, tmp_path, capsys):
    arguments = ["train", str(recipe), "--table", str(glyph_table), *SHORT, "--out", str(tmp_path / "run")]
    assert main(arguments) == 0
    before = (tmp_path / "run" / "run.json").read_bytes()
    assert main(arguments) == 2
    errors = capsys.readouterr().err
    assert "it holds a run" in errors and "--overwrite" not in errors
    assert (tmp_path / "run" / "run.json").read_bytes() == before


@pytest.fixture(scope="module")
def photographs(tmp_path_factory) -> Path:
    """Crops of two photographs, with three label columns and some empty cells."""
    datasets = pytest.importorskip("sklearn.datasets")
    root = tmp_path_factory.mktemp("photographs")
    generator = np.random.default_rng(0)
    with (root / "mine.csv").open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "subject", "half", "light"])
        for name, pixels in zip(("temple", "flower"), datasets.load_sample_images().images, strict=True):
            (root / name).mkdir()
            height, width, _ = pixels.shape
            for number in range(24):
                top, left = generator.integers(height - 160), generator.integers(width - 160)
                crop = pixels[top : top + 160, left : left + 160]
                path = f"{name}/{number}.jpg"
                Image.fromarray(crop).save(root / path, quality=90)
                cells = [
                    name,
                    "upper" if top < (height - 160) / 2 else "lower",
                    "bright" if crop.mean() > 90 else "dark",
                ]
                writer.writerow([path, *("" if generator.random() < 0.15 else cell for cell in cells)])
    return root / "mine.csv"


def test_photographs_of_the_users_own_train_the_same_day(photographs, tmp_path, capsys):
    recipe = tmp_path / "mine.toml"
    text = recipe_text("photos").replace('"category"', '"subject"', 1).replace('"colour"', '"light"', 1)
    recipe.write_text(text)
    run = tmp_path / "run"
    small = [
        "train.epochs=2",
        "train.batch_size=8",
        "train.mini_batch_size=5",
        "data.image_size=64",
        'probe.columns=["half"]',
    ]
    arguments = [part for value in small for part in ("--set", value)]
    assert main(["train", str(recipe), "--table", str(photographs), *arguments, "--out", str(run)]) == 0
    assert "batch normalisation uses 5 rows at a time, not 8" in capsys.readouterr().err
    assert main(["probe", str(run)]) == 0
    assert main(["report", str(run)]) == 0
    columns = [score["column"] for score in Run.open(run).read_probe()["linear"]]
    assert columns == ["subject", "light", "half"]


def test_all_that_is_wrong_with_a_table_is_said_at_once_and_nothing_is_written(photographs, tmp_path, capsys):
    root = tmp_path / "bad"
    (root / "temple").mkdir(parents=True)
    for name in ("0.jpg", "1.jpg"):
        (root / "temple" / name).write_bytes((photographs.parent / "temple" / name).read_bytes())
    (root / "bad.csv").write_text(
        "image,split,category,colour\n"
        "temple/0.jpg,train,a,x\n"
        "temple/1.jpg,test,b,x\n"
        "temple/1.jpg,train,a,x\n"
        "../secret.jpg,train,a,x\n"
        "temple/9.jpg,tarin,a,x\n"
    )
    recipe = tmp_path / "photos.toml"
    recipe.write_text(recipe_text("photos"))
    assert main(["train", str(recipe), "--table", str(root / "bad.csv"), "--out", str(tmp_path / "run")]) == 2
    errors = capsys.readouterr().err
    for words in ("lies outside", "stands in line 3 already", "'tarin'", "column 'colour' has one value", "line 6"):
        assert words in errors, words
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("content", [b"", b"not an image", None])
def test_an_image_that_cannot_be_read_is_named_with_its_line(photographs, tmp_path, capsys, content):
    root = tmp_path / "broken"
    (root / "temple").mkdir(parents=True)
    whole = (photographs.parent / "temple" / "0.jpg").read_bytes()
    for number in range(6):
        original = (photographs.parent / "temple" / f"{number}.jpg").read_bytes()
        (root / "temple" / f"{number}.jpg").write_bytes(original)
    (root / "temple" / "3.jpg").write_bytes(whole[: len(whole) // 2] if content is None else content)
    lines = [f"temple/{n}.jpg,{'train' if n < 4 else 'test'},{'ab'[n % 2]},{'xy'[n // 2 % 2]}" for n in range(6)]
    (root / "t.csv").write_text("image,split,category,colour\n" + "\n".join(lines) + "\n")
    recipe = tmp_path / "photos.toml"
    recipe.write_text(recipe_text("photos"))
    small = ["--set", "encoder.name=small_cnn", "--set", "encoder.pretrained=false", "--set", "keep.beside=0"]
    assert main(["train", str(recipe), "--table", str(root / "t.csv"), *small, "--out", str(tmp_path / "run")]) == 2
    errors = capsys.readouterr().err
    assert "line 5" in errors
    assert "temple/3.jpg" in errors
    assert not (tmp_path / "run").exists()
