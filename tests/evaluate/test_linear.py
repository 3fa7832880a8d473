"""The linear probe: what it reads, what it must not look at, and what it leaves out."""

from __future__ import annotations

import warnings

import numpy as np
import pytest
from sklearn.metrics import accuracy_score, f1_score
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from mscon.evaluate import estimators, linear
from mscon.evaluate.estimators import CannotProbe
from mscon.evaluate.linear import DEFAULT, GRID, LinearResult, linear_probe
from mscon.evaluate.metrics.bootstrap import macro_f1_interval

NAMES = tuple("abcdefgh")


def blobs(rows: int, classes: int = 4, separation: float = 5.0, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    g = np.random.default_rng(seed)
    y = np.arange(rows) % classes
    centres = np.random.default_rng(99).normal(size=(classes, 10))
    return (separation * centres[y] + g.normal(size=(rows, 10))).astype(np.float32), y


def splits(separation: float = 5.0, classes: int = 4) -> list[np.ndarray]:
    parts = [blobs(n, classes, separation, seed) for seed, n in enumerate((200, 60, 80))]
    return [array for part in parts for array in part]


def probe_of(data: list[np.ndarray]) -> LinearResult:
    return linear_probe("class", *data, NAMES)


def accuracy(result: LinearResult) -> float:
    return float(result.scores["accuracy"].mean())


def same(a: LinearResult, b: LinearResult) -> bool:
    names = set(LinearResult.__slots__) - {"scores", "linear_map"}
    arrays = [(getattr(a, name), getattr(b, name)) for name in names]
    arrays += zip(a.linear_map.to_arrays().values(), b.linear_map.to_arrays().values(), strict=True)
    return all(np.array_equal(x, y) for x, y in [*arrays, (a.scores["accuracy"], b.scores["accuracy"])])


def test_separable_classes_are_all_told_apart():
    result = probe_of(splits())
    assert accuracy(result) == 1.0
    assert result.baseline == {"accuracy": 0.25}
    assert np.bincount(result.true).tolist() == [20] * 4
    assert result.converged


def test_shuffled_labels_score_about_chance():
    x, y, xv, yv, xt, yt = splits()
    shuffle = np.random.default_rng(0).permutation
    scores = [accuracy(probe_of([x, shuffle(y), xv, shuffle(yv), xt, shuffle(yt)])) for _ in range(4)]
    assert 0.15 < np.mean(scores) < 0.35


def test_scores_are_those_of_scikit_learn():
    result = probe_of(splits(separation=0.4))
    assert 0.3 < accuracy(result) < 0.9
    assert accuracy(result) == pytest.approx(accuracy_score(result.true, result.predicted))
    macro_f1 = macro_f1_interval(result.predicted, result.true).value
    assert macro_f1 == pytest.approx(f1_score(result.true, result.predicted, average="macro"))


def test_test_labels_are_looked_at_only_to_score():
    x, y, xv, yv, xt, yt = splits(separation=0.5)
    result = probe_of([x, y, xv, yv, xt, yt])
    other = probe_of([x, y, xv, yv, xt, np.random.default_rng(0).permutation(yt)])
    assert np.array_equal(result.predicted, other.predicted)
    assert result.regularisation == other.regularisation
    assert accuracy(result) > accuracy(other)


def test_each_test_row_is_predicted_on_its_own():
    x, y, xv, yv, xt, yt = splits(separation=0.5)
    of_all, of_part = probe_of([x, y, xv, yv, xt, yt]), probe_of([x, y, xv, yv, xt[10:20], yt[10:20]])
    assert np.array_equal(of_all.predicted[10:20], of_part.predicted)


def test_the_strength_is_chosen_on_the_validation_rows():
    """Where the validation labels are what the fit of one strength says, that fit must win, or tie."""
    x, y, xv, _, xt, yt = splits(separation=0.2)
    alone = {}
    for strength in GRID:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(linear, "GRID", (strength,))
            alone[strength] = probe_of([x, y, xv[:1], np.zeros(1, dtype=np.int64), xv, np.arange(60) % 4]).predicted
    regularisation_of = {}
    for strength, labels in alone.items():
        regularisation_of[strength] = probe_of([x, y, xv, labels, xt, yt]).regularisation
        # Started from one another, fits end a little elsewhere than alone: by one row of these.
        assert (alone[regularisation_of[strength]] != labels).sum() <= 1
    assert regularisation_of[GRID[0]] == GRID[0]
    assert (alone[GRID[0]] != alone[GRID[-1]]).sum() > 2, "all strengths are alike here, so nothing is tested"


def test_of_equally_good_strengths_the_strongest_is_taken():
    assert probe_of(splits()).regularisation == GRID[0]


def test_without_validation_rows_the_default_strength_is_used():
    x, y, xv, yv, xt, yt = splits()
    for none in ([xv[:0], yv[:0]], [xv, np.full_like(yv, -1)]):
        result = probe_of([x, y, *none, xt, yt])
        assert (result.regularisation, result.validation_rows, accuracy(result)) == (DEFAULT, 0, 1.0)


def test_the_penalty_does_not_depend_on_the_number_of_rows():
    """Every row twice is the same mean cross-entropy, so the same classifier."""
    x, y, xv, yv, xt, yt = splits(separation=0.5)
    once, twice = probe_of([x, y, xv, yv, xt, yt]), probe_of([np.tile(x, (2, 1)), np.tile(y, 2), xv, yv, xt, yt])
    assert once.regularisation == twice.regularisation
    assert (once.predicted == twice.predicted).mean() > 0.97


def test_missing_labels_are_as_good_as_missing_rows():
    data = splits(separation=0.5)
    masked, deleted, labelled_test_rows = [], [], np.array([])
    for seed, (x, y) in enumerate(zip(data[::2], data[1::2], strict=True)):
        missing = np.random.default_rng(seed).random(len(y)) < 0.3
        labelled_test_rows = np.flatnonzero(~missing)
        masked += [x, np.where(missing, -1, y)]
        deleted += [x[~missing], y[~missing]]
    a, b = probe_of(masked), probe_of(deleted)
    assert np.array_equal(a.rows, labelled_test_rows)
    assert np.array_equal(a.predicted, b.predicted)
    assert (a.train_rows, a.validation_rows) == (b.train_rows, b.validation_rows)
    assert a.dropped_rows == b.dropped_rows == 0


def test_classes_that_training_rows_lack_are_dropped_and_counted():
    x, y, xv, yv, xt, yt = splits()
    others = y != 1
    result = probe_of([x[others], y[others], xv, yv, xt, yt])
    assert result.names == ("a", "c", "d")
    assert (result.dropped_rows, result.validation_rows, len(result.rows)) == (20, 45, 60)
    assert 1 not in yt[result.rows]
    assert [result.names[i] for i in result.true[:4]] == [NAMES[i] for i in yt[result.rows][:4]]
    assert accuracy(result) == 1.0


def test_the_majority_is_that_of_the_training_rows():
    """Choosing it by the test rows would be looking at them."""
    x, y, xv, yv, xt, yt = splits()
    rows = np.flatnonzero((y == 2) | (np.arange(len(y)) < 40))
    assert probe_of([x[rows], y[rows], xv, yv, xt[yt != 2], yt[yt != 2]]).baseline["accuracy"] == 0.0


def test_two_classes_and_a_feature_that_never_varies_are_fine():
    data = splits(classes=2)
    for i in (0, 2, 4):
        data[i] = np.hstack([data[i], np.full((len(data[i]), 1), 0.1)])
    assert data[0].std(axis=0)[-1] != 0, "by rounding; a deviation of exactly 0 would be the easy case"
    data[4][:, -1] = 0.2  # divided by that deviation, it would swamp all other features
    assert accuracy(probe_of(data)) == 1.0


def test_a_unit_that_was_nearly_always_0_does_not_outweigh_all_others():
    """It is not 0 in one training row, by next to nothing, and far from it in one test row."""
    g = np.random.default_rng(0)
    x, unit = g.normal(size=(240, 5)), np.zeros((240, 1))
    y = x[:, 0] + 0.1 * g.normal(size=240)
    unit[3], unit[200] = 1e-4, 0.8
    parts = (slice(150), slice(150, 190), slice(190, None))
    with_it = np.concatenate([x, unit], axis=1)
    plain, result = (linear_probe("number", *[a for p in parts for a in (f[p], y[p])], ()) for f in (x, with_it))
    assert result.scores["r2"].mean() == pytest.approx(plain.scores["r2"].mean(), abs=0.1)


def test_units_of_features_do_not_matter():
    x, y, xv, yv, xt, yt = splits(separation=0.5)
    scale, shift = np.logspace(-4, 4, 10), np.linspace(-3, 3, 10)
    scaled = probe_of([x * scale + shift, y, xv * scale + shift, yv, xt * scale + shift, yt])
    assert np.array_equal(scaled.predicted, probe_of([x, y, xv, yv, xt, yt]).predicted)


def test_the_same_question_has_the_same_answer():
    assert same(probe_of(splits(separation=0.5)), probe_of(splits(separation=0.5)))


def test_a_fit_cut_short_says_so_and_warns_nobody(monkeypatch):
    monkeypatch.setattr(estimators, "_ITERATIONS", 1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not probe_of(splits(separation=0.5)).converged


def test_a_column_of_which_most_classes_have_one_row_warns_nobody():
    x, names = np.random.default_rng(0).normal(size=(40, 3)), tuple(f"n{n:02}" for n in range(30))
    codes = np.arange(40) % 30
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        linear_probe("class", x, codes, x[:5], codes[:5], x[:5], codes[:5], names)


def test_other_warnings_of_a_fit_are_passed_on(monkeypatch):
    original = estimators.LogisticRegression.fit

    def noisy(self, *arguments):
        warnings.warn("something else", RuntimeWarning, stacklevel=2)
        return original(self, *arguments)

    monkeypatch.setattr(estimators.LogisticRegression, "fit", noisy)
    with pytest.warns(RuntimeWarning, match="something else"):
        probe_of(splits())


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        (
            {1: np.zeros(200, dtype=np.int64)},
            CannotProbe,
            "at least 2 classes among the rows of split train, which has 1",
        ),
        ({5: np.full(80, -1)}, CannotProbe, "no row of split test has a label"),
        ({5: np.full(80, 7)}, CannotProbe, "no row of split test has a label"),
        ({3: np.full(60, 8)}, ValueError, r"codes must lie in -1..7, got 8..8"),
        ({2: np.full((60, 10), np.inf)}, ValueError, "validation rows are not all finite"),
    ],
)
def test_what_cannot_be_fitted_is_refused(change, error, words):
    data = [change.get(i, array) for i, array in enumerate(splits())]
    with pytest.raises(error, match=words):
        probe_of(data)


class Counts:
    """An estimator that notes with how many threads it is fitted."""

    threads = 0

    def set_params(self, **settings: float) -> None:
        pass

    def fit(self, features: np.ndarray, y: np.ndarray) -> None:
        self.threads = max(pool["num_threads"] for pool in threadpool_info())


def test_fits_have_one_thread_and_thread_pools_are_looked_for_once(monkeypatch):
    looks: list[ThreadpoolController] = []
    monkeypatch.setattr(linear, "ThreadpoolController", lambda: looks.append(ThreadpoolController()) or looks[-1])
    linear._thread_pools.cache_clear()
    x, y, *_ = splits()
    model = Counts()
    with threadpool_limits(2):
        assert max(pool["num_threads"] for pool in threadpool_info()) == 2
        assert linear._fit(model, y, x.astype(np.float64), 0.1) and model.threads == 1
        assert linear._fit(model, y, x.astype(np.float64), 0.1) and len(looks) == 1
        assert max(pool["num_threads"] for pool in threadpool_info()) == 2
    linear._thread_pools.cache_clear()
