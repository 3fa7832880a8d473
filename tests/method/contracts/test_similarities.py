"""What every similarity of the catalogue keeps to. A new file is tested the moment it exists."""

from __future__ import annotations

import json
from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.reference import supcon_formula, supcon_loops
from torch import Tensor
from torch.nn.functional import normalize

from batches import LARGE_NAMINGS, SIGNED_NAMINGS, Naming
from mscon.method import catalogue
from mscon.method.kernels.counts import count
from mscon.method.objectives.base import contrastive_losses
from mscon.method.objectives.supcon import supcon
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.base import Cell, Similarity, joined
from mscon.method.similarities.hierarchical import Hierarchical
from mscon.method.similarities.ordinal import Ordinal
from mscon.method.weightings.relative import Relative
from mscon.method.weightings.uncertainty import Uncertainty

F64 = torch.float64
CELLS = ["2", "1", None, "2", "3", "1"]  # readable as classes and as numbers

# Settings to try beside the defaults, and cells that show what is peculiar to a kind: lists, ties, paths cut short.
PATHS = ["a/x/1", "a/x/2", "a/y", "a/y/1", "a", "b", "c/x/1", "c/x"]
COLUMNS = joined([["a", "a", "a", "b", None], ["x", "y", None, "x", "x"]])
WORDS = ["zip", "zip; buckle", "laced;zip", "buckle", "laced;buckle;zip;"]
CASES: list[tuple[str, dict[str, object], Sequence[Cell]]] = [
    *((name, {}, ["2", "1", "3"]) for name in catalogue.names("similarity")),
    *(("multi_label", {"alike": alike}, WORDS) for alike in ("jaccard", "any", "all")),
    ("multi_label", {"separator": " + "}, ["zip + laced", "zip", "laced"]),
    ("ordinal", {"levels": ["low", "middle", "high", "never seen"]}, ["low", "high", "middle"]),
    ("ordinal", {}, ["-1", "10", "2.5", "2.50"]),
    ("continuous", {}, ["1e3", "-7", "2.5", "2.5", "1003"]),
    ("continuous", {"width": 0.5}, ["1", "1.5", "2.25", "40"]),
    ("hierarchical", {}, PATHS),
    ("hierarchical", {"under": ["coarse"]}, COLUMNS),
]
IDS = [f"{name}-{number}" for number, (name, _, _) in enumerate(CASES)]

Fitted = tuple[Similarity, Sequence[Cell]]


def namings_of(similarity: Similarity) -> list[Naming]:
    """Other codes that must say the same: of classes any numbers, of ranks any type, of the rest none."""
    if isinstance(similarity, Hierarchical) or similarity.is_partition:
        return [*SIGNED_NAMINGS, *LARGE_NAMINGS]
    return SIGNED_NAMINGS if isinstance(similarity, Ordinal) else [torch.clone]


def fitted(case: tuple[str, dict[str, object], Sequence[Cell]]) -> Fitted:
    name, given, cells = case
    with_holes = [None, *cells, None, *cells]
    return catalogue.find("similarity", name).fit("column", with_holes, range(len(with_holes)), **given), with_holes


@pytest.fixture(params=CASES, ids=IDS)
def case(request) -> Fitted:
    return fitted(request.param)


@pytest.fixture(params=catalogue.names("similarity"))
def similarity(request) -> Similarity:
    return catalogue.find("similarity", request.param).fit("column", CELLS, list(range(2, 8)))


def test_it_comes_back_from_json_and_encodes_alike(case):
    similarity, cells = case
    again = type(similarity).from_json(json.loads(json.dumps(similarity.to_json())))
    torch.testing.assert_close(again.encode(cells), similarity.encode(cells), rtol=0, atol=0, equal_nan=True)
    assert again == similarity
    assert again.column == "column"


def test_weights_are_shares_and_alike_is_mutual(case):
    similarity, cells = case
    codes = similarity.encode(cells)
    pairs = similarity.compare(codes, codes)
    assert pairs.weight.dtype == torch.get_default_dtype()
    assert ((pairs.weight >= 0) & (pairs.weight <= 1)).all()
    assert torch.equal(pairs.weight * pairs.known, (pairs.weight * pairs.known).T)
    assert torch.equal(pairs.known, pairs.known.T)


def test_a_row_is_as_alike_as_can_be_to_one_that_says_the_same(case):
    similarity, cells = case
    codes = similarity.encode(cells)
    pairs = similarity.compare(codes, codes)
    same = pairs.weight.diagonal()[pairs.known.diagonal()]
    assert len(same)
    assert (same == 1).all()


def test_nothing_is_known_of_a_missing_row_and_all_of_rows_that_say_everything(similarity):
    codes = similarity.encode(CELLS)
    missing = similarity.missing(codes)
    pairs = similarity.compare(codes, codes)
    assert missing.dtype == torch.bool
    assert not pairs.known[missing].any()
    assert pairs.known[~missing][:, ~missing].all()


def test_missing_is_missing_in_every_kind_that_reads_a_column(case):
    similarity, cells = case
    missing = similarity.missing(similarity.encode(cells))
    said = [cell is None and bool(similarity.columns) for cell in cells]
    assert all(m for m, s in zip(missing.tolist(), said, strict=True) if s)
    assert not missing.all()


def test_a_cell_that_training_never_saw_is_read_or_missing_but_never_a_fault(similarity):
    codes = similarity.encode(["17.5", "1"])
    pairs = similarity.compare(codes, codes)
    assert pairs.weight.isfinite().all()
    assert codes.shape[1:] == similarity.encode(CELLS).shape[1:]


def test_blocks_of_codes_give_blocks_of_pairs(case):
    similarity, cells = case
    codes = similarity.encode(cells)
    whole, part = similarity.compare(codes, codes), similarity.compare(codes[1:3], codes[2:])
    assert torch.equal(part.weight, whole.weight[1:3, 2:])
    assert torch.equal(part.known, whole.known[1:3, 2:])
    nothing = similarity.compare(codes[:0], codes)
    assert nothing.weight.shape == nothing.known.shape == (0, len(cells))


def test_a_partition_compares_class_ids(similarity):
    if not similarity.is_partition:
        pytest.skip("not a partition: nothing to hold")
    codes = similarity.encode(CELLS)
    assert codes.dtype == torch.int64
    assert torch.equal(similarity.missing(codes), codes < 0)
    pairs = similarity.compare(codes, codes)
    assert torch.equal(pairs.weight[pairs.known] == 1, (codes[:, None] == codes[None, :])[pairs.known])


def test_codes_that_are_equal_are_alike_whatever_their_size_or_type(case):
    similarity, cells = case
    codes = similarity.encode(cells)
    expected = similarity.compare(codes, codes)
    for naming in namings_of(similarity):
        pairs = similarity.compare(naming(codes), naming(codes))
        assert torch.equal(pairs.weight, expected.weight)
        assert torch.equal(pairs.known, expected.known)


def test_a_probe_is_told_what_to_ask(case):
    similarity, cells = case
    target = similarity.target(cells)
    absent = np.array([cell is None for cell in cells])
    assert len(target) == len(cells)
    names = len(similarity.target_names)
    if similarity.target_kind in ("class", "nothing"):
        assert target.dtype == np.int64
        assert (target[absent] == -1).all()
        assert set(target[target >= 0]) <= set(range(names))
    elif similarity.target_kind == "labels":
        assert target.shape == (len(cells), names)
        assert set(target[~absent].ravel()) == {0.0, 1.0}
    else:
        assert target.dtype == np.float64
        assert names == (len(similarity.levels) if similarity.target_kind == "rank" else 0)
    if similarity.target_kind not in ("class", "nothing"):
        assert np.isnan(target[absent]).all()
        assert not np.isnan(target[~absent]).any()


def pairs_of(similarity: Similarity, codes: Tensor) -> LazyPairs:
    ids = torch.arange(len(codes))
    return LazyPairs(similarity.compare, codes, codes, ids, ids, similarity.is_partition)


@given(st.data())
@settings(deadline=None, derandomize=True, max_examples=300)
def test_a_hole_in_the_column_is_as_good_as_a_row_left_out_of_it(data):
    """Of loss, gradient, counts and weights: by the package with the holes, by loops without those rows.

    The package gets to see classes by any name, the loops by small numbers.
    """
    similarity, known_cells = fitted(data.draw(st.sampled_from(CASES)))
    cells = data.draw(st.lists(st.sampled_from([None, *known_cells]), min_size=2, max_size=10))
    codes = similarity.encode(cells)
    kept = (~similarity.missing(codes)).nonzero().squeeze(1)
    z = torch.randn(len(cells), 4, dtype=F64, generator=torch.Generator().manual_seed(len(cells)), requires_grad=True)

    pairs = pairs_of(similarity, data.draw(st.sampled_from(namings_of(similarity)))(codes))
    losses = supcon(z, None, pairs, temperature=0.4)
    (gradient,) = torch.autograd.grad((losses * torch.arange(1.0, len(cells) + 1)).sum(), z)

    left = similarity.compare(codes[kept], codes[kept])
    others = left.known & ~torch.eye(len(kept), dtype=torch.bool)
    unit = normalize(z, dim=1)[kept]
    told = unit.detach().numpy(), unit.detach().numpy(), left.weight.double().numpy(), others.numpy(), 0.4
    expected = torch.zeros(len(cells), dtype=F64).index_put((kept,), torch.as_tensor(supcon_loops(*told), dtype=F64))
    # Graded weights are single precision, and so are what is divided by their sums.
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-6)
    formula = supcon_formula(unit, unit, left.weight, others, 0.4)
    (right,) = torch.autograd.grad((formula * (kept + 1.0)).sum(), z)
    torch.testing.assert_close(gradient, right, rtol=1e-5, atol=1e-6)
    gone = torch.ones(len(cells), dtype=torch.bool)
    gone[kept] = False
    assert (gradient[gone] == 0).all()

    alone = pairs_of(similarity, codes[kept])
    for ours, without in ((count(pairs), count(alone)), (count(pairs), count(alone.dense()))):
        for name in ("positives", "known", "floor", "ceiling"):
            torch.testing.assert_close(getattr(ours, name)[kept], getattr(without, name))
    for weighting in (Relative(1), Uncertainty(1)):
        torch.testing.assert_close(
            weighed(weighting, losses, pairs), weighed(weighting, losses[kept], alone), rtol=1e-6, atol=1e-6
        )


def weighed(weighting: Relative | Uncertainty, losses: Tensor, pairs: LazyPairs) -> Tensor:
    weighting.load_state_dict(type(weighting)(1).state_dict())
    told = contrastive_losses(losses.detach()[None], [pairs], "anchors_with_a_positive")
    counted = told.counted.sum(dim=1)
    mean = told.per_anchor.sum(dim=1) / counted.clamp_min(1)
    weighted = weighting(mean.float(), told.floor.float(), told.ceiling.float(), counted.float())
    return torch.stack([weighted.total.reshape(()), weighted.weights[0]]).detach()


def test_a_block_of_the_largest_batches_takes_memory_for_a_few_blocks_only(similarity):
    """1,024 anchors against 65,536 candidates at once, as tiles ask; here a 64th of either, and of 300 classes."""
    cells = [str(i % 300) for i in range(1_024)]
    kind = type(similarity).fit("column", cells, range(len(cells)))
    codes = kind.encode(cells)
    with torch.profiler.profile(profile_memory=True) as profile:
        kind.compare(codes[:16], codes)
    taken = sum(max(event.self_cpu_memory_usage, 0) for event in profile.key_averages())
    of_codes = 2 * 4 * codes.nelement()  # as numbers of single precision, from whole bytes
    assert taken < 12 * 4 * 16 * len(cells) + 2 * of_codes
