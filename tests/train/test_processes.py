"""Several processes train as one does: started by torchrun, on the CPU."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from mscon.data.table.table import Table
from mscon.errors import RecipeError
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train import preconditions
from mscon.train.fit import fit

# An encoder and heads without batch norms, which would see the parts of a batch.
NO_NORMS = ["encoder.name=test_convnext", "data.image_size=32", "heads.batch_norm=false", "train.learning_rate=1e-3"]
# 11 rows a batch in parts of 6 and 5; the last batch of validation, 1 row, leaves a process without any.
UNEVEN = ["train.batch_size=11", "train.epochs=3", "views.crop=[0.6, 1.0]", "views.colour_probability=0.9"]


def torchrun(*arguments: object, processes: int = 2) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(processes)]
    return subprocess.run(
        [*command, "-m", "mscon", *map(str, arguments)],
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def train(recipe: Recipe, table: Table, out: Path) -> subprocess.CompletedProcess[str]:
    path = out.with_suffix(".toml")
    path.write_text(recipe.to_toml())
    return torchrun("train", path, "--table", table.path, "--out", out)


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
    assert len(one.log) == len(other.log)
    for record, same in zip(one.log, other.log, strict=True):
        for key in ("loss", "floor", "ceiling", "positive_share"):
            assert same[key] == pytest.approx(record[key], abs=10 * tolerance)


def test_two_processes_train_what_one_does(asked: Callable[..., Recipe], table: Table, tmp_path: Path):
    """With cached gradients, too."""
    recipe = asked(*NO_NORMS, *UNEVEN, "train.mini_batch_size=4", "weighting.name=relative")
    alone = fit(recipe, table, tmp_path / "alone", progress=False)
    assert alone is not None
    done = train(recipe, table, tmp_path / "together")
    assert done.returncode == 0, done.stderr
    together = Run.open(tmp_path / "together")
    assert_close(alone, together)
    assert together.facts["machine"]["processes"] == 2
    assert alone.facts["machine"]["processes"] == 1
    assert done.stdout.count("next: mscon probe") == 1
    assert done.stderr.count("epoch 2/3") == 1
    assert "batch norms" not in done.stderr


def test_so_they_do_with_objectives_views_and_heads_of_a_similaritys_own(
    asked: Callable[..., Recipe], table: Table, tmp_path: Path
):
    """Of which some exchange numbers and some gradients, over other samples."""
    similarities = (
        'similarity=[{column="shape", objective="rank_n_contrast", views={brightness=0.0}}, '
        '{column="shade", temperature=0.3, heads={output_dim=8}, views={brightness=0.0}}, {name="same_row"}]'
    )
    # SGD: the gradient of a bias that moves no distance is rounding alone, of which Adam would make steps.
    sgd = ["train.optimiser=sgd", "train.learning_rate=0.05"]
    recipe = asked(*NO_NORMS, *UNEVEN, *sgd, similarities, "weighting.name=equal")
    alone = fit(recipe, table, tmp_path / "alone", progress=False)
    assert alone is not None
    done = train(recipe, table, tmp_path / "together")
    assert done.returncode == 0, done.stderr
    assert_close(alone, Run.open(tmp_path / "together"))


def test_processes_may_keep_to_their_own_rows_and_are_told_of_batch_norms(
    asked: Callable[..., Recipe], table: Table, tmp_path: Path
):
    done = train(asked("candidates.gather_across_devices=false"), table, tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("batch norms see the rows of one process at a time, a batch in 2 parts") == 1
    first, *_, last = Run.open(tmp_path / "run").log
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
    asked: Callable[..., Recipe], table: Table, tmp_path: Path, monkeypatch
):
    """It comes in the third of three epochs of three steps each; a memory of past batches goes on as well."""
    (tmp_path / "broken.py").write_text(BROKEN)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    monkeypatch.syspath_prepend(str(tmp_path))
    recipe = asked(*NO_NORMS, *UNEVEN, "weighting.name=broken:Stops", "candidates.memory_size=40")
    alone = fit(recipe, table, tmp_path / "alone", progress=False)
    assert alone is not None
    monkeypatch.setenv("STOPS", "1")
    done = train(recipe, table, tmp_path / "halves")
    assert done.returncode != 0
    assert done.stderr.count("mscon: ") == done.stderr.count("stopped on purpose") == 1
    halves = Run.open(tmp_path / "halves")
    assert halves.read_checkpoint("last")[1]["epoch"] == 2
    monkeypatch.delenv("STOPS")
    resumed = torchrun("resume", halves.root)
    assert resumed.returncode == 0, resumed.stderr
    assert resumed.stdout.strip() == str(halves.root)
    assert "candidates.projections" in weights(halves)
    assert_close(alone, halves)


def test_what_is_wrong_for_all_processes_is_said_once(asked: Callable[..., Recipe], table: Table, tmp_path: Path):
    done = train(asked("objective.temperature=0"), table, tmp_path / "run")
    assert done.returncode != 0
    assert done.stderr.count("mscon: ") == done.stderr.count("temperature must be positive") == 1
    assert not (tmp_path / "run").exists()


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
def test_what_several_processes_cannot_do_is_refused(asked, table, tmp_path, monkeypatch, overrides, message):
    monkeypatch.setattr(preconditions, "processes", lambda: (0, 3))
    with pytest.raises(RecipeError, match=message):
        fit(asked(*overrides), table, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()
