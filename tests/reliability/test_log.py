"""A log that a crash has torn at its end stops nobody."""

from __future__ import annotations

import pytest

from reliability.content import changed, content
from reliability.events import KillAt
from reliability.process import mscon

TORN = [b'{"kind": "st', b'{"kind": "step", "epoch": 2, "st', b"\0" * 300, b"\xff\xfe", b"{"]


@pytest.fixture
def whole(job):
    """A run that was trained to its end, and the events of its training."""
    done = mscon(*job.train("whole"), cwd=job.folder, watched=job.folder / "whole")
    assert done.status == 0, done
    return job.folder / "whole", done.events


@pytest.fixture
def stopped(job, whole):
    """A run that was killed once its second checkpoint was there."""
    second = [n for n, event in enumerate(whole[1]) if event.to.endswith("last.safetensors")][1]
    mscon(*job.train("run"), cwd=job.folder, watched=job.folder / "run", act=KillAt(second + 1))
    return job.folder / "run"


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_line_does_not_stop_resume(job, whole, stopped, torn):
    with (stopped / "log.jsonl").open("ab") as file:
        file.write(torn)
    done = mscon("resume", "run", cwd=job.folder)
    assert done.status == 0, done
    assert not changed(content(stopped), content(whole[0]))


@pytest.mark.parametrize("torn", TORN)
def test_a_torn_line_does_not_stop_report(job, whole, torn):
    run, _ = whole
    assert mscon("probe", run, cwd=job.folder).status == 0
    assert mscon("report", run, cwd=job.folder).status == 0
    before = (run / "report.json").read_bytes()
    with (run / "log.jsonl").open("ab") as file:
        file.write(torn)
    done = mscon("report", run, cwd=job.folder)
    assert done.status == 0, done
    assert (run / "report.json").read_bytes() == before


@pytest.mark.parametrize("left", [0, 100, -30], ids=["nothing left", "one line torn", "the last line torn"])
def test_records_that_a_checkpoint_covers_are_not_missed_in_silence(job, whole, stopped, left):
    log = stopped / "log.jsonl"
    log.write_bytes(log.read_bytes()[:left])
    done = mscon("resume", "run", cwd=job.folder)
    assert done.is_one_message or done.status == 0, done
    assert "log.jsonl" in done.err, done
    if done.status == 0:
        name = "checkpoints/last.safetensors"
        assert content(stopped)[name] == content(whole[0])[name]
