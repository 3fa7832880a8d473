"""The report shows what `mscon affinity` found as heatmaps, and nothing of a run that was trained on since."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import pytest
from tests.planted_labels import cells, trained

import mscon
from mscon.cli import main
from mscon.evaluate.report.affinity import affinity_maps
from mscon.run.run import Run

RECORD = {
    "split": "validation",
    "pairs": [{"columns": ["a", "b"], "nmi": 0.5, "cka": None, "cosine": {"value": -0.2, "low": -0.3, "high": -0.1}}],
    "targets": [
        {"column": "a", "trained": True, "spaces": {"a": 0.94, "b": -0.1}, "features": 0.4},
        {"column": "c", "trained": False, "spaces": {"a": None, "b": 0.3}, "features": None},
    ],
    "sentences": ["A sentence."],
}


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    vectors, right, _ = cells()
    columns = {"kind": right["kind"], "grade": right["grade"], "a <b> column": right["tags"]}
    run = trained(tmp_path_factory.mktemp("affinity"), columns, vectors)
    mscon.probe(run, progress=False, start=False)
    mscon.affinity(run, progress=False)
    return run


def section(run: Run, folder: Path) -> str:
    page = mscon.build_report(run, folder, with_maps=False, overwrite=True)
    return page.read_text("utf-8").partition('id="affinity"')[2].partition("</section>")[0]


def test_numbers_become_shades_and_a_column_says_the_same_as_itself():
    maps = affinity_maps(RECORD)
    assert maps is not None and maps.spaces == ("a", "b", "features")
    (_, of_a), (_, of_c) = maps.targets
    assert [(cell.value, cell.shade) for cell in of_a] == [(0.94, 8), (-0.1, 0), (0.4, 3)]
    assert [cell.value for cell in of_c] == [None, 0.3, None]
    assert [[(cell.value, cell.below) for cell in line] for line in maps.pairs] == [
        [(1.0, None), (0.5, -0.2)],
        [(0.5, -0.2), (1.0, None)],
    ]
    assert affinity_maps(None) is None


def test_the_report_has_the_numbers_of_the_file(run, tmp_path):
    text = section(run, tmp_path)
    record = json.loads((run.root / "affinity.json").read_text())
    shown = re.findall(r'<td class="right s(\d)">([^<]*)(?:<small>([^<]*)</small>)?</td>', text)
    values = [v for target in record["targets"] for v in (*target["spaces"].values(), target["features"])]
    numbers = [f"{value:.2f}" for value in values]
    assert [number for _, number, _ in shown[: len(numbers)]] == numbers
    pair = record["pairs"][0]
    assert shown[len(numbers) + 1][1:] == (f"{pair['nmi']:.2f}", f"{pair['cosine']['value']:.2f}")
    assert len(shown) == len(numbers) + 9
    assert "a &lt;b&gt; column" in text and "<b>" not in text
    assert text.count("<li>") == len(record["sentences"])


def test_nothing_is_shown_of_a_run_that_was_trained_on_since(run, tmp_path):
    copy = Run.open(shutil.copytree(run.root, tmp_path / "run"))
    copy._write_json("affinity.json", copy.read_affinity() | {"checkpoint_sha256": "0" * 64})
    assert not section(Run.open(copy.root), tmp_path)


def test_a_file_that_mscon_did_not_write_is_refused(run, tmp_path, capsys):
    copy = Run.open(shutil.copytree(run.root, tmp_path / "run"))
    copy._write_json("affinity.json", copy.read_affinity() | {"pairs": [{"columns": ["a"]}]})
    assert main(["report", str(copy.root), "--out", str(tmp_path / "page")]) == 2
    message = capsys.readouterr().err
    assert "affinity.json" in message and "Traceback" not in message
    assert not (tmp_path / "page").exists()
