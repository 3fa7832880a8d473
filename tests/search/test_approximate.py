"""Approximate search: what it finds is scored exactly, and what it costs is known."""

from __future__ import annotations

import builtins
import importlib

import numpy as np
import pytest

import mscon
from mscon.errors import RunError
from mscon.search import approximate as module
from mscon.search.approximate import Approximate, recall_of
from mscon.search.spaces import Spaces, unit

pytest.importorskip("faiss", reason="FAISS is an extra")

SHARES = np.array([0.6, 0.3, 0.1])


@pytest.fixture(scope="module")
def spaces() -> Spaces:
    generator = np.random.default_rng(0)
    middles = generator.standard_normal((3, 20, 8))
    rows = middles[:, generator.integers(0, 20, 4_000)] + 0.4 * generator.standard_normal((3, 4_000, 8))
    return Spaces(unit(rows).astype(np.float32))


@pytest.fixture(scope="module")
def lists(spaces: Spaces) -> Approximate:
    return Approximate(spaces, recall=0.9, lists=40)


def test_visiting_every_list_finds_what_exact_search_finds(spaces, lists):
    queries = spaces.vectors(np.arange(50)).transpose(1, 0, 2)
    exact = spaces.nearest_of(queries, SHARES, 5)
    found = lists.nearest_of(queries, SHARES, 5, probes=40)
    for some, best in zip(found, exact, strict=True):
        assert some.rows.tolist() == best.rows.tolist()
        assert some.scores.tolist() == best.scores.tolist()


def test_the_lists_visited_are_the_fewest_powers_of_two_that_give_the_recall(spaces, lists):
    assert set(lists.recall) == {"equal", "only 0", "only 1", "only 2"}
    asked = np.random.default_rng(1).choice(4_000, 64, replace=False)  # those of the calibration
    queries, shares = spaces.vectors(asked).transpose(1, 0, 2), np.full(3, 1 / 3)
    exact = spaces.nearest_of(queries, shares, 10)
    assert lists.recall["equal"] >= 0.9
    assert recall_of(lists.nearest_of(queries, shares, 10), exact) == lists.recall["equal"]
    if lists.probes["equal"] > 1:
        fewer = lists.nearest_of(queries, shares, 10, probes=lists.probes["equal"] // 2)
        assert recall_of(fewer, exact) < 0.9


def test_a_mix_of_one_similarity_visits_at_least_as_many_lists(lists):
    assert lists.visited(np.array([1.0, 0, 0])) == max(lists.probes.values()) >= lists.visited(np.full(3, 1 / 3))


def test_lists_pay_where_few_are_visited(lists, monkeypatch):
    even, alone = np.full(3, 1 / 3), np.array([1.0, 0, 0])
    monkeypatch.setattr(lists, "probes", {"equal": 10, "only 0": 11})
    assert lists.pays(even) and not lists.pays(alone)


def test_a_mask_holds(spaces, lists):
    keep = np.random.default_rng(0).random(4_000) < 0.3
    found = lists.nearest(spaces.vectors([7])[:, 0], SHARES, 30, keep)
    assert len(found) == 30 and keep[found.rows].all()


def test_recall_counts_rows_that_score_as_high_as_the_last(spaces):
    exact = spaces.nearest_of(spaces.vectors([0]).transpose(1, 0, 2), SHARES, 10)
    assert recall_of(exact, exact) == 1.0
    few = [type(exact[0])(exact[0].rows[:4], exact[0].scores[:4], exact[0].by_space[:4])]
    assert recall_of(few, exact) == pytest.approx(0.4)


def test_small_runs_are_searched_exactly_and_large_ones_by_lists(run, monkeypatch):
    index = mscon.open_index(run)
    assert index.search(5, approximate=True).exact
    monkeypatch.setattr(module, "FROM_ROWS", 10)
    monkeypatch.setattr(Approximate, "pays", lambda self, shares: shares[0] < 0.9)
    monkeypatch.setattr(index, "approximate", Approximate(index.spaces, recall=1.0, lists=2))
    hits = index.search(5, k=5, approximate=True)
    assert not hits.exact
    assert hits.hits == index.search(5, k=5).hits
    assert index.search(5, k=5, mix="kind=1", approximate=True).exact
    few = index.search(5, k=5, filters=["year=1990", "split=test"], approximate=True)
    assert few.exact  # of few rows the lists that are visited may hold none


def test_without_faiss_one_is_told_how_to_get_it(spaces, monkeypatch):
    real = builtins.__import__

    def without(name, *arguments):
        if name == "faiss":
            raise ImportError(name)
        return real(name, *arguments)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(RunError, match=r'pip install "mscon\[faiss\]"'):
        Approximate(spaces)


def test_callers_mistakes_are_told_with_the_value(spaces, lists):
    with pytest.raises(ValueError, match=r"got 1\.5"):
        Approximate(spaces, recall=1.5)
    with pytest.raises(ValueError, match="4000 rows, too few for 5000 lists"):
        Approximate(spaces, lists=5_000)
    with pytest.raises(ValueError, match="got 0"):
        lists.nearest(spaces.vectors([0])[:, 0], SHARES, 0)


def test_what_another_library_puts_in_faiss_does_not_hurt(spaces, lists):
    """pytorch-metric-learning imports this module, which replaces methods of FAISS in the whole process."""
    importlib.import_module("faiss.contrib.torch_utils")
    test_visiting_every_list_finds_what_exact_search_finds(spaces, lists)
    assert Approximate(spaces, recall=0.9, lists=40).recall == lists.recall  # built and calibrated afterwards
