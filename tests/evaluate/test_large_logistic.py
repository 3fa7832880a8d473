"""Logistic regression of large problems: the optimum that scikit-learn finds, in fewer passes."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression

from mscon.evaluate import estimators, large_logistic
from mscon.evaluate.large_logistic import LargeLogistic, is_large, uncorrelated
from mscon.evaluate.linear import GRID, linear_probe


def problem(rows: int = 1_500, width: int = 24, classes: int = 12, seed: int = 0):
    """Classes of different sizes, and features that differ a hundredfold in how much they vary together."""
    generator = np.random.default_rng(seed)
    share = np.arange(1, classes + 1) / np.arange(1, classes + 1).sum()
    y = generator.choice(classes, size=rows, p=share)
    mix = generator.normal(size=(width, width)) * np.geomspace(1, 0.01, width)[:, None]
    x = (generator.normal(size=(classes, width))[y] + generator.normal(size=(rows, width))) @ mix
    return (x - x.mean(axis=0)) / x.std(axis=0), y


def objective(logits, weights, y, strength) -> float:
    top = logits.max(axis=1, keepdims=True)
    total = np.log(np.exp(logits - top).sum(axis=1)) + top[:, 0]
    return float((total - logits[np.arange(len(y)), y]).mean() + strength / 2 * (weights**2).sum())


def weights_of(model: LargeLogistic) -> np.ndarray:
    return (model._directions @ model._weights).numpy()


def test_choices_reach_the_optimum_of_scikit_learn_at_every_strength():
    x, y = problem()
    model = LargeLogistic("softmax")
    for strength in GRID:
        model.fit(x, y, strength)
        exact = LogisticRegression(C=1 / (strength * len(y)), tol=1e-6, max_iter=5_000).fit(x, y)
        least = objective(exact.decision_function(x), exact.coef_, y, strength)
        reached = objective(model.logits(x), weights_of(model), y, strength)
        assert model.has_converged
        assert least - 1e-6 <= reached <= least + 3e-3
        assert (model.logits(x).argmax(axis=1) == exact.predict(x)).mean() > 0.97


def test_yes_or_no_reaches_the_optimum_of_each_output_alone():
    x, y = problem()
    has = np.stack([y % 2 == 0, y > 8, y == 0], axis=1)
    model = LargeLogistic("sigmoid")
    for strength in GRID:
        model.fit(x, has, strength)
        for output in range(3):
            exact = LogisticRegression(C=1 / (strength * len(y)), tol=1e-6, max_iter=5_000).fit(x, has[:, output])
            difference = np.abs(model.probabilities(x)[:, output] - exact.predict_proba(x)[:, 1])
            assert difference.mean() < 0.01 and difference.max() < 0.1


def counting(monkeypatch) -> list[int]:
    """A number that each pass over the rows raises by 1."""
    passes, loss = [0], LargeLogistic._loss

    def counted(self, *arguments):
        passes[0] += 1
        return loss(self, *arguments)

    monkeypatch.setattr(LargeLogistic, "_loss", counted)
    return passes


def test_features_that_are_uncorrelated_need_no_rotation(monkeypatch):
    passes = counting(monkeypatch)
    x, y = problem()
    counts, logits = [], []
    for features, rotate in ((x, True), (uncorrelated(x), False), (x, False)):
        passes[0], model = 0, LargeLogistic("softmax", rotate=rotate)
        model.fit(features, y, 0.01)
        counts.append(passes[0])
        logits.append(model.logits(features))
    np.testing.assert_allclose(logits[1], logits[0], atol=0.1)
    assert counts[1] <= counts[0] + 2 and counts[1] < counts[2]


def test_a_looser_tolerance_takes_fewer_passes(monkeypatch):
    passes = counting(monkeypatch)
    x, y = problem()
    counts = []
    for tolerance in (1e-7, 3e-6):
        passes[0] = 0
        LargeLogistic("softmax", tolerance=tolerance).fit(x, y, 0.01)
        counts.append(passes[0])
    assert counts[1] < counts[0]


def test_it_takes_fewer_passes_than_scikit_learn_where_features_are_ill_conditioned(monkeypatch):
    passes = counting(monkeypatch)
    x, y = problem()
    model, exact = LargeLogistic("softmax"), LogisticRegression(warm_start=True, tol=1e-4, max_iter=500)
    counts = []
    for strength in GRID:
        model.fit(x, y, strength)
        iterations = int(exact.set_params(C=1 / (strength * len(y))).fit(x, y).n_iter_[0])
        counts.append((passes[0], iterations))
    assert counts[0][0] < counts[0][1] / 3  # measured: 7 and 33
    assert passes[0] < sum(iterations for _, iterations in counts)  # 162 and 220, to a tolerance made for few outputs


@pytest.mark.parametrize("kind", ["class", "two classes", "rank", "labels"])
def test_a_probe_of_a_large_problem_scores_within_points_of_the_exact_one(kind, monkeypatch):
    x, codes = problem(rows=2_400)
    y = {
        "class": codes,
        "two classes": (codes > 7).astype(np.int64),
        "rank": np.minimum(codes, 4).astype(float),
        "labels": np.stack([codes % 2 == 0, codes > 8], axis=1).astype(float),
    }[kind]
    names = [f"n{i:02d}" for i in range({"class": 12, "rank": 5}.get(kind, 2))]
    tolerance = 0.002 if kind == "two classes" else 0.012  # of 600 rows: 0.3 points of 100,000
    kind = "class" if kind == "two classes" else kind
    parts = [part for a, b in ((0, 1_400), (1_400, 1_800), (1_800, 2_400)) for part in (x[a:b], y[a:b])]
    exact = linear_probe(kind, *parts, names)
    monkeypatch.setattr(estimators, "is_large", lambda rows, width, outputs: True)
    large = linear_probe(kind, *parts, names)
    np.testing.assert_array_equal(large.rows, exact.rows)
    assert large.predicted.dtype == exact.predicted.dtype
    for measure, values in exact.scores.items():
        assert large.scores[measure].mean() == pytest.approx(values.mean(), abs=tolerance)
    assert large.converged


def test_which_problems_are_large():
    assert not is_large(4_400, 1_280, 26)
    assert not is_large(35_000, 512, 21)
    assert is_large(70_000, 384, 2)
    assert is_large(70_000, 384, 1_208)
    assert large_logistic.LARGE == 1e9


def test_of_many_classes_smaller_problems_are_large():
    assert not is_large(500, 256, 454)
    assert not is_large(5_400, 256, 99)
    assert is_large(5_400, 256, 454)
