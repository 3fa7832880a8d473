"""A training goes on from the middle of an epoch to what it would have been."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch
from tests.train.test_fit import assert_same
from tests.train.test_processes import train, weights

from mscon.data.table.table import Table
from mscon.errors import RunError
from mscon.run import recipe as recipes
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train import epochs
from mscon.train.fit import fit, resume
from mscon.train.loop import Training
from mscon.train.pauses import Pauses
from process import together

QUIET = {"progress": False}
# 13 steps an epoch: a record of the log has 10 of them, the next one 3.
EACH_STEP = ["train.batch_size=3", "train.checkpoint_minutes=1e-9"]
# Draws from torch's own generator, once more in the second pass of cached gradients.
DROPPING = """
import torch
class Dropping(torch.nn.Module):
    def __init__(self, width=8):
        super().__init__()
        self.network = torch.nn.Sequential(
            torch.nn.Flatten(), torch.nn.LazyLinear(width), torch.nn.BatchNorm1d(width), torch.nn.Dropout(0.3)
        )
        self.network(torch.zeros(2, 1, 16, 16))
    def forward(self, images):
        return self.network(images)
"""


@pytest.fixture(autouse=True)
def dropping(tmp_path, monkeypatch) -> None:
    (tmp_path / "dropping.py").write_text(DROPPING)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)


@pytest.fixture
def stopped_after(monkeypatch) -> Iterator[Callable[[int], None]]:
    """Ends training, as a kill does, once so many checkpoints have been written."""

    def stop_after(count: int) -> None:
        save_last, numbers = epochs.save_last, iter(range(1, count + 1))

        def saved(*arguments: object) -> None:
            save_last(*arguments)
            if next(numbers) == count:
                raise KeyboardInterrupt

        monkeypatch.setattr(epochs, "save_last", saved)

    yield stop_after
    monkeypatch.undo()


VARIANTS = {
    "plain": [],
    "memory": ["candidates.memory_size=20", "candidates.warm_up=3"],
    "balanced": ["sampler.name=balanced", "sampler.at_least=2", "sampler.short=keep"],
    "cached": ["train.mini_batch_size=2", "encoder.name=dropping:Dropping"],
    "average": ["keep.average=0.9", "train.optimiser=sgd"],
    "relative": ["weighting.name=relative", "train.precision=bfloat16"],
    "dropout": ["encoder.name=dropping:Dropping"],
}


# The 5th lies between two records of the log, the 11th after the first one, the 19th in the second epoch.
@pytest.mark.parametrize(("variant", "count"), [*((name, 5) for name in VARIANTS), ("plain", 11), ("dropout", 19)])
def test_it_goes_on_bit_for_bit(recipe_with, table, tmp_path, stopped_after, monkeypatch, variant, count):
    settings = [f"train.epochs={1 + count // 13}", "train.batch_size=3", "train.checkpoint=best", *VARIANTS[variant]]
    whole = fit(recipe_with(*settings, "train.checkpoint_minutes=0"), table, tmp_path / "whole", **QUIET)
    stopped_after(count)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe_with(*settings, *EACH_STEP), table, tmp_path / "halves", **QUIET)
    halves = Run.open(tmp_path / "halves")
    state = halves.read_checkpoint("last")[1]
    assert state["within"]["steps"] == count % 13
    assert state["step"] == count
    monkeypatch.undo()
    monkeypatch.syspath_prepend(str(tmp_path))
    resume(halves, overrides=["train.checkpoint_minutes=0"], **QUIET)
    assert_same(whole, halves)
    assert [again["after_step"] for again in halves.read_facts()["resumed"]] == [count]


def test_checkpoints_within_an_epoch_change_nothing(recipe_with, table, tmp_path):
    whole = fit(recipe_with("train.batch_size=3", "train.checkpoint=best"), table, tmp_path / "whole", **QUIET)
    often = fit(recipe_with("train.checkpoint=best", *EACH_STEP), table, tmp_path / "often", **QUIET)
    assert_same(whole, often)


def test_an_epoch_that_is_shorter_than_the_interval_has_no_checkpoint_within(recipe_with, table, tmp_path, monkeypatch):
    states = []
    save_last = epochs.save_last
    monkeypatch.setattr(epochs, "save_last", lambda *args: (states.append(args[2].step), save_last(*args)))
    fit(recipe_with("train.batch_size=3"), table, tmp_path / "run", **QUIET)
    assert states == [13, 26]


@pytest.mark.parametrize("setting", ["train.batch_size=4", "train.seed=7"])
def test_other_batches_are_refused_within_an_epoch(recipe_with, table, tmp_path, stopped_after, monkeypatch, setting):
    stopped_after(5)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe_with(*EACH_STEP), table, tmp_path / "run", **QUIET)
    monkeypatch.undo()
    before = (tmp_path / "run" / "recipe.toml").read_bytes()
    with pytest.raises(RunError, match=f"--set {setting}: the last checkpoint lies within an epoch"):
        resume(tmp_path / "run", overrides=[setting], **QUIET)
    assert (tmp_path / "run" / "recipe.toml").read_bytes() == before


# Signals ------------------------------------------------------------------------------------------


def test_a_signal_lets_the_step_end_and_its_checkpoint_be_written(recipe_with, table, tmp_path, monkeypatch, capsys):
    """SIGTERM as the command line has it, which makes Ctrl-C of it."""
    number = signal.SIGTERM
    before = signal.signal(number, signal.default_int_handler)
    settings = ["train.batch_size=3", "train.epochs=2"]
    whole = fit(recipe_with(*settings), table, tmp_path / "whole", **QUIET)
    learn, steps = Training.learn, iter(range(1, 100))

    def learn_and_signal(*arguments):
        if next(steps) == 7:
            os.kill(os.getpid(), number)
            time.sleep(0.01)  # a handler is called between two operations of Python
        return learn(*arguments)

    monkeypatch.setattr(Training, "learn", learn_and_signal)
    try:
        with pytest.raises(KeyboardInterrupt):
            fit(recipe_with(*settings), table, tmp_path / "run")
        assert signal.getsignal(number) is signal.default_int_handler
    finally:
        signal.signal(number, before)
    monkeypatch.undo()
    run = Run.open(tmp_path / "run")
    assert run.read_checkpoint("last")[1]["step"] == 7
    text = f"stopped in epoch 1 of 2; `mscon resume {run.root}` continues after step 7 of 13 of epoch 1."
    assert capsys.readouterr().err.count(text) == 1
    resume(run, **QUIET)
    assert weights(run).keys() == weights(whole).keys()
    assert [k for k, value in weights(whole).items() if not torch.equal(value, weights(run)[k])] == []


@pytest.fixture
def heard():
    """Ctrl-C as Python answers it, also where these tests are a job in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def test_a_second_signal_ends_at_once_and_its_echo_does_not(heard):
    with Pauses(0.0, torch.device("cpu")) as pauses:
        for _ in range(2):  # torchrun passes on what the terminal has sent already
            signal.raise_signal(signal.SIGINT)
        assert pauses.is_due(is_recorded=False)
        pauses._requested -= 2
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_signals_that_others_handle_are_left_to_them():
    """As in the processes of a comparison, which their parent ends, and in threads, which have no signals."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with Pauses(0.0, torch.device("cpu")):
            assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGINT, before)

    def in_a_thread() -> None:
        with Pauses(0.0, torch.device("cpu")):
            assert signal.getsignal(signal.SIGINT) is before

    thread = threading.Thread(target=in_a_thread)
    thread.start()
    thread.join()


# Several processes --------------------------------------------------------------------------------

STOPS = """
import os
from mscon.errors import RunError
from mscon.method.weightings.equal import Equal
class Stops(Equal):
    calls = 0
    def forward(self, losses, *rest):
        self.calls += self.training
        if self.calls == 25 and "STOPS" in os.environ:
            raise RunError("stopped on purpose")
        return super().forward(losses, *rest)
"""


@pytest.fixture
def two_halves(
    recipe_with: Callable[..., Recipe], table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> tuple[Run, Run]:
    """What two processes train; and the same stopped in the second epoch, with a checkpoint of its tenth step."""
    (tmp_path / "stops.py").write_text(STOPS)
    recipe = recipe_with(*EACH_STEP, "weighting.name=stops:Stops", "encoder.name=dropping:Dropping")
    outcome = train(recipe, table, tmp_path / "whole")
    assert outcome.status == 0, outcome
    monkeypatch.setenv("STOPS", "1")
    outcome = train(recipe, table, tmp_path / "halves")
    assert outcome.status == 2, outcome
    assert "keeps its checkpoint of step 10 of 13 of epoch 2" in outcome.err
    monkeypatch.delenv("STOPS")
    return Run.open(tmp_path / "whole"), Run.open(tmp_path / "halves")


def test_several_processes_go_on_bit_for_bit(two_halves, tmp_path):
    """Each with its own dropout, and its own running means until the epoch ends."""
    whole, halves = two_halves
    outcome = together("resume", halves.root, "--no-probe", cwd=tmp_path)
    assert outcome.status == 0, outcome
    (ours, _), (theirs, _) = whole.read_checkpoint("last"), halves.read_checkpoint("last")
    assert ours.keys() == theirs.keys()
    assert [key for key, value in ours.items() if not torch.equal(value, theirs[key])] == []
    assert whole.read_log() == halves.read_log()


def test_another_number_of_processes_goes_on_and_says_what_differs(two_halves, capsys):
    _, halves = two_halves
    resume(halves)
    assert "note: the last checkpoint lies within an epoch, and 2 processes on device 'cpu' wrote it." in (
        capsys.readouterr().err
    )
    assert halves.read_checkpoint("last")[1]["epoch"] == 2


def test_the_setting_is_one_of_the_recipe():
    assert recipes.parse('[[similarity]]\ncolumn = "a"').train.checkpoint_minutes == 10
