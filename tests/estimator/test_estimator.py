"""MSCon by the conventions of scikit-learn: its own checks, and what X and Y may be."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from PIL import Image
from sklearn.base import clone
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

import mscon
from mscon.errors import RecipeError, RunError, TableError
from shapes import unchecked_shapes

SMALL = ("encoder.settings={units=8,layers=1}", "heads.output_dim=4")


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """Runs are temporary, so nothing need survive a power cut; and shapes were checked where their parts are tested."""
    monkeypatch.setattr("os.fsync", lambda file: None)
    with unchecked_shapes():
        yield


def model(**settings) -> mscon.MSCon:
    return mscon.MSCon(**{"epochs": 1, "batch_size": 16, "settings": SMALL, **settings})


@pytest.fixture(scope="module")
def data():
    """40 vectors, of which the first number tells a class, and the second a number."""
    vectors = np.random.default_rng(0).normal(size=(40, 5))
    return vectors, np.where(vectors[:, 0] > 0, "high", "low")


@parametrize_with_checks([mscon.MSCon(epochs=1, settings=SMALL)])
def test_scikit_learn_finds_it_an_estimator(estimator, check):
    check(estimator)


def test_what_is_learned_is_what_fit_learns(data, tmp_path):
    vectors, labels = data
    estimator = model(out=tmp_path / "one", random_state=3).fit(vectors, labels)
    recipe = mscon.Run.open(tmp_path / "one").read_recipe()
    assert (recipe.train.seed, recipe.data.split_shares) == (3, (1.0, 0.0, 0.0))
    assert [part.name for part in recipe.similarities] == ["categorical", "same_row"]
    table = pl.DataFrame({"X": vectors.astype(np.float32), "y": labels})
    run = mscon.fit(recipe, table, tmp_path / "other", progress=False)
    np.testing.assert_array_equal(estimator.transform(vectors), run.embed(vectors))
    assert set(run.read_rows().get_column("split")) == {"train"}
    with pytest.raises(RunError, match="exists"):
        estimator.fit(vectors, labels)


def test_it_learns_and_its_score_says_so():
    vectors = np.random.default_rng(0).normal(size=(400, 12))
    classes = np.where(vectors[:, 0] > 0, "high", "low")
    (old, labels), (new, truth) = (vectors[:200], classes[:200]), (vectors[200:], classes[200:])
    settings = {"same_row": False, "similarity": "y", "settings": ()}
    untrained, trained = (model(epochs=epochs, **settings).fit(old, labels) for epochs in (0, 10))
    assert trained.score(new, truth) > untrained.score(new, truth) + 0.2
    assert -0.2 < trained.score(new, np.random.default_rng(2).permutation(truth)) < 0.2
    # By hand: the class of each row beside those of its 10 nearest others by cosine, less what chance gives.
    unit = trained.transform(new)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    nearest = np.argsort(-(unit @ unit.T) + 9 * np.eye(200), axis=1)[:, :10]
    agreement, chance = (
        (truth[nearest] == truth[:, None]).mean(),
        (np.mean(truth == "high") ** 2 + np.mean(truth == "low") ** 2),
    )
    assert trained.score(new, truth) == pytest.approx((agreement - chance) / (1 - chance), abs=0.05)
    with pytest.raises(ValueError, match="two rows with labels that differ"):
        trained.score(new, np.full(200, "high"))
    with pytest.raises(ValueError, match="X has 200 rows, but Y has 1"):
        trained.score(new, ["high"])


def test_it_is_cloned_searched_and_piped(data):
    vectors, labels = data
    search = GridSearchCV(model(), {"settings": [SMALL, [*SMALL, "weighting.name=uncertainty"]]}, cv=2)
    search.fit(vectors, labels)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    pipeline = make_pipeline(model(similarity="y"), LogisticRegression()).fit(vectors, labels)
    assert pipeline.predict(vectors).shape == (40,)
    assert pipeline[0].get_feature_names_out().tolist() == ["y0", "y1", "y2", "y3"]
    best = search.best_estimator_
    np.testing.assert_array_equal(clone(best).fit(vectors, labels).transform(vectors), best.transform(vectors))
    assert model(same_row=False).fit(vectors).recipe_.columns == ("same_row",)  # all there is to learn without labels
    assert not np.array_equal(model(random_state=None).fit(vectors).transform(vectors), best.transform(vectors))


def cells(estimator: mscon.MSCon, out) -> dict[str, list[str | None]]:
    rows = mscon.Run.open(out).read_rows()
    return {name: rows.get_column(name).to_list() for name in rows.columns if name not in ("line", "split", "image")}


@pytest.mark.parametrize(
    ("labels", "kinds", "columns"),
    [
        (np.tile([0, 1, -1, 1], 10), {}, {"y": ["0", "1", None, "1"]}),
        (np.tile([1.5, np.nan, -1, 1.5], 10), {}, {"y": ["1.5", None, "-1", "1.5"]}),
        (np.tile([0.5, np.nan, -1, 2], 10), {"y": "continuous"}, {"y": ["0.5", None, "-1", "2"]}),
        (np.tile([3, 2, -1, 5], 10), {"y": {"name": "continuous", "width": 1.0}}, {"y": ["3", "2", "-1", "5"]}),
        (np.tile(["a", None, "b", "a"], 10), {}, {"y": ["a", None, "b", "a"]}),
        (
            np.tile([[0, 1], [1, -1], [1, 0], [0, 0]], (10, 1)),
            {},
            {"y0": ["0", "1", "1", "0"], "y1": ["1", None, "0", "0"]},
        ),
        (
            pl.DataFrame({"make": ["a", "b", None, "a"] * 10, "size": [1, -1, 2, 1] * 10}),
            {},
            {"make": ["a", "b", None, "a"], "size": ["1", None, "2", "1"]},
        ),
        (pl.Series("shade", [True, False, None, True] * 10), {}, {"shade": ["true", "false", None, "true"]}),
    ],
    ids=["codes", "floats", "numbers", "whole numbers", "names", "two columns", "frame", "series"],
)
def test_a_missing_label_is_missing_by_the_type_of_its_column(data, tmp_path, labels, kinds, columns):
    estimator = model(kinds=kinds, out=tmp_path / "run").fit(data[0], labels)
    assert {name: values[:4] for name, values in cells(estimator, tmp_path / "run").items()} == columns
    named = {part.column: part.name for part in estimator.recipe_.similarities}
    assert all(named[name] == "continuous" for name in kinds)


def test_columns_of_a_frame_are_encoded_by_their_type(data):
    vectors, labels = data
    frame = pl.DataFrame({"a": vectors[:, 0], "n": np.arange(40), "fuel": ["gas", "oil"] * 20})
    estimator = model().fit(frame, labels)
    assert (estimator.recipe_.data.numbers, estimator.recipe_.data.categories) == (("a", "n"), ("fuel",))
    assert estimator.feature_names_in_.tolist() == ["a", "n", "fuel"] and estimator.n_features_in_ == 3
    assert estimator.transform(frame).shape == (40, 8)
    with pytest.raises(ValueError, match="feature names"):
        estimator.transform(frame.rename({"a": "b"}))


def test_images_are_paths_or_pictures(tmp_path):
    generator = np.random.default_rng(0)
    pixels = [generator.integers(0, 256, (16, 16, 3), dtype=np.uint8) for _ in range(12)]
    for number, picture in enumerate(pixels):
        Image.fromarray(picture).save(tmp_path / f"{number}.png")
    paths, labels = [tmp_path / f"{number}.png" for number in range(12)], ["a", "b"] * 6
    settings = ("data.image_size=16", "encoder.width=4", "heads.output_dim=4")
    by_path = model(settings=settings).fit(paths, labels)
    expected = by_path.transform(paths)
    texts = [str(path) for path in paths]
    for X in (pixels, np.stack(pixels), [texts[0], Image.fromarray(pixels[1]), paths[2].read_bytes(), *pixels[3:]]):
        estimator = model(settings=settings).fit(X, labels)
        np.testing.assert_array_equal(estimator.transform(X), expected)
    for X in (np.asarray(texts), pl.DataFrame({"image": texts}), np.asarray(texts, dtype=object)[:, None]):
        np.testing.assert_array_equal(by_path.transform(X), expected)
    assert not hasattr(by_path, "n_features_in_")
    with pytest.raises(TableError, match="does not exist"):
        model(settings=settings).fit([*paths[:11], tmp_path / "gone.png"], labels)


@pytest.mark.parametrize(
    ("settings", "labels", "error", "message"),
    [
        ({"kinds": {"yy": "ordinal"}}, ["a", "b"] * 20, ValueError, "kinds names column 'yy'.*Did you mean 'y'"),
        ({}, ["a", "b"] * 19, ValueError, "X has 40 rows, but Y has 38"),
        ({}, np.zeros((40, 1, 1)), ValueError, r"got shape \[40, 1, 1\]"),
        ({}, pl.DataFrame({"split": ["a", "b"] * 20}), ValueError, "no column may be called 'split'"),
        ({}, pl.DataFrame({"X": ["a", "b"] * 20}), ValueError, "column 'X' of Y is also one of X"),
        ({}, pl.DataFrame({"y": [[[1]]] * 40}), TableError, "Y: column 'y' holds lists of lists"),
        (
            {},
            pl.DataFrame({"y": [[1.0, 2.0]] * 40, "z": ["a", "b"] * 20}),
            TableError,
            "Y: column 'y' holds lists of numbers, not labels",
        ),
        ({}, [f"text {n}" for n in range(40)], TableError, "column 'y' looks like no label"),
        ({"settings": ["train.epoch=3"]}, ["a", "b"] * 20, RecipeError, "epoch"),
        ({"learning_rate": -1.0}, ["a", "b"] * 20, RecipeError, "learning_rate"),
        ({"recipe": "nowhere.toml"}, ["a", "b"] * 20, RecipeError, "nowhere.toml"),
    ],
)
def test_mistakes_are_one_message_and_leave_nothing(data, tmp_path, settings, labels, error, message):
    with pytest.raises(error, match=message):
        model(out=tmp_path / "run", **settings).fit(data[0], labels)
    assert not (tmp_path / "run").exists()


def test_a_recipe_sets_all_but_labels_inputs_and_split(data, tmp_path):
    text = """
similarity = [{ column = "other", name = "ordinal" }]
data = { input = "text", split_by = "group" }
encoder = { name = "linear", settings = { units = 6 } }
views = { noise = 0.1 }
train = { epochs = 1, batch_size = 8 }
"""
    (tmp_path / "mine.toml").write_text(text)
    by_path = mscon.MSCon(recipe=tmp_path / "mine.toml", learning_rate=0.01).fit(*data)
    assert by_path.transform(data[0]).shape == (40, 6)
    recipe = by_path.recipe_
    assert (recipe.views.noise, recipe.train.batch_size, recipe.train.learning_rate) == (0.1, 8, 0.01)
    by_value = mscon.MSCon(recipe=mscon.recipe.parse(text), learning_rate=0.01).fit(*data)
    np.testing.assert_array_equal(by_value.transform(data[0]), by_path.transform(data[0]))


def test_settings_are_a_list(data):
    with pytest.raises(ValueError, match=r"write settings=\['weighting.name=uncertainty'\]"):
        model(settings="weighting.name=uncertainty").fit(*data)
