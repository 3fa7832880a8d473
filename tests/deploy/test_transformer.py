"""The embedder as a step of scikit-learn: cloned, set and fitted as any other."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.utils import estimator_checks

import mscon
from mscon.deploy.transformer import EmbeddingTransformer
from mscon.errors import RunError

# Those of scikit-learn's checks that hand over no matrix of numbers, which are no images.
CHECKS = (
    "check_estimator_cloneable",
    "check_get_params_invariance",
    "check_no_attributes_set_in_init",
    "check_parameters_default_constructible",
    "check_set_params",
)


@pytest.fixture
def paths(pictures):
    return [str(pictures / f"{n}.png") for n in range(12)]


@pytest.mark.parametrize("name", CHECKS)
def test_it_is_an_estimator(name):
    check = getattr(estimator_checks, name, None)
    if check is None:
        pytest.skip(f"this scikit-learn has no {name}")
    # This one takes the class in older versions, and an instance in newer ones.
    check("EmbeddingTransformer", EmbeddingTransformer())


def test_it_transforms_as_the_embedder_embeds(run, paths):
    expected = mscon.load(run.root).embed(paths, "kind")
    step = EmbeddingTransformer(str(run.root), similarity="kind")
    np.testing.assert_array_equal(step.fit_transform(paths), expected)
    np.testing.assert_array_equal(clone(step).fit(None).transform(np.asarray(paths)), expected)
    assert step.get_feature_names_out().tolist() == [f"kind{k}" for k in range(6)]


def test_one_column_of_a_frame_is_a_list_of_images(run, paths):
    step = EmbeddingTransformer(run.root).fit(None)
    expected = step.transform(paths)
    np.testing.assert_array_equal(step.transform(pl.DataFrame({"image": paths})), expected)
    np.testing.assert_array_equal(step.transform(np.asarray(paths, dtype=object)[:, None]), expected)
    with pytest.raises(ValueError, match="X has 2 columns"):
        step.transform(pl.DataFrame({"image": paths, "other": paths}))


def test_it_works_in_a_pipeline_and_a_search(run, paths):
    y = np.arange(12) % 2
    pipeline = make_pipeline(EmbeddingTransformer(run.root), LogisticRegression(C=1e4, max_iter=10_000))
    vectors = mscon.load(run.root).embed(paths)
    directly = LogisticRegression(C=1e4, max_iter=10_000).fit(vectors, y)
    np.testing.assert_array_equal(pipeline.fit(paths, y).predict(paths), directly.predict(vectors))
    grid = {"embeddingtransformer__similarity": [None, "kind"]}
    search = GridSearchCV(pipeline, grid, cv=2).fit(paths, y)
    assert search.best_params_["embeddingtransformer__similarity"] in (None, "kind")


def test_mistakes_are_said_when_it_is_fitted(run, paths):
    with pytest.raises(ValueError, match="source is None"):
        EmbeddingTransformer().fit(paths)
    with pytest.raises(RunError, match="no similarity 'knd'"):
        EmbeddingTransformer(run.root, similarity="knd").fit(paths)
    with pytest.raises(NotFittedError):
        EmbeddingTransformer(run.root).transform(paths)
