"""Loggers: the same numbers elsewhere too; and if one of them fails, the training goes on."""

from __future__ import annotations

import importlib.util
import os

import pytest
import torch

from mscon.errors import RecipeError
from mscon.run.run import Run
from mscon.train import log
from mscon.train.fit import fit, resume

has_tensorboard = importlib.util.find_spec("tensorboard") is not None

FAKE = """
RUNS = []
class _Run:
    def __init__(self, **given):
        self.given, self.logged, self.finished = given, [], False
    def log(self, numbers, step):
        if FAILS:
            raise RuntimeError("disk full")
        self.logged.append((step, numbers))
    def finish(self):
        self.finished = True
FAILS = {fails}
def init(**given):
    RUNS.append(_Run(**given))
    return RUNS[-1]
"""


def fake_wandb(tmp_path, monkeypatch, fails=False):
    """A package of that name which keeps what it is given."""
    import sys

    folder = tmp_path / "packages"
    folder.mkdir()
    (folder / "wandb.py").write_text(FAKE.replace("{fails}", str(fails)))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "wandb", raising=False)
    monkeypatch.delenv("WANDB_MODE", raising=False)
    # Set before it is deleted, so that what training sets is taken back after the test.
    monkeypatch.setenv("WANDB_ERROR_REPORTING", "")
    monkeypatch.delenv("WANDB_ERROR_REPORTING")


@pytest.mark.parametrize(("mode", "reports"), [(None, "false"), ("offline", "false"), ("online", None)])
def test_offline_wandb_reports_no_errors_of_its_own_either(mode, reports, recipe_with, table, tmp_path, monkeypatch):
    fake_wandb(tmp_path, monkeypatch)
    if mode is not None:
        monkeypatch.setenv("WANDB_MODE", mode)
    fit(recipe_with('log.to=["wandb"]', "train.epochs=1"), table, tmp_path / "run", progress=False)
    assert os.environ.get("WANDB_ERROR_REPORTING") == reports


def test_wandb_gets_every_record_offline(recipe_with, table, tmp_path, monkeypatch):
    fake_wandb(tmp_path, monkeypatch)
    run = fit(recipe_with('log.to=["wandb"]'), table, tmp_path / "run", progress=False)
    import wandb

    (there,) = wandb.RUNS
    assert there.given["mode"] == "offline"
    assert there.given["config"]["encoder"]["width"] == 8
    assert there.given["dir"] == str(run.root)
    assert there.finished
    assert len(there.logged) == len(run.read_log())
    for (step, numbers), record in zip(there.logged, run.read_log(), strict=True):
        assert step == record["step"]
        prefix = "" if record["kind"] == "step" else "validation/"
        assert numbers[f"{prefix}shape/loss"] == record["loss"]["shape"]
        assert "step" not in numbers and "kind" not in numbers


def test_a_logger_that_fails_is_told_once_and_left_behind(recipe_with, table, tmp_path, monkeypatch, capsys):
    fake_wandb(tmp_path, monkeypatch, fails=True)
    run = fit(recipe_with('log.to=["wandb"]'), table, tmp_path / "run")
    errors = capsys.readouterr().err
    assert errors.count("logger 'wandb' failed and gets no more (disk full); log.jsonl goes on") == 1
    assert run.read_facts()["trained"]["epochs"] == 2
    plain = fit(recipe_with(), table, tmp_path / "plain", progress=False)
    assert run.read_log() == plain.read_log()


def test_a_missing_package_is_said_before_anything_is_written(recipe_with, table, tmp_path, monkeypatch):
    monkeypatch.setattr(log.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r"'wandb' needs a package.*\n.*pip install \"mscon\[tracking\]\""):
        fit(recipe_with('log.to=["wandb"]'), table, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_an_unknown_logger_is_refused(recipe_with):
    with pytest.raises(RecipeError, match='each one of "tensorboard", "wandb"'):
        recipe_with('log.to=["mlflow"]')


@pytest.mark.skipif(not has_tensorboard, reason="the extra 'tracking' is not installed")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_tensorboard_shows_the_numbers_of_the_log_also_after_a_stop(recipe_with, table, tmp_path):
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    run = fit(recipe_with('log.to=["tensorboard"]', "train.epochs=1"), table, tmp_path / "run", progress=False)
    longer = recipe_with('log.to=["tensorboard"]')
    run.write_recipe(longer)
    resume(Run.open(run.root), progress=False)
    events = EventAccumulator(str(run.root / "tensorboard"))
    events.Reload()
    values = {e.step: e.value for e in events.Scalars("validation/shape/loss")}
    expected = {r["step"]: r["loss"]["shape"] for r in run.read_log() if r["kind"] == "validation"}
    assert values == pytest.approx(expected, rel=1e-5)
    assert len(values) == 2


def test_what_is_absent_is_not_a_number():
    record = {"kind": "step", "epoch": 1, "step": 3, "total": 2.0, "loss": {"a": None, "b": 1.5}, "merit": None}
    assert dict(log._flat(record)) == {"epoch": 1, "total": 2.0, "b/loss": 1.5}


def test_loggers_draw_no_random_numbers(recipe_with, table, tmp_path, monkeypatch):
    fake_wandb(tmp_path, monkeypatch)
    states = []
    for name, to in (("a", "[]"), ("b", '["wandb"]')):
        run = fit(recipe_with(f"log.to={to}"), table, tmp_path / name, progress=False)
        states.append(run.read_checkpoint("last")[0])
    assert all(torch.equal(v, states[1][k]) for k, v in states[0].items())
