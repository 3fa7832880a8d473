"""A mix says how much each similarity counts."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.errors import RunError
from mscon.search.mix import Mix

NAMES = ("closure", "category", "heel")


def test_without_a_mix_all_count_alike():
    assert Mix.of(None, NAMES).shares == pytest.approx([1 / 3] * 3)


def test_what_a_mix_leaves_out_counts_nothing():
    assert Mix.of("closure=1,category=0.5", NAMES).weights == (1.0, 0.5, 0.0)
    assert Mix.of({"heel": 2}, NAMES).weights == (0.0, 0.0, 2.0)


def test_spaces_between_do_not_matter_and_names_may_hold_an_equals_sign():
    assert Mix.of(" a=b = 1 , c=2", ("a=b", "c")).weights == (1.0, 2.0)


@given(st.lists(st.floats(0, 1e308), min_size=1, max_size=5).filter(any), st.floats(1e-3, 1e3))
def test_only_proportions_matter(weights, factor):
    names = [f"s{n}" for n in range(len(weights))]
    shares = Mix.of(dict(zip(names, weights, strict=True)), names).shares
    assert shares.sum() == pytest.approx(1)
    assert np.isfinite(shares).all() and (shares >= 0).all()
    scaled = [weight * factor for weight in weights]
    if all(map(math.isfinite, scaled)) and any(scaled) and max(weights) > 1e-300:
        again = Mix.of(dict(zip(names, scaled, strict=True)), names).shares
        np.testing.assert_allclose(again, shares, atol=1e-9)


def test_what_is_printed_reads_back():
    mix = Mix.of("closure=1,heel=0.25", NAMES)
    assert Mix.of(str(mix), NAMES) == mix
    assert Mix.of(mix, NAMES) == mix


@pytest.mark.parametrize(
    ("weights", "words"),
    [
        ("closur=1", r"no similarity 'closur'. Did you mean 'closure'"),
        ("closure=-1", "'closure' is negative"),
        ("closure=nan", "'closure' is not finite"),
        ("closure=inf", "'closure' is not finite"),
        ("closure=-inf", "'closure' is not finite"),
        ("closure=much", "'much', which is no number"),
        ("closure=0,heel=0", "every weight is 0"),
        ("closure=1,closure=2", "'closure' stands there twice"),
        ("closure", "'closure' has no weight"),
        ("", "it is empty"),
        ({}, "it is empty"),
        ({"heel": None}, "None, which is no number"),
        ({"heel": 10**400}, "no number"),
    ],
)
def test_what_cannot_be_meant_is_told_with_what_there_is(weights, words):
    with pytest.raises(RunError, match=words) as caught:
        Mix.of(weights, NAMES)
    assert "Similarities here: 'closure', 'category', 'heel'" in str(caught.value)


@pytest.mark.parametrize(("names", "example"), [(("hue", "tone", "size"), "hue=1,tone=0.5"), (("hue",), "hue=1")])
def test_the_example_of_a_mix_has_names_of_the_run(names, example):
    with pytest.raises(RunError, match=f"A mix is written {example}: ") as caught:
        Mix.of("closure=1", names)
    assert "category" not in str(caught.value)


def test_all_complaints_come_at_once():
    with pytest.raises(RunError) as caught:
        Mix.of("closur=1,heel=-1,category", NAMES)
    for words in ("'closur'", "'heel' is negative", "'category' has no weight"):
        assert words in str(caught.value)
