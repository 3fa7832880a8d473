"""Views cut from images that are stored larger than they are shown."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import mscon
from mscon.data.inputs.open import open_inputs
from mscon.errors import RecipeError
from mscon.evaluate.features import extract
from mscon.model.encoder import Encoder
from mscon.model.model import load_model
from mscon.run.recipe import Data
from mscon.train.fit import fit, resume


def test_views_are_cut_from_the_larger_image_and_have_the_size_that_the_encoder_gets(
    recipe_with, table, tmp_path, monkeypatch
):
    shapes = set()
    encode = Encoder.encode

    def noting(self, images):
        shapes.add(images.shape[1:])
        return encode(self, images)

    monkeypatch.setattr(Encoder, "encode", noting)
    larger = fit(recipe_with("data.store_size=20"), table, tmp_path / "larger", progress=False)
    assert shapes == {(1, 16, 16)}
    usual = fit(recipe_with(), table, tmp_path / "usual", progress=False)
    assert any(
        not torch.equal(t, load_model(usual).state_dict()[k]) for k, t in load_model(larger).state_dict().items()
    )


def test_the_size_of_the_encoder_is_no_size_at_all(recipe_with, table, tmp_path):
    named = fit(recipe_with("data.store_size=16"), table, tmp_path / "named", progress=False)
    usual = fit(recipe_with(), table, tmp_path / "usual", progress=False)
    assert all(torch.equal(t, load_model(usual).state_dict()[k]) for k, t in load_model(named).state_dict().items())


def test_images_without_augmentation_are_what_they_are_without_it(recipe_with, table, tmp_path):
    """So that probes, embed and the words of an exported model are about the same pixels."""
    run = fit(recipe_with("data.store_size=24"), table, tmp_path / "run", progress=False)
    extract(run, progress=False)
    data = run.read_recipe().data
    pixels = open_inputs(run.read_rows(), table.folder, Data(image_size=16, channels=1), "bars.csv")
    images = torch.from_numpy(pixels[np.arange(64)]).float() / 255
    expected, _ = load_model(run).embed(images)
    np.testing.assert_allclose(run.read_features(), expected, rtol=1e-4, atol=1e-5)
    paths = [str(table.folder / f"{number}.png") for number in range(64)]
    np.testing.assert_allclose(mscon.load(run.root).embed(paths), expected, rtol=1e-4, atol=1e-5)
    assert open_inputs(run.read_rows(), table.folder, data, "bars.csv")[[0]].shape == (1, 1, 16, 16)
    assert open_inputs(run.read_rows(), table.folder, data, "bars.csv", for_views=True)[[0]].shape == (1, 1, 24, 24)


def test_a_stopped_run_goes_on_to_the_bit(recipe_with, table, tmp_path):
    overrides = ["data.store_size=24", "train.schedule=constant"]
    whole = fit(recipe_with(*overrides), table, tmp_path / "whole", progress=False)
    part = fit(recipe_with(*overrides, "train.epochs=1"), table, tmp_path / "part", progress=False)
    resume(part, progress=False, overrides=["train.epochs=2"])
    assert all(torch.equal(t, load_model(whole).state_dict()[k]) for k, t in load_model(part).state_dict().items())


def test_stored_views_are_cut_from_the_larger_images_too(recipe_with, table, tmp_path):
    frozen = ["encoder.frozen=true", "encoder.stored_views=2"]
    fit(recipe_with(*frozen), table, tmp_path / "usual", progress=False)
    features = mscon.run.cache.cache_folder().parent / "features"
    before = set(features.glob("*.npy"))
    run = fit(recipe_with(*frozen, "data.store_size=24"), table, tmp_path / "larger", progress=False)
    assert len(set(features.glob("*.npy")) - before) == 1  # the views; the images as they are have not changed
    extract(run, progress=False)


@pytest.mark.parametrize("size", [8, 15, 33])
def test_other_sizes_are_refused(recipe_with, size):
    with pytest.raises(RecipeError, match=r"store_size must be 0, or 16 \(image_size\) to twice that, got"):
        recipe_with(f"data.store_size={size}")
