"""The miniature trees from their archives to the table with the paper's numbers beside ours."""

from __future__ import annotations

import json

import pytest

from mscon.cli import main
from mscon_paper import files

pytestmark = pytest.mark.usefixtures("short_probes")
# The experiments as they are written, but small: no published weights, small images, one short epoch.
SMALL = [
    "encoder.name=small_cnn",
    "encoder.width=8",
    "encoder.pretrained=false",
    "data.image_size=16",
    "train.epochs=1",
    "train.batch_size=16",
    "train.optimiser=adamw",
    "train.learning_rate=1e-3",
    "probe.draws=100",
]


@pytest.fixture
def few(monkeypatch):
    """The experiments with the few methods that say it all, and CSN with few triplets."""
    entries, toml = files._entries, files._toml

    def fewer(name):
        plain = toml(name)
        if name == "methods":
            plain["csn"]["triplets"] = {"count": 32, "validation": 8}
        return plain

    def only(*methods):
        changed = {"methods": list(methods), "claims": [[methods[1], methods[0]]]}
        monkeypatch.setattr(files, "_toml", fewer)
        monkeypatch.setattr(files, "_entries", lambda: {name: plain | changed for name, plain in entries().items()})

    return only


def reproduced(name, root, out):
    changes = [part for value in SMALL for part in ("--set", value)]
    assert main(["reproduce", name, "--data", str(root), "--quick", "--jobs", "1", "--out", str(out), *changes]) == 0
    folder = out / f"{name}-quick"
    assert (folder / "figure.png").is_file()
    return folder, json.loads((folder / "results.json").read_text("utf-8"))


def test_shoes_from_the_archive_to_table_1(shoes, few, tmp_path):
    few("xent_multi", "mscon", "csn")
    folder, results = reproduced("zappos50k/table1", shoes.write(), tmp_path / "out")
    assert {r["column"] for r in results["readings"]} == {"category", "closure", "gender"}
    beside = {(r["row"], r["column"]): r["paper"]["value"] for r in results["readings"]}
    assert beside["MSCon, paper's weights", "closure"] == 94.37
    assert beside["CSN", "gender"] == 69.21
    assert all(r["ours"] is not None for r in results["readings"])
    assert (folder / "report.html").is_file()


def test_shoes_with_a_noisy_column_to_figure_3(shoes, few, tmp_path):
    few("mscon_equal", "mscon_dropped")
    _, results = reproduced("zappos50k/figure3", shoes.write(), tmp_path / "out")
    assert {r["x"] for r in results["readings"]} == {0.0, 0.25, 0.5, 0.75, 1.0}
    assert {r["column"] for r in results["readings"]} == {"closure_noisy", "closure", "category", "gender", "brand"}
    assert all(r["ours"] is not None for r in results["readings"])


def test_disasters_from_the_archive_to_table_4(disasters, few, tmp_path):
    few("xent_multi", "mscon")
    folder, results = reproduced("medic/table4", disasters.write(), tmp_path / "out")
    text = (folder / "table.md").read_text("utf-8")
    assert "79.51 (0.36)" in text
    assert "no evidence" in text
    assert len({run for r in results["readings"] for run in r["runs"]}) == 8
    assert results["published_without_ours"] == []
