"""Images and vectors that are not those trained on: noticed by probe and resume, by row, before anything is written."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mscon.cli import main
from mscon.data.table.table import read_table
from mscon.errors import TableError
from mscon.evaluate.probe import probe
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train import epochs
from mscon.train.fit import fit, resume
from process import mscon, together

ROWS = 40
COMMON = """
[[similarity]]
column = "kind"
name = "categorical"
[train]
epochs = 2
batch_size = 8
precision = "float32"
channels_last = "no"
schedule = "constant"
"""
OF_VECTORS = '[data]\ninput = "vectors"\nvectors = "v.npy"\n[encoder]\nname = "linear"\n' + COMMON
OF_IMAGES = "[data]\nimage_size = 8\nchannels = 1\n[encoder]\nwidth = 4\n" + COMMON


def vectors() -> np.ndarray:
    return np.random.default_rng(0).normal(size=(ROWS, 4)).astype(np.float32)


@pytest.fixture
def folder(tmp_path) -> Path:
    """Forty rows, each with a vector and an image; in the table row n stands on line n + 2."""
    np.save(tmp_path / "v.npy", vectors())
    for number, pixels in enumerate(np.random.default_rng(1).integers(0, 256, (ROWS, 8, 8), dtype=np.uint8)):
        Image.fromarray(pixels).save(tmp_path / f"{number:02}.bmp")
    pl.DataFrame(
        {
            "image": [f"{n:02}.bmp" for n in range(ROWS)],
            "split": ["train" if n < 24 else "validation" if n < 32 else "test" for n in range(ROWS)],
            "kind": ["ab"[n % 2] for n in range(ROWS)],
        }
    ).write_csv(tmp_path / "t.csv")
    return tmp_path


def trained(folder: Path, recipe: str, *overrides: str) -> Run:
    run = fit(recipes.parse(recipe, overrides), read_table(folder / "t.csv"), folder / "run", progress=False)
    assert run is not None
    return run


def stopped(folder: Path, recipe: str) -> Run:
    """A run of two epochs that has done one."""
    run = trained(folder, recipe, "train.epochs=1")
    run.write_recipe(recipes.parse(recipe))
    return run


def content(run: Run) -> dict[str, bytes]:
    return {str(path): path.read_bytes() for path in run.root.rglob("*") if path.is_file()}


def in_another_order(folder: Path) -> None:
    np.save(folder / "v.npy", vectors()[::-1])


def exchanged(folder: Path) -> None:
    """All pictures under one another's names; 0 and 39, 1 and 38, ..."""
    files = sorted(folder.glob("*.bmp"))
    for path, other in zip(files, [path.read_bytes() for path in reversed(files)], strict=True):
        path.write_bytes(other)


def one_of_many(folder: Path) -> None:
    Image.new("L", (8, 8)).save(folder / "17.bmp")


def one_vector(folder: Path) -> None:
    values = vectors()
    values[17, 3] = 0
    np.save(folder / "v.npy", values)


CASES = [
    pytest.param(OF_VECTORS, in_another_order, "40 rows of 40 have another vector", "lines 2, 3, 4,", id="vectors"),
    pytest.param(OF_VECTORS, one_vector, "1 row of 40 has another vector", "(line 19 of t.csv; ", id="a vector"),
    pytest.param(OF_IMAGES, exchanged, "40 rows of 40 have another image", "lines 2, 3, 4,", id="images"),
    pytest.param(OF_IMAGES, one_of_many, "1 row of 40 has another image", "(line 19 of t.csv; ", id="an image"),
]


@pytest.mark.parametrize("verb", ["probe", "resume"])
@pytest.mark.parametrize(("recipe", "change", "what", "where"), CASES)
def test_changed_inputs_are_refused_by_row_and_nothing_is_written(folder, capsys, verb, recipe, change, what, where):
    run = stopped(folder, recipe)
    change(folder)
    before = content(run)
    assert main([verb, str(run.root)]) == 2
    message = capsys.readouterr().err
    assert message.startswith(f"mscon: run '{run.root}': {what} than in training")
    assert where in message
    assert f"looked in '{folder / 'v.npy' if recipe == OF_VECTORS else folder}'" in message
    assert "Put back the files as they were, or train again." in message
    assert content(run) == before


def test_changes_that_are_accepted_are_noted_and_recorded_but_not_forgotten(folder, capsys):
    run = stopped(folder, OF_VECTORS)
    fingerprints = run.read_fingerprints()
    one_vector(folder)
    assert main(["resume", str(run.root), "--accept-changes", "--no-probe"]) == 0
    assert capsys.readouterr().err.count("note: 1 row of 40 has another vector than in training (line 19") == 1
    assert run.read_facts()["resumed"][0]["changed_rows"] == 1
    assert run.read_checkpoint("last")[1]["epoch"] == 2
    assert np.array_equal(run.read_fingerprints(), fingerprints)

    assert main(["probe", str(run.root), "--accept-changes"]) == 0
    assert capsys.readouterr().err.count("note: 1 row of 40 has another vector than in training (line 19") == 1
    of_changed = run.read_features()
    # A search looks at them as they are; a probe that did not accept the changes does not take them for the run's own.
    assert run.features_are_current("last")
    assert not run.features_are_current("last", of_trained_inputs=True)
    assert main(["probe", str(run.root)]) == 2
    assert np.array_equal(run.read_features(), of_changed)
    np.save(folder / "v.npy", vectors())
    assert main(["probe", str(run.root)]) == 0
    assert not np.array_equal(run.read_features()[17], of_changed[17])
    assert run.features_are_current("last", of_trained_inputs=True)


@pytest.mark.parametrize("recipe", [OF_VECTORS, OF_IMAGES], ids=["vectors", "images"])
def test_the_same_files_elsewhere_at_other_times_are_the_same(folder, recipe, capsys, tmp_path_factory):
    run = stopped(folder, recipe)
    away = shutil.copytree(folder, tmp_path_factory.mktemp("away"), dirs_exist_ok=True)
    for path in folder.glob("[0-9v]*"):
        path.unlink()
        shutil.copyfile(away / path.name, path)
        os.utime(path, ns=(1, 1))
    capsys.readouterr()
    assert main(["resume", str(run.root)]) == 0
    assert main(["probe", str(run.root)]) == 0
    assert "note" not in capsys.readouterr().err
    assert "changed_rows" not in run.read_facts()["resumed"][0]


def test_a_run_that_was_probed_needs_no_inputs(folder):
    run = trained(folder, OF_VECTORS)
    probe(run, progress=False)
    (folder / "v.npy").unlink()
    probe(run, progress=False)


def test_what_the_run_keeps_itself_has_no_fingerprints(folder):
    table = read_table(folder / "t.csv").frame.with_columns(v=pl.Series(vectors().tolist()))
    run = fit(recipes.parse(OF_VECTORS, ["data.vectors=v"]), read_table(table), folder / "run", progress=False)
    assert run is not None
    assert run.read_fingerprints() is None
    assert "vectors" not in run.read_facts()
    probe(run, progress=False)
    assert run.features_are_current("last", of_trained_inputs=True)


def test_the_facts_of_a_run_have_the_file_of_vectors(folder):
    content = (folder / "v.npy").read_bytes()
    assert trained(folder, OF_VECTORS).read_facts()["vectors"] == {
        "path": str(folder / "v.npy"),
        "bytes": len(content),
        "sha256": hashlib.sha256(content).hexdigest(),
    }


def after_epoch(epoch: int, change: Callable[[], None], monkeypatch: pytest.MonkeyPatch) -> None:
    saving = epochs.save_last

    def save_and_change(run: Run, training: object, position: epochs.Position) -> None:
        saving(run, training, position)
        if position.epoch == epoch:
            change()

    monkeypatch.setattr(epochs, "save_last", save_and_change)


@pytest.mark.parametrize("epoch", [1, 2])
def test_a_file_that_changes_while_it_trains_stops_the_training_and_the_checkpoint_is_kept(folder, monkeypatch, epoch):
    """Also after the last epoch: whoever reads the run later takes the file for what it was trained on."""
    after_epoch(epoch, lambda: in_another_order(folder), monkeypatch)
    with pytest.raises(TableError) as caught:
        trained(folder, OF_VECTORS)
    assert f"the file of vectors '{folder / 'v.npy'}' has changed while it was being read" in str(caught.value)
    assert f"Run '{folder / 'run'}' keeps its checkpoint of epoch {epoch}." in str(caught.value)
    run = Run.open(folder / "run")
    assert run.read_checkpoint("last")[1]["epoch"] == epoch
    assert "trained" not in run.read_facts()


CUTS = """
import os

from mscon.method.weightings.equal import Equal

class Cuts(Equal):
    steps = 0

    def forward(self, losses, *rest):
        Cuts.steps += 1
        if Cuts.steps == 4:
            os.truncate(os.environ["CUT"], 0)
        return super().forward(losses, *rest)
"""


def test_a_file_that_is_cut_while_it_trains_ends_in_a_message_and_not_in_a_signal(folder, monkeypatch):
    (folder / "cutting.py").write_text(CUTS)
    (folder / "r.toml").write_text(OF_VECTORS + '[weighting]\nname = "cutting:Cuts"\n')
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.setenv("CUT", str(folder / "v.npy"))
    outcome = mscon("train", "r.toml", "--table", "t.csv", "--out", "run", cwd=folder)
    assert outcome.is_one_message, outcome
    assert outcome.err.count("mscon: the file of vectors") == outcome.err.count("has changed while it was being") == 1
    assert "keeps its checkpoint of epoch 1" in outcome.err


def test_of_several_processes_one_speaks_and_one_writes(folder):
    """What they would go on with is refused; what is accepted is trained on by both."""
    (folder / "r.toml").write_text(OF_VECTORS)

    out = folder / "run"
    outcome = together("train", "r.toml", "--table", "t.csv", "--out", out, "--set", "train.epochs=1", cwd=folder)
    assert outcome.status == 0, outcome
    run = Run.open(out)
    assert run.read_fingerprints() is not None
    assert run.read_fingerprints().shape == (ROWS, 16)
    run.write_recipe(recipes.parse(OF_VECTORS))
    in_another_order(folder)
    refused = together("resume", out, cwd=folder)
    assert refused.status != 0
    assert refused.err.count("mscon: ") == refused.err.count("40 rows of 40 have another vector") == 1
    accepted = together("resume", out, "--accept-changes", "--no-probe", cwd=folder)
    assert accepted.status == 0, accepted
    assert accepted.err.count("40 rows of 40 have another vector") == 1
    assert [entry["changed_rows"] for entry in run.read_facts()["resumed"]] == [ROWS]


def test_the_python_interface_accepts_changes_too(folder):
    run = stopped(folder, OF_VECTORS)
    in_another_order(folder)
    resume(run, progress=False, accept_changes=True)
    probe(run, progress=False, accept_changes=True)
    assert json.loads((run.root / "run.json").read_text())["resumed"][0]["changed_rows"] == ROWS
