"""[keep] interpolate: once training has ended, the encoder's weights are some of the way back to where they started."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from mscon.data.table.table import read_table
from mscon.errors import RecipeError, TableError
from mscon.evaluate.features import extract
from mscon.model.interpolation import interpolated
from mscon.model.model import load_model, model_state
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train import epochs, keep
from mscon.train.fit import fit, resume
from vector_table import RECIPE, write_table

QUIET = {"progress": False}


@pytest.fixture
def vectors(tmp_path):
    return read_table(write_table(tmp_path))


@pytest.fixture
def started(vectors, tmp_path):
    return fit(recipes.parse(RECIPE, ["train.epochs=1", "train.seed=3"]), vectors, tmp_path / "start", **QUIET)


@pytest.fixture
def recipe_of(started):
    return lambda *overrides: recipes.parse(
        RECIPE, [f"encoder.start_from={started.root}", "train.learning_rate=0.05", *overrides]
    )


def encoder_of(run, name="last"):
    return model_state(run.read_checkpoint(name)[0], "encoder")


def heads_of(run):
    return model_state(run.read_checkpoint("last")[0], "heads")


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_last_and_best_are_a_share_of_the_way_and_heads_are_as_trained(recipe_of, vectors, started, tmp_path, share):
    trained = fit(recipe_of(), vectors, tmp_path / "trained", **QUIET)
    run = fit(recipe_of(f"keep.interpolate={share}"), vectors, tmp_path / "run", **QUIET)
    start = encoder_of(started)
    for name in ("last", "best"):
        learned = encoder_of(trained, name)
        for key, value in encoder_of(run, name).items():
            torch.testing.assert_close(value, start[key] + share * (learned[key] - start[key]))
    assert not torch.equal(start["backbone.0.weight"], encoder_of(trained)["backbone.0.weight"])
    assert all(torch.equal(value, heads_of(run)[key]) for key, value in heads_of(trained).items())
    assert run.read_facts()["keep"] == {"last": {"interpolate": share}, "best": {"interpolate": share}}
    assert "keep" not in trained.read_facts()
    assert run.read_log() == trained.read_log()


def test_auto_takes_what_scores_best_on_columns_trained_and_held_out(recipe_of, vectors, tmp_path, capsys):
    recipe = recipe_of('keep.interpolate="auto"', 'probe.columns=["mood"]', "train.epochs=4")
    run = fit(recipe, vectors, tmp_path / "run")
    record = run.read_facts()["keep"]["last"]
    assert list(record["scores"]) == [f"{n / 10}" for n in range(11)]
    assert all(set(of) == {"kind", "shade", "mood"} for of in record["scores"].values())
    means = {share: round(sum(of.values()) / 3, 6) for share, of in record["scores"].items()}
    assert record["interpolate"] == float(max(means, key=lambda share: (means[share], -float(share))))
    assert len(set(means.values())) > 1
    assert "The encoder of checkpoint 'last' is" in capsys.readouterr().err
    fixed = recipe_of(f"keep.interpolate={record['interpolate']}", 'probe.columns=["mood"]', "train.epochs=4")
    other = fit(fixed, vectors, tmp_path / "fixed", **QUIET)
    assert all(torch.equal(value, encoder_of(other)[key]) for key, value in encoder_of(run).items())


def test_auto_knows_nothing_of_a_column_that_is_unscored(recipe_of, vectors, tmp_path):
    """Nor is it scored by a column none of whose values in validation rows is among the training rows."""
    settings = ['probe.columns=["mood", "height", "weight"]', 'probe.kinds={height="continuous"}']
    settings += ['keep.interpolate="auto"', 'keep.unscored=["mood"]']
    record = fit(recipe_of(*settings), vectors, tmp_path / "run", **QUIET).read_facts()["keep"]["last"]
    assert all(set(of) == {"kind", "shade", "height"} for of in record["scores"].values())


def test_a_score_is_the_agreement_with_nearest_rows(recipe_of, vectors, tmp_path):
    """At share 0 of vectors that tell the kind it is high, and of a mood that changes every sixth row it is not 1."""
    run = fit(recipe_of('keep.interpolate="auto"'), vectors, tmp_path / "run", **QUIET)
    scores = run.read_facts()["keep"]["last"]["scores"]["0.0"]
    extract(start := Run.open(tmp_path / "start"), **QUIET)
    features = torch.nn.functional.normalize(torch.from_numpy(start.read_features()), dim=1)
    rows = start.read_rows()
    kinds, split = rows["kind"].to_list(), rows["split"].to_list()
    train = [n for n, name in enumerate(split) if name == "train"]
    expected = []
    for query in (n for n, name in enumerate(split) if name == "validation"):
        nearest = sorted(train, key=lambda n: -float(features[n] @ features[query]))[:10]
        expected.append(sum(kinds[n] == kinds[query] for n in nearest) / 10)
    assert scores["kind"] == pytest.approx(sum(expected) / len(expected), abs=1e-6)


def test_a_share_whose_features_are_not_finite_is_not_taken(recipe_of, vectors, tmp_path, monkeypatch):
    def exploding(start, trained, share):
        weights = interpolated(start, trained, share)
        return weights if share == 0.7 else {name: value * torch.inf for name, value in weights.items()}

    monkeypatch.setattr(keep, "interpolated", exploding)
    run = fit(recipe_of('keep.interpolate="auto"'), vectors, tmp_path / "run", **QUIET)
    record = run.read_facts()["keep"]["last"]
    assert record["interpolate"] == 0.7
    assert record["scores"]["0.6"] == {}


def test_running_means_are_interpolated_so_that_features_change_steadily(recipe_with, table, tmp_path):
    first = fit(recipe_with("train.epochs=1"), table, tmp_path / "first", **QUIET)
    settings = [f"encoder.start_from={first.root}", "train.learning_rate=0.05", "train.batch_size=20"]
    trained = fit(recipe_with(*settings), table, tmp_path / "trained", **QUIET)
    start, learned = encoder_of(first), encoder_of(trained)
    images = torch.rand(4, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    of_start = load_model(first).embed(images)[0]
    for share, tolerance in ((0.001, 0.02), (0.5, None)):
        run = fit(recipe_with(*settings, f"keep.interpolate={share}"), table, tmp_path / f"run-{share}", **QUIET)
        between = encoder_of(run)
        for name in ("backbone.stages.0.0.weight", "backbone.stages.0.1.running_mean"):
            torch.testing.assert_close(between[name], start[name].lerp(learned[name], share))
        if tolerance is not None:
            distance = np.linalg.norm(load_model(run).embed(images)[0] - of_start) / np.linalg.norm(of_start)
            assert distance < tolerance


def test_it_comes_before_what_stands_beside(recipe_of, vectors, started, tmp_path):
    run = fit(recipe_of("keep.interpolate=0", "keep.beside=all"), vectors, tmp_path / "run", **QUIET)
    extract(run, **QUIET)
    features = run.read_features()
    torch.testing.assert_close(features[:, :16], features[:, 16:])


# stopped ------------------------------------------------------------------------------------------


def test_a_finished_run_goes_on_from_its_trained_weights(recipe_of, vectors, tmp_path):
    settings = ["keep.interpolate=0.4", "train.schedule=constant"]
    whole = fit(recipe_of(*settings, "train.epochs=3"), vectors, tmp_path / "whole", **QUIET)
    longer = fit(recipe_of(*settings, "train.epochs=1"), vectors, tmp_path / "longer", **QUIET)
    (tmp_path / "start").rename(tmp_path / "gone")
    resume(longer, overrides=["train.epochs=3"], **QUIET)
    theirs = longer.read_checkpoint("last")[0]
    assert all(torch.equal(value, theirs[key]) for key, value in whole.read_checkpoint("last")[0].items())


def test_stopped_before_the_end_it_is_finished_by_resume(recipe_of, vectors, tmp_path, monkeypatch):
    whole = fit(recipe_of('keep.interpolate="auto"'), vectors, tmp_path / "whole", **QUIET)
    monkeypatch.setattr(epochs, "finish", _interrupt)
    with pytest.raises(KeyboardInterrupt):
        fit(recipe_of('keep.interpolate="auto"'), vectors, tmp_path / "cut", **QUIET)
    monkeypatch.undo()
    cut = resume(tmp_path / "cut", **QUIET)
    theirs = cut.read_checkpoint("last")[0]
    assert all(torch.equal(value, theirs[key]) for key, value in whole.read_checkpoint("last")[0].items())
    assert cut.read_facts()["keep"] == whole.read_facts()["keep"]


def _interrupt(*_):
    raise KeyboardInterrupt


# what cannot be -----------------------------------------------------------------------------------


def test_it_needs_weights_to_start_from(vectors, tmp_path):
    with pytest.raises(RecipeError, match=r"\[keep\] interpolate needs an encoder that starts from trained weights"):
        fit(recipes.parse(RECIPE, ["keep.interpolate=0.5"]), vectors, tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


def test_between_models_of_different_shape_there_is_nothing(recipe_of, vectors, tmp_path):
    recipe = recipe_of("encoder.settings={units=8, layers=1}", "keep.interpolate=0.5")
    with pytest.raises(RecipeError, match=r"start_from: .* does not fit this one, in 3 tensors: .* has shape \[8, 6\]"):
        fit(recipe, vectors, tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()


def test_a_frozen_encoder_cannot_be_interpolated(recipe_of, vectors, tmp_path):
    with pytest.raises(RecipeError) as error:
        fit(recipe_of("encoder.frozen=true", "keep.interpolate=0.5"), vectors, tmp_path / "run", **QUIET)
    assert str(error.value).count("\n") == 0
    assert "interpolate is for an encoder that learns, but [encoder] frozen = true" in str(error.value)


def test_auto_needs_validation_rows_and_a_column(recipe_of, tmp_path):
    path = write_table(tmp_path)
    path.write_text(path.read_text().replace("validation", "test"))
    same_row = 'similarity=[{name="same_row"}, {name="teacher", of="start"}]'
    with pytest.raises(RecipeError) as error:
        fit(recipe_of('keep.interpolate="auto"', same_row), read_table(path), tmp_path / "run", **QUIET)
    assert "chooses on validation rows, but things.csv has none" in str(error.value)
    assert "needs a label column to score features by" in str(error.value)


def test_a_column_to_score_by_is_read_before_training(recipe_of, vectors, tmp_path):
    recipe = recipe_of('keep.interpolate="auto"', 'probe={columns=["mood"], kinds={mood="continuous"}}')
    with pytest.raises(TableError, match="column 'mood': 72 of 72 cells are"):
        fit(recipe, vectors, tmp_path / "run", **QUIET)
    assert not (tmp_path / "run").exists()
