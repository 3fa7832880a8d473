"""Retrieval: closed forms, loops, ties, chance, and parity with pytorch-metric-learning."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pytorch_metric_learning.distances import CosineSimilarity
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from pytorch_metric_learning.utils.inference import CustomKNN

from mscon.evaluate.metrics.retrieval import RetrievalResult, label_retrieval, nearest_difference, retrieval

SCORES = ("precision_at_1", "r_precision", "map_at_r")


def data(rows: int = 80, classes: int = 6, seed: int = 0, separation: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    labels = g.integers(classes, size=rows)
    centres = separation * g.normal(size=(classes, 8))
    return (centres[labels] + g.normal(size=(rows, 8))).astype(np.float32), labels


def scores(result: RetrievalResult) -> dict[str, list[float]]:
    return {name: getattr(result, name).tolist() for name in SCORES}


def retrieval_loops(features, labels) -> dict[int, tuple[float, float, float]]:
    """Straight from the definitions, row by row."""
    rows = [i for i, label in enumerate(labels) if label >= 0]
    unit = [np.asarray(f, dtype=float) / np.linalg.norm(f) for f in features]
    scores_of = {}
    for i in rows:
        r = sum(labels[j] == labels[i] for j in rows) - 1
        if r == 0:
            continue
        near = sorted((j for j in rows if j != i), key=lambda j: (-float(unit[i] @ unit[j]), j))[:r]
        alike = [labels[j] == labels[i] for j in near]
        at = [sum(alike[: k + 1]) / (k + 1) if alike[k] else 0.0 for k in range(r)]
        scores_of[i] = (float(alike[0]), sum(alike) / r, sum(at) / r)
    return scores_of


@given(st.integers(0, 10_000), st.integers(3, 25), st.integers(2, 6))
def test_reads_the_definitions_the_way_the_loops_do(seed, rows, classes):
    g = np.random.default_rng(seed)
    features, labels = g.normal(size=(rows, 3)), g.integers(-1, classes, size=rows)
    labels[:2] = 0
    expected = retrieval_loops(features, labels.tolist())
    result = retrieval(features, labels)
    assert result.rows.tolist() == list(expected)
    for i, name in enumerate(SCORES):
        np.testing.assert_allclose(getattr(result, name), [e[i] for e in expected.values()])


def test_agrees_with_pytorch_metric_learning():
    features, labels = data(120, 7)
    features, labels = np.vstack([features, features[:1] + 5]), np.append(labels, 99)  # a row alone in its class
    nothing = CustomKNN(CosineSimilarity())
    theirs = AccuracyCalculator(
        include=("precision_at_1", "r_precision", "mean_average_precision_at_r"),
        k="max_bin_count",
        device=torch.device("cpu"),
        knn_func=nothing,
        kmeans_func=nothing,
    ).get_accuracy(torch.from_numpy(features), torch.from_numpy(labels))
    ours = retrieval(features, labels)
    assert ours.precision_at_1.mean() == pytest.approx(theirs["precision_at_1"])
    assert ours.r_precision.mean() == pytest.approx(theirs["r_precision"])
    assert ours.map_at_r.mean() == pytest.approx(theirs["mean_average_precision_at_r"])
    assert ours.left_out == 1


def test_classes_that_lie_apart_are_found_whole():
    result = retrieval(np.repeat(np.eye(3), 4, axis=0), np.repeat([0, 1, 2], 4))
    assert scores(result) == {name: [1.0] * 12 for name in SCORES}


def test_only_ranks_count_so_a_nearest_row_may_lie_at_a_negative_cosine():
    angles = np.deg2rad([0, 100, 210])  # pairwise cosines -0.17, -0.87, -0.34
    result = retrieval(np.stack([np.cos(angles), np.sin(angles)], axis=1), np.array([0, 0, 1]))
    assert result.precision_at_1.tolist() == [1.0, 1.0]


def test_a_worked_example_of_map_at_r():
    """One axis of angles; row 0 has R = 3 others and finds them at ranks 1 and 3 of its first three."""
    angles = np.deg2rad([0, 1, 2, 3, 4])
    result = retrieval(np.stack([np.cos(angles), np.sin(angles)], axis=1), np.array([0, 0, 1, 0, 0]))
    assert result.r_precision[0] == pytest.approx(2 / 3)
    assert result.map_at_r[0] == pytest.approx((1 / 1 + 0 + 2 / 3) / 3)
    assert result.left_out == 1


def test_scale_of_a_row_does_not_matter():
    features, labels = data()
    scaled = features.astype(np.float64) * np.logspace(-200, 200, len(features))[:, None]
    assert scores(retrieval(scaled, labels)) == scores(retrieval(features, labels))


@pytest.mark.parametrize("block", [1, 7, 1_000])
def test_blocks_change_nothing(block):
    features, labels = data()
    by_blocks, at_once = retrieval(features, labels, block=block), retrieval(features, labels)
    for name in SCORES:
        np.testing.assert_allclose(getattr(by_blocks, name), getattr(at_once, name), rtol=1e-14)


def test_equal_cosines_are_ranked_by_row_number():
    """Row 0 is as near to rows 1 and 2; which of them comes first decides its precision at 1."""
    features = np.array([[1.0, 0.0], [0.6, 0.8], [0.6, -0.8], [-1.0, 0.0]])
    assert retrieval(features, np.array([0, 0, 1, 1])).precision_at_1[0] == 1.0
    assert retrieval(features, np.array([0, 1, 0, 1])).precision_at_1[0] == 0.0


def test_a_cosine_that_vanishes_from_below_is_as_good_as_zero():
    """In float32 it is -0, whose bits are not those of 0."""
    features = np.array([[1.0, 0.0], [0.0, 1.0], [-1e-60, 1.0]])
    assert retrieval(features, np.array([0, 0, 1])).precision_at_1[0] == 1.0
    assert retrieval(features[[0, 2, 1]], np.array([0, 0, 1])).precision_at_1[0] == 1.0


@pytest.mark.parametrize("width", [64, 128, 257])
@pytest.mark.parametrize("block", [1, 3, 301])
def test_copies_of_a_row_are_ties_wherever_they_stand(width, block):
    """With everything equal, each row finds the lowest row numbers: closed form, in any block size.

    In float32 alone, products of equal rows can differ in their last bit by where they stand.
    """
    labels = np.arange(301) % 2
    for seed in range(3):
        features = np.tile(np.random.default_rng(seed).normal(size=(1, width)), (301, 1))
        result = retrieval(features, labels, block=block)
        # Row 0 is nearest to all others and row 1 to row 0, so rows of class 0 but row 0 are right.
        assert result.precision_at_1.tolist() == [0.0, 0.0, *[1.0 - (i % 2) for i in range(2, 301)]]


def test_a_row_of_zeros_is_as_far_from_all():
    features = np.array([[0.0, 0.0], [1.0, 0.0], [0.0, 1.0], [1.0, 0.1]])
    assert retrieval(features, np.array([0, 1, 0, 1])).precision_at_1.tolist() == [0.0, 1.0, 0.0, 1.0]


@given(st.integers(0, 1_000))
def test_a_missing_label_is_as_good_as_a_missing_row(seed):
    features, labels = data(30, 4, seed)
    missing = np.random.default_rng(seed).random(30) < 0.4
    missing[0] = True
    masked = retrieval(features, np.where(missing, -1, labels))
    deleted = retrieval(features[~missing], labels[~missing])
    assert scores(masked) == scores(deleted)
    assert masked.rows.tolist() == np.flatnonzero(~missing)[deleted.rows].tolist()
    assert (masked.left_out, masked.chance) == (deleted.left_out, deleted.chance)


def test_chance_is_the_mean_over_all_orders():
    """Three others of the class among five candidates, each of 120 orders once."""
    labels = np.array([0, 0, 0, 0, 1, 1])
    result = retrieval(np.eye(6), labels)

    def mean_over_orders(alike: list[bool]) -> tuple[float, float]:
        r = sum(alike)
        orders = list(itertools.permutations(alike))
        hits = np.array(orders)[:, :r]
        at = (np.cumsum(hits, axis=1) / np.arange(1, r + 1) * hits).sum(axis=1) / r
        return hits[:, 0].mean(), at.mean()

    of_four, of_two = mean_over_orders([True] * 3 + [False] * 2), mean_over_orders([True] + [False] * 4)
    assert result.chance == pytest.approx((4 * of_four[0] + 2 * of_two[0]) / 6)
    assert result.map_at_r_chance == pytest.approx((4 * of_four[1] + 2 * of_two[1]) / 6)


def test_shuffled_labels_score_about_chance():
    """At chance level in all three scores; over many shuffles, since rows of one shuffle depend on each other."""
    features, labels = data(60, 4)
    shuffle = np.random.default_rng(1).permutation
    results = [retrieval(features, shuffle(labels)) for _ in range(300)]
    chance, map_chance = results[0].chance, results[0].map_at_r_chance
    assert 0.2 < chance < 0.3
    assert map_chance < chance
    assert np.mean([r.precision_at_1.mean() for r in results]) == pytest.approx(chance, rel=0.03)
    assert np.mean([r.r_precision.mean() for r in results]) == pytest.approx(chance, rel=0.03)
    assert np.mean([r.map_at_r.mean() for r in results]) == pytest.approx(map_chance, rel=0.04)


def test_two_rows_of_one_class_are_found_by_chance_alone():
    result = retrieval(np.eye(2), np.array([0, 0]))
    assert (result.chance, result.map_at_r_chance) == (1.0, 1.0)


def test_map_at_r_never_exceeds_r_precision():
    result = retrieval(*data(200, 5, separation=0.5))
    assert (result.map_at_r <= result.r_precision).all()
    assert result.map_at_r.mean() < result.r_precision.mean()


@pytest.mark.parametrize("labels", [[0, 1, 2], [-1, -1, -1], [0, -1, 1]])
def test_nothing_to_be_found_is_refused(labels):
    with pytest.raises(ValueError, match="no class has two rows"):
        retrieval(np.eye(3), np.array(labels))


def test_features_that_are_not_finite_are_refused():
    with pytest.raises(ValueError, match="not all finite"):
        retrieval(np.array([[np.nan], [1.0]]), np.array([0, 0]))


@given(st.integers(0, 10_000), st.integers(3, 25), st.integers(1, 5))
def test_sets_of_labels_are_alike_where_they_share_one_the_way_the_loops_say(seed, rows, labels):
    g = np.random.default_rng(seed)
    features, has = g.normal(size=(rows, 3)), (g.random((rows, labels)) < 0.4).astype(np.float64)
    has[:2, 0] = 1
    has[2] = np.nan
    known = [i for i in range(rows) if not np.isnan(has[i]).any()]
    unit = features / np.linalg.norm(features, axis=1, keepdims=True)
    expected = {}
    for i in known:
        alike = {j for j in known if j != i and (has[i] * has[j]).any()}
        if not alike:
            continue
        near = sorted((j for j in known if j != i), key=lambda j: (-float(unit[i] @ unit[j]), j))[: len(alike)]
        hits = [j in alike for j in near]
        at = [sum(hits[: k + 1]) / (k + 1) if hits[k] else 0.0 for k in range(len(hits))]
        expected[i] = (float(hits[0]), sum(hits) / len(hits), sum(at) / len(hits))
    result = label_retrieval(features, has, block=4)
    assert result.rows.tolist() == list(expected)
    assert result.left_out == len(known) - len(expected)
    for i, name in enumerate(SCORES):
        np.testing.assert_allclose(getattr(result, name), [e[i] for e in expected.values()])


def test_sets_of_one_label_are_classes():
    features, labels = data()
    one, sets = retrieval(features, labels), label_retrieval(features, np.eye(6)[labels])
    assert scores(one) == scores(sets)
    assert (one.chance, one.map_at_r_chance) == (sets.chance, sets.map_at_r_chance)


def test_without_a_label_in_common_nothing_can_be_found():
    with pytest.raises(ValueError, match="no two rows have a label in common"):
        label_retrieval(np.ones((3, 2)), np.eye(3))


@given(st.integers(0, 10_000), st.integers(2, 30))
def test_the_difference_is_that_to_the_nearest_row(seed, rows):
    g = np.random.default_rng(seed)
    features, numbers = g.normal(size=(rows + 1, 3)), g.normal(size=rows + 1)
    numbers[-1] = np.nan
    unit = features[:-1] / np.linalg.norm(features[:-1], axis=1, keepdims=True)
    near = [max((j for j in range(rows) if j != i), key=lambda j: float(unit[i] @ unit[j])) for i in range(rows)]
    result = nearest_difference(features, numbers, block=3)
    np.testing.assert_allclose(result.difference, np.abs(numbers[:-1] - numbers[near]))
    pairs = [abs(numbers[i] - numbers[j]) for i in range(rows) for j in range(rows) if i != j]
    assert result.chance == pytest.approx(np.mean(pairs))


def test_one_number_has_no_neighbour():
    with pytest.raises(ValueError, match="fewer than two rows have a number"):
        nearest_difference(np.ones((2, 2)), np.array([1.0, np.nan]))
