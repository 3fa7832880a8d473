"""[keep] beside and width: after training, starting features stand beside learned ones."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mscon.data.table.table import read_table
from mscon.errors import RecipeError, RunError
from mscon.evaluate.features import extract
from mscon.model.model import load_model
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train import epochs, keep
from mscon.train.fit import fit, resume
from vector_table import RECIPE, ROWS, TRAIN_ROWS, points, write_table

QUIET = {"progress": False}


@pytest.fixture
def vectors(tmp_path):
    return read_table(write_table(tmp_path))


def recipe_of(*overrides):
    return recipes.parse(RECIPE, overrides)


def features_of(run):
    extract(run, **QUIET)
    return run.read_features()


def tensors(run, name="last"):
    return run.read_checkpoint(name)[0]


def reduced(x, components):
    """The first principal components of rows, those of the training rows, at a total variance of 1; signs are free."""
    train = x[:TRAIN_ROWS].astype(np.float64)
    _, _, axes = np.linalg.svd(train - train.mean(axis=0), full_matrices=False)
    axes = axes[:components] if components < x.shape[1] else np.eye(x.shape[1])
    result = (x - train.mean(axis=0)) @ axes.T
    return result / np.sqrt(result[:TRAIN_ROWS].var(axis=0).sum())


def test_training_is_the_same_to_the_bit_and_both_parts_are_as_they_say(vectors, tmp_path):
    plain = fit(recipe_of(), vectors, tmp_path / "plain", **QUIET)
    run = fit(recipe_of("keep.beside=3", "keep.width=8"), vectors, tmp_path / "run", **QUIET)
    for name in ("last", "best"):
        ours = tensors(run, name)
        assert all(torch.equal(value, ours[key]) for key, value in tensors(plain, name).items())
    assert plain.read_log() == run.read_log()
    features, learned = features_of(run), features_of(plain)
    assert features.shape == (ROWS, 8)
    np.testing.assert_allclose(np.abs(features[:, :3]), np.abs(reduced(points(), 3)), atol=1e-4)
    np.testing.assert_allclose(np.abs(features[:, 3:]), np.abs(reduced(learned, 5)), atol=1e-4)
    np.testing.assert_array_equal(run.read_projections(), plain.read_projections())


def test_all_and_no_width_keep_every_dimension(vectors, tmp_path):
    plain = fit(recipe_of(), vectors, tmp_path / "plain", **QUIET)
    features = features_of(fit(recipe_of("keep.beside=all"), vectors, tmp_path / "run", **QUIET))
    np.testing.assert_allclose(features[:, :6], reduced(points(), 6), atol=1e-5)
    np.testing.assert_allclose(features[:, 6:], reduced(features_of(plain), 16), atol=1e-5)


def test_a_width_alone_reduces_what_is_learned(vectors, tmp_path):
    plain = fit(recipe_of(), vectors, tmp_path / "plain", **QUIET)
    features = features_of(fit(recipe_of("keep.width=4"), vectors, tmp_path / "run", **QUIET))
    np.testing.assert_allclose(np.abs(features), np.abs(reduced(features_of(plain), 4)), atol=1e-4)


def test_columns_are_standardised_first_since_they_have_units_of_their_own(tmp_path):
    table = read_table(write_table(tmp_path))
    columns = 'data={input="columns", numbers=["height", "weight"]}'
    features = features_of(fit(recipe_of(columns, "keep.beside=all"), table, tmp_path / "run", **QUIET))
    numbers = points()[:, :2].astype(np.float64)
    train = numbers[:TRAIN_ROWS]
    np.testing.assert_allclose(
        features[:, :2], reduced((numbers - train.mean(axis=0)) / train.std(axis=0), 2), atol=1e-3
    )


IMAGES = ["train.epochs=1", "train.learning_rate=0.05"]


@pytest.fixture
def started(recipe_with, table, tmp_path):
    """A run of images to start from."""
    return fit(recipe_with("train.epochs=1"), table, tmp_path / "start", **QUIET)


def test_of_images_they_are_the_features_of_the_encoder_before_training(started, recipe_with, table, tmp_path):
    recipe = recipe_with(*IMAGES, f"encoder.start_from={started.root}", "keep.beside=all")
    run = fit(recipe, table, tmp_path / "run", **QUIET)
    before = features_of(started)
    started.root.rename(tmp_path / "gone")  # the run has the weights itself
    features = features_of(run)
    assert features.shape == (64, 64)
    np.testing.assert_allclose(features[:, :32], _scaled(before), atol=1e-4)
    assert not np.allclose(features[:, :32], features[:, 32:], atol=0.1)


def _scaled(features):
    train = features[:40]
    return (features - train.mean(axis=0)) / np.sqrt(train.var(axis=0).sum())


def test_a_frozen_encoder_is_not_there_twice(started, recipe_with, table, tmp_path):
    frozen = ["encoder.frozen=true", f"encoder.start_from={started.root}"]
    run = fit(recipe_with(*IMAGES, *frozen, "keep.beside=5"), table, tmp_path / "run", **QUIET)
    assert not run.has_checkpoint("start")
    assert not any(name.startswith("model.beside.encoder.") for name in tensors(run))
    features = features_of(run)
    np.testing.assert_allclose(features[:, 5:], _scaled(features_of(started)), atol=1e-4)
    assert features[:40, :5].var(axis=0).sum() == pytest.approx(1, abs=1e-3)


# what cannot be -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["keep.beside=7"], r"beside is 7, but there are 6 starting features. Set beside = 6 or less, or \"all\""),
        (["keep.width=17"], r"width is 17, but with 0 starting features and 16 learned ones it is from 1 to 16"),
        (["keep.beside=all", "keep.width=6"], r"width is 6, but with 6 starting features .* it is from 7 to 22"),
        (["keep.beside=2", "keep.width=19"], r"width is 19, but with 2 starting .* it is from 3 to 18"),
    ],
)
def test_more_than_there_is_cannot_remain(vectors, tmp_path, settings, message):
    with pytest.raises(RecipeError, match=message):
        fit(recipe_of(*settings), vectors, tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


def test_there_are_no_more_components_than_rows_allow(tmp_path):
    table = read_table(write_table(tmp_path, rows=8))
    with pytest.raises(RecipeError, match=r"asks for 5 principal components, but things.csv has 4 train rows, .* 3 at"):
        fit(recipe_of("keep.beside=5", "train.batch_size=4"), table, tmp_path / "run", **QUIET)


def test_images_from_random_weights_have_nothing_to_keep(recipe_with, table, tmp_path):
    with pytest.raises(
        RecipeError, match=r"beside keeps .* but the encoder starts from random weights. Set .* pretrai"
    ):
        fit(recipe_with("keep.beside=5"), table, tmp_path / "run", **QUIET)
    fit(recipe_with("keep.width=5", "train.epochs=1"), table, tmp_path / "reduced", **QUIET)


# stopped ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("stage", ["before", "between"])
def test_stopped_after_the_last_epoch_it_is_finished_by_resume(vectors, tmp_path, monkeypatch, stage):
    whole = fit(recipe_of("keep.beside=3"), vectors, tmp_path / "whole", **QUIET)
    if stage == "before":
        monkeypatch.setattr(epochs, "finish", _interrupt)
    else:
        write = Run.write_checkpoint

        def write_no_finished_last(run, name, tensors, state):
            if name == "last" and "keep" in state:
                raise KeyboardInterrupt
            write(run, name, tensors, state)

        monkeypatch.setattr(Run, "write_checkpoint", write_no_finished_last)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe_of("keep.beside=3"), vectors, tmp_path / "cut", **QUIET)
    monkeypatch.undo()
    cut = Run.open(tmp_path / "cut")
    with pytest.raises(RunError, match=r"'last' of run .* is not finished: .* \[keep\] .*\n  `mscon resume .*cut`"):
        load_model(cut)
    resume(cut, **QUIET)
    for name in ("last", "best"):
        ours = tensors(cut, name)
        assert all(torch.equal(value, ours[key]) for key, value in tensors(whole, name).items())
    assert cut.read_facts()["trained"]["epochs"] == 2
    before = (cut.root / "checkpoints/last.safetensors").read_bytes()
    resume(cut, **QUIET)
    assert (cut.root / "checkpoints/last.safetensors").read_bytes() == before


def _interrupt(*_):
    raise KeyboardInterrupt


def test_a_finished_run_goes_on_for_more_epochs_and_is_finished_anew(vectors, tmp_path):
    settings = ["keep.beside=3", "train.schedule=constant"]
    whole = fit(recipe_of(*settings, "train.epochs=3"), vectors, tmp_path / "whole", **QUIET)
    longer = fit(recipe_of(*settings, "train.epochs=1"), vectors, tmp_path / "longer", **QUIET)
    resume(longer, overrides=["train.epochs=3"], **QUIET)
    assert set(tensors(longer)) == set(tensors(whole))
    assert all(torch.equal(value, tensors(longer)[key]) for key, value in tensors(whole).items())


def test_finishing_twice_changes_nothing(vectors, tmp_path):
    run = fit(recipe_of("keep.beside=3"), vectors, tmp_path / "run", **QUIET)
    assert keep.is_finished(run.read_recipe(), run.read_checkpoint("last")[1])
    assert not keep.is_finished(run.read_recipe(), {})
    assert keep.is_finished(recipe_of(), {})


def test_features_that_are_not_finite_are_one_message(vectors, tmp_path, monkeypatch):
    encoded = keep.encoded

    def break_two(*arguments):
        features = encoded(*arguments)
        features[[3, 5], 0] = torch.inf
        return features

    monkeypatch.setattr(keep, "encoded", break_two)
    with pytest.raises(RunError, match=r"features of 2 train rows of 48 are not finite, so \[keep\] cannot"):
        fit(recipe_of("keep.beside=3"), vectors, tmp_path / "run", **QUIET)
