"""The run directory: what is written is what is read, and nothing is lost."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch

from mscon import recipe
from mscon.errors import RunError
from mscon.run import Run

RECIPE = recipe.parse('[[similarity]]\ncolumn = "kind"')


@pytest.fixture
def run(tmp_path):
    made = Run.create(tmp_path / "run")
    made.write_recipe(RECIPE)
    return made


def test_everything_written_is_read_back(run):
    run.write_facts({"seed": 1})
    run.write_similarities([{"name": "categorical", "state": {"column": "kind", "classes": ["a", "b"]}}])
    rows = pl.DataFrame({"line": [2, 3], "split": ["train", "test"], "image": ["a.png", "b.png"], "kind": ["a", None]})
    run.write_rows(rows)
    features, projections = np.ones((2, 3), np.float32), np.zeros((1, 2, 2), np.float32)
    run.write_features(features, projections)
    run.write_probe({"linear": []}, {"linear/0/row": np.arange(2)})
    again = Run.open(run.root)
    assert again.recipe == RECIPE
    assert again.facts == {"seed": 1}
    assert again.similarities[0]["state"]["classes"] == ["a", "b"]
    assert again.rows.equals(rows)
    assert np.array_equal(again.features, features)
    assert np.array_equal(again.projections, projections)
    assert again.probe == {"linear": []}
    assert again.predictions["linear/0/row"].tolist() == [0, 1]


def test_a_checkpoint_keeps_tensors_and_values(run):
    tensors = {"model.weight": torch.randn(2, 3).T, "random": torch.arange(5, dtype=torch.uint8)}
    run.write_checkpoint("last", tensors, {"epoch": 3, "best": None})
    read, state = run.read_checkpoint("last")
    assert state == {"epoch": 3, "best": None}
    assert all(torch.equal(read[key], tensors[key]) for key in tensors)
    assert run.has_checkpoint("last")
    assert not run.has_checkpoint("best")


def test_the_log_is_appended_to_and_cut(run):
    for step in (1, 2, 3):
        run.append_log({"kind": "step", "step": step})
    run.cut_log(2)
    assert [r["step"] for r in run.log] == [1, 2]


def test_a_folder_in_use_is_refused_and_only_a_run_is_ever_overwritten(run, tmp_path):
    with pytest.raises(RunError, match=r"exists and is not empty.*--overwrite"):
        Run.create(run.root)
    assert Run.create(run.root, overwrite=True).log == []
    precious = tmp_path / "photos"
    precious.mkdir()
    (precious / "one.jpg").write_bytes(b"x")
    with pytest.raises(RunError, match="not a run directory"):
        Run.create(precious, overwrite=True)
    assert (precious / "one.jpg").exists()


def test_what_is_not_there_yet_is_named_with_the_verb_that_makes_it(run, tmp_path):
    with pytest.raises(RunError, match=r"probe\.json.*mscon probe"):
        _ = run.probe
    with pytest.raises(RunError, match=r"run\.json.*mscon train"):
        _ = run.facts
    with pytest.raises(RunError, match="does not exist"):
        Run.open(tmp_path / "nowhere")


def test_broken_json_names_the_file(run):
    (run.root / "run.json").write_text("{")
    with pytest.raises(RunError, match=r"run\.json is not valid JSON"):
        _ = run.facts
