"""Several processes train as one does: started by torchrun, or as it does, on the CPU."""

from __future__ import annotations

import math
import os
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch
import torch.distributed as dist

from mscon.data.table.table import Table
from mscon.errors import RecipeError
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train import assembly
from mscon.train import torchrun as torchruns
from mscon.train.fit import fit
from mscon.train.torchrun import by_one_process
from process import Outcome, together, torchrun

# An encoder and heads without batch norms, which would see the parts of a batch.
NO_NORMS = ["encoder.name=test_convnext", "data.image_size=32", "heads.batch_norm=false", "train.learning_rate=1e-3"]
# 11 rows a batch in parts of 6 and 5; the last batch of validation, 1 row, leaves a process without any.
UNEVEN = ["train.batch_size=11", "train.epochs=3", "views.crop=[0.6, 1.0]", "views.colour_probability=0.9"]


def train(recipe: Recipe, table: Table, out: Path, start: Callable[..., Outcome] = together) -> Outcome:
    path = out.with_suffix(".toml")
    path.write_text(recipe.to_toml())
    return start("train", path, "--table", table.path, "--out", out, cwd=out.parent)


def weights(run: Run) -> dict[str, torch.Tensor]:
    return {k: v for k, v in run.read_checkpoint("last")[0].items() if not k.startswith("optimiser.")}


def assert_close(one: Run, other: Run, tolerance: float = 2e-4) -> None:
    """Every weight and every logged number, up to the rounding of float32 sums in another order."""
    ours, theirs = weights(one), weights(other)
    assert set(ours) == set(theirs)
    for name, value in ours.items():
        torch.testing.assert_close(
            theirs[name], value, rtol=tolerance, atol=tolerance, msg=lambda m, n=name: f"{n}: {m}"
        )
    assert len(one.read_log()) == len(other.read_log())
    for record, same in zip(one.read_log(), other.read_log(), strict=True):
        for key in ("loss", "floor", "ceiling", "positive_share"):
            assert same[key] == pytest.approx(record[key], abs=10 * tolerance)


def test_two_processes_train_what_one_does(recipe_with: Callable[..., Recipe], table: Table, tmp_path: Path):
    """With cached gradients, too."""
    recipe = recipe_with(*NO_NORMS, *UNEVEN, "train.mini_batch_size=4", "weighting.name=relative")
    alone = fit(recipe, table, tmp_path / "alone", progress=False)
    assert alone is not None
    outcome = train(recipe, table, tmp_path / "together")
    assert outcome.status == 0, outcome
    together = Run.open(tmp_path / "together")
    assert_close(alone, together)
    assert together.read_facts()["machine"]["processes"] == 2
    assert alone.read_facts()["machine"]["processes"] == 1
    assert outcome.out.count("next: mscon report") == 1
    assert outcome.err.count("epoch 2/3") == 1
    assert "batch norms" not in outcome.err


def test_so_they_do_with_objectives_views_and_heads_of_a_similaritys_own(
    recipe_with: Callable[..., Recipe], table: Table, tmp_path: Path
):
    """Of which some exchange numbers and some gradients, over other samples."""
    similarities = (
        'similarity=[{column="shape", objective="rank_n_contrast", views={brightness=0.0}}, '
        '{column="shade", temperature=0.3, heads={output_dim=8}, views={brightness=0.0}}, {name="same_row"}]'
    )
    # SGD: the gradient of a bias that moves no distance is rounding alone, of which Adam would make steps.
    sgd = ["train.optimiser=sgd", "train.learning_rate=0.05"]
    recipe = recipe_with(*NO_NORMS, *UNEVEN, *sgd, similarities, "weighting.name=equal")
    alone = fit(recipe, table, tmp_path / "alone", progress=False)
    assert alone is not None
    outcome = train(recipe, table, tmp_path / "together")
    assert outcome.status == 0, outcome
    assert_close(alone, Run.open(tmp_path / "together"))


def test_processes_may_keep_to_their_own_rows_and_are_told_of_batch_norms(
    recipe_with: Callable[..., Recipe], table: Table, tmp_path: Path
):
    outcome = train(recipe_with("candidates.gather_across_devices=false"), table, tmp_path / "run")
    assert outcome.status == 0, outcome
    assert outcome.err.count("uses the rows of one process at a time (2 parts of a batch)") == 1
    first, *_, last = Run.open(tmp_path / "run").read_log()
    assert first["ceiling"]["same_row"] == pytest.approx(math.log(15))  # 8 of 16 rows, 2 views, without the anchor
    assert last["ceiling"]["same_row"] == pytest.approx(math.log(23))  # all 12 validation rows, in every process
    assert last["merit"] is not None


BROKEN = """
import os
from mscon.errors import RunError
from mscon.method.weightings.equal import Equal
class Stops(Equal):
    "Fails in the seventh step of the process that STOPS names."
    calls = 0
    def forward(self, losses, *rest):
        self.calls += self.training
        if self.calls == 7 and "STOPS" in os.environ and os.environ.get("RANK") == os.environ["STOPS"]:
            raise RunError("stopped on purpose")
        return super().forward(losses, *rest)
"""


def test_a_failure_stops_all_with_one_message_and_the_run_goes_on_as_if_nothing_had_been(
    recipe_with: Callable[..., Recipe], table: Table, tmp_path: Path, monkeypatch
):
    """It comes in the third of three epochs of three steps each; a memory of past batches goes on as well."""
    (tmp_path / "stopping.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = recipe_with(*NO_NORMS, *UNEVEN, "weighting.name=stopping:Stops", "candidates.memory_size=40")
    alone = fit(recipe, table, tmp_path / "alone", progress=False)
    assert alone is not None
    monkeypatch.setenv("STOPS", "1")
    outcome = train(recipe, table, tmp_path / "halves", torchrun)
    assert outcome.status != 0
    assert outcome.err.count("mscon: ") == outcome.err.count("stopped on purpose") == 1
    halves = Run.open(tmp_path / "halves")
    assert halves.read_checkpoint("last")[1]["epoch"] == 2
    monkeypatch.delenv("STOPS")
    resumed = together("resume", halves.root, "--no-probe", cwd=tmp_path)
    assert resumed.status == 0, resumed
    assert resumed.out.startswith(f"{halves.root}\nnext: ")
    assert "candidates.projections" in weights(halves)
    assert_close(alone, halves)


def test_what_is_wrong_for_all_processes_is_printed_once(
    recipe_with: Callable[..., Recipe], table: Table, tmp_path: Path
):
    outcome = train(recipe_with("objective.temperature=0"), table, tmp_path / "run")
    assert outcome.status == 2
    assert outcome.err.count("mscon: ") == outcome.err.count("temperature must be positive") == 1
    assert not (tmp_path / "run").exists()


@pytest.fixture
def store(monkeypatch) -> dist.TCPStore:
    """torchrun's own, for processes of which one after the other comes from this one."""
    store = dist.TCPStore("127.0.0.1", 0, is_master=True, wait_for_workers=False)
    monkeypatch.setenv("TORCHELASTIC_USE_AGENT_STORE", "True")
    monkeypatch.setenv("MASTER_ADDR", "127.0.0.1")
    monkeypatch.setenv("MASTER_PORT", str(store.port))
    return store


@pytest.mark.parametrize("restarts", [1, 2])
def test_of_processes_that_would_print_the_first_does_after_each_start(store, monkeypatch, restarts):
    printed = []
    for start in range(restarts):
        monkeypatch.setenv("TORCHELASTIC_RESTART_COUNT", str(start))
        for rank in (2, 0, 1):
            by_one_process(lambda rank=rank, start=start: printed.append((start, rank)), is_cause=True)
    assert printed == [(start, 2) for start in range(restarts)]


def test_that_others_stopped_is_left_to_the_one_that_knows_why(store):
    printed = []
    other = threading.Thread(
        target=by_one_process, args=[lambda: printed.append("stopped")], kwargs={"is_cause": False}
    )
    other.start()
    other.join(0.5)
    assert printed == []
    by_one_process(lambda: printed.append("cause"), is_cause=True)
    other.join(60)
    assert printed == ["cause"]


def test_who_waits_for_the_cause_speaks_when_torchrun_ends_it(store):
    """SIGTERM comes at once where a process was killed, which left no word."""
    before, printed, start = signal.getsignal(signal.SIGTERM), [], time.monotonic()
    end = threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM))
    end.start()
    by_one_process(lambda: printed.append("stopped"), is_cause=False)
    end.join()
    assert printed == ["stopped"]
    assert time.monotonic() - start < 3
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("begun", [0, 1])
def test_what_one_process_was_killed_over_is_printed_by_one_of_the_others(store, monkeypatch, begun):
    """Also where all have waited long enough at the same time."""
    monkeypatch.setattr(torchruns, "_SECONDS_FOR_THE_CAUSE", 0.2)
    store.add("mscon/0/causes", begun)
    printed = []

    def print_while_another_comes() -> None:
        by_one_process(lambda: printed.append("second"), is_cause=False)
        printed.append("first")

    by_one_process(print_while_another_comes, is_cause=False)
    by_one_process(lambda: printed.append("third"), is_cause=True)
    assert printed[0] == "first" and "second" not in printed
    assert ("third" in printed) == (begun == 0)


@pytest.mark.parametrize(("variable", "value"), [("TORCHELASTIC_USE_AGENT_STORE", "False"), ("MASTER_PORT", "1")])
def test_where_no_store_can_be_reached_each_prints(store, monkeypatch, variable, value):
    monkeypatch.setenv(variable, value)
    monkeypatch.setattr(torchruns, "_TO_REACH_THE_STORE", timedelta(seconds=0.1))
    printed = []
    for rank in range(2):
        by_one_process(lambda rank=rank: printed.append(rank), is_cause=True)
    assert printed == [0, 1]


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["train.batch_size=2"], "a batch has 2 rows but there are 3 processes"),
        (
            ["candidates.memory_size=9", "candidates.gather_across_devices=false"],
            "each of the processes would remember",
        ),
    ],
)
def test_what_several_processes_cannot_do_is_refused(recipe_with, table, tmp_path, monkeypatch, overrides, message):
    monkeypatch.setattr(assembly, "processes", lambda: (0, 3))
    with pytest.raises(RecipeError, match=message):
        fit(recipe_with(*overrides), table, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_they_agree_on_a_moving_average_and_on_what_is_done_at_the_end(
    recipe_with: Callable[..., Recipe], table: Table, tmp_path: Path
):
    start = fit(recipe_with(*NO_NORMS, "train.epochs=1", "train.seed=5"), table, tmp_path / "start", progress=False)
    assert start is not None
    keep = "keep={average=0.7, beside=3, width=10, interpolate=0.5}"
    recipe = recipe_with(*NO_NORMS, *UNEVEN, f"encoder.start_from={start.root}", keep, "weighting.name=equal")
    alone = fit(recipe, table, tmp_path / "alone", progress=False)
    assert alone is not None
    outcome = train(recipe, table, tmp_path / "together")
    assert outcome.status == 0, outcome
    assert outcome.err.count("The encoder of checkpoint 'last' is 0.5 of the way") == 1
    assert_close(alone, Run.open(tmp_path / "together"), tolerance=2e-3)


def test_so_they_do_on_stored_features_of_a_frozen_encoder(
    recipe_with: Callable[..., Recipe], table: Table, tmp_path: Path
):
    """The first computes the features, the others wait for them; all draw the same views."""
    frozen = ["encoder.frozen=true", "encoder.stored_views=3", "encoder.adapter={units=8}"]
    recipe = recipe_with(*NO_NORMS, *UNEVEN, *frozen, "weighting.name=relative")
    outcome = train(recipe, table, tmp_path / "together")
    assert outcome.status == 0, outcome
    alone = fit(recipe, table, tmp_path / "alone", progress=False)
    assert alone is not None
    assert_close(alone, Run.open(tmp_path / "together"))
