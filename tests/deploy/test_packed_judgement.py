"""A packed model predicts, and says how uncertain rows are, as its run does; where it was asked to take that along."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from safetensors import safe_open
from safetensors.torch import save_file
from tests.planted_labels import cells, trained

import mscon
from mscon.cli import main
from mscon.deploy import packed
from mscon.errors import RunError
from mscon.evaluate.predictors import need_predictors
from mscon.run.run import Run


@pytest.fixture(scope="module")
def home(tmp_path_factory) -> Path:
    """A run with all that it may know, and its model packed with and without that."""
    folder = tmp_path_factory.mktemp("home")
    vectors, right, _ = cells()
    run = trained(folder, right, vectors)
    mscon.probe(run, progress=False, start=False)
    need_predictors(run, progress=False)
    packed.pack(run, folder / "whole.safetensors", include=packed_parts())
    packed.pack(run, folder / "bare.safetensors")
    (folder / "new").mkdir()
    np.save(folder / "new" / "points.npy", vectors[:50])
    pl.DataFrame({"id": list(range(50))}).write_csv(folder / "new" / "new.csv")
    return folder


def packed_parts() -> tuple[str, ...]:
    return ("predictors", "uncertainty")


def points(home: Path) -> np.ndarray:
    return np.load(home / "new" / "points.npy")


def test_a_packed_model_predicts_what_its_run_predicts(home, tmp_path):
    model = mscon.load(shutil.copy(home / "whole.safetensors", tmp_path))
    expected = mscon.predict(home / "run", home / "new/new.csv", progress=False)
    frame = model.predict(points(home))
    assert frame.columns == expected.columns[1:] and frame.columns[0] == "uncertainty"
    assert {"kind", "kind_confidence", "size_low", "size_high", "tags", "path", "grade"} <= set(frame.columns)
    for name in frame.columns:
        assert frame[name].to_list() == pytest.approx(expected[name].to_list(), abs=2e-4)
    assert frame.equals(mscon.load(home / "run").predict(points(home)))
    sure = model.predict(points(home), columns=["kind"], abstain=0.9)
    assert sure.columns == ["uncertainty", "kind", "kind_confidence"]
    assert (sure["kind"].is_null() == (sure["kind_confidence"] < 0.9)).all()
    assert model.predict(points(home)[:0]).columns == frame.columns


def test_how_uncertain_rows_are_is_packed_too(home):
    model, run = mscon.load(home / "whole.safetensors"), mscon.load(home / "run")
    np.testing.assert_array_equal(model.uncertainty(points(home)), run.uncertainty(points(home)))
    np.testing.assert_array_equal(model.uncertainty(points(home), "kind"), run.uncertainty(points(home), "kind"))


def test_the_verb_takes_a_packed_model_and_a_folder_with_one(home, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(home / "new", "new")
    assert main(["push", str(home / "run"), "o/n", "--dry-run", "hub", "--include", "predictors", "uncertainty"]) == 0
    shutil.copy(home / "whole.safetensors", "m.safetensors")
    for source, out in (("m.safetensors", "a.csv"), ("hub", "b.csv"), (str(home / "run"), "c.csv")):
        assert main(["predict", source, "--table", "new/new.csv", "--abstain", "0.7", "--out", out]) == 0
    said = capsys.readouterr().out
    assert said.count("calibration error") == 3 * 4
    assert len({Path(out).read_bytes() for out in ("a.csv", "b.csv", "c.csv")}) == 1
    assert not list(Path().glob("*.vectors"))


def test_nothing_is_packed_unless_it_was_asked_for(home):
    whole, bare = (json.loads((home / f"{name}.json").read_text()) for name in ("whole", "bare"))
    assert (whole.pop("version"), bare["version"]) == (2, 1)
    assert whole.keys() - bare.keys() == {"predictors", "uncertainty"}
    with safe_open(home / "bare.safetensors", "pt") as file:
        assert not [name for name in file.keys() if name.startswith(packed_parts())]  # noqa: SIM118
    model = mscon.load(home / "bare.safetensors")
    with pytest.raises(RunError, match=r"bare.safetensors' has no predictors. `mscon predict RUN` fits those of a run"):
        model.predict(points(home))
    with pytest.raises(RunError, match="does not know how uncertain rows are"):
        model.uncertainty(points(home))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["whole.safetensors", "--missing", "--out", "o.csv"], "has no rows of a run, so it takes a table"),
        (["bare.safetensors", "--table", "new/new.csv", "--out", "o.csv"], "has no predictors"),
        (
            ["whole.safetensors", "--table", "new/new.csv", "--columns", "knd", "a", "--out", "o.csv"],
            "Did you mean 'kind'",
        ),
        (["whole.safetensors", "--table", "new/new.csv", "--out", "whole.csv"], "'whole.csv' exists"),
        (["nowhere", "--table", "new/new.csv", "--out", "o.csv"], "it does not exist"),
    ],
)
def test_mistakes_are_one_message(home, tmp_path, capsys, monkeypatch, arguments, words):
    monkeypatch.chdir(tmp_path)
    shutil.copytree(home / "new", "new")
    for name in ("whole", "bare"):
        shutil.copy(home / f"{name}.safetensors", ".")
    Path("whole.csv").write_text("mine")
    assert main(["predict", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and "Traceback" not in said.err and said.out == "" and not Path("o.csv").exists()


def test_a_threshold_needs_confidences(home):
    model = mscon.load(home / "whole.safetensors")
    with pytest.raises(ValueError, match="abstain must be from 0 to 1"):
        model.predict(points(home), abstain=1.5)


def test_all_that_a_run_lacks_is_told_at_once_and_nothing_is_written(home, tmp_path, capsys):
    run = Run(Path(shutil.copytree(home / "run", tmp_path / "run")))
    run.write_rows(run.read_rows().reverse())
    for name in ("uncertainty.safetensors", "checksums.jsonl"):
        (run.root / name).unlink()
    out = tmp_path / "m.safetensors"
    command = ["export", str(run.root), "--to", "safetensors", "--out", str(out), "--include", *packed_parts()]
    assert main(command) == 2
    message = capsys.readouterr().err
    assert "no predictors of checkpoint 'last' as it is now. `mscon predict`" in message
    assert "no uncertainty of checkpoint 'last' as it is now. `mscon probe`" in message and not out.exists()
    assert main([*command[:3], "onnx", "--out", str(out), "--include", "predictors"]) == 2
    assert "--include goes with --to safetensors" in capsys.readouterr().err


def test_predictors_go_with_the_checkpoint_that_they_are_of(home, tmp_path):
    run = Run(home / "run")
    with pytest.raises(RunError, match=r"has no predictors of checkpoint 'best' as it is now"):
        packed.pack(run, tmp_path / "m.safetensors", "best", include=["predictors"])
    with pytest.raises(RunError, match="has no predictors"):
        mscon.load(home / "run", checkpoint="best").predict(points(home))
    packed.pack(run, tmp_path / "m.safetensors", "best")
    assert list(mscon.load(tmp_path / "m.safetensors").predictors) == []


def forged(home: Path, path: Path, edit) -> None:
    """A packed model with its checksum, in which something was changed."""
    with safe_open(home / "whole.safetensors", "pt") as file:
        config = json.loads(file.metadata()["mscon"])
        tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118
    edit(config, tensors)
    metadata = {"mscon": json.dumps(config)}
    save_file(tensors, path, metadata={**metadata, "sha256": packed.checksum(metadata, tensors)})


@pytest.mark.parametrize(
    "edit",
    [
        lambda config, tensors: tensors.pop("predictors/0/weights"),
        lambda config, tensors: tensors.update({"predictors/0/weights": tensors["predictors/0/weights"].bfloat16()}),
        lambda config, tensors: tensors.update(
            {"predictors/0/weights": tensors["predictors/0/weights"][:, :1].clone()}
        ),
        lambda config, tensors: tensors.update({"uncertainty/novelty": tensors["uncertainty/novelty"][:2].clone()}),
        lambda config, tensors: config.update(predictors=7),
        lambda config, tensors: config["predictors"][0].update(cells=[["a"]]),
        lambda config, tensors: config["predictors"][0].update(kind="teacher"),
        lambda config, tensors: config.update(uncertainty=[{"column": "other", "space": 0, "temperature": 1.0}]),
        lambda config, tensors: config["uncertainty"][0].update(space=99),
        lambda config, tensors: config["uncertainty"][0].pop("temperature"),
    ],
)
def test_what_does_not_fit_together_is_refused_by_name(home, tmp_path, edit):
    forged(home, tmp_path / "m.safetensors", edit)
    with pytest.raises(RunError, match=r"predictors or the uncertainty of rows in '.*m.safetensors' cannot be read: "):
        mscon.load(tmp_path / "m.safetensors")


def test_predictors_of_another_model_are_refused(home, tmp_path):
    def widened(config, tensors):
        for name in ("centre", "scale", "weights"):
            array = tensors[f"predictors/0/{name}"]
            tensors[f"predictors/0/{name}"] = array.repeat(2, *[1] * (array.ndim - 1))

    forged(home, tmp_path / "m.safetensors", widened)
    with pytest.raises(RunError, match=r"m.safetensors' are not of its model"):
        mscon.load(tmp_path / "m.safetensors")
