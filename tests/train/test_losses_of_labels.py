"""Losses that draw, learn something of their own or serve two similarities: trained by a recipe."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from float64 import write_table
from mscon.cli import main
from mscon.data.table.table import read_table
from mscon.run import recipe as recipes
from mscon.train.fit import fit

KIND = 'similarity=[{column="kind", name="categorical"}, {column="rare", name="categorical"}]'
FLAGGED = 'similarity=[{name="same_row"}, {column="kind", name="categorical"}]'
CASES = {
    "supremix": ('objective={name="supremix"}', 'similarity=[{column="size", name="continuous"}]'),
    "simlap": ('objective={name="simlap", embedding=8, hidden=8}', KIND),
    "core_tuning": ('objective={name="core_tuning"}', KIND),
    "sepclr": ('objective={name="sepclr", background="a"}', FLAGGED, "views.corrupt=0.3"),
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    write_table(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", CASES)
def test_a_training_is_the_same_again_and_what_the_loss_learns_is_in_the_run(name, folder):
    weights = []
    for run in ("one", "two"):
        recipe, table = recipes.read(folder / "r.toml", CASES[name]), read_table(folder / "t.csv")
        trained = fit(recipe, table, folder / run, progress=False)
        weights.append(trained.read_checkpoint("last")[0])
        losses = [x for record in trained.read_log() if record["kind"] == "step" for x in record["loss"].values()]
        assert any(loss is not None for loss in losses)
    one, other = weights
    assert one.keys() == other.keys()
    assert all(torch.equal(one[key], other[key]) for key in one)
    learned = [key for key in one if key.startswith("objective.")]
    assert bool(learned) == (name in ("simlap", "core_tuning"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            (CASES["sepclr"][0], 'similarity=[{name="same_row"}]', "views.corrupt=0.3"),
            "'sepclr' serves two similarities",
        ),
        ((CASES["sepclr"][0], FLAGGED.replace("kind", "state"), "views.corrupt=0.3"), "no column 'state'"),
        (('objective={name="sepclr"}', FLAGGED, "views.corrupt=0.3"), "background"),
        ((CASES["supremix"][0], KIND), "'supremix' mixes numbers"),
    ],
)
def test_what_a_loss_cannot_use_is_one_message_before_training(settings, words, folder, capsys):
    options = [part for setting in settings for part in ("--set", setting)]
    status = main(
        ["train", str(folder / "r.toml"), "--table", str(folder / "t.csv"), "--out", str(folder / "run"), *options]
    )
    error = capsys.readouterr().err
    assert status == 2
    assert words in error
    assert "Traceback" not in error
    assert not (folder / "run").exists()
