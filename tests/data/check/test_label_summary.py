"""What a column holds, in one form for every kind, a kind of one's own among them."""

from __future__ import annotations

import numpy as np
import pytest

from cyclic import Cyclic
from mscon.data.check.label_summary import check_column, summarise
from mscon.method.similarities.base import joined
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.continuous import Continuous
from mscon.method.similarities.hierarchical import Hierarchical
from mscon.method.similarities.multi_label import MultiLabel
from mscon.method.similarities.ordinal import Ordinal


@pytest.mark.parametrize(
    ("kind", "cells", "settings", "words"),
    [
        (Categorical, ["a", "b", "a", None], {}, "2 classes"),
        (Ordinal, ["1", "3", "1.0", "2"], {}, "3 levels in order"),
        (Continuous, ["1", "2", "4", None, "1.0"], {}, "3 different numbers from 1 to 4, quartiles 1, 1.5, 2.5"),
        (Cyclic, ["23", "1", "2", None], {}, "3 different numbers from 1 to 23, quartiles 1.5, 2, 12.5"),
        (MultiLabel, ["a;b", "b", "b;a", None], {}, "2 labels, 1.67 a row, in 3 different sets"),
        (Hierarchical, ["a/x", "a/y/z", "b", None], {}, "3 paths of up to 3 levels"),
    ],
)
def test_a_column_is_said_in_the_words_of_its_kind(kind, cells, settings, words):
    summary = summarise(cells, kind.fit("x", cells, range(len(cells)), **settings))
    assert summary.words == words
    assert summary.missing_share == pytest.approx(cells.count(None) / len(cells))


def test_without_a_similarity_cells_are_classes_and_without_cells_nothing():
    assert summarise(["a", "b", None], None).words == "2 classes"
    assert summarise([None], None).words == summarise([None], Continuous("x", 1.0)).words == "no value"


def test_two_texts_of_one_level_are_one_level():
    """They train as one; and a level in other words is not a value that training does not know."""
    cells = ["1", "2", "1.0", "2.0", "7"]
    similarity = Ordinal.fit("x", cells[:2], range(2))
    column = check_column("x", "ordinal", cells, np.array([True] * 3 + [False] * 2), similarity, is_trained=True)
    assert dict(column.classes) == {"1": 2, "2": 1}
    assert dict(column.outside) == {"7": 1}


def test_cells_of_several_columns_are_shown_as_one_reads_them():
    cells = joined([["a", "a", "b"], ["x", "y", None]])
    similarity = Hierarchical.fit("x", cells, range(3), under=["top"])
    assert dict(summarise(cells, similarity).classes) == {"a / x": 1, "a / y": 1, "b / ": 1}


def test_the_width_is_told_of_columns_that_are_trained_on():
    cells, train = ["1", "2", "4"], np.array([True] * 3)
    for is_trained in (True, False):
        column = check_column("x", "continuous", cells, train, Continuous("x", 0.5), is_trained=is_trained)
        assert ("alike within 0.5 (width)" in column.to_text(2)[0]) is is_trained
