"""Head diversity: the measure against a slow one, and words that call a failure a failure."""

from __future__ import annotations

import json
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mscon.evaluate.report.gather import gather
from mscon.evaluate.report.heads import Diversity, diversity, explain
from mscon.evaluate.report.page import build_report
from mscon.model.cka import cka_matrix, label_cka, linear_cka
from mscon.run.run import Run

NAMES = ("character", "slant", "weight")


def slow_cka(a: np.ndarray, b: np.ndarray) -> float:
    """By Gram matrices, entry by entry: HSIC(K, L) / sqrt(HSIC(K, K) HSIC(L, L))."""
    rows = len(a)
    kernels = []
    for vectors in (a, b):
        kernel = [[sum(x * y for x, y in zip(p, q, strict=True)) for q in vectors] for p in vectors]
        means = [sum(line) / rows for line in kernel]
        mean = sum(means) / rows
        kernels.append([[kernel[i][j] - means[i] - means[j] + mean for j in range(rows)] for i in range(rows)])

    def hsic(k: list[list[float]], m: list[list[float]]) -> float:
        return sum(k[i][j] * m[i][j] for i in range(rows) for j in range(rows))

    first, second = kernels
    return hsic(first, second) / (hsic(first, first) * hsic(second, second)) ** 0.5


def vectors(rows: int, dim: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=(rows, dim)).astype(np.float32)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(3, 9), st.integers(1, 4), st.integers(1, 4), st.integers(0, 99))
def test_the_measure_is_that_of_gram_matrices(rows, p, q, seed):
    a, b = vectors(rows, p, seed), vectors(rows, q, seed + 100)
    assert linear_cka(a, b) == pytest.approx(slow_cka(a.astype(float), b.astype(float)), abs=1e-9)


@settings(deadline=None, derandomize=True, max_examples=30)
@given(st.integers(4, 30), st.integers(2, 5), st.floats(0.01, 100), st.integers(0, 99))
def test_a_turned_scaled_and_shifted_space_is_the_same_space(rows, dim, scale, seed):
    a = vectors(rows, dim, seed).astype(np.float64)
    turn, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(dim, dim)))
    assert linear_cka(a, scale * a @ turn + 3) == pytest.approx(1.0, abs=1e-6)


def test_spaces_of_unrelated_classes_have_nothing_in_common():
    a, b = np.divmod(np.arange(400), 20)
    assert linear_cka(np.eye(20)[a], np.eye(20)[b]) == pytest.approx(0.0, abs=1e-12)


def test_a_space_that_is_one_point_has_no_value():
    still = np.full((20, 4), 0.3, dtype=np.float32)
    assert linear_cka(still, vectors(20, 4, 0)) is None
    matrix = cka_matrix([vectors(20, 4, 0), still])
    assert matrix == ((1.0, None), (None, None))


def test_labels_are_compared_over_rows_that_have_both():
    first = ["a", "a", "b", "b", None, "a"] * 4
    same = ["x", "x", "y", "y", "y", None] * 4
    assert label_cka(first, same) == pytest.approx(1.0)
    assert label_cka(first, None) is None
    assert label_cka([str(i) for i in range(24)], same) is None  # a label for each row is no class
    assert label_cka([None] * 24, same) is None


def matrix(*pairs: float) -> list[list[float | None]]:
    a, b, c = pairs
    return [[1.0, a, b], [a, 1.0, c], [b, c, 1.0]]


@pytest.mark.parametrize(
    ("values", "labels", "failed", "words"),
    [
        (matrix(0.1, 0.3, 0.2), {}, False, "The spaces differ: .*character and weight"),
        (matrix(0.1, 0.3, 0.7), {(1, 2): 0.2}, False, "differ in part.*slant and weight.*labels themselves 0.20"),
        (matrix(0.99, 0.98, 0.99), {}, True, "Warning: all heads have the same space"),
        (matrix(0.99, 0.2, 0.2), {(0, 1): 0.01}, True, "Warning: character and slant.*though their labels differ"),
        (matrix(0.99, 0.2, 0.2), {(0, 1): 0.97}, False, "character and slant.*their labels go together too"),
        (
            [[None, None, None], [None, 1.0, 0.1], [None, 0.1, 1.0]],
            {},
            True,
            "space of character all rows lie in one place",
        ),
    ],
)
def test_words_follow_the_numbers(values, labels, failed, words):
    text, is_failure = explain(NAMES, values, labels)
    assert is_failure is failed
    assert re.search(words, text), text
    assert text.startswith("Warning") is failed


def test_similarities_without_heads_share_a_space_without_a_fault():
    text, is_failure = explain(NAMES, matrix(1.0, 0.2, 0.2), {}, shared=(0, 1))
    assert not is_failure
    assert text.startswith("The spaces differ") and text.endswith(
        "character and slant have no heads: their space is the features."
    )
    assert explain(NAMES, matrix(0.2, 0.99, 0.2), {}, shared=(0, 1))[1]


def equal_heads(run: Run) -> Run:
    """The same run whose second space is the first, turned."""
    spaces = run.read_projections()
    turn, _ = np.linalg.qr(np.random.default_rng(0).normal(size=(spaces.shape[2], spaces.shape[2])))
    run.write_features(run.read_features(), np.stack([spaces[0], spaces[0] @ turn.astype(np.float32)]))
    return run


def of(runs: list[Run]) -> tuple[int, tuple[Diversity, ...]]:
    diversities = diversity(gather(runs))
    return diversities.rows, diversities.methods


def test_only_test_rows_are_asked_and_seeds_are_averaged(a_run, rows):
    runs = [a_run(f"m{seed}", seed=seed) for seed in range(3)]
    count, (method,) = of(runs)
    test = np.flatnonzero(rows["split"].to_numpy() == "test")
    assert count == len(test)
    by_seed = [linear_cka(*run.read_projections()[:, test]) for run in runs]
    entry = method.table[0][1]
    assert entry.value == pytest.approx(np.mean(by_seed))
    assert (entry.low, entry.high) == pytest.approx((min(by_seed), max(by_seed)))
    assert [matrix[0][1] for _, matrix in method.seeds] == pytest.approx(by_seed)
    assert not method.failed


def test_a_space_that_is_a_point_in_one_seed_is_a_failure(a_run):
    runs = [a_run(f"m{seed}", seed=seed) for seed in range(2)]
    spaces = runs[1].read_projections()
    runs[1].write_features(runs[1].read_features(), np.stack([spaces[0], np.ones_like(spaces[1])]))
    _, (method,) = of(runs)
    assert method.failed
    assert "in the space of slant all rows lie in one place" in method.explanation


def test_equal_heads_are_a_failure_that_the_page_says_first(a_run, tmp_path):
    path = build_report([equal_heads(a_run("same"))], tmp_path / "page.html", with_maps=False)
    text = path.read_text("utf-8")
    opening = text[: text.index('id="comparison"')]
    assert "Warning: all heads have the same space" in opening
    (method,) = json.loads(path.with_suffix(".json").read_text("utf-8"))["diversity"]["methods"]
    assert method["failed"]
    assert method["mean"][0][1] == pytest.approx(1.0, abs=1e-4)


def test_a_method_without_heads_has_one_space_and_no_fault(a_run):
    run = a_run("xent", settings=["heads.name=identity", "objective.name=cross_entropy"])
    _, (method,) = of([equal_heads(run)])
    assert not method.failed
    assert method.table == ()
    assert "This method has no heads" in method.explanation


def test_one_similarity_has_no_diversity(a_run, tmp_path):
    run = a_run("one", train_on=("character",))
    assert of([run])[1] == ()
    assert 'id="diversity"' not in build_report([run], tmp_path / "one.html", with_maps=False).read_text("utf-8")
