"""A planned run that was stopped goes on from its checkpoint, or is trained anew where it cannot."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from mscon.comparison.planned import Outcome, Planned, attempt, damage
from mscon.run import checksums
from mscon.run import recipe as recipes
from mscon.run.layout import LAST_CHECKPOINT
from mscon.run.run import Run
from mscon.train import epochs
from mscon.train.loop import Training
from reliability.content import changed, content, left_over
from reliability.jobs import Job, write_job

STEPS = 9  # 3 epochs of 3 steps
NO_EPOCH = "train.epochs=0"

Steps = list[int]


@pytest.fixture
def job(tmp_path) -> Job:
    return write_job(tmp_path / "job")


@pytest.fixture
def steps(monkeypatch) -> Steps:
    """A number for each step that is taken."""
    taken: Steps = []
    learn = Training.learn

    def counted(self: Training, *arguments: object) -> object:
        taken.append(len(taken))
        return learn(self, *arguments)

    monkeypatch.setattr(Training, "learn", counted)
    return taken


def planned(job: Job, out: Path, *settings: str) -> Planned:
    settings = ("train.checkpoint_minutes=1e-9", "probe.draws=100", *settings)  # a checkpoint after each step
    return Planned(recipes.read(job.folder / "r.toml", settings), out)


def stop(one: Planned, table: Path, monkeypatch: pytest.MonkeyPatch, checkpoints: int) -> None:
    """End its training, as Ctrl-C does, after so many checkpoints."""
    save, numbers = epochs.save_last, iter(range(1, checkpoints + 1))

    def saved(*arguments: object) -> None:
        save(*arguments)
        if next(numbers) == checkpoints:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(epochs, "save_last", saved)
        with pytest.raises(KeyboardInterrupt):
            attempt(one, table)


@pytest.mark.parametrize("checkpoints", [3, 5])
def test_it_goes_on_from_its_last_checkpoint_to_the_same_bits(job, tmp_path, monkeypatch, steps, checkpoints):
    table, whole = job.folder / "t.csv", tmp_path / "whole" / "run"
    assert attempt(planned(job, whole), table) == Outcome("run")
    assert len(steps) == STEPS
    steps.clear()
    one = planned(job, tmp_path / "run")
    stop(one, table, monkeypatch, checkpoints)
    assert attempt(one, table) == Outcome("run")
    assert len(steps) == STEPS  # none of them twice
    assert [again["after_step"] for again in Run.open(one.out).read_facts()["resumed"]] == [checkpoints]
    now, expected = content(one.out), content(whole)
    # The metadata of these have the digest of a checkpoint, in which lies how long its training took.
    features = {name: expected.pop(name) for name in list(expected) if name.startswith(("features/", "uncertainty."))}
    assert not changed(now, expected)
    assert not left_over(now, expected | features)
    for name, (_, header, numbers) in features.items():
        assert now[name][1:] == (header, numbers)


def test_a_run_without_epochs_that_was_stopped_has_no_log_either(job, tmp_path, monkeypatch):
    def stopped(*arguments: object) -> None:
        raise KeyboardInterrupt

    table, whole, one = job.folder / "t.csv", tmp_path / "whole" / "run", planned(job, tmp_path / "run", NO_EPOCH)
    assert attempt(planned(job, whole, NO_EPOCH), table) == Outcome("run")
    with monkeypatch.context() as patch:
        patch.setattr(epochs, "save_last", stopped)
        with pytest.raises(KeyboardInterrupt):
            attempt(one, table)
    assert attempt(one, table) == Outcome("run")
    assert content(one.out).keys() == content(whole).keys()


def test_what_was_stopped_before_its_scores_is_not_trained_again(job, tmp_path, monkeypatch, steps):
    one = planned(job, tmp_path / "run")

    def stopped(*arguments: object, **settings: object) -> None:
        # As a kill does between the checksum of a file and the file.
        checksums.record(one.out, "features/features.safetensors", one.out / LAST_CHECKPOINT)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("mscon.evaluate.probe.probe", stopped)
        with pytest.raises(KeyboardInterrupt):
            attempt(one, job.folder / "t.csv")
    assert not damage(one.out)
    assert attempt(one, job.folder / "t.csv") == Outcome("run")
    assert len(steps) == STEPS
    assert Run.open(one.out).has_probe


def change_vectors(job: Job, run: Path) -> None:
    np.save(job.folder / "v.npy", np.load(job.folder / "v.npy")[::-1])


def change_table(job: Job, run: Path) -> None:
    text = (job.folder / "t.csv").read_text()
    (job.folder / "t.csv").write_text(text.replace(",a,", ",c,", 1))


def damage_rows(job: Job, run: Path) -> None:
    (run / "rows.parquet").write_bytes(b"damaged")


def change_model(job: Job, run: Path) -> None:
    """As another version of a library of models, with other names for its weights."""
    tensors, state = Run.open(run).read_checkpoint("last")
    renamed = {name.replace("model.encoder", "model.another"): tensor for name, tensor in tensors.items()}
    assert renamed.keys() != tensors.keys()
    Run.open(run).write_checkpoint("last", renamed, state)


@pytest.mark.parametrize("change", [change_vectors, change_table, damage_rows, change_model])
def test_what_cannot_go_on_is_trained_anew(job, tmp_path, monkeypatch, steps, change: Callable[[Job, Path], None]):
    one, table = planned(job, tmp_path / "run"), job.folder / "t.csv"
    stop(one, table, monkeypatch, 4)
    change(job, one.out)
    steps.clear()
    assert attempt(one, table) == Outcome("run")
    assert len(steps) == STEPS
    assert "resumed" not in Run.open(one.out).read_facts()
    assert not damage(one.out)


def test_a_run_of_another_recipe_is_trained_anew(job, tmp_path, monkeypatch, steps):
    table = job.folder / "t.csv"
    stop(planned(job, tmp_path / "run"), table, monkeypatch, 4)
    steps.clear()
    other = planned(job, tmp_path / "run", "train.learning_rate=0.5")
    assert attempt(other, table) == Outcome("run")
    assert len(steps) == STEPS
    assert Run.open(other.out).read_recipe().train.learning_rate == 0.5


def test_vectors_that_moved_are_read_where_they_are_now(job, tmp_path, monkeypatch, steps):
    one = planned(job, tmp_path / "run")
    stop(one, job.folder / "t.csv", monkeypatch, 4)
    job.folder.rename(tmp_path / "moved")
    assert attempt(one, tmp_path / "moved" / "t.csv") == Outcome("run")
    assert len(steps) == STEPS


def test_a_training_that_breaks_down_again_is_one_outcome(job, tmp_path, monkeypatch, steps):
    one, table = planned(job, tmp_path / "run"), job.folder / "t.csv"
    stop(one, table, monkeypatch, 4)
    learn = Training.learn

    def broken(self: Training, *arguments: object) -> object:
        measured = learn(self, *arguments)
        next(self.method.parameters()).grad.fill_(torch.nan)
        return measured

    monkeypatch.setattr(Training, "learn", broken)
    steps.clear()
    assert "not finite" in attempt(one, table).fault
    assert len(steps) <= 2  # the step, and once more to name what is at fault; it does not begin anew
