"""The run directory: what is written is what is read, and nothing is lost."""

from __future__ import annotations

import json
import os

import numpy as np
import polars as pl
import pytest
import torch

from mscon.errors import RunError
from mscon.run import recipe
from mscon.run.run import Run

FACTS = {"versions": {"mscon": "0.1.0"}}
RECIPE = recipe.parse('[[similarity]]\ncolumn = "kind"')


@pytest.fixture
def run(tmp_path):
    new = Run.create(tmp_path / "run")
    new.write_recipe(RECIPE)
    new.write_facts(FACTS)
    return new


def test_everything_written_is_read_back(run):
    run.write_facts(FACTS | {"seed": 1})
    run.write_similarities([{"name": "categorical", "state": {"column": "kind", "classes": ["a", "b"]}}])
    rows = pl.DataFrame({"line": [2, 3], "split": ["train", "test"], "image": ["a.png", "b.png"], "kind": ["a", None]})
    run.write_rows(rows)
    features, projections = np.ones((2, 3), np.float32), np.zeros((1, 2, 2), np.float32)
    run.write_features(features, projections)
    run.write_probe({"linear": []}, {"linear/0/row": np.arange(2)})
    again = Run.open(run.root)
    assert again.read_recipe() == RECIPE
    assert again.read_facts() == FACTS | {"seed": 1}
    assert again.read_similarities()[0]["state"]["classes"] == ["a", "b"]
    assert again.read_rows().equals(rows)
    assert np.array_equal(again.read_features(), features)
    assert np.array_equal(again.read_projections(), projections)
    assert again.read_probe() == {"linear": []}
    assert again.read_predictions()["linear/0/row"].tolist() == [0, 1]


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
    assert [r["step"] for r in run.read_log()] == [1, 2]


def test_a_torn_line_of_the_log_is_left_out_and_the_next_is_whole(run):
    run.append_log({"kind": "step", "step": 1})
    with (run.root / "log.jsonl").open("a") as file:
        file.write('{"kind": "st')
    assert [r["step"] for r in run.read_log()] == [1]
    run.append_log({"kind": "step", "step": 2})
    assert [r["step"] for r in run.read_log()] == [1, 2]


def test_a_log_that_lost_what_a_checkpoint_has_taken_says_so(run):
    for step in (1, 2):
        run.append_log({"kind": "step", "step": step})
        run.write_checkpoint("last", {"weight": torch.ones(2)}, {"epoch": step, "step": step})
    assert not run.has_lost_log
    os.truncate(run.root / "log.jsonl", 40)
    assert run.has_lost_log
    assert [r["step"] for r in run.read_log()] == [1]  # what is left is as it was
    (run.root / "log.jsonl").unlink()
    assert run.has_lost_log and run.read_log() == []


def test_a_log_with_another_content_is_refused(run):
    run.append_log({"kind": "step", "loss": 1.25})
    run.write_checkpoint("last", {"weight": torch.ones(2)}, {"epoch": 1})
    path = run.root / "log.jsonl"
    path.write_text(path.read_text().replace("1.25", "1.75"))
    with pytest.raises(RunError, match=r"log\.jsonl has changed since mscon wrote it"):
        _ = run.read_log()


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("name", "read"),
    [
        ("recipe.toml", lambda run: run.read_recipe()),
        ("recipe.toml", lambda run: run.read_recipe_values()),
        ("run.json", lambda run: run.read_facts()),
        ("rows.parquet", lambda run: run.read_rows()),
        ("checkpoints/last.safetensors", lambda run: run.read_checkpoint("last")),
        ("features/features.safetensors", lambda run: run.read_features()),
        ("features/projections.safetensors", lambda run: run.read_projections()),
        ("probe.json", lambda run: run.read_probe()),
        ("predictions.safetensors", lambda run: run.read_predictions()),
        ("predictors.safetensors", lambda run: run.read_predictors(lambda about, arrays: arrays)),
        ("masks.json", lambda run: run.read_masks()),
    ],
)
def test_one_bit_is_noticed_in_every_file_that_is_read(run, name, read):
    run.write_rows(pl.DataFrame({"line": [2], "split": ["train"], "image": ["a.png"]}))
    run.write_checkpoint("last", {"weight": torch.ones(2)}, {"epoch": 1})
    run.write_features(np.ones((2, 3), np.float32), np.zeros((1, 2, 2), np.float32))
    run.write_probe({"linear": []}, {"linear/0/row": np.arange(2)})
    run.write_predictors({"source": "", "predictors": [], "skipped": []}, {"0/weights": np.ones((2, 2), np.float32)})
    run.write_masks([[1.0]])
    read(run)
    flip(run.root / name)
    with pytest.raises(RunError, match=rf"{name} has changed since mscon wrote it"):
        read(run)


@pytest.mark.parametrize("name", ["inputs.json", "vectors.safetensors", "fingerprints.safetensors", "masks.json"])
def test_a_file_that_not_every_run_has_is_missed_where_it_was(run, name):
    def read(run):
        return run.vectors_file if name == "vectors.safetensors" else getattr(run, f"read_{name.partition('.')[0]}")()

    assert read(run) is None
    run.write_inputs({"width": 2}, np.ones((1, 2), np.float32))
    run.write_fingerprints(np.zeros((1, 16), np.uint8))
    run.write_masks([[1.0]])
    assert read(run) is not None
    (run.root / name).unlink()
    with pytest.raises(RunError, match=rf"{name} is gone"):
        read(run)


def test_features_that_have_changed_are_not_whole(run):
    run.write_checkpoint("last", {"weight": torch.ones(2)}, {"epoch": 1})
    for name in ("features", "projections"):
        run.write_features(np.ones((2, 3), np.float32), np.zeros((1, 2, 2), np.float32))
        assert run.has_whole_features and run.features_are_current("last")
        flip(run.root / "features" / f"{name}.safetensors")
        assert not run.has_whole_features
        with pytest.raises(RunError, match=rf"features/{name}\.safetensors has changed"):
            run.features_are_current("last")


def test_a_run_of_before_there_were_checksums_is_read_and_has_them_once_it_is_written_to(run):
    (run.root / "checksums.jsonl").unlink()
    assert run.read_recipe() == RECIPE
    run.write_masks([[1.0]])
    assert run.read_recipe() == RECIPE and run.read_masks() == [[1.0]]
    flip(run.root / "recipe.toml")
    with pytest.raises(RunError, match="has changed"):
        _ = run.read_recipe()


def test_what_is_not_there_yet_is_named_with_the_verb_that_makes_it(run, tmp_path):
    with pytest.raises(RunError, match=r"probe\.json.*mscon probe"):
        _ = run.read_probe()
    (run.root / "run.json").unlink()
    with pytest.raises(RunError, match=r"run\.json.*mscon train"):
        _ = run.read_facts()
    with pytest.raises(RunError, match=r"has no features/features\.safetensors: `mscon probe`"):
        run.need_features()
    with pytest.raises(RunError, match="does not exist"):
        Run.open(tmp_path / "nowhere")


@pytest.mark.parametrize("is_older", [False, True])
def test_features_that_do_not_belong_to_the_checkpoint_name_both_files(run, is_older):
    """Without checksums it is not known whether one of them is damaged, or the run was trained on."""
    run.write_checkpoint("last", {"weight": torch.ones(2)}, {"epoch": 1})
    run.write_features(np.ones((2, 3), np.float32), np.zeros((1, 2, 2), np.float32))
    run.need_features("last")
    if is_older:
        (run.root / "checksums.jsonl").unlink()
        flip(run.root / "checkpoints" / "last.safetensors")
    else:
        run.write_checkpoint("last", {"weight": torch.zeros(2)}, {"epoch": 2})
    with pytest.raises(RunError, match=r"features\.safetensors was not computed with \S*checkpoints/last\.safetensors"):
        run.need_features("last")
    (run.root / "features" / "features.safetensors").unlink()
    words = r"has no features/features\.safetensors" if is_older else r"features/features\.safetensors is gone"
    with pytest.raises(RunError, match=words):
        run.need_features("last")


def test_broken_json_names_the_file(run):
    (run.root / "run.json").write_text("{")
    (run.root / "checksums.jsonl").unlink()
    with pytest.raises(RunError, match=r"run\.json is not valid JSON"):
        _ = run.read_facts()


@pytest.mark.parametrize(
    ("name", "read"),
    [("run.json", "read_facts"), ("similarities.json", "read_similarities"), ("inputs.json", "read_inputs")],
)
@pytest.mark.parametrize("content", ["null", '"x"', "[[1]]"])
def test_json_of_another_shape_names_the_file(run, name, read, content):
    (run.root / name).write_text(content)
    (run.root / "checksums.jsonl").unlink()
    with pytest.raises(RunError, match=f"{name} does not hold what mscon writes into it"):
        getattr(run, read)()


@pytest.mark.parametrize("gone", ["table", "images_root"])
def test_facts_without_what_every_verb_needs_are_refused_where_no_checksum_vouches_for_them(tmp_path, gone):
    facts = {"versions": {}, "table": {"name": "t.csv"}, "images_root": "/"}
    del facts[gone]
    (tmp_path / "run.json").write_text(json.dumps(facts))
    with pytest.raises(RunError, match=rf"run\.json does not hold what mscon writes into it: it has no '{gone}'"):
        Run(tmp_path).read_facts()
