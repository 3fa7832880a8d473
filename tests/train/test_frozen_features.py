"""Training on the stored features of a frozen encoder: the same as on images, only the images are read once."""

from __future__ import annotations

import json
import os
import shutil
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import mscon
from exports import needs_onnx
from mscon.data.inputs import stored_features
from mscon.data.inputs.images import ImageStore
from mscon.data.inputs.open import open_inputs
from mscon.data.inputs.stored_views import StoredViews
from mscon.deploy.onnx import export_onnx
from mscon.deploy.packed import pack
from mscon.errors import RecipeError, RunError
from mscon.evaluate.features import extract
from mscon.evaluate.start import start_of
from mscon.model.encoder import Encoder
from mscon.model.frozen_backbone import FrozenBackbone
from mscon.model.model import build_model, load_model
from mscon.run.cache import cache_folder
from mscon.run.recipe import Views
from mscon.run.run import Run
from mscon.train import teachers
from mscon.train.fit import fit, resume

FROZEN = ["encoder.frozen=true", "encoder.stored_views=4", "train.checkpoint=best"]
ADAPTED = [*FROZEN, "encoder.adapter={units=6, layers=1}"]


@pytest.fixture
def encoded(monkeypatch) -> list[int]:
    """Grows by the number of images whenever the backbone encodes some."""
    counts: list[int] = []
    encode = Encoder.encode

    def counting(self, images):
        counts.append(len(images))
        return encode(self, images)

    monkeypatch.setattr(Encoder, "encode", counting)
    return counts


def files() -> list[Path]:
    return sorted((cache_folder().parent / "features").glob("*.npy"))


def states(run) -> dict[str, torch.Tensor]:
    return load_model(run).state_dict()


def test_each_image_and_stored_view_is_encoded_once_however_many_epochs(recipe_with, table, tmp_path, encoded):
    fit(recipe_with(*FROZEN, "train.epochs=3"), table, tmp_path / "run", progress=False)
    # 64 rows as they are and 4 views of 52 that are in batches; the rest are measurements of width and of time.
    assert 64 + 4 * 52 <= sum(encoded) <= 64 + 4 * 52 + 32 + 16
    assert [np.load(path).shape for path in files()] in ([(52, 4, 32), (64, 1, 32)], [(64, 1, 32), (52, 4, 32)])


def test_training_on_stored_features_is_training_on_the_same_views_of_the_images(
    recipe_with, table, tmp_path, monkeypatch
):
    """Without views by chance a view is the image itself, so nothing but half precision tells the two ways apart."""
    still = ["views.crop=[1.0, 1.0]", "views.translate=0", "views.flip=0", "views.colour_probability=0", "views.grey=0"]
    sgd = ["train.optimiser=sgd", "train.learning_rate=0.01", "encoder.frozen=true"]
    on_images = fit(recipe_with(*still, *sgd), table, tmp_path / "images", progress=False)
    stored = fit(recipe_with(*still, *sgd, "encoder.stored_views=2"), table, tmp_path / "stored", progress=False)
    assert files()
    for name, tensor in states(on_images).items():
        torch.testing.assert_close(states(stored)[name], tensor, rtol=2e-2, atol=2e-3, msg=name)


def test_a_second_training_encodes_nothing_anew_and_is_the_same(recipe_with, table, tmp_path, encoded):
    first = fit(recipe_with(*ADAPTED), table, tmp_path / "first", progress=False)
    encoded.clear()
    second = fit(recipe_with(*ADAPTED), table, tmp_path / "second", progress=False)
    assert sum(encoded) == 0
    assert all(torch.equal(tensor, states(second)[name]) for name, tensor in states(first).items())


@pytest.mark.parametrize(
    ("override", "same"),
    [
        ("train.epochs=1", True),
        ("heads.output_dim=8", True),
        ("train.seed=1", False),
        ("encoder.stored_views=5", False),
        ("views.crop=[0.5, 1.0]", False),
        ("encoder.mean=[0.4]", False),
    ],
)
def test_features_are_computed_anew_where_what_they_depend_on_differs(recipe_with, table, tmp_path, override, same):
    fit(recipe_with(*FROZEN), table, tmp_path / "first", progress=False)
    before = files()
    fit(recipe_with(*FROZEN, override), table, tmp_path / "second", progress=False)
    assert (files() == before) is same


def test_another_image_gives_other_files(recipe_with, table_path, tmp_path):
    copy = Path(shutil.copytree(table_path.parent, tmp_path / "copy")) / table_path.name
    fit(recipe_with(*FROZEN), mscon.read_table(copy), tmp_path / "first", progress=False)
    before = files()
    shutil.copy(copy.parent / "1.png", copy.parent / "0.png")
    fit(recipe_with(*FROZEN), mscon.read_table(copy), tmp_path / "second", progress=False)
    assert len(files()) == 2 * len(before) == 4


def test_a_stopped_run_goes_on_to_the_bit(recipe_with, table, tmp_path):
    whole = fit(
        recipe_with(*ADAPTED, "train.epochs=3", "train.schedule=constant"), table, tmp_path / "a", progress=False
    )
    part = fit(
        recipe_with(*ADAPTED, "train.epochs=1", "train.schedule=constant"), table, tmp_path / "b", progress=False
    )
    for path in files():
        path.unlink()  # and also where the cache was emptied
    resume(part, progress=False, overrides=["train.epochs=3"])
    assert all(torch.equal(tensor, states(part)[name]) for name, tensor in states(whole).items())
    assert part.read_facts()["resumed"][0]["frozen_features"] == part.read_facts()["frozen_features"]


def test_a_killed_computation_goes_on_where_it_was(recipe_with, table, tmp_path, monkeypatch, encoded):
    monkeypatch.setattr(stored_features, "BLOCK_ROWS", 10)
    whole = fit(recipe_with(*FROZEN), table, tmp_path / "whole", progress=False)
    contents = {path.name: path.read_bytes() for path in files()}
    for path in files():
        path.unlink()
    encoded.clear()
    encode = Encoder.encode

    def breaking(self, images):
        if sum(encoded) > 64 + 150:
            raise KeyboardInterrupt
        return encode(self, images)

    monkeypatch.setattr(Encoder, "encode", breaking)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe_with(*FROZEN), table, tmp_path / "run", progress=False)
    monkeypatch.setattr(Encoder, "encode", encode)
    assert len(files()) == 1 and not (tmp_path / "run").exists()  # the images as they are; the views are half done
    rows = json.loads(next((cache_folder().parent / "features").glob("*.json")).read_text())["rows"]
    assert rows and rows % 10 == 0
    encoded.clear()
    again = fit(recipe_with(*FROZEN), table, tmp_path / "run", progress=False)
    assert sum(encoded) <= 4 * (52 - rows) + 4 + 33  # a row for the width, and those by which time is estimated
    assert {path.name: path.read_bytes() for path in files()} == contents
    assert all(torch.equal(tensor, states(again)[name]) for name, tensor in states(whole).items())
    assert sorted({path.suffix for path in (cache_folder().parent / "features").iterdir()}) == [".lock", ".npy"]


def test_a_spoilt_file_is_computed_anew(recipe_with, table, tmp_path):
    fit(recipe_with(*FROZEN), table, tmp_path / "first", progress=False)
    contents = [path.read_bytes() for path in files()]
    files()[0].write_bytes(contents[0][:1000])
    fit(recipe_with(*FROZEN), table, tmp_path / "second", progress=False)
    assert [path.read_bytes() for path in files()] == contents


def test_files_that_nobody_opened_for_a_month_are_removed_when_others_are_computed(recipe_with, table, tmp_path):
    fit(recipe_with(*FROZEN), table, tmp_path / "first", progress=False)
    old, fresh = files()
    long_ago = time.time() - 31 * 86_400
    os.utime(old, (long_ago, long_ago))
    fit(recipe_with(*FROZEN, "train.seed=1", "encoder.mean=[0.4]"), table, tmp_path / "second", progress=False)
    assert old not in files() and fresh in files()


def test_probes_read_the_stored_features_of_the_images_as_they_are(recipe_with, table, tmp_path, encoded):
    run = fit(recipe_with(*ADAPTED), table, tmp_path / "run", progress=False)
    encoded.clear()
    extract(run, progress=False)
    assert sum(encoded) == 0
    features = run.read_features()
    images = [str(table.folder / f"{number}.png") for number in range(64)]
    np.testing.assert_allclose(mscon.load(run.root).embed(images), features, rtol=1e-4, atol=1e-5)
    assert features.shape == (64, 6)


def test_an_adapter_learns_and_the_backbone_does_not(recipe_with, table, tmp_path):
    run = fit(recipe_with(*ADAPTED), table, tmp_path / "run", progress=False)
    fresh = fit(recipe_with(*ADAPTED, "train.learning_rate=1e-9"), table, tmp_path / "fresh", progress=False)
    for name, tensor in states(fresh).items():
        if not name.startswith("heads.norm"):
            moves = name.startswith(("encoder.adapter.backbone", "heads"))
            assert torch.allclose(tensor, states(run)[name], atol=1e-6) is not moves, name
    assert load_model(run).encoder.width == 6


@pytest.mark.parametrize("stored", [0, 4])
def test_an_adapter_standardises_by_the_training_rows_with_and_without_stored_views(
    recipe_with, table, tmp_path, stored
):
    recipe = recipe_with(*ADAPTED, f"encoder.stored_views={stored}")
    run = fit(recipe, table, tmp_path / "run", progress=False)
    model = load_model(run)
    images = open_inputs(run.read_rows(), table.folder, recipe.data, "t")
    train = torch.from_numpy(images[np.arange(40)]).float() / 255
    features = FrozenBackbone(model.encoder).encode(train)
    torch.testing.assert_close(model.encoder.adapter.mean, features.mean(dim=0), rtol=1e-4, atol=1e-5)
    std = features.std(dim=0, correction=0)
    torch.testing.assert_close(model.encoder.adapter.std, std.where(std > 1e-6, 1.0), rtol=1e-3, atol=1e-5)


def test_views_of_a_similaritys_own_are_stored_for_it(recipe_with, table, tmp_path):
    recipe = recipe_with(*FROZEN)
    own = replace(recipe.views, count=1, translate=0.0)
    shape, *others = recipe.similarities
    fit(replace(recipe, similarities=(replace(shape, views=own), *others)), table, tmp_path / "run", progress=False)
    assert len(files()) == 3


def test_no_views_of_a_row_in_a_batch_are_the_same_and_epochs_differ():
    views = Views()
    features = np.arange(10 * 4, dtype=np.float16).reshape(10, 4, 1)
    stored = StoredViews(np.zeros((10, 1), dtype=np.float32), np.arange(10), {views: features})
    rows = torch.tensor([3, 7, 3])

    def drawn(seed):
        orders = stored.orders(seed)
        return torch.stack([stored.draw(rows, views, number, orders)[:, 0] for number in range(4)])

    first = drawn(1)
    assert first.sort(dim=0).values.T.tolist() == [[12, 13, 14, 15], [28, 29, 30, 31], [12, 13, 14, 15]]
    assert torch.equal(first, drawn(1))
    assert any(not torch.equal(first, drawn(seed)) for seed in (2, 3))


def test_by_number_it_has_the_images_as_they_are():
    stored = StoredViews(np.array([[1.0], [2.0]], dtype=np.float32), np.array([0, -1]), {})
    assert stored[[1, 0]].tolist() == [[2.0], [1.0]]
    assert len(stored) == 2
    assert len(stored[[]]) == 0
    for row in (2, -1):
        with pytest.raises(IndexError):
            stored[[row]]


@pytest.mark.parametrize("stored", [0, 4])
def test_starting_features_beside_those_of_an_adapter_are_the_backbones(recipe_with, table, tmp_path, stored):
    first = fit(recipe_with("train.epochs=1"), table, tmp_path / "first", progress=False)
    start = [f"encoder.start_from={first.root}", "keep.beside=all", f"encoder.stored_views={stored}"]
    run = fit(recipe_with(*ADAPTED, *start, "train.checkpoint=last"), table, tmp_path / "run", progress=False)
    model = load_model(run)
    images = torch.rand(5, 1, 16, 16)
    with torch.no_grad():
        features, _ = model(images)
        backbone = model.encoder.encode(images)
    assert features.shape == (5, 32 + 6)
    expected = model.beside.starting(backbone)
    torch.testing.assert_close(features[:, :32], expected)
    extract(run, progress=False)
    paths = [str(table.folder / f"{number}.png") for number in range(64)]
    np.testing.assert_allclose(mscon.load(run.root).embed(paths), run.read_features(), rtol=1e-3, atol=1e-4)


def test_a_dry_run_says_what_would_be_encoded_and_stores_nothing(recipe_with, table, tmp_path, capsys):
    fit(recipe_with(*FROZEN), table, tmp_path / "run", dry_run=True)
    assert "encodes 272 images and views once" in capsys.readouterr().err
    assert not files()
    fit(recipe_with(*FROZEN), table, tmp_path / "run", progress=False)
    fit(recipe_with(*FROZEN), table, tmp_path / "other", dry_run=True)
    assert "are in" in capsys.readouterr().err


def test_an_adapter_that_is_not_trained_is_said_to_be_random(recipe_with, table, tmp_path, capsys):
    for epochs in (1, 0):
        fit(recipe_with(*ADAPTED, "train.checkpoint=last", f"train.epochs={epochs}"), table, dry_run=True)
        assert ("adapter has random weights" in capsys.readouterr().err) == (not epochs)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["encoder.stored_views=4"], r"stored_views is for a frozen encoder of images"),
        (["encoder.adapter={units=4}"], r"adapter is for a frozen encoder of images"),
        (["encoder.frozen=true", "encoder.stored_views=1"], r"stored_views is 1, but a batch has 2 views of each row"),
        (["encoder.frozen=true", "encoder.adapter={name='mpl'}"], r"no adapter 'mpl'. Did you mean 'mlp'"),
        (["encoder.frozen=true", "encoder.adapter={name='identity'}"], r"Known: mlp, linear. Leave"),
        (["encoder.frozen=true", "encoder.adapter={unit=4}"], r"no setting 'unit'. Did you mean 'units'"),
        (["encoder.frozen=true", "encoder.adapter={units=0}"], r"\[encoder.adapter\] mlp: units must be from 1"),
    ],
)
def test_what_does_not_fit_is_one_message_and_leaves_nothing(recipe_with, table, tmp_path, overrides, message):
    with pytest.raises(RecipeError, match=message):
        fit(recipe_with(*overrides), table, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists() and not files()


def test_an_encoder_of_another_run_is_taken_over_with_its_adapter_or_without_one(recipe_with, table, tmp_path):
    plain = fit(recipe_with("train.epochs=1"), table, tmp_path / "plain", progress=False)
    still = "train.learning_rate=1e-12"
    first = fit(recipe_with(*ADAPTED, f"encoder.start_from={plain.root}"), table, tmp_path / "first", progress=False)
    second = fit(
        recipe_with(*ADAPTED, f"encoder.start_from={first.root}", still), table, tmp_path / "second", progress=False
    )
    for name, tensor in states(second).items():
        if name.startswith("encoder."):
            torch.testing.assert_close(tensor, states(first)[name], rtol=1e-5, atol=1e-7)
    with pytest.raises(RecipeError, match="is there only"):
        fit(recipe_with(f"encoder.start_from={first.root}"), table, tmp_path / "third", progress=False)


def test_features_too_large_for_half_precision_are_refused(recipe_with, table, tmp_path, monkeypatch):
    encode = Encoder.encode
    monkeypatch.setattr(Encoder, "encode", lambda self, images: encode(self, images) * 1e6)
    with pytest.raises(RunError, match=r"must be finite, and below 65,504"):
        fit(recipe_with(*FROZEN), table, tmp_path / "run", progress=False)
    assert not (tmp_path / "run").exists()


def test_a_packed_model_carries_the_adapter(recipe_with, table, tmp_path):
    run = fit(recipe_with(*ADAPTED), table, tmp_path / "run", progress=False)
    pack(run, tmp_path / "model.safetensors")
    images = [str(table.folder / f"{number}.png") for number in range(8)]
    expected = mscon.load(run.root).embed(images)
    np.testing.assert_array_equal(mscon.load(tmp_path / "model.safetensors").embed(images), expected)


@needs_onnx
def test_an_onnx_file_carries_the_adapter(recipe_with, table, tmp_path):
    run = fit(recipe_with(*ADAPTED), table, tmp_path / "run", progress=False)
    checked = export_onnx(Run.open(run.root), tmp_path / "model.onnx")
    assert checked.real and checked.difference < 1e-4


def test_images_without_fingerprints_are_refused():
    store = ImageStore(np.zeros((2, 1, 8, 8), dtype=np.uint8))
    with pytest.raises(ValueError, match="fingerprints"):
        _ = stored_features.FeatureFile(
            store, np.arange(2), FrozenBackbone(Encoder(torch.nn.Flatten(), 64, [0.5], [0.5]))
        ).path


@pytest.mark.parametrize("adapter", [[], ["encoder.adapter={units=6}"]])
def test_the_start_that_probes_compare_with_is_read_from_the_stored_features(
    recipe_with, table, tmp_path, encoded, adapter
):
    first = fit(recipe_with("train.epochs=1"), table, tmp_path / "first", progress=False)
    run = fit(
        recipe_with(*FROZEN, *adapter, f"encoder.start_from={first.root}"), table, tmp_path / "run", progress=False
    )
    extract(run, progress=False)
    encoded.clear()
    start = start_of(run)
    assert sum(encoded) == 0
    extract(first, progress=False)
    np.testing.assert_allclose(start.features, first.read_features(), rtol=1e-4, atol=1e-5)


def test_a_teacher_of_what_training_starts_from_reads_the_backbone_before_an_adapter(recipe_with):
    recipe = recipe_with(*ADAPTED)
    model = build_model(recipe, 3).eval()
    pixels = np.random.default_rng(0).integers(256, size=(2, 1, 16, 16), dtype=np.uint8)
    images = torch.from_numpy(pixels) / 255

    def start_of_teacher(encoder: Encoder) -> torch.Tensor:
        return torch.from_numpy(teachers._start(recipe, ImageStore(pixels), np.arange(2), encoder, "cpu"))

    torch.testing.assert_close(start_of_teacher(model.encoder), model.encoder.encode(images))
    plain = build_model(recipe_with("encoder.frozen=true"), 3).eval()
    torch.testing.assert_close(start_of_teacher(plain.encoder), plain.encoder(images))
