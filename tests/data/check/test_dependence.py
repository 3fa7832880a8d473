"""Which columns tell each other: functions, one way and both, and chance that must not count."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from mscon.data.check.dependence import classes_of, dependence, dependences, tenths_of

G = np.random.default_rng(0)
FINE = G.integers(40, size=2_000)


def test_a_function_is_told_one_way_only():
    found = dependence("fine", "coarse", FINE, FINE // 10)
    assert found.a_tells_b == pytest.approx(1.0)
    assert found.b_tells_a == pytest.approx(np.log(4) / np.log(40), abs=0.02)
    assert found.majority[0] == 1.0
    assert found.nmi < 0.6


def test_other_names_for_the_same_classes_are_told_both_ways():
    found = dependence("a", "b", FINE, (FINE * 7 + 3) % 40)
    assert (found.a_tells_b, found.b_tells_a, found.nmi) == pytest.approx((1.0, 1.0, 1.0))


def test_columns_that_have_nothing_to_do_with_each_other_tell_nothing():
    found = dependence("a", "b", FINE, G.integers(4, size=2_000))
    assert max(found.a_tells_b, found.b_tells_a, found.nmi) < 0.02


def test_many_classes_on_few_rows_tell_nothing_by_chance():
    """Where every row has a class of its own it determines all others, and says nothing."""
    own, other = np.arange(200), G.integers(4, size=200)
    found = dependence("id", "b", own, other)
    assert (found.a_tells_b, found.b_tells_a) == (0.0, 0.0)
    half = dependence("half", "b", np.arange(200) // 2, other)
    assert half.a_tells_b < 0.15, "unadjusted it is about 0.6"


def test_where_chance_tells_little_the_number_is_that_of_scikit_learn():
    x, noisy = FINE % 4, np.where(G.random(2_000) < 0.8, FINE % 4, G.integers(4, size=2_000))
    assert dependence("a", "b", x, noisy).nmi == pytest.approx(normalized_mutual_info_score(x, noisy), abs=0.01)


def test_rows_without_one_of_both_do_not_count():
    holes = FINE.copy()
    holes[::2] = -1
    found = dependence("a", "b", holes, FINE)
    assert found.rows == 1_000
    assert found.nmi == pytest.approx(1.0)
    assert dependence("a", "b", np.full(5, -1), np.arange(5)).rows == 0


def test_only_strong_pairs_are_listed_the_strongest_first():
    columns = {"noise": G.integers(3, size=2_000), "fine": FINE, "coarse": FINE // 10, "same": FINE}
    found = dependences(columns, at_least=0.8)
    assert {(d.a, d.b) for d in found} == {("fine", "coarse"), ("fine", "same"), ("coarse", "same")}
    strength = [max(d.a_tells_b, d.b_tells_a) for d in found]
    assert strength == sorted(strength, reverse=True)


def test_numbers_are_cut_into_tenths():
    codes = tenths_of(np.array([*range(100), np.nan]))
    assert np.bincount(codes[:-1]).tolist() == [10] * 10
    assert codes[-1] == -1
    assert classes_of(["b", None, "a"]).tolist() == [1, -1, 0]
