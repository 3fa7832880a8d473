"""Which columns tell each other: functions, one way and both, and chance that must not count."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
from sklearn.metrics import normalized_mutual_info_score

from mscon.data.check.dependence import classes_of, dependence, dependences, tenths_of

G = np.random.default_rng(0)
FINE = G.integers(40, size=2_000)


def test_a_function_is_told_one_way_only():
    result = dependence("fine", "coarse", FINE, FINE // 10)
    assert result.a_tells_b == pytest.approx(1.0)
    assert result.b_tells_a == pytest.approx(np.log(4) / np.log(40), abs=0.02)
    assert result.majority[0] == 1.0
    assert result.nmi < 0.6


def test_other_names_for_the_same_classes_are_told_both_ways():
    result = dependence("a", "b", FINE, (FINE * 7 + 3) % 40)
    assert (result.a_tells_b, result.b_tells_a, result.nmi) == pytest.approx((1.0, 1.0, 1.0))


def test_columns_that_have_nothing_to_do_with_each_other_tell_nothing():
    result = dependence("a", "b", FINE, G.integers(4, size=2_000))
    assert max(result.a_tells_b, result.b_tells_a, result.nmi) < 0.02


def test_many_classes_on_few_rows_tell_nothing_by_chance():
    """Where every row has a class of its own it determines all others, and says nothing."""
    alone, other = np.arange(200), G.integers(4, size=200)
    result = dependence("id", "b", alone, other)
    assert (result.a_tells_b, result.b_tells_a) == (0.0, 0.0)
    half = dependence("half", "b", np.arange(200) // 2, other)
    assert half.a_tells_b < 0.15, "unadjusted it is about 0.6"


def test_where_chance_tells_little_the_number_is_that_of_scikit_learn():
    x, noisy = FINE % 4, np.where(G.random(2_000) < 0.8, FINE % 4, G.integers(4, size=2_000))
    assert dependence("a", "b", x, noisy).nmi == pytest.approx(normalized_mutual_info_score(x, noisy), abs=0.01)


def test_rows_without_one_of_both_do_not_count():
    holes = FINE.copy()
    holes[::2] = -1
    result = dependence("a", "b", holes, FINE)
    assert result.rows == 1_000
    assert result.nmi == pytest.approx(1.0)
    assert dependence("a", "b", np.full(5, -1), np.arange(5)).rows == 0


def test_only_strong_pairs_are_listed_the_strongest_first():
    columns = {"noise": G.integers(3, size=2_000), "fine": FINE, "coarse": FINE // 10, "same": FINE}
    result = dependences(columns, at_least=0.8)
    assert {(d.a, d.b) for d in result} == {("fine", "coarse"), ("fine", "same"), ("coarse", "same")}
    strength = [max(d.a_tells_b, d.b_tells_a) for d in result]
    assert strength == sorted(strength, reverse=True)


def test_pairs_that_cannot_reach_the_share_are_left_out_early_and_no_others():
    draw = np.random.default_rng(1)
    columns = {str(n): draw.integers(-1, 2 + n % 5, size=40) for n in range(8)}
    columns |= {f"like {n}": np.where(draw.random(40) < 0.1 * n, 0, columns[str(n)]) for n in range(8)}
    every = [dependence(a, b, columns[a], columns[b]) for a, b in combinations(columns, 2)]
    for at_least in (0.0, 0.3, 0.6, 0.9, 1.0):
        strong = {(d.a, d.b) for d in every if max(d.a_tells_b, d.b_tells_a) >= at_least and d.rows}
        assert {(d.a, d.b) for d in dependences(columns, at_least)} == strong


def test_numbers_are_cut_into_tenths():
    codes = tenths_of(np.array([*range(100), np.nan]))
    assert np.bincount(codes[:-1]).tolist() == [10] * 10
    assert codes[-1] == -1
    assert classes_of(["b", None, "a"]).tolist() == [1, -1, 0]
