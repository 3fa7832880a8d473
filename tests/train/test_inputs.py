"""Training and probing where rows are no images: from a table to scores, and again after an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from mscon.cli import main
from mscon.data.table.table import read_table
from mscon.errors import RecipeError, TableError
from mscon.evaluate.features import extract
from mscon.model.model import load_model
from mscon.run import recipe as recipes
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train.fit import fit, resume

RECIPE = """
[[similarity]]
column = "kind"
name = "categorical"
[[similarity]]
column = "shade"
name = "categorical"
[[similarity]]
name = "same_row"

[data]
input = "vectors"
vectors = "points.npy"

[encoder]
name = "mlp"
settings = { units = 16, layers = 1 }

[train]
epochs = 2
batch_size = 16
precision = "float32"
channels_last = "no"
"""

ROWS = 72


def recipe_with(*overrides: str) -> Recipe:
    return recipes.parse(RECIPE, overrides)


def points() -> np.ndarray:
    """Two dimensions that tell the kind and the shade, on scales far apart, and two that tell nothing."""
    generator = np.random.default_rng(0)
    kind, shade = np.arange(ROWS) % 2, np.arange(ROWS) // 2 % 3
    noise = generator.normal(size=(ROWS, 4))
    return np.stack(
        [
            1000 + 100 * kind + 5 * noise[:, 0],
            0.01 * shade + 0.001 * noise[:, 1],
            noise[:, 2],
            noise[:, 3],
        ],
        axis=1,
    ).astype(np.float32)


def frame() -> pl.DataFrame:
    rows = range(ROWS)
    return pl.DataFrame(
        {
            "split": ["train" if n < 48 else "validation" if n < 54 else "test" for n in rows],
            "kind": ["ab"[n % 2] for n in rows],
            "shade": [None if n % 7 == 0 else "xyz"[n // 2 % 3] for n in rows],
        }
    )


@pytest.fixture
def folder(tmp_path) -> Path:
    frame().write_csv(tmp_path / "things.csv")
    np.save(tmp_path / "points.npy", points())
    return tmp_path


def trained(folder: Path, recipe: Recipe, table: str = "things.csv", out: str = "run") -> Run:
    run = fit(recipe, read_table(folder / table), folder / out, progress=False)
    assert run is not None
    return run


def test_vectors_of_a_file_train_and_are_probed_from_the_command_line(folder, capsys):
    (folder / "r.toml").write_text(RECIPE)
    table, run = ["--table", str(folder / "things.csv")], folder / "run"
    assert main(["check", str(folder / "r.toml"), *table]) == 0
    assert "'kind' (categorical): 2 classes" in capsys.readouterr().out
    assert main(["train", str(folder / "r.toml"), *table, "--out", str(run), "--set", "train.epochs=8"]) == 0
    assert main(["probe", str(run)]) == 0
    scores = {score["column"]: score["accuracy"]["value"] for score in Run.open(run).read_probe()["linear"]}
    assert scores["kind"] > 0.9
    assert scores["shade"] > 0.7
    assert main(["report", str(run)]) == 0


def test_a_column_of_lists_trains_the_same_as_a_file_of_the_same_vectors(folder):
    lists = frame().with_columns(points=pl.Series(points().tolist(), dtype=pl.List(pl.Float32)))
    lists.write_parquet(folder / "things.parquet")
    of_file, of_lists = (
        trained(folder, recipe_with()),
        trained(folder, recipe_with("data.vectors=points"), "things.parquet", "b"),
    )
    assert of_lists.vectors_file is not None
    assert of_file.vectors_file is None
    for name, tensor in load_model(of_file).state_dict().items():
        assert torch.equal(tensor, load_model(of_lists).state_dict()[name]), name
    (folder / "things.parquet").unlink()  # the run has kept what it needs
    for run in (of_file, of_lists):
        extract(run, progress=False)
    assert np.array_equal(of_file.read_features(), of_lists.read_features())


def test_class_folders_and_frames_with_images_within_train_like_files(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (24, 8, 8), dtype=np.uint8)
    bytes_of = []
    for number, image in enumerate(pixels):
        path = folder / "shots" / ("train" if number < 16 else "test") / "ab"[number % 2] / f"{number:02}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(path)
        bytes_of.append(path.read_bytes())
    images = ("data={image_size=8, channels=1}", "encoder={width=4}", "similarity=[{column='class'}]")
    run = trained(folder, recipe_with(*images), "shots")
    within = pl.DataFrame(
        {
            "image": bytes_of,
            "class": ["ab"[n % 2] for n in range(24)],
            "split": ["train" if n < 16 else "test" for n in range(24)],
        }
    )
    same = fit(recipe_with(*images), read_table(within), folder / "same", progress=False)
    assert same is not None
    for each in (run, same):
        extract(each, progress=False)
        assert each.read_inputs() is None
    # Rows stand in another order, so they are trained in another; but every image is there.
    assert run.read_features().shape == same.read_features().shape == (24, 16)
    assert same.read_rows()["image"][3] == "00000/00000003"


def test_columns_of_the_table_itself_train_and_are_probed(folder):
    vectors = points()
    mine = frame().with_columns(
        height=pl.Series([None if n == 5 else float(v) for n, v in enumerate(vectors[:, 0])]),
        make=pl.Series([f"m{n // 2 % 3}" for n in range(ROWS)]),
    )
    mine.write_csv(folder / "mine.csv")
    recipe = recipe_with("data.input=columns", 'data.numbers=["height"]', 'data.categories=["make"]', "data.vectors=''")
    run = trained(folder, recipe, "mine.csv")
    inputs = json.loads((run.root / "inputs.json").read_text())
    assert inputs["width"] == 2 + 3
    extract(run, progress=False)
    assert run.read_features().shape == (ROWS, 16)


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(folder):
    whole = trained(folder, recipe_with())
    cut = trained(folder, recipe_with("train.epochs=1", 'train.schedule="constant"'), out="cut")
    recipe = recipe_with('train.schedule="constant"')
    cut.write_recipe(recipe)
    resume(cut, progress=False)
    again = trained(folder, recipe, out="again")
    for name, tensor in load_model(again).state_dict().items():
        assert torch.equal(tensor, load_model(cut).state_dict()[name]), name
    assert whole.input_width == 4


def test_vectors_are_standardised_by_the_training_rows_and_the_model_keeps_how(folder):
    encoder = load_model(trained(folder, recipe_with())).encoder
    np.testing.assert_allclose(encoder.mean.numpy(), points()[:48].mean(axis=0), rtol=1e-5)
    np.testing.assert_allclose(encoder.std.numpy(), points()[:48].std(axis=0), rtol=1e-4)


def test_identity_hands_on_the_vectors_as_they_are(folder):
    run = trained(folder, recipe_with("encoder={name='identity'}", "data.vectors=points.npy"))
    extract(run, progress=False)
    np.testing.assert_array_equal(run.read_features(), points())


def test_cached_gradients_and_triplets_take_vectors_too(folder):
    trained(folder, recipe_with("train.mini_batch_size=5"), out="cached")
    triplets = recipe_with("triplets.count=32", "objective={name='triplet_margin'}", "similarity=[{column='kind'}]")
    trained(folder, triplets, out="triplets")


def test_an_encoder_of_images_is_refused_before_anything_is_written(folder):
    with pytest.raises(RecipeError, match=r"'small_cnn' does not read vectors.*\n.*name = \"mlp\""):
        trained(folder, recipe_with("encoder={name='small_cnn'}"))
    with pytest.raises(RecipeError, match=r"\[encoder.settings\] has no setting 'unit'. Did you mean 'units'"):
        trained(folder, recipe_with("encoder={name='mlp', settings={unit=3}}"))
    assert not (folder / "run").exists()


def test_equal_views_of_a_row_teach_nothing_and_are_refused(folder):
    with pytest.raises(RecipeError, match="corrupt and noise are both 0"):
        trained(folder, recipe_with("views.corrupt=0"))
    trained(folder, recipe_with("views.corrupt=0", "similarity=[{column='kind'}]"))


def test_vectors_that_do_not_fit_the_table_leave_no_run(folder):
    np.save(folder / "short.npy", points()[:-1])
    np.save(folder / "nan.npy", np.where(np.arange(ROWS)[:, None] == 3, np.nan, points()))
    with pytest.raises(TableError, match=r"things.csv has 72 rows, but 'short.npy' has 71 vectors"):
        trained(folder, recipe_with("data.vectors=short.npy"))
    with pytest.raises(TableError, match=r"things.csv, line 5: the vector of this row in 'nan.npy' \(row 3,"):
        trained(folder, recipe_with("data.vectors=nan.npy"))
    assert not (folder / "run").exists()
