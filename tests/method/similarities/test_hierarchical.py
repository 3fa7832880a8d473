"""Hierarchical: paths, several columns, and what a path cut short leaves open."""

from __future__ import annotations

import pytest

from mscon.errors import RecipeError, TableError
from mscon.method.pairs import Pairs
from mscon.method.similarities.base import joined
from mscon.method.similarities.hierarchical import Hierarchical

TREE = ["boots/ankle/chelsea", "boots/ankle/desert", "boots/knee/riding", "sandals", "boots/ankle"]


def compared(kind: Hierarchical, one: str | None, other: str | None) -> float | None:
    """The weight, or None where nothing is known."""
    codes = kind.encode([one, other])
    pairs: Pairs = kind.compare(codes[:1], codes[1:])
    return pairs.weight.item() if pairs.known.item() else None


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("boots/ankle/chelsea", "boots/ankle/chelsea", 1),
        ("boots/ankle/chelsea", "boots/ankle/desert", 2 / 3),
        ("boots/ankle/chelsea", "boots/knee/riding", 1 / 3),
        ("boots/ankle/chelsea", "sandals", 0),
        ("boots/ankle", "boots/knee/riding", 1 / 3),  # they part where both say something
        ("boots/ankle", "boots/ankle/chelsea", None),  # an ankle boot of unknown kind may be a chelsea
        ("boots/ankle", "boots/ankle", None),
        ("boots/ankle", "sandals", 0),
        ("sandals", "sandals", 1),  # none goes on from there, so there is nothing to say
        ("boots/ankle/chelsea", "boots/ankle/never seen", None),
        ("boots/never seen/chelsea", "boots/knee/riding", None),
        ("never seen", "sandals", None),
        (None, "sandals", None),
    ],
)
def test_weights_are_the_share_of_levels_in_common(one, other, expected):
    kind = Hierarchical.fit("kind", TREE, range(5))
    result = compared(kind, one, other)
    assert result == (expected if expected is None else pytest.approx(expected))


def test_equal_names_under_different_classes_are_different():
    kind = Hierarchical.fit("kind", ["boots/other", "sandals/other"], [2, 3])
    assert compared(kind, "boots/other", "sandals/other") == 0


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        (("shoes", "boots"), ("shoes", "boots"), 1),
        (("shoes", "boots"), ("shoes", "clogs"), 0.5),
        (("shoes", None), ("shoes", "clogs"), None),
        (("bags", None), ("bags", None), None),  # an empty cell is missing, also where no row fills it
        (("bags", None), ("shoes", None), 0),
        ((None, "boots"), ("shoes", "boots"), None),
    ],
)
def test_several_columns_are_levels_from_coarse_to_fine(one, other, expected):
    coarse, fine = ["shoes", "shoes", "bags"], ["boots", "clogs", None]
    kind = Hierarchical.fit("fine", joined([coarse, fine]), [2, 3, 4], under=["coarse"])
    assert kind.columns == ("coarse", "fine")
    assert kind.levels == 2
    cells = joined([[one[0], other[0]], [one[1], other[1]]])
    assert compared(kind, *cells) == expected


def test_a_slash_within_several_columns_separates_nothing():
    kind = Hierarchical.fit("fine", joined([["a/b", "a/b"], ["c", "d"]]), [2, 3], under=["coarse"])
    assert kind.paths == (("a/b", "c"), ("a/b", "d"))


def test_every_path_with_an_empty_part_is_listed_with_its_line():
    cells = ["boots/ankle", "/boots", "boots//chelsea", None, "boots/", "/", "sandals"]
    with pytest.raises(TableError) as raised:
        Hierarchical.fit("kind", cells, range(2, 9))
    message = str(raised.value)
    assert "column 'kind': 4 of 6 cells are paths with an empty part: line 3 '/boots', line 4 " in message
    assert "line 6 'boots/', line 7 '/'" in message


def test_a_separator_is_a_setting():
    kind = Hierarchical.fit("kind", ["boots > ankle", "boots > knee"], [2, 3], separator=">")
    assert kind.paths == (("boots", "ankle"), ("boots", "knee"))


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"separator": ""}, "separator must be text"),
        ({"under": ["kind"]}, "under must name other columns"),
        ({"under": ["a", "a"]}, "under must name other columns"),
    ],
)
def test_settings_that_cannot_be_meant_are_refused(settings, words):
    with pytest.raises(RecipeError, match=words):
        Hierarchical.fit("kind", TREE, range(5), **settings)


@pytest.mark.parametrize(("cells", "words"), [([None], "has no value"), (["a/b", "a/b"], "one path only, 'a/b'")])
def test_a_column_that_tells_nothing_apart_is_refused(cells, words):
    with pytest.raises(TableError, match=words):
        Hierarchical.fit("kind", cells, range(len(cells)))


def test_a_control_character_among_several_columns_is_named():
    cells = joined([["a", "b\x1fc"], ["x", "y"]])
    with pytest.raises(TableError, match="1 of 2 cells is with a control character"):
        Hierarchical.fit("fine", cells, [2, 3], under=["coarse"])


def test_a_probe_is_asked_for_the_finest_class():
    kind = Hierarchical.fit("kind", TREE, range(5))
    assert kind.target_names == ("boots/ankle/chelsea", "boots/ankle/desert", "boots/knee/riding", "sandals")
    assert kind.target(["sandals", "boots/ankle", "boots/knee/riding", None]).tolist() == [3, -1, 2, -1]
