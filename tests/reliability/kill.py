"""Kill: a run is ended in the middle, and what becomes of it afterwards."""

from __future__ import annotations

import random
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from process import Outcome, mscon
from reliability.content import changed, content, left_over, wrong_sums
from reliability.events import KillAt
from reliability.jobs import Job

# What a fault is about, and what it is.
Fault = tuple[Literal["way", "numbers", "litter", "sums"], str]


@dataclass(frozen=True, slots=True)
class Kill:
    """Where a training is ended, and perhaps what follows it as well.

    Attributes:
        event: number of the event before which it is ended; None for an instant.
        seconds: of the processor after which it is ended, if that is no event.
        again: number of the event before which the next process is ended, `mscon resume` or, where a run is replaced,
            the same command; None for none.
    """

    event: int | None
    seconds: float = 0.0
    again: int | None = None

    def __str__(self) -> str:
        first = f"{self.seconds:.3f} s" if self.event is None else f"event {self.event}"
        return f"killed at {first}" + ("" if self.again is None else f", the next one at event {self.again}")


def kills(whole: Outcome, count: int, seed: str) -> list[Kill]:
    """Some of the ways to end a process that went like `whole`: at events, every third at an instant."""
    draw = random.Random(seed)
    events = draw.sample(range(len(whole.events)), min(count, len(whole.events)))
    return [
        Kill(
            None if number % 3 == 2 else event,
            draw.uniform(0, whole.seconds) if number % 3 == 2 else 0.0,
            draw.randrange(25) if number % 4 == 3 else None,
        )
        for number, event in enumerate(events)
    ]


def faults(job: Job, folder: Path, kill: Kill, expected: Any) -> Iterator[Fault]:
    """What is wrong after a training was killed and then gone on with as the messages say; nothing if all is right.

    Args:
        folder: for the run, and nothing else.
        expected: content of the run that was never killed.
    """
    run = folder / "run"
    _end(job.train(run), job, folder, kill.event, kill.seconds)
    if kill.again is not None and run.exists():
        _end(["resume", str(run), "--no-probe"], job, folder, kill.again)
    outcome = mscon("resume", run, "--no-probe", cwd=job.folder)
    if outcome.is_one_message:
        again = mscon(*job.train(run), cwd=job.folder)
        if again.status:
            yield "way", f"resume: {outcome}\n  the same command again: {again}"
            return
    elif outcome.status:
        yield "way", f"resume: {outcome}"
        return
    yield from _of_run(run, expected)


def overwriting_faults(job: Job, folder: Path, old: Path, kill: Kill, expected: Any) -> Iterator[Fault]:
    """The same where the training replaces a run: that must be whole still, or the new one be there to go on with.

    Args:
        old: the run that is replaced, with notes.txt of the user's in it.
        expected: content of the new run that was never killed, with the same notes.
    """
    run = folder / "run"
    shutil.copytree(old, run)
    command = job.train(run, "--overwrite")
    _end(command, job, folder, kill.event, kill.seconds)
    if kill.again is not None:
        _end(command, job, folder, kill.again)
    is_old = not changed(content(run), content(old))
    outcome = mscon("resume", run, "--no-probe", cwd=job.folder)
    if outcome.status:
        yield "way", f"neither the old run nor the new one: {outcome}"
    elif changes := changed(content(run), content(old) if is_old else expected):
        yield "way", f"neither the old run whole nor the new one: {', '.join(changes)}"
    again = mscon(*command, cwd=job.folder)
    if again.status:
        yield "way", f"the same command again: {again}"
        return
    yield from _of_run(run, expected)
    yield from (("litter", f"{path.name} is left over beside the run") for path in folder.iterdir() if path != run)


def _of_run(run: Path, expected: Any) -> Iterator[Fault]:
    now = content(run)
    yield from (("numbers", text) for text in changed(now, expected))
    yield from (("litter", text) for text in left_over(now, expected))
    yield from (("sums", text) for text in wrong_sums(run) if "notes.txt" not in text)


def _end(arguments: Sequence[str], job: Job, folder: Path, event: int | None, seconds: float = 0.0) -> None:
    act = None if event is None else KillAt(event)
    mscon(*arguments, cwd=job.folder, watched=folder, act=act, killed_after=seconds)
