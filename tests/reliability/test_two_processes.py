"""Two processes never train one run."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from process import Started, mscon, start
from reliability.content import changed, content, left_over
from reliability.events import Event, KillAt, PauseAt
from reliability.jobs import Job, write_job


@dataclass(frozen=True, slots=True)
class Whole:
    """A training that has its run to itself: what it did to files, and their content."""

    events: tuple[Event, ...]
    content: dict[str, Any]


@pytest.fixture(scope="module")
def job(tmp_path_factory) -> Job:
    """The same table and recipe for every test of this file; `run_is_gone` deletes the run that a test leaves there."""
    return write_job(tmp_path_factory.mktemp("jobs") / "job")


@pytest.fixture(autouse=True)
def run_is_gone(job) -> Iterator[None]:
    yield
    for path in job.folder.glob("run*"):
        shutil.rmtree(path)
    for name in ("here", "on"):
        (job.folder.parent / name).unlink(missing_ok=True)


@pytest.fixture(scope="module")
def whole(job) -> Whole:
    outcome = mscon(*job.train("whole"), cwd=job.folder, watched=job.folder / "whole")
    assert outcome.status == 0, outcome
    return Whole(outcome.events, content(job.folder / "whole"))


def paused(job: Job, arguments: list[str], at: int) -> tuple[Started, Path]:
    """A process that waits at an event of the run "run", and the file that lets it go on."""
    here, on = job.folder.parent / "here", job.folder.parent / "on"
    started = start(*arguments, cwd=job.folder, watched=job.folder / "run", act=PauseAt(at, here, on))
    started.wait_until(here)
    return started, on


def assert_whole(job: Job, whole: Whole) -> None:
    now = content(job.folder / "run")
    assert changed(now, whole.content) + left_over(now, whole.content) == []


def _number(events: tuple[Event, ...], name: str, which: int = 0) -> int:
    return [n for n, event in enumerate(events) if event.to.endswith(name)][which]


@pytest.mark.parametrize("second", ["resume", "train", "overwrite"])
@pytest.mark.parametrize("after", ["run.json", "rows.parquet", "last.safetensors"])
def test_what_is_being_trained_is_not_trained_by_another(job, whole, after, second):
    first, on = paused(job, job.train("run"), _number(whole.events, after) + 1)
    commands = {
        "resume": ["resume", "run", "--no-probe"],
        "train": job.train("run"),
        "overwrite": job.train("run", "--overwrite"),
    }
    other = mscon(*commands[second], cwd=job.folder)
    on.touch()
    outcome = first.wait()
    assert other.is_one_message, other
    assert "--overwrite" not in other.err, other
    assert outcome.status == 0, outcome
    assert_whole(job, whole)


@pytest.mark.parametrize("second", ["resume", "overwrite"])
def test_what_is_being_resumed_is_not_trained_by_another(job, whole, second):
    at = _number(whole.events, "last.safetensors") + 1
    mscon(*job.train("run"), cwd=job.folder, watched=job.folder / "run", act=KillAt(at))
    first, on = paused(job, ["resume", "run", "--no-probe"], 5)
    other = mscon(
        *(["resume", "run", "--no-probe"] if second == "resume" else job.train("run", "--overwrite")), cwd=job.folder
    )
    on.touch()
    outcome = first.wait()
    assert other.is_one_message, other
    assert outcome.status == 0, outcome
    assert_whole(job, whole)


def test_of_two_that_begin_at_once_one_trains(job, whole, full):
    """Whatever the first has come to when the second begins."""
    for at in range(0, 20, 1 if full else 5):
        run = job.folder / "run"
        if run.exists():
            run.rename(job.folder / f"run-{at}")
        for name in ("here", "on"):
            (job.folder.parent / name).unlink(missing_ok=True)
        first, on = paused(job, job.train("run"), at)
        other = mscon(*job.train("run"), cwd=job.folder)
        on.touch()
        outcome = first.wait()
        assert sorted([outcome.status, other.status]) == [0, 2], f"at event {at}: {outcome}\n{other}"
        assert (other if outcome.status == 0 else outcome).is_one_message
        assert_whole(job, whole)


def test_of_two_that_replace_a_run_one_trains(job, whole):
    assert mscon(*job.train("run", "--set", "train.seed=1"), cwd=job.folder).status == 0
    command = job.train("run", "--overwrite")
    here, on = job.folder.parent / "here", job.folder.parent / "on"
    first = start(*command, cwd=job.folder, watched=job.folder, act=PauseAt(20, here, on))
    first.wait_until(here)
    other = mscon(*command, cwd=job.folder)
    on.touch()
    outcome = first.wait()
    assert sorted([outcome.status, other.status]) == [0, 2], f"{outcome}\n{other}"
    assert_whole(job, whole)
