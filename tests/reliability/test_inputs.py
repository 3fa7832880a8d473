"""A run goes with the inputs that it was trained on, and with no others."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from process import Outcome, mscon
from reliability.content import changed, content
from reliability.events import KillAt, WriteAt
from reliability.jobs import IMAGES, ROWS, Job, picture, write_job

Exchange = Callable[[Path], None]


def _in_place(path: Path, write: Callable[[], object]) -> None:
    """Write a file anew and give it the time that it had, as unpacking an archive does."""
    before = path.stat()
    write()
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert path.stat().st_size == before.st_size


def _vectors(folder: Path, order: np.ndarray) -> None:
    path = folder / "v.npy"
    vectors = np.load(path)[order]
    _in_place(path, lambda: np.save(path, vectors))


def _pictures(folder: Path, rows: list[int]) -> None:
    for row in rows:
        path = folder / f"{row}.bmp"
        _in_place(path, partial(Image.fromarray(picture(1, 0) // 2).save, path))


def _swapped(one: int, other: int) -> np.ndarray:
    order = np.arange(ROWS)
    order[[one, other]] = order[[other, one]]
    return order


# Rows 3 and 7 are lines 5 and 9 of the table.
EXCHANGES: dict[str, Exchange] = {
    "two vectors": partial(_vectors, order=_swapped(3, 7)),
    "all vectors": partial(_vectors, order=np.arange(ROWS)[::-1]),
    "two pictures": partial(_pictures, rows=[3, 7]),
    "all pictures": partial(_pictures, rows=list(range(ROWS))),
}


def _job(folder: Path, exchange: str) -> Job:
    return write_job(folder, IMAGES if "pictures" in exchange else ())


def _stop(job: Job) -> None:
    """Train to the end as "whole", and to the middle as "run"."""
    whole = mscon(*job.train("whole"), cwd=job.folder, watched=job.folder / "whole")
    assert whole.status == 0, whole
    first = next(n for n, event in enumerate(whole.events) if event.to.endswith("last.safetensors"))
    mscon(*job.train("run"), cwd=job.folder, watched=job.folder / "run", act=KillAt(first + 3))
    assert (job.folder / "run" / "checkpoints" / "last.safetensors").is_file()


def assert_names_rows(outcome: Outcome, exchange: str) -> None:
    assert outcome.is_one_message, outcome
    assert ("v.npy" if "vectors" in exchange else "image") in outcome.err, outcome
    rows = r"(lines?|rows?)\b[^\n]*\b5\b[^\n]*\b9\b" if "two" in exchange else r"\b(lines?|rows?)\b"
    assert re.search(rows, outcome.err), outcome


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_probe_refuses_inputs_that_are_others_now(tmp_path, exchange):
    job = _job(tmp_path / "job", exchange)
    assert mscon(*job.train("run"), cwd=job.folder).status == 0
    EXCHANGES[exchange](job.folder)
    before = content(job.folder / "run")
    assert_names_rows(mscon("probe", "run", cwd=job.folder), exchange)
    assert content(job.folder / "run") == before


@pytest.mark.parametrize("exchange", EXCHANGES)
def test_resume_refuses_inputs_that_are_others_now(tmp_path, exchange):
    job = _job(tmp_path / "job", exchange)
    _stop(job)
    EXCHANGES[exchange](job.folder)
    before = content(job.folder / "run")
    assert_names_rows(mscon("resume", "run", "--no-probe", cwd=job.folder), exchange)
    assert content(job.folder / "run") == before


@pytest.mark.parametrize("settings", [(), IMAGES], ids=["vectors", "pictures"])
def test_inputs_that_were_only_copied_are_the_same(tmp_path, settings):
    job = write_job(tmp_path / "job", settings)
    _stop(job)
    for path in [job.folder / "v.npy", *job.folder.glob("*.bmp")]:
        copy = path.with_suffix(".copy")
        shutil.copyfile(path, copy)
        copy.replace(path)
    for verb in ("resume", "probe"):
        outcome = mscon(verb, "run", cwd=job.folder)
        assert outcome.status == 0, outcome
    assert not changed(content(job.folder / "run"), content(job.folder / "whole"))


def test_pictures_exchanged_before_a_training_are_not_taken_from_the_cache(tmp_path):
    job = write_job(tmp_path / "job", IMAGES)
    assert mscon(*job.train("before"), cwd=job.folder).status == 0
    EXCHANGES["all pictures"](job.folder)
    assert mscon(*job.train("after"), cwd=job.folder).status == 0
    fresh = Job(tmp_path / "fresh", IMAGES)
    shutil.copytree(job.folder, fresh.folder)
    for path in fresh.folder.glob("*.bmp"):
        os.utime(path)  # so that no cache knows them
    assert mscon(*fresh.train("run"), cwd=fresh.folder).status == 0
    name = "checkpoints/last.safetensors"
    assert content(job.folder / "after")[name] == content(fresh.folder / "run")[name]
    assert content(job.folder / "after")[name] != content(job.folder / "before")[name]


@pytest.mark.parametrize("way", ["another order", "cut shorter", "emptied"])
def test_vectors_that_change_during_training_end_it_with_a_message(job, way):
    whole = mscon(*job.train("whole"), cwd=job.folder, watched=job.folder / "whole")
    first = next(n for n, event in enumerate(whole.events) if event.to.endswith("last.safetensors"))
    path = job.folder / "v.npy"
    raw = path.read_bytes()
    vectors = np.load(path)
    header = len(raw) - vectors.nbytes
    others = {
        "another order": raw[:header] + vectors[::-1].tobytes(),
        "cut shorter": raw[: header + 100],
        "emptied": b"",
    }
    outcome = mscon(
        *job.train("run"), cwd=job.folder, watched=job.folder / "run", act=WriteAt(first + 1, path, others[way])
    )
    assert path.read_bytes() == others[way]
    assert outcome.is_one_message, outcome
    assert "v.npy" in outcome.err, outcome


@pytest.mark.parametrize(
    ("one", "other"), [("epochs = 3", "epochs = 4"), ("learning_rate = ", "learning_rate = 5"), ("", "# a remark\n")]
)
def test_resume_refuses_a_recipe_that_was_edited(job, one, other):
    _stop(job)
    recipe = job.folder / "run" / "recipe.toml"
    text = recipe.read_text()
    assert one in text
    recipe.write_text(text.replace(one, other, 1))
    before = content(job.folder / "run")
    outcome = mscon("resume", "run", "--no-probe", cwd=job.folder)
    assert outcome.is_one_message, outcome
    assert "recipe.toml" in outcome.err
    assert content(job.folder / "run") == before
