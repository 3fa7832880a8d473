"""Continuous: numbers, the width within which they are alike, and cells that are none."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mscon.errors import RecipeError, TableError
from mscon.method.similarities.continuous import Continuous, default_width, number_of


@pytest.mark.parametrize("cell", ["4.5", "-3", "+.5", "5.", "1e3", " 7 "])
def test_numbers_are_read(cell):
    assert number_of(cell) == float(cell)


@pytest.mark.parametrize("cell", ["nan", "inf", "1e999", "4,5", "4.5 cm", "1_000", "٣", "0x10", "", "tall"])
def test_what_only_python_takes_for_a_number_is_none(cell):
    assert number_of(cell) is None


def test_weights_fall_with_the_difference_in_the_columns_unit():
    kind = Continuous.fit("heel", ["0", "2", "4", "6"], range(4), width=2.0)
    codes = kind.encode(["0", "2", "4", "100"])
    expected = [1, math.exp(-0.5), math.exp(-2), 0]
    torch.testing.assert_close(kind.compare(codes[:1], codes).weight[0], torch.tensor(expected))


def test_large_numbers_with_small_differences_are_told_apart():
    seconds = [str(1_700_000_000 + i) for i in range(5)]
    kind = Continuous.fit("taken", seconds, range(5), width=1.0)
    codes = kind.encode(seconds)
    assert kind.compare(codes, codes).weight[0, 1].item() == pytest.approx(math.exp(-0.5))


def test_every_cell_that_is_no_number_is_listed_with_its_line():
    cells = ["4.5", "tall", None, "1,5", "3", "nan"]
    with pytest.raises(TableError) as raised:
        Continuous.fit("heel", cells, [2, 3, 4, 5, 6, 7])
    message = str(raised.value)
    assert "column 'heel': 3 of 5 cells are not numbers: line 3 'tall', line 5 '1,5', line 7 'nan'." in message
    assert "with a point" in message


def test_of_many_malformed_cells_twenty_are_shown_and_all_are_counted():
    with pytest.raises(TableError) as raised:
        Continuous.fit("heel", ["x"] * 30, range(2, 32))
    assert "30 of 30 cells are not numbers" in str(raised.value)
    assert "line 21 'x' and 10 more" in str(raised.value)
    assert "line 22" not in str(raised.value)


def test_a_single_malformed_cell_reads_like_one():
    with pytest.raises(TableError, match="1 of 2 cells is not a number: line 3 'x'"):
        Continuous.fit("heel", ["4", "x"], [2, 3])


@pytest.mark.parametrize(("cells", "words"), [([None], "has no value"), (["4", "4.0"], "one value only, 4")])
def test_a_column_that_tells_nothing_apart_is_refused(cells, words):
    with pytest.raises(TableError, match=words):
        Continuous.fit("heel", cells, range(len(cells)))


@pytest.mark.parametrize("width", [0.0, -1.0, math.inf, math.nan])
def test_a_width_must_be_positive(width):
    with pytest.raises(RecipeError, match="width must be positive"):
        Continuous.fit("heel", ["4", "5"], [2, 3], width=width)


def test_the_default_width_is_silvermans_rule():
    values = np.random.default_rng(0).normal(size=10_000)
    assert default_width(values) == pytest.approx(0.9 * 10_000**-0.2, rel=0.05)


@given(st.floats(1e-6, 1e6), st.floats(-1e6, 1e6))
@settings(deadline=None, derandomize=True)
def test_the_default_width_is_in_the_unit_of_the_column(factor, shift):
    values = np.random.default_rng(0).normal(size=50)
    assert default_width(values * factor + shift * factor) == pytest.approx(default_width(values) * factor, rel=1e-6)


def test_outliers_hardly_move_the_default_width():
    values = np.random.default_rng(0).normal(size=1_000)
    spoilt = np.concatenate([values, np.full(20, 1e6)])
    assert default_width(spoilt) == pytest.approx(default_width(values), rel=0.1)


def test_a_column_of_mostly_one_value_still_has_a_width():
    kind = Continuous.fit("price", ["0"] * 90 + ["1"] * 10, range(100))
    assert kind.width == pytest.approx(0.9 * 0.3 * 100**-0.2)


def test_values_beyond_all_measure_are_alike_to_themselves_only():
    kind = Continuous("y", width=1e-300, centre=0.0)
    codes = kind.encode(["1e300", "-1e300", "1e300"])
    weight = kind.compare(codes, codes).weight
    assert weight.tolist() == [[1, 0, 1], [0, 1, 0], [1, 0, 1]]


def test_numbers_that_cannot_be_reckoned_with_are_refused():
    with pytest.raises(TableError, match="more than can be reckoned with"):
        Continuous.fit("y", ["1.7e308", "1.7e308", "-1.7e308", "5"], range(4))


def test_a_probe_is_asked_for_the_value():
    target = Continuous("y", 2.0, 5.0).target(["4.5", None])
    assert target[0] == 4.5
    assert math.isnan(target[1])
