"""What every similarity of the catalogue keeps to."""

from __future__ import annotations

import json

import pytest
import torch

from mscon import catalogue
from mscon.similarities.base import Similarity

CELLS = ["2", "1", None, "2", "3", "1"]  # readable as classes and as numbers


@pytest.fixture(params=catalogue.names("similarity"))
def similarity(request) -> Similarity:
    return catalogue.find("similarity", request.param).fit("column", CELLS, list(range(2, 8)))


def test_it_comes_back_from_json_and_encodes_alike(similarity):
    again = type(similarity).from_json(json.loads(json.dumps(similarity.to_json())))
    assert torch.equal(again.encode(CELLS), similarity.encode(CELLS))
    assert again.column == "column"


def test_weights_are_shares_and_alike_is_mutual(similarity):
    codes = similarity.encode(CELLS)
    pairs = similarity.compare(codes, codes)
    assert ((pairs.weight >= 0) & (pairs.weight <= 1)).all()
    assert torch.equal(pairs.weight * pairs.known, (pairs.weight * pairs.known).T)
    assert torch.equal(pairs.known, pairs.known.T)


def test_nothing_is_known_of_a_missing_row(similarity):
    codes = similarity.encode(CELLS)
    missing = similarity.missing(codes)
    pairs = similarity.compare(codes, codes)
    assert not pairs.known[missing].any()
    assert pairs.known[~missing][:, ~missing].all()


def test_blocks_of_codes_give_blocks_of_pairs(similarity):
    codes = similarity.encode(CELLS)
    whole, part = similarity.compare(codes, codes), similarity.compare(codes[1:3], codes[2:])
    assert torch.equal(part.weight, whole.weight[1:3, 2:])
    assert torch.equal(part.known, whole.known[1:3, 2:])


def test_a_partition_compares_class_ids(similarity):
    if not similarity.is_partition:
        pytest.skip("not a partition: nothing to hold")
    codes = similarity.encode(CELLS)
    assert codes.dtype == torch.int64
    assert torch.equal(similarity.missing(codes), codes < 0)
    pairs = similarity.compare(codes, codes)
    assert torch.equal(pairs.weight[pairs.known] == 1, (codes[:, None] == codes[None, :])[pairs.known])
