"""Process groups that others have made, and processes that torchrun starts again on several machines."""

from __future__ import annotations

import os
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import pytest
import torch.distributed as dist
from tests.train.test_fit import assert_same

from mscon.data.table.table import Table, read_table
from mscon.run import recipe as recipes
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train.fit import fit
from process import Outcome, all_of, start_together, together, torchrun, wait_for

SMALL = ["train.batch_size=8", "train.checkpoint=best", "weighting.name=killed:Killed"]

# Ends the second process as a machine does that is lost, once, in a step after the first checkpoint.
KILLED = """
import os, pathlib, signal
from mscon.method.weightings.equal import Equal

class Killed(Equal):
    calls = 0
    def forward(self, losses, *rest):
        self.calls += self.training
        once = pathlib.Path(__file__).with_name("once")
        if self.calls == int(os.environ.get("KILLED_AT", 0)) and os.environ["RANK"] == "1" and not once.exists():
            once.write_text("")
            os.kill(os.getpid(), signal.SIGKILL)
        return super().forward(losses, *rest)
"""


@pytest.fixture
def job(
    recipe_with: Callable[..., Recipe], table: Table, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[..., Outcome]:
    """Trains to a folder, by what starts processes."""
    (tmp_path / "killed.py").write_text(KILLED)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path), prepend=os.pathsep)
    (tmp_path / "r.toml").write_text(recipe_with(*SMALL).to_toml())

    def train(out: str, start: Callable[..., Outcome], **how: int) -> Outcome:
        arguments = ["train", "r.toml", "--table", table.path, "--out", out, "--no-probe"]
        return start(*arguments, cwd=tmp_path, **how)

    return train


@pytest.mark.skipif(
    os.environ.get("MSCON_RELIABILITY") != "full",
    reason="hangs in some runs: agents of torchrun do not always count restarts alike (docs/scale.md)",
)
@pytest.mark.parametrize("step", [7, 2])
def test_two_nodes_of_which_a_worker_is_killed_end_in_the_same_weights(job, tmp_path, monkeypatch, step):
    """By the last checkpoint, and where there is none yet: of 10 steps 5 are an epoch."""
    assert job("whole", together).status == 0
    monkeypatch.setenv("KILLED_AT", str(step))
    outcome = job("killed", torchrun, nodes=2, max_restarts=2)
    assert outcome.status == 0, outcome
    assert (tmp_path / "once").exists()
    run = Run.open(tmp_path / "killed")
    assert [again["after_step"] for again in run.read_facts()["resumed"]] == [5 if step == 7 else 0]
    assert run.read_facts()["machine"]["processes"] == 2
    assert_same(Run.open(tmp_path / "whole"), run)


def test_only_a_run_of_the_same_start_is_continued(job, tmp_path):
    assert job("run", together).status == 0
    finished = job("run", together)
    assert finished.status == 0, finished
    assert "is finished: 2 of 2 epochs are done" in finished.err
    (tmp_path / "r.toml").write_text((tmp_path / "r.toml").read_text().replace("seed = 0", "seed = 1", 1))
    other = job("run", together)
    assert other.status == 2
    assert "exists and is not empty: it holds a run" in other.err


def in_a_group(job: tuple[str, str, str]) -> int:
    """Trains twice in a group that was made before, as in a worker of Ray Train or a task of SLURM."""
    rank, recipe, table = int(os.environ["RANK"]), recipes.parse(Path(job[0]).read_text()), read_table(Path(job[1]))
    store = dist.TCPStore("127.0.0.1", int(os.environ["MASTER_PORT"]), timeout=timedelta(seconds=60))
    if job[2] == "slurm":
        for name in [name for name in os.environ if name.startswith("TORCHELASTIC") or "WORLD_SIZE" in name]:
            del os.environ[name]
        # As `srun -n 2` sets them, with which Fabric alone would refuse to start.
        tasks = {"SLURM_JOB_ID": "1", "SLURM_NTASKS": "2", "SLURM_PROCID": str(rank)}
        os.environ |= tasks | {"SLURM_LOCALID": str(rank), "SLURM_JOB_NAME": "job"}
    dist.init_process_group("gloo", store=store, rank=rank, world_size=2)
    for name in ("one", "two"):
        run = fit(recipe, table, f"{job[2]}-{name}", progress=False)
        assert run is not None
        assert dist.is_initialized()
    assert dist.get_world_size() == 2
    dist.barrier()
    dist.destroy_process_group()
    return 0


@pytest.mark.parametrize("launcher", ["slurm", "accelerate"])
def test_a_process_group_of_others_is_used_and_left_as_it_was(job, table, tmp_path, launcher):
    """Of which accelerate starts processes by torchrun, SLURM and Ray by themselves."""
    assert job("alone", together).status == 0
    arguments = (str(tmp_path / "r.toml"), str(table.path), launcher)
    outcome = all_of(wait_for(start_together(in_a_group, arguments, tmp_path, 2)))
    assert outcome.status == 0, outcome
    for name in ("one", "two"):
        run = Run.open(tmp_path / f"{launcher}-{name}")
        assert run.read_facts()["machine"]["processes"] == 2
        assert_same(Run.open(tmp_path / "alone"), run)
