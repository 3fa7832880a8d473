"""The estimated share of wrong labels where models learn from these labels, and the bias that is subtracted from it."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits, make_friedman1

from mscon.evaluate.label_quality.noise import Noise, judge
from mscon.evaluate.label_quality.out_of_fold import (
    class_probabilities,
    folds_of,
    groups_of,
    neighbours_of,
    space_of,
    votes,
    with_products,
)
from mscon.evaluate.label_quality.simulation import simulated_labels, unbiased
from mscon.evaluate.metrics.bootstrap import interval

IS_FULL = os.environ.get("MSCON_RELIABILITY") == "full"
Sources = Callable[[np.ndarray], np.ndarray]


@functools.cache
def digits(blur: float, rows: int = 1_797, seed: int = 1) -> tuple[Sources, np.ndarray]:
    """Images of digits as vectors, with random numbers added: sources for labels of them, and the right labels."""
    images, right = load_digits(return_X_y=True)
    generator = np.random.default_rng(seed)
    some = generator.permutation(len(right))[:rows]
    images = (images + blur * generator.normal(size=images.shape)).astype(np.float32)[some]
    space, groups = space_of(images), groups_of(images)
    near, fold = neighbours_of(space, groups), folds_of(groups)

    def sources(labels: np.ndarray) -> np.ndarray:
        return np.stack([class_probabilities(space, labels, 10, fold), votes(near, labels, 10)])

    return sources, right[some].astype(np.int64)


def with_errors(right: np.ndarray, share: float, confused: bool = False, seed: int = 11) -> np.ndarray:
    """Labels of which a share is any other class, or the next one."""
    generator = np.random.default_rng(seed)
    labels, wrong = right.copy(), generator.permutation(len(right))[: round(share * len(right))]
    labels[wrong] = (right[wrong] + (1 if confused else generator.integers(1, 10, len(wrong)))) % 10
    return labels


def test_digits_that_are_hard_to_read_are_not_counted_as_wrong():
    """Of these 64 % are predicted."""
    sources, right = digits(12.0)
    labels = with_errors(right, 0.1)
    assert judge(sources(labels), labels).share > 0.14
    assert unbiased(sources, labels).share == pytest.approx(0.1, abs=0.03)
    assert unbiased(sources, right).share < 0.02


@pytest.mark.parametrize("share", [0.1, 0.2])
def test_labels_that_are_taken_for_one_other_class_are_counted(share):
    """Models learn to expect these: without fitted mistakes and offsets 1.5 % were estimated for 20 %."""
    sources, right = digits(0.0)
    assert unbiased(sources, with_errors(right, share, confused=True)).share == pytest.approx(share, abs=0.03)


def test_ranges_of_a_number_that_can_only_be_guessed_at_are_not_called_wrong():
    """Classes that follow one another: with mistakes fitted for each, a fifth of these right labels were doubted."""
    numbers, value = make_friedman1(2_000, 10, noise=3.0, random_state=11)
    right = np.searchsorted(np.quantile(value, (0.2, 0.4, 0.6, 0.8)), value)
    space, groups = space_of(numbers), np.arange(len(value))
    near, fold = neighbours_of(space, groups), folds_of(groups)

    calls = []

    def sources(labels: np.ndarray) -> np.ndarray:
        calls.append(labels)
        return np.stack([class_probabilities(with_products(space), labels, 5, fold), votes(near, labels, 5)])

    judgement = unbiased(sources, right)
    assert judgement.share < 0.02
    assert not judgement.noise.by_class and len(calls) == 3  # its bias is measured all the same, twice
    assert judge(sources(right), right, by_class=True).share > 0.15


def test_from_what_is_hardly_predicted_nothing_is_subtracted():
    generator = np.random.default_rng(0)
    labels = generator.integers(5, size=400)
    calls = []

    def sources(codes: np.ndarray) -> np.ndarray:
        calls.append(codes)
        return generator.dirichlet(np.ones(5), (1, 400)).clip(1e-12)

    judgement = unbiased(sources, labels)
    assert len(calls) == 1 and not judgement.noise.by_class
    assert np.allclose(judgement.noise.offsets, 0)


def test_the_interval_holds_the_share_that_was_planted():
    within, seeds = 0, 30 if IS_FULL else 4
    for seed in range(seeds):
        sources, right = digits(6.0, rows=600, seed=seed)
        score = interval(unbiased(sources, with_errors(right, 0.15, seed=seed)).influence, draws=300)
        within += score.low <= 0.15 <= score.high
    assert within >= (0.85 if IS_FULL else 0.7) * seeds


def test_what_is_subtracted_makes_the_interval_wider():
    sources, right = digits(12.0)
    labels = with_errors(right, 0.1)
    before, after = judge(sources(labels), labels), unbiased(sources, labels)
    assert after.spread.std() > 1.2 * before.spread.std()
    assert after.influence.mean() == pytest.approx(after.share)


def test_simulated_labels_go_wrong_as_the_noise_says():
    mistakes = torch.tensor([[0.0, 1.0, 0.0], [0.5, 0.0, 0.5], [0.25, 0.75, 0.0]]).double()
    noise = Noise(torch.tensor([2.0]).double(), torch.zeros(3).double(), torch.tensor(0.3).double(), mistakes, True)
    sources = np.tile([0.5, 0.3, 0.2], (1, 40_000, 1))
    squared = sources[0, 0] ** 2 / (sources[0, 0] ** 2).sum()
    labels, is_wrong = simulated_labels(noise, sources)
    assert is_wrong.mean() == pytest.approx(0.3, abs=0.01)
    assert np.bincount(labels[~is_wrong]) / (~is_wrong).sum() == pytest.approx(squared, abs=0.01)
    assert np.bincount(labels[is_wrong]) / is_wrong.sum() == pytest.approx(squared @ mistakes.numpy(), abs=0.015)
    rate = np.tile([2.0, 0.0, 1.0], (40_000, 1))
    assert simulated_labels(noise, sources, rate)[1].mean() == pytest.approx(0.3 * (squared @ rate[0]), abs=0.01)
    assert np.array_equal(labels, simulated_labels(noise, sources)[0])
