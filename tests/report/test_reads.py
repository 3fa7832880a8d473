"""What a report reads: each file of a run once, and of the images those that it shows."""

from __future__ import annotations

import os
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from mscon.cli import main
from mscon.data.inputs import image_files, images
from mscon.evaluate.report.page import build_report
from mscon.run.run import Run

from .runs import CLASSES, make_images, make_rows, make_run

_opened: Counter[str] | None = None


def _count(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and _opened is not None and isinstance(arguments[0], str | os.PathLike):
        _opened[str(arguments[0])] += 1


@pytest.fixture
def opened():
    """How often each file is opened."""
    global _opened
    _opened = Counter()
    sys.addaudithook(_count)  # for good: there is no way to take it off
    yield _opened
    _opened = None


def test_a_report_of_six_runs_reads_each_file_once(tmp_path, rows, opened, monkeypatch):
    make_images(tmp_path / "images", rows)
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    names = [(f"{title}{seed}", title, seed) for title in "AB" for seed in range(3)]
    for name, title, seed in names:
        make_run(tmp_path / name, rows, title=title, seed=seed, images=tmp_path / "images")
    opened.clear()
    main(
        ["report", *(str(tmp_path / name) for name, _, _ in names), "--out", str(tmp_path / "report.html"), "--no-maps"]
    )
    counts = {
        Path(file).relative_to(tmp_path): count
        for file, count in opened.items()
        if any(Path(file).is_relative_to(tmp_path / name) for name, _, _ in names) and not Path(file).is_dir()
    }
    assert len(counts) >= 6 * 8
    # Vectors are mapped, and read once more for their checksum before.
    assert {name: n for name, n in counts.items() if n > (2 if name.parent.name == "features" else 1)} == {}


def test_a_report_decodes_the_images_that_it_shows(tmp_path, monkeypatch):
    rows = make_rows(CLASSES, {"train": 100, "test": 400})
    make_images(tmp_path / "images", rows)
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    run = make_run(tmp_path / "run", rows, images=tmp_path / "images")
    decoded: list[Path] = []
    decode = image_files.decode_one

    def counting(path: Path, *shape: Any, **how: Any):
        decoded.append(path)
        return decode(path, *shape, **how)

    monkeypatch.setattr(image_files, "decode_one", counting)
    monkeypatch.setattr(images, "decode_with_fingerprint", None)
    page = build_report([run], tmp_path / "report.html", with_maps=False).read_text("utf-8")
    assert "could not be read" not in page
    assert 4 <= len(decoded) == len(set(decoded)) <= 4 * (1 + 3 * 6)


def test_a_run_as_it_is_stays_so_while_it_is_written(tmp_path, rows):
    run = make_run(tmp_path / "run", rows)
    before = run.as_it_is()
    facts, features, log = before.read_facts(), before.read_features().copy(), before.read_log()
    run.write_facts({"changed": True})
    run.write_features(features + 1, run.read_projections())
    run.append_log({"kind": "step", "step": 99})
    assert before.read_facts() == facts
    assert before.read_log() == log
    assert (before.read_features() == features).all()
    assert (before.read_projections() == run.read_projections()).all()  # written after the checksums were read
    assert run.read_facts() == {"changed": True}
    assert (Run.open(run.root).read_features() == features + 1).all()
