"""train.epochs = 0: a whole run of the starting weights, which every later verb handles."""

from __future__ import annotations

import json

import numpy as np
import polars as pl
import pytest
import torch

from mscon.cli import main
from mscon.errors import RecipeError
from mscon.evaluate.probe import probe
from mscon.model.model import build_model, load_model
from mscon.run.run import Run
from mscon.train.fit import fit, resume

IDENTITY = ["encoder.frozen=true", "heads.name=identity", "weighting.name=equal"]


@pytest.fixture
def vectors(tmp_path):
    """90 rows of vectors in which one column shows, and a recipe of them without anything that could learn."""
    generator = np.random.default_rng(0)
    shape = np.arange(90) % 3
    data = generator.normal(size=(90, 6)) + 2 * np.eye(3, 6)[shape]
    np.save(tmp_path / "v.npy", data.astype(np.float32))
    split = ["train" if n < 60 else "validation" if n < 70 else "test" for n in range(90)]
    pl.DataFrame({"shape": [f"s{n}" for n in shape], "shade": ["dark", "light"] * 45, "split": split}).write_csv(
        tmp_path / "t.csv"
    )
    (tmp_path / "r.toml").write_text(
        'data = { input = "vectors", vectors = "v.npy" }\nencoder = { name = "identity" }\n'
        'heads = { name = "identity" }\nweighting = { name = "equal" }\nprobe = { draws = 100 }\n'
        'similarity = [{ column = "shape" }, { column = "shade" }]\ntrain = { epochs = 0 }\n'
    )
    return tmp_path


@pytest.mark.parametrize("settings", [[], IDENTITY, ["train.checkpoint=best"], ["candidates.memory_size=32"]])
def test_the_checkpoint_holds_the_starting_weights(recipe_with, table, tmp_path, settings):
    recipe = recipe_with("train.epochs=0", *settings)
    run = fit(recipe, table, tmp_path / "run", progress=False)
    torch.manual_seed(recipe.train.seed)
    start = build_model(recipe, 3).state_dict()
    state = load_model(run).state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in start.items())
    trained = run.read_facts()["trained"]
    assert (trained["epochs"], trained["steps"], trained["best_epoch"]) == (0, 0, None)
    assert run.read_log() == []
    assert resume(run, progress=False).read_facts()["trained"] == trained  # finished


def test_a_run_without_training_takes_the_place_of_another(recipe_with, table, tmp_path):
    fit(recipe_with("train.epochs=1"), table, tmp_path / "run", progress=False)
    run = fit(recipe_with("train.epochs=0"), table, tmp_path / "run", overwrite=True, progress=False)
    assert run.read_log() == [] and run.read_recipe().train.epochs == 0
    assert not (tmp_path / "run" / ".next").exists()


def test_training_may_start_from_it(recipe_with, table, tmp_path):
    """By resume with more epochs, and then it is what a run of so many epochs would have been."""
    constant = "train.schedule=constant"
    run = fit(recipe_with("train.epochs=0", constant), table, tmp_path / "run", progress=False)
    whole = fit(recipe_with("train.epochs=1", constant), table, tmp_path / "whole", progress=False)
    resume(run, progress=False, overrides=["train.epochs=1"])
    state = load_model(run).state_dict()
    assert all(torch.equal(tensor, state[name]) for name, tensor in load_model(whole).state_dict().items())


def test_where_nothing_can_learn_it_cannot_be_resumed_for_more(recipe_with, table, tmp_path):
    run = fit(recipe_with("train.epochs=0", *IDENTITY), table, tmp_path / "run", progress=False)
    with pytest.raises(RecipeError, match="there is nothing to learn"):
        resume(run, progress=False, overrides=["train.epochs=1"])


def test_a_training_that_was_stopped_before_its_checkpoint_is_not_finished(recipe_with, table, tmp_path):
    run = fit(recipe_with("train.epochs=0"), table, tmp_path / "run", progress=False)
    (run.root / "checkpoints/last.safetensors").unlink()
    resume(run, progress=False)
    assert run.has_checkpoint("last")


def test_columns_are_not_called_trained(recipe_with, table, tmp_path):
    run = fit(recipe_with("train.epochs=0", "probe.draws=100"), table, tmp_path / "run", progress=False)
    probe(run, progress=False)
    assert {record["column"]: record["trained"] for record in run.read_probe()["linear"]} == {
        "shape": False, "shade": False,
    }  # fmt: skip


def test_every_verb_handles_it(vectors, capsys):
    recipe, table, run = (str(vectors / name) for name in ("r.toml", "t.csv", "run"))
    assert main(["check", recipe, "--table", table]) == 0
    assert "Nothing is trained (train.epochs = 0)" in capsys.readouterr().out
    assert main(["train", recipe, "--table", table, "--out", run, "--dry-run"]) == 0
    assert "Everything was built and nothing was written" in capsys.readouterr().out
    assert main(["train", recipe, "--table", table, "--out", run]) == 0
    assert "Relative excess" not in capsys.readouterr().err  # nothing of losses, of which there are none
    assert main(["probe", run]) == 0
    assert "not trained on" in capsys.readouterr().out
    np.testing.assert_array_equal(Run.open(run).read_features(), np.load(vectors / "v.npy"))
    assert main(["report", run]) == 0
    page = (vectors / "run" / "report.html").read_text("utf-8")
    assert "was not trained (train.epochs = 0)" in page and "<p>Nothing was trained.</p>" in page
    assert json.loads((vectors / "run" / "report.json").read_text("utf-8"))["diversity"]["methods"] == []
    assert main(["explore", run]) == 0
    assert "Nothing was trained (train.epochs = 0)" in (vectors / "run" / "explorer.html").read_text("utf-8")
    capsys.readouterr()
    assert main(["search", run, "--query", "2"]) == 0
    assert main(["embed", run, "--table", table, "--out", str(vectors / "e.parquet")]) == 0
    assert pl.read_parquet(vectors / "e.parquet").height == 90
    assert main(["export", run, "--to", "safetensors", "--out", str(vectors / "m.safetensors")]) == 0
    assert main(["card", run]) == 0
    assert "not trained (`train.epochs = 0`)" in (vectors / "run" / "README.md").read_text("utf-8")


@pytest.mark.parametrize("keep", ["keep.average=0.99", "keep.beside=2"])
def test_ways_to_keep_the_start_leave_it_a_whole_run(vectors, keep):
    recipe, table, run = (str(vectors / name) for name in ("r.toml", "t.csv", "run"))
    assert main(["train", recipe, "--table", table, "--out", run, "--set", keep]) == 0
    assert Run.open(run).read_probe()["linear"][0]["accuracy"]["value"] > 0.5
