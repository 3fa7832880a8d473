"""Multi-label: cells that hold several labels."""

from __future__ import annotations

import math

import pytest
import torch

from mscon.errors import RecipeError, TableError
from mscon.method.similarities.base import MalformedCells
from mscon.method.similarities.multi_label import MultiLabel

CELLS = ["zip;buckle", "zip", "buckle ; zip;", "laced", None]


def fitted(alike: str) -> torch.Tensor:
    kind = MultiLabel.fit("closure", CELLS, range(2, 7), alike=alike)
    codes = kind.encode(CELLS)
    return kind.compare(codes, codes).weight[0]


def test_labels_are_split_stripped_and_counted_once():
    kind = MultiLabel.fit("closure", CELLS, range(2, 7))
    assert kind.labels == ("buckle", "laced", "zip")
    assert kind.encode(["zip; zip", "buckle;zip", None]).tolist() == [[0, 0, 1], [1, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize(
    ("alike", "expected"), [("jaccard", [1, 0.5, 1, 0]), ("any", [1, 1, 1, 0]), ("all", [1, 0, 1, 0])]
)
def test_alike_is_by_shared_labels(alike, expected):
    assert fitted(alike)[:4].tolist() == expected


def test_labels_that_training_never_saw_are_left_out_and_a_cell_of_them_alone_is_missing():
    kind = MultiLabel.fit("closure", CELLS, range(2, 7))
    codes = kind.encode(["zip;velcro", "velcro"])
    assert torch.equal(codes[0], kind.encode(["zip"])[0])
    assert kind.missing(codes).tolist() == [False, True]


def test_every_cell_of_separators_alone_is_listed_with_its_line():
    with pytest.raises(TableError) as raised:
        MultiLabel.fit("closure", ["zip", ";", None, " ; ;", "buckle"], [2, 3, 4, 5, 6])
    message = str(raised.value)
    assert "column 'closure': 2 of 4 cells are without a label: line 3 ';', line 5 ' ; ;'." in message
    assert "A row without a label has an empty cell" in message


@pytest.mark.parametrize(
    ("cells", "words"), [([None], "has no value"), (["a;b", "b;a", None], "the same labels, a, b")]
)
def test_a_column_that_tells_nothing_apart_is_refused(cells, words):
    with pytest.raises(TableError, match=words):
        MultiLabel.fit("closure", cells, range(len(cells)))


def test_settings_that_cannot_be_meant_are_refused():
    with pytest.raises(RecipeError, match="separator must be text"):
        MultiLabel.fit("closure", CELLS, range(5), separator=" ")


def test_counts_are_exact_under_autocast_of_the_caller():
    cells = [";".join(str(i) for i in range(n)) for n in (300, 299)]
    kind = MultiLabel.fit("c", cells, [2, 3])
    codes = kind.encode(cells)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert kind.compare(codes, codes).weight[0, 1].item() == pytest.approx(299 / 300)


def test_a_probe_is_asked_for_each_label():
    kind = MultiLabel.fit("closure", CELLS, range(2, 7))
    target = kind.target(["zip;buckle", None])
    assert target[0].tolist() == [1, 0, 1]
    assert all(math.isnan(v) for v in target[1])
    assert kind.target_names == ("buckle", "laced", "zip")


def test_lists_as_python_writes_them_are_malformed():
    """They would become labels such as "['a'"."""
    with pytest.raises(MalformedCells) as caught:
        MultiLabel.check("tags", ["a;b", "['a', 'b']", '["a"]', "[]", "[draft]"], [2, 3, 4, 5, 6])
    message = caught.value.message("line")
    assert "3 of 5 cells are lists as Python writes them: line 3" in message
    assert "line 6" not in message
