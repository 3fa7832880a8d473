"""Probes of intermediate layers: which there are, what they give, and that the usual probe stays as it is."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
import torch
from PIL import Image

from mscon.cli import main
from mscon.evaluate.layers import layers_of, probe_layer
from mscon.evaluate.probe import probe
from mscon.model.encoder import build_encoder
from mscon.model.layers import layer_features, layer_widths
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train.fit import fit

RECIPE = """
similarity = [{ column = "side" }]
data = { image_size = 16, channels = 1 }
encoder = { width = 4 }
probe = { draws = 100 }
train = { epochs = 0 }
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("layers")
    generator = np.random.default_rng(0)
    side = generator.integers(2, size=60)
    for n in range(60):
        pixels = generator.integers(0, 60, (16, 16), dtype=np.uint8)
        pixels[:, : 4 + 8 * side[n]] += 150
        Image.fromarray(pixels).save(folder / f"{n}.png")
    split = ["train"] * 36 + ["validation"] * 8 + ["test"] * 16
    rows = {"image": [f"{n}.png" for n in range(60)], "side": [f"s{n}" for n in side], "split": split}
    pl.DataFrame(rows).write_csv(folder / "t.csv")
    return fit(recipes.parse(RECIPE), folder / "t.csv", folder / "run", progress=False)


@pytest.mark.parametrize(
    ("name", "settings", "layers", "widths"),
    [
        ("small_cnn", {}, ["stages.0", "stages.1", "stages.2"], [4, 8, 16]),
        ("vit_tiny_patch16_224", {"depth": 3}, ["blocks.0", "blocks.1", "blocks.2"], [192] * 3),
        ("resnet18", {}, ["act1", "layer1", "layer2", "layer3", "layer4"], [64, 64, 128, 256, 512]),
    ],
)
def test_layers_first_to_last_with_their_widths(name, settings, layers, widths):
    encoder = build_encoder(recipes.Encoder(name=name, width=4, settings=settings), 3, 32)
    found = layer_widths(encoder, 3, 32)
    assert (list(found), list(found.values())) == (layers, widths)


@pytest.mark.parametrize("name", ["small_cnn", "resnet18"])
def test_the_last_layer_of_a_network_that_ends_in_pooling_is_its_features(name):
    encoder = build_encoder(recipes.Encoder(name=name, width=4), 1, 32).eval()
    images = torch.rand(3, 1, 32, 32)
    with torch.no_grad():
        outputs = layer_features(encoder, images)
        torch.testing.assert_close(list(outputs.values())[-1], encoder(images))
    # No hook stays behind.
    assert not any(module._forward_hooks for module in encoder.modules())


def test_scores_of_layers_stand_beside_the_usual_probe(run):
    probe(run, progress=False)
    usual = run.read_probe()
    assert layers_of(run) == {"stages.0": 4, "stages.1": 8, "stages.2": 16}
    assert probe_layer(run, "stages.0", progress=False) == "stages.0"
    assert probe_layer(run, "-1", progress=False) == "stages.2"
    assert run.read_probe() == usual
    layers = run.read_layers()["layers"]
    assert {name: record["width"] for name, record in layers.items()} == {"stages.0": 4, "stages.2": 16}
    # The last layer of this encoder, averaged, is its features.
    assert layers["stages.2"]["linear"][0]["accuracy"] == usual["linear"][0]["accuracy"]
    arrays = run.read_layer_predictions()
    for name, record in layers.items():
        right = arrays[f"{name}/linear/0/true"] == arrays[f"{name}/linear/0/predicted"]
        assert right.mean() == record["linear"][0]["accuracy"]["value"]
    assert probe_layer(run, "0", progress=False) == "stages.0"  # anew, in its own place
    assert set(run.read_layer_predictions()) == set(arrays)


def test_layers_of_an_older_checkpoint_are_dropped(run, tmp_path):
    probe_layer(run, "0", progress=False)
    tensors, state = run.read_checkpoint("last")
    run.write_checkpoint("last", {key: 0.5 * tensor for key, tensor in tensors.items()}, state)
    probe_layer(run, "1", progress=False)
    assert list(run.read_layers()["layers"]) == ["stages.1"]


def test_the_command_lists_layers_and_probes_one(run, capsys):
    assert main(["probe", str(run.root), "--layer", "list"]) == 0
    assert "  1  stages.1" in capsys.readouterr().out
    assert main(["probe", str(run.root), "--layer", "1"]) == 0
    printed = capsys.readouterr().out
    assert "layer stages.1: score" in printed and "side" in printed
    assert main(["probe", str(run.root), "--layer", "stage.1"]) == 2
    assert "Did you mean 'stages.1'?" in capsys.readouterr().err
    assert main(["probe", str(run.root), "--layer", "7"]) == 2
    assert "It has 3, first to last: stages.0, stages.1, stages.2" in capsys.readouterr().err


def test_only_encoders_of_images_have_layers_to_probe(tmp_path, capsys):
    pl.DataFrame({"x": range(20), "side": ["a", "b"] * 10}).write_csv(tmp_path / "t.csv")
    recipe = recipes.of_columns(
        ["side"], ["data={input='columns', numbers=['x']}", "encoder.name=mlp", "train.epochs=0"]
    )
    run = fit(recipe, tmp_path / "t.csv", tmp_path / "run", progress=False)
    assert main(["probe", str(Run.open(run.root).root), "--layer", "list"]) == 2
    assert "of encoders of images only" in capsys.readouterr().err
