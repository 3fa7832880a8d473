"""Extraction: every row by itself, in evaluation mode, written once, never when broken."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image
from torch import nn

from mscon.data.inputs.images import ImageStore
from mscon.errors import RunError
from mscon.evaluate import features as extraction
from mscon.evaluate.features import embed, extract
from mscon.model.model import CHECKPOINT_PREFIX, build_model
from mscon.run import recipe
from mscon.run.run import Run

RECIPE = """
[[similarity]]
column = "kind"
name = "categorical"
[[similarity]]
column = "colour"
name = "categorical"
[data]
image_size = 16
channels = 1
[encoder]
name = "small_cnn"
width = 4
[weighting]
name = "equal"
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run of seven random images, with random weights."""
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    names = [f"{i}.png" for i in range(7)]
    g = np.random.default_rng(0)
    for name in names:
        Image.fromarray(g.integers(0, 256, size=(16, 16), dtype=np.uint8)).save(pictures / name)
    settings = recipe.parse(RECIPE)
    run = Run.create(tmp_path / "run")
    run.write_recipe(settings)
    run.write_facts({"images_root": str(pictures), "table": {"name": "pictures.csv"}})
    run.write_rows(pl.DataFrame({"line": range(2, 9), "split": ["train"] * 7, "image": names}))
    torch.manual_seed(0)
    model = build_model(settings, 2)
    # Statistics of a trained model, so that evaluation mode and training mode differ.
    model.train()(torch.rand(32, 1, 16, 16))
    run.write_checkpoint("last", {CHECKPOINT_PREFIX + key: value for key, value in model.state_dict().items()}, {})
    return run


def test_every_row_has_features_and_projections_of_unit_length(run):
    extract(run, progress=False)
    assert run.read_features().shape[0] == 7
    assert run.read_features().dtype == np.float32
    assert run.read_projections().shape[:2] == (2, 7)
    np.testing.assert_allclose(np.linalg.norm(run.read_projections(), axis=-1), 1, rtol=1e-5)
    assert len(np.unique(run.read_features().round(6), axis=0)) == 7


@pytest.mark.parametrize("batch_size", [1, 3, 7])
def test_a_rows_features_depend_on_no_other_row(run, batch_size):
    """True only in evaluation mode: in training mode batch normalisation looks at the batch."""
    extract(run, progress=False)
    expected = run.read_features()
    extract(run, progress=False, batch_size=batch_size, force=True)
    np.testing.assert_allclose(run.read_features(), expected, rtol=1e-4, atol=1e-5)


def test_autocast_around_it_changes_nothing(run):
    extract(run, progress=False)
    expected = run.read_features()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        extract(run, progress=False, force=True)
    np.testing.assert_array_equal(run.read_features(), expected)


def test_features_of_the_checkpoint_are_kept_wherever_the_run_is_copied(run, tmp_path):
    extract(run, progress=False)
    run.write_features(np.zeros((7, 1), np.float32), np.zeros((2, 7, 1), np.float32))
    # Copied in an order, and at times, that say nothing of which was made from which.
    copied = Run(shutil.copytree(run.root, tmp_path / "copied"))
    for path in copied.root.rglob("last.*"):
        os.utime(path, (2e9, 2e9))
    for one in (run, copied):
        extract(one, progress=False)
        assert not one.read_features().any()
        extract(one, progress=False, force=True)
        assert one.read_features().any()


def test_features_of_another_checkpoint_are_made_anew(run):
    run.write_features(np.zeros((7, 1), np.float32), np.zeros((2, 7, 1), np.float32))
    tensors, state = run.read_checkpoint("last")
    run.write_checkpoint("last", {key: 0.5 * tensor for key, tensor in tensors.items()}, state)
    extract(run, progress=False)
    assert run.read_features().any()


def test_a_bar_is_shown_on_standard_error_only(run, capsys):
    extract(run, progress=True)
    assert capsys.readouterr().out == ""


def test_features_that_are_not_finite_are_refused_with_their_lines(run, monkeypatch):
    broken = np.ones((7, 3), np.float32)
    broken[[1, 4], 0] = np.nan, np.inf
    monkeypatch.setattr(extraction, "embed", lambda *_, **__: (broken, np.ones((2, 7, 3), np.float32)))
    with pytest.raises(RunError, match=r"features of 2 rows of 7 are not finite \(lines 3, 6\).*\n.*learning_rate"):
        extract(run, progress=False)
    assert not run.has_whole_features


def test_without_a_checkpoint_the_verb_that_makes_one_is_named(run):
    (run.root / "checkpoints" / "last.safetensors").unlink()
    with pytest.raises(RunError, match="mscon train"):
        extract(run, progress=False)


class Mean(nn.Module):
    """Mean of each image, and what it was handed."""

    def forward(self, images):
        assert not self.training
        assert not torch.is_grad_enabled()
        assert images.dtype == torch.float32
        return images.mean(dim=(2, 3))

    @property
    def adapter(self):
        return nn.Identity()


class Twice(nn.Module):
    def forward(self, projections):
        return torch.stack([projections, -2 * projections])


def test_images_are_handed_over_plain_between_0_and_1():
    store = ImageStore(np.array([0, 51, 255], np.uint8)[:, None, None, None].repeat(4, axis=3).repeat(4, axis=2))
    model = build_model(recipe.parse(RECIPE), 2)
    model.encoder, model.heads = Mean(), Twice()
    features, projections = embed(model.train(), store, batch_size=2)
    np.testing.assert_allclose(features[:, 0], [0, 0.2, 1])
    np.testing.assert_allclose(projections[..., 0], [[0, 1, 1], [0, -1, -1]])
