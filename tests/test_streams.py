"""Standard output and standard error of the command line that nobody reads, or that have no room."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from mscon.run.run import Run
from process import Outcome, call, verb
from reliability.jobs import Job, write_job


@pytest.fixture
def job(tmp_path) -> Job:
    return write_job(tmp_path / "job")


def without_reader(arguments: Sequence[str]) -> int:
    """Standard error is a pipe whose other end is closed, as that of `2>&1 | head -1` soon is."""
    return _with_streams(arguments, _pipe_without_reader(), (2,))


def both_without_reader(arguments: Sequence[str]) -> int:
    return _with_streams(arguments, _pipe_without_reader(), (1, 2))


def without_room(arguments: Sequence[str]) -> int:
    return _with_streams(arguments, os.open("/dev/full", os.O_WRONLY), (2,))


def _pipe_without_reader() -> int:
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def _with_streams(arguments: Sequence[str], target: int, numbers: Sequence[int]) -> int:
    for number in numbers:
        os.dup2(target, number)
        setattr(sys, {1: "stdout", 2: "stderr"}[number], os.fdopen(number, "w", closefd=False))
    return verb(arguments)


def ended(do, job: Job, run: Path) -> Outcome:
    return call(do, [*job.train(run)], cwd=job.folder).wait()


@pytest.mark.skipif(sys.platform != "linux", reason="/dev/full is there only")
@pytest.mark.parametrize(("do", "status"), [(without_reader, 0), (both_without_reader, 1), (without_room, 0)])
def test_a_training_goes_on_when_nobody_reads_its_messages(job, tmp_path, do, status):
    outcome = ended(do, job, tmp_path / "run")
    assert outcome.status == status  # 1 where standard output is lost, which is the result of a verb
    run = Run.open(tmp_path / "run")
    assert run.read_facts()["trained"]["epochs"] == 3
    assert run.has_checkpoint("last")


@pytest.mark.skipif(sys.platform != "linux", reason="processes are forked")
def test_a_mistake_that_nobody_reads_has_its_status(job, tmp_path):
    outcome = call(without_reader, ["train", "nothing.toml", "--table", "t.csv"], cwd=job.folder).wait()
    assert outcome.status == 2


def test_standard_error_is_as_it_was_afterwards(capsys):
    before = sys.stderr
    assert verb(["probe", "nothing"]) == 2
    assert sys.stderr is before
    assert "nothing" in capsys.readouterr().err
