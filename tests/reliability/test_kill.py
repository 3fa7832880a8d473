"""Killed at any moment, a run goes on to what it would have been."""

from __future__ import annotations

import os
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from process import Outcome, mscon
from reliability.content import content
from reliability.jobs import MORE_VARIANTS, VARIANTS, Job, write_job
from reliability.kill import faults, kills, overwriting_faults

IS_FULL = os.environ.get("MSCON_RELIABILITY") == "full"
ALL = VARIANTS | (MORE_VARIANTS if IS_FULL else {})


@pytest.fixture(scope="module", params=[*ALL, "overwrite"])
def killed(request, tmp_path_factory, full, counts) -> dict[str, str]:
    """What was wrong after some kills of a variant, by what it is about."""
    name = request.param
    folder = tmp_path_factory.mktemp(name)
    job = write_job(folder / "job", ALL.get(name, ()))
    replaces = name == "overwrite"
    whole, expected = _whole(job, folder, replaces)
    count = {"plain": 20, "overwrite": 24}.get(name, 8)
    lines = defaultdict(list)
    for number, kill in enumerate(kills(whole, count if full else max(1, count // 7), name)):
        place = folder / f"{number:03d}"
        place.mkdir()
        if replaces:
            found_faults = list(overwriting_faults(job, place, folder / "old" / "run", kill, expected))
        else:
            found_faults = list(faults(job, place, kill, expected))
        for aspect, text in found_faults:
            lines[aspect].append(f"{kill}: {text}")
        counts["kills"] += 1
        counts["kills with a fault"] += bool(found_faults)
    return {aspect: "\n".join(texts) for aspect, texts in lines.items()}


def _whole(job: Job, folder: Path, replaces: bool) -> tuple[Outcome, dict[str, Any]]:
    """A training that is never killed, and what it leaves; if it replaces a run, that is in the folder "old" too."""
    run, old = folder / "whole" / "run", folder / "old" / "run"
    if replaces:
        for place in (run, old):
            assert mscon(*job.train(place, "--set", "train.seed=1"), cwd=job.folder).status == 0
            assert mscon("probe", place, cwd=job.folder).status == 0
            (place / "notes.txt").write_text("mine")
    whole = mscon(*job.train(run, *["--overwrite"] * replaces), cwd=job.folder, watched=run.parent)
    assert whole.status == 0, whole
    assert len(whole.events) > 20
    trained = run if not replaces else folder / "fresh"
    if replaces:
        assert mscon(*job.train(trained), cwd=job.folder).status == 0
        (trained / "notes.txt").write_text("mine")
    return whole, content(trained)


def test_there_is_a_way_on_from_what_is_left(killed):
    assert not killed.get("way"), killed["way"]


def test_it_leads_to_the_same_numbers(killed):
    assert not killed.get("numbers"), killed["numbers"]


def test_no_half_written_file_stays(killed):
    assert not killed.get("litter"), killed["litter"]


def test_its_checksums_are_those_of_its_files(killed):
    assert not killed.get("sums"), killed["sums"]
