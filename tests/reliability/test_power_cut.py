"""What is written is on the disk, in an order in which a power cut loses nothing.

A machine is not switched off here. The order is what counts: a file's content before its name, the folder after it, and
a log before the checkpoint that covers it.
"""

from __future__ import annotations

import pytest

from process import mscon
from reliability.events import Event, KillAt, lost_in_a_power_cut


def test_an_order_that_loses_something_is_noticed():
    write, sync, move = Event("open", "/r/.a"), Event("sync", "/r/.a"), Event("rename", "/r/.a", "/r/a")
    folder = Event("sync", "/r")
    assert list(lost_in_a_power_cut([write, sync, move, folder])) == []
    assert len(list(lost_in_a_power_cut([write, move, folder]))) == 1
    assert len(list(lost_in_a_power_cut([sync, write, move, folder]))) == 1
    assert len(list(lost_in_a_power_cut([write, sync, folder, move]))) == 1


@pytest.mark.parametrize("verb", ["train", "resume", "overwrite", "probe"])
def test_a_power_cut_takes_nothing_that_was_finished(job, verb):
    commands = {
        "train": job.train("run"),
        "resume": ["resume", "run", "--no-probe"],
        "overwrite": job.train("run", "--overwrite"),
        "probe": ["probe", "run"],
    }
    if verb == "resume":
        whole = mscon(*job.train("whole"), cwd=job.folder, watched=job.folder / "whole")
        first = next(n for n, event in enumerate(whole.events) if event.to.endswith("last.safetensors"))
        mscon(*job.train("run"), cwd=job.folder, watched=job.folder / "run", act=KillAt(first + 1))
    elif verb != "train":
        assert mscon(*job.train("run"), cwd=job.folder).status == 0
    outcome = mscon(*commands[verb], cwd=job.folder, watched=job.folder)
    assert outcome.status == 0, outcome
    assert len(outcome.events) > 10
    lost = list(lost_in_a_power_cut(outcome.events))
    assert not lost, "\n".join(lost)
