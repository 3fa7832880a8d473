"""A process that dies ends the job of all, with one message and within a minute; the run goes on afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from mscon.run.run import Run
from process import mscon, start_together, verb
from reliability.content import changed, content
from reliability.jobs import ROWS, Job

SECONDS = 60.0

# Ends one process in one way at one moment: while it is built, when others wait for it; in a step; in validation.
DYING = """
import os, signal
from mscon.method.weightings.equal import Equal

def end(moment):
    if os.environ.get("ENDS") == f"{os.environ.get('RANK')} {moment}":
        if os.environ["BY"] == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        if os.environ["BY"] == "exit":
            os._exit(3)
        raise RuntimeError("ended on purpose")

class Dying(Equal):
    calls = 0
    def __init__(self, similarities):
        super().__init__(similarities)
        end("building")
    def forward(self, losses, *rest):
        self.calls += 1
        if self.calls == 5:
            end("step")
        if not self.training:
            end("validation")
        return super().forward(losses, *rest)
"""

# make test has these; all others are in the full run.
SHARE = [("kill", 1, "step"), ("kill", 0, "building"), ("raise", 0, "step")]
ALL = [
    (by, rank, at) for by in ("kill", "exit", "raise") for rank in (0, 1) for at in ("building", "step", "validation")
]
IS_FULL = os.environ.get("MSCON_RELIABILITY") == "full"


@pytest.fixture
def dying(job, tmp_path, monkeypatch) -> Job:
    (tmp_path / "code").mkdir()
    (tmp_path / "code" / "dying.py").write_text(DYING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "code"), prepend=os.pathsep)  # of torchrun
    monkeypatch.syspath_prepend(str(tmp_path / "code"))  # of processes that are forked
    return job


def command(job: Job, out: str) -> list[str]:
    return job.train(out, "--set", "weighting.name=dying:Dying", "--set", "heads.batch_norm=false")


@pytest.mark.parametrize(("by", "rank", "moment"), ALL if IS_FULL else SHARE)
def test_the_others_end_with_one_message(dying, monkeypatch, counts, by, rank, moment):
    """Without torchrun's own watching: each finds it out by itself."""
    monkeypatch.setenv("ENDS", f"{rank} {moment}")
    monkeypatch.setenv("BY", by)
    start = time.monotonic()
    processes = start_together(verb, command(dying, "run"), dying.folder, 2)
    ends = [process.wait(SECONDS) for process in processes]
    assert time.monotonic() - start < SECONDS
    assert ends[rank].status == {"kill": -9, "exit": 3, "raise": 1}[by], ends[rank]
    assert ends[1 - rank].is_one_message, ends[1 - rank]
    assert "another process has stopped, so this one does too" in ends[1 - rank].err
    counts["processes that died, by all others ended"] += 1
    monkeypatch.delenv("ENDS")
    if (dying.folder / "run" / "run.json").exists() or moment != "building":
        assert mscon("resume", "run", "--no-probe", cwd=dying.folder).status == 0


@pytest.mark.skipif(not IS_FULL, reason="torchrun takes a quarter of a minute to start; in the full run")
def test_torchrun_ends_a_job_whose_process_was_killed_with_one_message_and_the_run_goes_on(dying, monkeypatch, counts):
    monkeypatch.setenv("ENDS", "1 step")
    monkeypatch.setenv("BY", "kill")
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "mscon"]
    start = time.monotonic()
    killed = subprocess.run(
        [*launch, *command(dying, "run")], cwd=dying.folder, capture_output=True, text=True, timeout=2 * SECONDS
    )
    assert time.monotonic() - start < SECONDS
    assert killed.returncode != 0
    assert killed.stderr.count("mscon: ") == 1, killed.stderr
    assert "another process has stopped, so this one does too" in killed.stderr
    counts["processes that died, by all others ended"] += 1
    monkeypatch.delenv("ENDS")
    for arguments in (["resume", "run", "--no-probe"], command(dying, "whole")):
        ended = subprocess.run([*launch, *arguments], cwd=dying.folder, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr
    assert not changed(*(content(Path(dying.folder) / name) for name in ("run", "whole")))


def test_a_run_of_two_processes_that_one_continues_says_so(dying):
    settings = [*command(dying, "run"), "--set", "train.epochs=1"]
    assert [p.wait().status for p in start_together(verb, settings, dying.folder, 2)] == [0, 0]
    outcome = mscon("resume", "run", "--set", "train.epochs=2", "--no-probe", cwd=dying.folder)
    assert outcome.status == 0, outcome
    assert "note: this run was trained by 2 processes so far, now by 1." in outcome.err
    again = mscon("resume", "run", "--set", "train.epochs=3", "--no-probe", cwd=dying.folder)
    assert "processes so far" not in again.err


def test_verbs_that_processes_do_not_share_are_done_by_the_first(dying):
    assert mscon(*dying.train("run"), cwd=dying.folder).status == 0
    ends = [process.wait() for process in start_together(verb, ["probe", "run"], dying.folder, 2)]
    assert [end.status for end in ends] == [0, 0], ends
    assert "score on test rows" in ends[0].out
    assert ends[1].out == ends[1].err == ""


def test_a_run_of_two_processes_is_probed_on_each_test_row_once(dying):
    """By the training itself, at its end: features of every row, and a prediction for each labelled test row."""
    train = [argument for argument in dying.train("run") if argument != "--no-probe"]
    ends = [process.wait() for process in start_together(verb, train, dying.folder, 2)]
    assert [end.status for end in ends] == [0, 0], ends
    run = Run.open(dying.folder / "run")
    assert run.read_features().shape[0] == run.read_rows().height == ROWS
    is_tested = (run.read_rows().get_column("split") == "test").arg_true().to_list()
    for number, _ in enumerate(run.read_probe()["linear"]):
        assert sorted(run.read_predictions()[f"linear/{number}/row"].tolist()) == is_tested
