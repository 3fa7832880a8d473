"""Recipes that come with mscon for published encoders: they build and take steps, here with weights drawn at random."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import timm
from PIL import Image

from mscon.run import recipe as recipes
from mscon.run.starting_recipes import recipe_names, recipe_text
from mscon.train.fit import fit

# Two patches a side: what a patch of each has in pixels. The sizes of the recipes take seconds a step on a CPU.
PATCHES = {"dinov2": 14, "dinov3": 16, "siglip2": 16, "clip": 16}


@pytest.mark.parametrize("is_frozen", [False, True])
@pytest.mark.parametrize("name", PATCHES)
def test_it_builds_and_takes_steps(name, is_frozen, tmp_path, capsys):
    generator = np.random.default_rng(0)
    for number in range(12):
        Image.fromarray(generator.integers(0, 256, (40, 40, 3), dtype=np.uint8)).save(tmp_path / f"{number}.png")
    table = {"image": [f"{n}.png" for n in range(12)], "category": ["a", "b"] * 6, "colour": ["red", "blue", None] * 4}
    pl.DataFrame(table).write_csv(tmp_path / "t.csv")
    tiny = [
        "encoder.pretrained=false",
        "keep.beside=0",
        "encoder.settings={depth=2}",
        f"data.image_size={2 * PATCHES[name]}",
    ]
    text = recipe_text(name)
    for setting in ("frozen", "adapter", "stored_views") if is_frozen else ():
        text = text.replace(f"# {setting} ", f"{setting} ")
    recipe = recipes.parse(text, [*tiny, "train.batch_size=4", "data.split_shares=[0.7, 0.0, 0.3]"])
    assert recipe.encoder.frozen == is_frozen == (recipe.encoder.stored_views > 0)
    assert fit(recipe, tmp_path / "t.csv", dry_run=True) is None
    assert "Training takes 20 steps: 10 epochs of 2 steps." in capsys.readouterr().err


@pytest.mark.parametrize("name", PATCHES)
def test_its_weights_are_published_and_its_images_of_a_size_that_they_take(name):
    recipe = recipes.parse(recipe_text(name))
    published = timm.get_pretrained_cfg(recipe.encoder.name)
    assert published is not None and published.hf_hub_id
    assert recipe.encoder.pretrained and recipe.train.layer_decay < 1
    assert recipe.data.image_size % PATCHES[name] == 0
    larger = [word.strip(";,") for word in recipe_text(name).split() if word.startswith(("vit_", "convnext_"))]
    assert all(timm.is_model(word) for word in larger)


def test_every_recipe_says_in_a_line_what_it_is_for():
    for name in recipe_names():
        first = recipe_text(name).splitlines()[0]
        assert first.startswith("# ") and len(first) > 30, name
    assert {*PATCHES, "text", "photos", "vectors", "columns"} < set(recipe_names())
