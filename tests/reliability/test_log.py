"""A log that a crash has torn at its end stops nobody."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from process import mscon
from reliability.content import changed, content
from reliability.events import KillAt
from reliability.jobs import write_job

LAST = "checkpoints/last.safetensors"

TORN = [b'{"kind": "step", "epoch": 2, "st', b"\0" * 300, b"\xff\xfe{"]


@pytest.fixture(scope="module")
def job(tmp_path_factory):
    """A job with a run "whole", trained, probed and reported, and "stopped", killed at its second checkpoint."""
    job = write_job(tmp_path_factory.mktemp("log") / "job")
    outcome = mscon(*job.train("whole"), cwd=job.folder, watched=job.folder / "whole")
    second = [n for n, event in enumerate(outcome.events) if event.to.endswith("last.safetensors")][1]
    mscon(*job.train("stopped"), cwd=job.folder, watched=job.folder / "stopped", act=KillAt(second + 1))
    for verb in ("probe", "report"):
        outcome = mscon(verb, "whole", cwd=job.folder)
        assert outcome.status == 0, outcome
    return job


@pytest.fixture
def run(job, request, tmp_path):
    """A copy of one of them."""
    return Path(shutil.copytree(job.folder / request.param, tmp_path / "run"))


@pytest.mark.parametrize("torn", TORN)
@pytest.mark.parametrize("run", ["stopped"], indirect=True)
def test_a_torn_line_does_not_stop_resume(job, run, torn):
    with (run / "log.jsonl").open("ab") as file:
        file.write(torn)
    outcome = mscon("resume", run, "--no-probe", cwd=job.folder)
    assert outcome.status == 0, outcome
    whole = content(job.folder / "whole")
    assert not changed(content(run), {name: whole[name] for name in ("log.jsonl", LAST, "run.json")})


@pytest.mark.parametrize("torn", TORN)
@pytest.mark.parametrize("run", ["whole"], indirect=True)
def test_a_torn_line_does_not_stop_report(job, run, torn):
    with (run / "log.jsonl").open("ab") as file:
        file.write(torn)
    before = (run / "report.json").read_bytes()
    (run / "report.json").unlink()
    outcome = mscon("report", run, cwd=job.folder)
    assert outcome.status == 0, outcome
    assert (run / "report.json").read_bytes() == before


@pytest.mark.parametrize("left", [0, 100, -30], ids=["nothing left", "one line torn", "the last line torn"])
@pytest.mark.parametrize("run", ["stopped"], indirect=True)
def test_records_that_a_checkpoint_covers_are_not_missed_in_silence(job, run, left):
    log = run / "log.jsonl"
    log.write_bytes(log.read_bytes()[:left])
    outcome = mscon("resume", run, "--no-probe", cwd=job.folder)
    assert outcome.is_one_message or outcome.status == 0, outcome
    assert "log.jsonl" in outcome.err, outcome
    if outcome.status == 0:
        assert content(run)[LAST] == content(job.folder / "whole")[LAST]
