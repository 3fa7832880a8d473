"""Killed, stopped or refused by the disk, a verb leaves nothing by halves, and the same command then ends as ever."""

from __future__ import annotations

import errno
import itertools
import os
import random
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from reliability.events import FailAt, LimitAt, SignalAt, lost_in_a_power_cut
from reliability.verbs import VERBS, Whole, disturbed, killed, whole, write_scene

IS_FULL = os.environ.get("MSCON_RELIABILITY") == "full"
# Those that cost least, and write files in each way.
SHARE = ("probe", "embed")
# Those that train many runs, each time, and how often they are killed; others are 4 times.
SLOW = {"compare": 12, "compare also": 6, "reproduce": 4, "reproduce transfer": 2}
ERRORS = (errno.ENOSPC, errno.EROFS, errno.EDQUOT, errno.EACCES)
# Calls that fail where a disk is at fault.
WRITES = ("open", "write", "sync", "rename", "rename folder", "mkdir")


@pytest.fixture(scope="session")
def scene(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("scene") / "job"
    write_scene(folder, with_all=IS_FULL)
    return folder


@pytest.fixture(scope="module", params=VERBS if IS_FULL else SHARE)
def expected(request, scene, tmp_path_factory) -> tuple[str, Whole]:
    folder = tmp_path_factory.mktemp("whole")
    name = request.param
    undisturbed = whole(scene, folder, VERBS[name])
    shutil.rmtree(folder)
    return name, undisturbed


@pytest.fixture
def places(tmp_path) -> Iterator[Path]:
    """Folders, each of which is gone when the next one is needed."""

    def one_by_one() -> Iterator[Path]:
        for number in itertools.count():
            yield tmp_path / str(number)
            shutil.rmtree(tmp_path / str(number), ignore_errors=True)

    return one_by_one()


def _drawn(name: str, what: str, numbers: list[int], full: bool, count: int) -> list[int]:
    if name in SLOW:
        count = SLOW[name] if what == "kill" else 1
    return random.Random(f"{name} {what}").sample(numbers, min(len(numbers), count if full else 1))


def test_killed_it_ends_as_ever_when_it_is_started_again(scene, expected, places, full, counts: Counter[str]):
    name, undisturbed = expected
    draw = random.Random(f"{name} kill")
    faults = []
    for number in _drawn(name, "kill", list(range(len(undisturbed.events))), full, 4):
        by_event = draw.random() < 0.7 or not undisturbed.seconds
        seconds = 0.0 if by_event else draw.uniform(0, undisturbed.seconds)
        wrong = killed(scene, next(places), undisturbed, number if by_event else None, seconds)
        faults += [f"killed at event {number}, {seconds:.2f} s: {text}" for text in wrong]
        counts["verbs killed"] += 1
        counts["verbs killed, with a fault"] += bool(wrong)
    assert not faults, "\n".join(faults)


def test_a_power_cut_takes_nothing_that_was_finished(expected):
    name, undisturbed = expected
    assert bool(undisturbed.events) == (name != "search")  # which writes nothing
    lost = list(lost_in_a_power_cut(undisturbed.events))
    assert not lost, "\n".join(lost)


def test_what_the_disk_refuses_is_one_message(scene, expected, places, full, counts: Counter[str]):
    name, undisturbed = expected
    draw = random.Random(f"{name} disk")
    writes = [number for number, event in enumerate(undisturbed.events) if event.kind in WRITES]
    acts = [FailAt(number, draw.choice(ERRORS)) for number in _drawn(name, "disk", writes, full, 2)]
    # The limit is that of standard error too, on which each of many runs has a line.
    limits = _drawn(name, "limit", [20_000] if name in SLOW else [1_000, 4_000, 20_000], full, 1)
    faults = []
    for act in (*acts, *(LimitAt(0, limit) for limit in limits)):
        wrong = disturbed(scene, next(places), undisturbed, act, status=2)
        faults += [f"{act}: {text}" for text in wrong]
        counts["writes refused"] += 1
        counts["writes refused, with a fault"] += bool(wrong)
    assert not faults, "\n".join(faults)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
def test_a_signal_stops_it_in_words(scene, expected, places, full, counts: Counter[str], number):
    name, undisturbed = expected
    if number == signal.SIGINT and not full:
        pytest.skip("the same handler; `make test-reliability` sends it too")
    faults = []
    for at in _drawn(name, "signal", list(range(len(undisturbed.events))), full, 1):
        wrong = disturbed(scene, next(places), undisturbed, SignalAt(at, number), status=1)
        faults += [f"signal at event {at}: {text}" for text in wrong]
        counts["signals"] += 1
        counts["signals, with a fault"] += bool(wrong)
    assert not faults, "\n".join(faults)
