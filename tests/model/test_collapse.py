"""Features that have collapsed are told, and those that have not are not."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.model.collapse import collapse, participation_ratio, spread


def random(rows: int = 200, width: int = 16, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, width))


def test_independent_dimensions_count_each_and_copies_count_once():
    independent, one = random(50_000, 4), random(100, 1)
    assert participation_ratio(independent) == pytest.approx(4, abs=0.01)
    assert participation_ratio(np.concatenate([independent, independent], axis=1)) == pytest.approx(4, abs=0.01)
    assert participation_ratio(np.concatenate([one, -2 * one + 3, 1_000 * one], axis=1)) == pytest.approx(1)
    assert participation_ratio(np.ones((5, 3))) == 0


@given(st.integers(0, 9), st.floats(1e-6, 1e6), st.booleans())
def test_neither_the_scale_of_a_dimension_nor_which_of_rows_and_columns_is_more_matters(seed, scale, few_rows):
    features = random(*((8, 30) if few_rows else (30, 8)), seed)
    scaled = features * np.where(np.arange(features.shape[1]) == 0, scale, 1)
    assert participation_ratio(scaled) == pytest.approx(participation_ratio(features))
    # The definition, by the eigenvalues.
    eigenvalues = np.linalg.eigvalsh(np.corrcoef(features.T))
    assert participation_ratio(features) == pytest.approx(eigenvalues.sum() ** 2 / (eigenvalues**2).sum())


def test_the_spread_is_a_share_of_the_length():
    assert spread(random() - random().mean(axis=0)) == pytest.approx(1)
    assert spread(np.array([[100.0, 1.0], [100.0, -1.0]])) == pytest.approx(1 / np.hypot(100, 1))
    assert spread(np.zeros((4, 3))) == 0


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize(
    ("features", "words"),
    [
        (lambda z: np.zeros_like(z), "the features of all rows are the same up to 0 %"),
        (lambda z: 5 + 1e-4 * z, "the features of all rows are the same up to 0.002 %"),
        (lambda z: z[:, :1] * np.arange(1, 17) + 0.02 * z + 30, "its 16 features vary in about 1.0 dimensions"),
        (lambda z: z, ""),
        (lambda z: z[:, :1] * np.arange(1, 17) + 5 * z, ""),
        (lambda z: 300 + z, ""),
        (lambda z: z[:, :1], ""),  # one feature cannot have more than one dimension
        (lambda z: z[:2] * 0, ""),
    ],
)
def test_one_sentence_says_what_collapsed_and_what_to_try(features, words, seed):
    sentence = collapse(features(random(seed=seed)).astype(np.float32))
    assert words in sentence
    assert bool(words) == bool(sentence)
    if words:
        assert "; try " in sentence
        assert sentence.count(". ") == 0
