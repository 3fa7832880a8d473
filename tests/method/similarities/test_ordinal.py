"""Ordinal: levels in an order."""

from __future__ import annotations

import math

import pytest
import torch

from mscon.errors import RecipeError, TableError
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.ordinal import Ordinal

LEVELS = ["little", "mild", "severe"]


def test_weights_fall_by_equal_steps():
    kind = Ordinal.fit("damage", ["mild", "severe", "little"], [2, 3, 4], levels=LEVELS)
    codes = kind.encode(LEVELS)
    assert kind.compare(codes, codes).weight.tolist() == [[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]]


def test_numbers_are_sorted_as_numbers_and_spellings_of_one_are_one_level():
    kind = Ordinal.fit("stars", ["10", "9", "-1", "9.0", None], range(5))
    assert kind.levels == ("-1", "9", "10")
    assert kind.encode(["10", "9.0", None, "3", "-1.00"]).tolist() == [2, 1, -1, -1, 0]


def test_a_level_of_the_recipe_needs_no_training_row():
    kind = Ordinal.fit("damage", ["mild", "severe"], [2, 3], levels=LEVELS)
    assert kind.encode(["little"]).tolist() == [0]


def test_two_levels_are_two_classes():
    cells = ["yes", "no", None, "yes"]
    ordinal = Ordinal.fit("c", cells, range(4), levels=["no", "yes"])
    categorical = Categorical.fit("c", cells, range(4))
    a, b = ordinal.encode(cells), categorical.encode(cells)
    ours, theirs = ordinal.compare(a, a), categorical.compare(b, b)
    assert torch.equal(ours.known, theirs.known)
    assert torch.equal(ours.weight * ours.known, theirs.weight * theirs.known)


def test_every_unknown_level_is_listed_with_its_line():
    with pytest.raises(TableError) as raised:
        Ordinal.fit("damage", ["mild", "Severe", None, "n/a"], [2, 3, 4, 5], levels=LEVELS)
    message = str(raised.value)
    assert "column 'damage': 2 of 3 cells are not levels: line 3 'Severe', line 5 'n/a'." in message
    assert "Levels in the recipe: little, mild, severe." in message


def test_names_need_an_order():
    with pytest.raises(TableError, match=r"2 of 2 cells are not numbers: line 2 'low', line 3 'high'") as raised:
        Ordinal.fit("damage", ["low", "high"], [2, 3])
    assert 'levels = ["low", "middle", "high"]' in str(raised.value)


@pytest.mark.parametrize("levels", [["a"], ["a", "b", "a"]])
def test_levels_must_be_two_or_more_that_differ(levels):
    with pytest.raises(RecipeError, match="two or more that differ"):
        Ordinal.fit("damage", ["a", "b"], [2, 3], levels=levels)


@pytest.mark.parametrize(("cells", "words"), [([None], "has no value"), (["4", "4.0"], "one level only")])
def test_a_column_that_tells_nothing_apart_is_refused(cells, words):
    with pytest.raises(TableError, match=words):
        Ordinal.fit("stars", cells, range(len(cells)))


def test_a_probe_is_asked_for_the_rank():
    kind = Ordinal.fit("damage", LEVELS, [2, 3, 4], levels=LEVELS)
    target = kind.target(["severe", None])
    assert target[0] == 2
    assert math.isnan(target[1])
    assert kind.target_names == tuple(LEVELS)
