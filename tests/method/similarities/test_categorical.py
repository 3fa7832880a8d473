"""Categorical and same row: cells to codes, codes to pairs."""

from __future__ import annotations

import json

import pytest
import torch

from mscon.errors import TableError
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.same_row import SameRow


def test_classes_are_numbered_by_name_and_a_missing_cell_is_no_class():
    kind = Categorical.fit("closure", ["zip", None, "buckle", "zip"], [2, 3, 4, 5])
    assert kind.classes == ("buckle", "zip")
    assert kind.encode(["zip", None, "buckle"]).tolist() == [1, -1, 0]


def test_a_label_never_seen_in_training_is_missing():
    kind = Categorical.fit("closure", ["zip", "buckle"], [2, 3])
    assert kind.encode(["laced"]).tolist() == [-1]
    assert kind.missing(kind.encode(["laced", "zip"])).tolist() == [True, False]


@pytest.mark.parametrize(
    ("cells", "words"), [([None, None], "has no value"), (["zip", "zip", None], "one value only, 'zip'")]
)
def test_a_column_that_tells_nothing_apart_is_refused(cells, words):
    with pytest.raises(TableError, match=words):
        Categorical.fit("closure", cells, [2, 3, 4])


def test_alike_is_the_same_class_and_known_needs_both_labels():
    codes = torch.tensor([0, 1, 0, -1])
    pairs = Categorical("c", ("a", "b")).compare(codes, codes)
    assert pairs.weight[0].tolist() == [1, 0, 1, 0]
    assert pairs.known.tolist() == [[True, True, True, False]] * 3 + [[False] * 4]


def test_same_row_gives_every_row_a_code_of_its_own():
    codes = SameRow().encode([None, None, None])
    assert torch.equal(SameRow().compare(codes, codes).weight, torch.eye(3))


@pytest.mark.parametrize("kind", [Categorical("c", ("a", "b")), SameRow()])
def test_what_is_written_is_what_is_read(kind):
    assert type(kind).from_json(json.loads(json.dumps(kind.to_json()))) == kind
