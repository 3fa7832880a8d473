"""Filters of every kind of column."""

from __future__ import annotations

import numpy as np
import pytest

import mscon
from mscon.errors import RunError
from mscon.method.agreement import shown
from mscon.method.similarities.continuous import Continuous
from mscon.search.filters import conditions, parse, rows_of
from mscon.search.index import Index


@pytest.fixture
def index(shared_index: Index) -> Index:
    return shared_index


def matching(index: Index, *texts: str) -> list[int]:
    rows_kept = rows_of(conditions(texts, index.labels), index.labels)
    assert rows_kept is not None
    return np.flatnonzero(rows_kept).tolist()


def rows_where(index: Index, column: str, holds) -> list[int]:
    cells = index.rows.get_column(column).to_list()
    return [row for row, cell in enumerate(cells) if cell is not None and holds(cell)]


def test_each_column_is_read_as_its_kind(index):
    assert {name: index.labels[name].geometry for name in index.labels.names} == {
        "kind": "class",
        "closure": "set",
        "heel": "line",
        "shape": "path",
        "size": "line",
        "gender": "class",
        "year": "class",
    }
    assert index.labels["heel"].similarity == Continuous.from_json(index.run.read_similarities()[2]["state"])
    assert index.labels["size"].levels == ("small", "middle", "large")


def test_a_class_is_equality(index):
    assert matching(index, "gender=women") == rows_where(index, "gender", lambda cell: cell == "women")


def test_a_label_is_one_of_those_in_the_cell(index):
    assert matching(index, "closure=zip") == rows_where(index, "closure", lambda cell: "zip" in cell)
    assert matching(index, "closure=zip;buckle") == rows_where(index, "closure", lambda cell: cell == "zip;buckle")


def test_a_path_is_itself_and_all_below_it(index):
    assert matching(index, "shape=wide/round") == rows_where(index, "shape", lambda cell: cell.startswith("wide/round"))
    assert matching(index, "shape=narrow") == rows_where(index, "shape", lambda cell: cell.startswith("narrow"))


@pytest.mark.parametrize(
    ("texts", "holds"),
    [
        ("heel=2..4", lambda heel: 2 <= heel <= 4),
        ("heel=2..", lambda heel: heel >= 2),
        ("heel=..2", lambda heel: heel <= 2),
        ("heel>=3", lambda heel: heel >= 3),
        ("heel > 3", lambda heel: heel > 3),
        ("heel<1", lambda heel: heel < 1),
        ("heel<=1e0", lambda heel: heel <= 1),
        ("heel=0.50", lambda heel: heel == 0.5),
    ],
)
def test_a_number_may_be_compared(index, texts, holds):
    expected = rows_where(index, "heel", lambda cell: holds(float(cell)))
    assert expected
    assert matching(index, texts) == expected


def test_levels_compare_in_their_order_not_in_that_of_the_alphabet(index):
    assert matching(index, "size>=middle") == rows_where(index, "size", lambda cell: cell in ("middle", "large"))
    assert matching(index, "size=small..middle") == rows_where(index, "size", lambda cell: cell in ("small", "middle"))


def test_classes_that_are_numbers_compare_too(index):
    assert matching(index, "year>1993") == rows_where(index, "year", lambda cell: int(cell) > 1993)


def test_the_split_can_be_asked_for(index):
    assert matching(index, "split=test") == list(range(18, 24))


def test_values_of_one_column_are_alternatives_and_columns_must_all_hold(index):
    women_or_girls = set(matching(index, "gender=women", "gender=girls"))
    assert women_or_girls == set(matching(index, "gender=women")) | set(matching(index, "gender=girls"))
    both = matching(index, "gender=women", "kind=boots")
    assert set(both) == set(matching(index, "gender=women")) & set(matching(index, "kind=boots"))


def test_comparisons_of_one_column_must_all_hold(index):
    assert matching(index, "heel>1", "heel<=2") == rows_where(index, "heel", lambda cell: 1 < float(cell) <= 2)


def test_a_missing_cell_fulfils_nothing(index):
    every = matching(index, "gender=women", "gender=men", "gender=girls")
    assert every == rows_where(index, "gender", lambda cell: True) and len(every) < len(index)


def test_a_mapping_means_the_same(index):
    labels = index.labels
    texts = {"gender": ["women", "girls"], "heel": (0.5, None), "size": (None, "middle"), "year": 1990}
    text = ["gender=women", "gender=girls", "heel=0.5..", "size=..middle", "year=1990"]
    assert conditions(texts, labels) == conditions(text, labels)
    with pytest.raises(ValueError, match="a range needs one end"):
        conditions({"heel": (None, None)}, labels)
    with pytest.raises(ValueError, match="pair"):
        conditions({"heel": (1, 2, 3)}, labels)


def test_columns_with_signs_in_their_names_are_found(run):
    index = mscon.open_index(run)
    index.labels.rows.insert_column(0, index.rows.get_column("heel").alias("heel>=cm"))
    assert str(parse("heel>=cm<=3", index.labels)) == "heel>=cm<=3"
    assert parse("heel>=cm<=3", index.labels).column == "heel>=cm"


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ("gendr=women", r"no label column 'gendr'. Did you mean 'gender'"),
        ("gender=wmen", r"no value 'wmen'. Did you mean 'women'"),
        ("gender=wmen", r"It has 'men' \(8\), 'women' \(8\), 'girls' \(4\)"),
        ("closure=zp", "Did you mean 'zip'"),
        ("shape=wide/rond", "Did you mean 'wide/round'"),
        ("gender", "has no '=' and no comparison"),
        ("=women", "has no '=' and no comparison"),
        ("gender=", "a value is missing behind '='"),
        ("gender>=women", "'gender' holds no numbers"),
        ("heel>=tall", "'tall' is no number"),
        ("size>=midle", "'midle' is no level of column 'size'. Did you mean 'middle'"),
        ("heel=4..2", "ends before it begins. Write heel=2..4"),
        ("heel=77", "It goes from 0 to 5.5; ask for a range"),
        ("heel>100", r"nothing is left of 24 rows to search in.\n  heel>100: 0 rows"),
        ("line=3", "no label column 'line'"),
    ],
)
def test_what_cannot_be_meant_is_told(index, texts, words):
    with pytest.raises(RunError, match=words):
        matching(index, texts)


def test_filters_that_leave_nothing_tell_what_each_leaves(index):
    with pytest.raises(RunError) as caught:
        matching(index, "gender=men", "year=1990")
    assert str(caught.value).splitlines() == [
        "nothing is left of 24 rows to search in.",
        "  gender=men: 8 rows",
        "  year=1990: 4 rows",
        "  all together: 0 rows",
    ]


def test_all_complaints_come_at_once(index):
    with pytest.raises(RunError, match=r"(?s)'gendr'.*'colour'"):
        matching(index, "gendr=women", "colour=red")


@pytest.mark.parametrize(
    ("column", "one", "other", "words"),
    [
        ("kind", "boots", "boots", "same"),
        ("kind", "boots", "shoes", "different"),
        ("kind", "boots", None, "unknown"),
        ("kind", None, None, "unknown"),
        ("kind", "clogs", "clogs", "same"),
        ("kind", "clogs", "boots", "different"),
        ("closure", "zip;buckle", "laces; zip", "partly 0.33"),
        ("closure", "zip;buckle", "buckle; zip", "same"),
        ("closure", "zip", "laces", "different"),
        ("shape", "wide/round", "wide", "unknown"),
        ("shape", "wide/round/deep", "wide/round/deep", "same"),
        ("shape", "wide/round/deep", "narrow", "different"),
        ("heel", "2", "3.0", "partly 0.61"),
        ("heel", "2", "2.0", "same"),
        ("heel", "2", "6", "different"),
        ("size", "small", "middle", "partly 0.50"),
    ],
)
def test_agreement_is_what_the_similarity_says(index, column, one, other, words):
    assert shown(*index.labels[column].agreement([one], [other])) == words
    assert shown(*index.labels[column].agreement([other], [one])) == words
