"""[encoder] lora: adapters learn, and the run hands on ordinary weights."""

from __future__ import annotations

import sys

import pytest
import torch

from mscon.data.table.table import read_table
from mscon.errors import RecipeError
from mscon.evaluate.features import extract
from mscon.model.model import load_model, model_state
from mscon.run import recipe as recipes
from mscon.train import epochs
from mscon.train.fit import fit, resume
from vector_table import RECIPE, write_table

pytest.importorskip("peft", reason="the extra 'lora' is not installed")

QUIET = {"progress": False}


@pytest.fixture
def vectors(tmp_path):
    return read_table(write_table(tmp_path))


@pytest.fixture
def started(vectors, tmp_path):
    return fit(recipes.parse(RECIPE, ["train.epochs=1"]), vectors, tmp_path / "start", **QUIET)


@pytest.fixture
def recipe_of(started):
    return lambda *overrides: recipes.parse(
        RECIPE, [f"encoder.start_from={started.root}", "train.learning_rate=0.05", "encoder.lora=2", *overrides]
    )


def test_weights_move_by_a_product_of_low_rank_and_nothing_else_does(recipe_of, vectors, started, tmp_path):
    run = fit(recipe_of(), vectors, tmp_path / "run", **QUIET)
    before, after = load_model(started).encoder.state_dict(), load_model(run).encoder.state_dict()
    assert before.keys() == after.keys()
    moved = [name for name in before if not torch.equal(before[name], after[name])]
    assert moved == ["backbone.0.weight"]
    assert torch.linalg.matrix_rank(after[moved[0]] - before[moved[0]], atol=1e-5) == 2


def test_no_other_verb_needs_peft(recipe_of, vectors, tmp_path, monkeypatch):
    run = fit(recipe_of(), vectors, tmp_path / "run", **QUIET)
    monkeypatch.setitem(sys.modules, "peft", None)
    extract(run, **QUIET)
    assert run.read_features().shape == (72, 16)


def test_a_stopped_run_goes_on_to_the_bit(recipe_of, vectors, tmp_path, monkeypatch):
    recipe = recipe_of("train.epochs=3", "keep.average=0.8")
    whole = fit(recipe, vectors, tmp_path / "whole", **QUIET)
    train_epoch = epochs.train_epoch

    def interrupted(training, number, step):
        if number == 3:
            raise KeyboardInterrupt
        return train_epoch(training, number, step)

    monkeypatch.setattr(epochs, "train_epoch", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe, vectors, tmp_path / "halves", **QUIET)
    monkeypatch.undo()
    (tmp_path / "start").rename(tmp_path / "gone")
    halves = resume(tmp_path / "halves", **QUIET)
    for name in ("last", "best"):
        ours, theirs = whole.read_checkpoint(name)[0], halves.read_checkpoint(name)[0]
        assert set(ours) == set(theirs)
        assert [key for key, value in ours.items() if not torch.equal(value, theirs[key])] == []


def test_it_goes_with_all_of_keep(recipe_of, vectors, started, tmp_path):
    settings = ["keep.interpolate=0.5", "keep.average=0.8", "keep.beside=all", "keep.width=20"]
    run = fit(recipe_of(*settings), vectors, tmp_path / "run", **QUIET)
    extract(run, **QUIET)
    assert run.read_features().shape == (72, 20)
    start, encoder = load_model(started).encoder.state_dict(), load_model(run).encoder.state_dict()
    change = encoder["backbone.0.weight"] - start["backbone.0.weight"]
    assert torch.linalg.matrix_rank(change, atol=1e-5) == 2


def test_of_a_vision_transformer_too(recipe_with, table, tmp_path):
    vit = ["encoder.name=vit_tiny_patch16_224", "data.image_size=32", "encoder.settings={depth=1}", "train.epochs=1"]
    first = fit(recipe_with(*vit), table, tmp_path / "first", **QUIET)
    run = fit(
        recipe_with(*vit, f"encoder.start_from={first.root}", "encoder.lora=2", "train.layer_decay=0.5"),
        table,
        tmp_path / "run",
        **QUIET,
    )
    before, after = (model_state(each.read_checkpoint("last")[0], "encoder") for each in (first, run))
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    linear = {f"backbone.blocks.0.{part}.weight" for part in ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")}
    assert moved == linear


def test_it_needs_weights_to_start_from_that_learn(vectors, started, tmp_path):
    with pytest.raises(RecipeError, match=r"\[encoder\] lora needs an encoder that starts from trained weights"):
        fit(recipes.parse(RECIPE, ["encoder.lora=2"]), vectors, tmp_path / "run", **QUIET)
    frozen = [f"encoder.start_from={started.root}", "encoder.frozen=true", "encoder.lora=2"]
    with pytest.raises(RecipeError, match=r"\[encoder\] lora is for an encoder that learns, but \[encoder\] frozen"):
        fit(recipes.parse(RECIPE, frozen), vectors, tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()
