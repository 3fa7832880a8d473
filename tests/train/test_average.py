"""[keep] average: a moving average of the weights is validated, kept and handed on."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mscon.data.table.table import read_table
from mscon.model.model import load_model
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train import average as averages
from mscon.train import epochs, loop
from mscon.train.average import MovingAverage
from mscon.train.fit import fit, resume
from vector_table import RECIPE, write_table

QUIET = {"progress": False}


@pytest.fixture
def vectors(tmp_path):
    return read_table(write_table(tmp_path))


def recipe_of(*overrides):
    return recipes.parse(RECIPE, ["train.learning_rate=0.02", *overrides])


def state_of(run, name="last"):
    return load_model(run, name).state_dict()


def trained_state(run):
    """The weights that training goes on from."""
    tensors = run.read_checkpoint("last")[0]
    prefix = "training.model." if any(name.startswith("training.") for name in tensors) else "model."
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}


@pytest.mark.parametrize("decay", [0.5, 0.99])
def test_it_is_the_average_of_the_weights_of_every_step(vectors, tmp_path, monkeypatch, decay):
    seen_states, update = [], MovingAverage.update

    def remember(average):
        seen_states.append({k: v.clone() for k, v in average._method.model.state_dict().items()})
        update(average)

    monkeypatch.setattr(MovingAverage, "update", remember)
    run = fit(recipe_of(f"keep.average={decay}"), vectors, tmp_path / "run", **QUIET)
    assert len(seen_states) == 6
    expected = {k: v.double() for k, v in seen_states[0].items()}
    for step, state in enumerate(seen_states[1:], start=1):
        d = min(decay, (1 + step) / (10 + step))
        expected = {k: d * v + (1 - d) * state[k].double() for k, v in expected.items()}
    for name, value in state_of(run).items():
        if value.is_floating_point():
            torch.testing.assert_close(value.double(), expected[name], rtol=1e-5, atol=1e-6)
        else:
            assert value == seen_states[-1][name]
    assert not torch.allclose(state_of(run)["heads.weight"], trained_state(run)["heads.weight"])


def test_training_is_the_same_and_validation_is_of_the_average(vectors, tmp_path):
    plain = fit(recipe_of(), vectors, tmp_path / "plain", **QUIET)
    run = fit(recipe_of("keep.average=0.9"), vectors, tmp_path / "run", **QUIET)
    assert all(torch.equal(value, trained_state(run)[key]) for key, value in state_of(plain).items())
    steps, others = ([r for r in each.read_log() if r["kind"] == "step"] for each in (plain, run))
    assert steps == others
    losses, others = ([r["loss"] for r in each.read_log() if r["kind"] == "validation"] for each in (plain, run))
    assert losses != others


CROSS_ENTROPY = ["objective.name=cross_entropy", "heads.name=identity"]


@pytest.mark.parametrize("settings", [[], CROSS_ENTROPY], ids=["supcon", "cross_entropy"])
def test_what_is_validated_is_model_and_objective_with_the_average_for_weights(
    vectors, tmp_path, monkeypatch, settings
):
    validate, losses = loop.validate, []

    def twice(training, epoch, step):
        record, average, method = validate(training, epoch, step), training.average, training.method
        trained = method.model, method.objective
        method.model, method.objective = average.model, average.objective
        losses.append((record["loss"], validate(replace(training, average=None), epoch, step)["loss"]))
        method.model, method.objective = trained
        return record

    monkeypatch.setattr(epochs, "validate", twice)
    fit(recipe_of("keep.average=0.9", *settings), vectors, tmp_path / "run", **QUIET)
    assert len(losses) == 2
    assert all(logged == again for logged, again in losses)


def test_processes_agree_on_its_running_means_after_each_epoch(recipe_with, table, tmp_path, monkeypatch):
    modules = []
    monkeypatch.setattr(averages, "average_running_means", lambda module: modules.append(module))
    run = fit(recipe_with("keep.average=0.9"), table, tmp_path / "run", **QUIET)
    assert len(modules) == 2
    for name, value in state_of(run).items():
        assert torch.equal(modules[-1]["model"].state_dict()[name].cpu(), value)


@pytest.mark.parametrize("settings", [[], CROSS_ENTROPY], ids=["supcon", "cross_entropy"])
def test_resuming_gives_what_never_stopping_would_have(vectors, tmp_path, monkeypatch, settings):
    recipe = recipe_of("keep.average=0.9", "train.epochs=3", *settings)
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
    halves = resume(Run.open(tmp_path / "halves"), **QUIET)
    for name in ("last", "best"):
        ours, theirs = whole.read_checkpoint(name)[0], halves.read_checkpoint(name)[0]
        assert set(ours) == set(theirs)
        assert [key for key, value in ours.items() if not torch.equal(value, theirs[key])] == []
    assert whole.read_log() == halves.read_log()


def test_running_means_are_averaged_and_counts_are_not(recipe_with, table, tmp_path):
    run = fit(recipe_with("keep.average=0.9"), table, tmp_path / "run", **QUIET)
    name = "encoder.backbone.stages.0.1.running_mean"
    assert not torch.equal(state_of(run)[name], trained_state(run)[name])
    name = "encoder.backbone.stages.0.1.num_batches_tracked"
    assert state_of(run)[name] == trained_state(run)[name] == 4


def test_a_frozen_encoder_stays_as_it_is_while_heads_are_averaged(vectors, tmp_path):
    start = fit(recipe_of("train.epochs=1"), vectors, tmp_path / "start", **QUIET)
    recipe = recipe_of(f"encoder.start_from={start.root}", "encoder.frozen=true", "keep.average=0.9")
    run = fit(recipe, vectors, tmp_path / "run", **QUIET)
    name = "encoder.backbone.0.weight"
    assert torch.equal(state_of(run)[name], state_of(start)[name])
    assert not torch.equal(state_of(run)["heads.weight"], trained_state(run)["heads.weight"])
