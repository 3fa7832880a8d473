"""What every similarity of the catalogue keeps to, and that `check_similarity` notices one that does not."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.cyclic import Cyclic
from tests.reference import supcon_formula, supcon_loops
from torch import Tensor
from torch.nn.functional import normalize

from batches import LARGE_NAMINGS, SIGNED_NAMINGS, Naming
from mscon.method import catalogue
from mscon.method.kernels.counts import count
from mscon.method.objectives.supcon import contrastive_losses, supcon
from mscon.method.pairs import LazyPairs, Pairs
from mscon.method.similarities.base import Cell, Similarity, joined
from mscon.method.similarities.hierarchical import Hierarchical
from mscon.method.similarities.ordinal import Ordinal
from mscon.method.weightings.base import BatchLosses
from mscon.method.weightings.relative import Relative
from mscon.method.weightings.uncertainty import Uncertainty
from mscon.testing import check_similarity

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
    ("teacher", {}, ["[0.5, -1, 2]", "0.1 0.2 -0.3", "[3.7,1e-3,-1]", "-1 -2 -3"]),
    ("teacher", {"target_temperature": 0.5}, ["[1, 0.3]", "-0.2, 1", "1e300 1e299", "-1, -0.3"]),
]
IDS = [f"{name}-{number}" for number, (name, _, _) in enumerate(CASES)]

Fitted = tuple[Similarity, Sequence[Cell]]


def namings_of(similarity: Similarity) -> list[Naming]:
    """Other codes that must say the same: of classes any numbers, of ranks any type, of the rest none."""
    if isinstance(similarity, Hierarchical) or similarity.is_partition:
        return [*SIGNED_NAMINGS, *LARGE_NAMINGS]
    return SIGNED_NAMINGS if isinstance(similarity, Ordinal) else [torch.clone]


def fitted(case: tuple[str, dict[str, object], Sequence[Cell]]) -> Fitted:
    name, settings_of_kind, cells = case
    with_holes = [None, *cells, None, *cells]
    return catalogue.find("similarity", name).fit(
        "column", with_holes, range(len(with_holes)), **settings_of_kind
    ), with_holes


@pytest.fixture(params=CASES, ids=IDS)
def case(request) -> Fitted:
    return fitted(request.param)


@pytest.mark.parametrize(("name", "settings_of_kind", "cells"), CASES, ids=IDS)
def test_a_kind_of_the_catalogue_keeps_the_contract(name, settings_of_kind, cells):
    check_similarity(catalogue.find("similarity", name), cells, **settings_of_kind)


@pytest.mark.parametrize("name", catalogue.names("similarity"))
def test_all_is_known_of_rows_that_say_everything(name):
    similarity = catalogue.find("similarity", name).fit("column", CELLS, list(range(2, 8)))
    codes = similarity.encode(CELLS)
    there = ~similarity.missing(codes)
    assert similarity.compare(codes, codes).known[there][:, there].all()


def test_codes_that_are_equal_are_alike_whatever_their_size_or_type(case):
    similarity, cells = case
    codes = similarity.encode(cells)
    expected = similarity.compare(codes, codes)
    for naming in namings_of(similarity):
        pairs = similarity.compare(naming(codes), naming(codes))
        assert torch.equal(pairs.weight, expected.weight)
        assert torch.equal(pairs.known, expected.known)


def pairs_of(similarity: Similarity, codes: Tensor) -> LazyPairs:
    ids = torch.arange(len(codes))
    return LazyPairs(similarity.compare, codes, codes, ids, ids, similarity.is_partition)


@given(st.data())
@settings(deadline=None, derandomize=True, max_examples=120)
def test_a_hole_in_the_column_is_as_good_as_a_row_left_out_of_it(data):
    """Of loss, gradient, counts and weights: by the package with the holes, by loops without those rows.

    The package gets to see classes by any name, the loops by small numbers.
    """
    similarity, known_cells = fitted(data.draw(st.sampled_from(CASES)))
    cells = data.draw(st.lists(st.sampled_from([None, *known_cells]), min_size=2, max_size=10))
    codes = similarity.encode(cells)
    present = (~similarity.missing(codes)).nonzero().squeeze(1)
    z = torch.randn(len(cells), 4, dtype=F64, generator=torch.Generator().manual_seed(len(cells)), requires_grad=True)

    pairs = pairs_of(similarity, data.draw(st.sampled_from(namings_of(similarity)))(codes))
    losses = supcon(z, None, pairs, temperature=0.4)
    (gradient,) = torch.autograd.grad((losses * torch.arange(1.0, len(cells) + 1)).sum(), z)

    left = similarity.compare(codes[present], codes[present])
    others = left.known & ~torch.eye(len(present), dtype=torch.bool)
    unit = normalize(z, dim=1)[present]
    arguments = unit.detach().numpy(), unit.detach().numpy(), left.weight.double().numpy(), others.numpy(), 0.4
    expected = torch.zeros(len(cells), dtype=F64).index_put(
        (present,), torch.as_tensor(supcon_loops(*arguments), dtype=F64)
    )
    # Graded weights are single precision, and so are what is divided by their sums.
    torch.testing.assert_close(losses, expected, rtol=1e-6, atol=1e-6)
    formula = supcon_formula(unit, unit, left.weight, others, 0.4)
    (right,) = torch.autograd.grad((formula * (present + 1.0)).sum(), z)
    torch.testing.assert_close(gradient, right, rtol=1e-5, atol=1e-6)
    gone = torch.ones(len(cells), dtype=torch.bool)
    gone[present] = False
    assert (gradient[gone] == 0).all()

    alone = pairs_of(similarity, codes[present])
    for ours, without in ((count(pairs), count(alone)), (count(pairs), count(alone.dense()))):
        for name in ("positives", "known", "floor", "ceiling"):
            torch.testing.assert_close(getattr(ours, name)[present], getattr(without, name))
    for weighting in (Relative(1), Uncertainty(1)):
        torch.testing.assert_close(
            weighed(weighting, losses, pairs), weighed(weighting, losses[present], alone), rtol=1e-6, atol=1e-6
        )


def weighed(weighting: Relative | Uncertainty, losses: Tensor, pairs: LazyPairs) -> Tensor:
    weighting.load_state_dict(type(weighting)(1).state_dict())
    arguments = contrastive_losses(losses.detach()[None], [pairs], "anchors_with_a_positive")
    counted = arguments.counted.sum(dim=1)
    mean = arguments.per_anchor.sum(dim=1) / counted.clamp_min(1)
    weighted = weighting(BatchLosses(mean.float(), arguments.floor.float(), arguments.ceiling.float(), counted.float()))
    return torch.stack([weighted.total.reshape(()), weighted.weights[0]]).detach()


class StrangersKind(Cyclic):
    """The kind of a stranger; a subclass takes one thing wrong."""


class OneSided(StrangersKind):
    def compare(self, anchors, candidates):
        pairs = super().compare(anchors, candidates)
        later = anchors.nan_to_num()[:, None] < candidates.nan_to_num()[None, :]
        return Pairs(torch.where(later, pairs.weight / 2, pairs.weight), pairs.known)


class Unbounded(StrangersKind):
    def compare(self, anchors, candidates):
        pairs = super().compare(anchors, candidates)
        return Pairs(2 * pairs.weight - 1, pairs.known)


class NanWhereUnknown(StrangersKind):
    def compare(self, anchors, candidates):
        pairs = super().compare(anchors, candidates)
        return Pairs(pairs.weight.masked_fill(~pairs.known, torch.nan), pairs.known)


class MissingIsKnown(StrangersKind):
    def compare(self, anchors, candidates):
        pairs = super().compare(anchors, candidates)
        return Pairs(pairs.weight, torch.ones_like(pairs.known))


class EmptyIsAClass(StrangersKind):
    def encode(self, cells):
        return super().encode(cells).nan_to_num()


class ForgetsItsSetting(StrangersKind):
    def to_json(self):
        return {"column": self.column, "period": 24.0}


class NoPlainJson(StrangersKind):
    def to_json(self):
        return {"column": self.column, "period": {self.period}}


class OfTheBatch(StrangersKind):
    def compare(self, anchors, candidates):
        pairs = super().compare(anchors, candidates)
        return Pairs(pairs.weight / pairs.weight.max().clamp_min(1e-9), pairs.known & (len(anchors) > 2))


class NoPartition(StrangersKind):
    is_partition: ClassVar[bool] = True


class NarrowTarget(StrangersKind):
    def target(self, cells):
        return super().target(cells).astype(np.float32)


class RefusesWhatIsNew(StrangersKind):
    def encode(self, cells):
        for cell in cells:
            if cell not in (None, "23", "1"):
                raise KeyError(cell)
        return super().encode(cells)

    @classmethod
    def fit(cls, column, cells, lines, *, period=7.0):
        new = type("Seen", (cls,), {"encode": StrangersKind.encode}) if "12.5" in cells else cls
        return new(column, period)


class TooLarge(StrangersKind):
    def compare(self, anchors, candidates):
        all_at_once = (anchors[:, None, None] - candidates[None, :, None]).expand(-1, -1, 64).contiguous()
        pairs = super().compare(anchors, candidates)
        return Pairs(pairs.weight + 0 * all_at_once.nan_to_num().sum(dim=2), pairs.known)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (OneSided, "Alike must be mutual"),
        (Unbounded, r"Weights must be in \[0, 1\], also of unknown pairs, got \[-"),
        (NanWhereUnknown, r"Weights must be in \[0, 1\], also of unknown pairs, got \[nan"),
        (MissingIsKnown, "Of a missing row no pair may be known"),
        (EmptyIsAClass, "An empty cell must be `missing`"),
        (ForgetsItsSetting, "is not equal: does it keep every setting"),
        (NoPlainJson, "`to_json` must give plain JSON values"),
        (OfTheBatch, "A pair must not depend on what else is compared"),
        (NoPartition, "Codes of a partition are int64 a row, got torch.float32"),
        (NarrowTarget, "`target` of kind 'number' must be float64, got float32"),
        (RefusesWhatIsNew, "The cell '12.5', which training did not see, is a fault: KeyError"),
        (TooLarge, "`compare` takes .* times the memory of a table of pairs"),
    ],
)
def test_a_mistake_in_a_kind_is_told_in_a_sentence(kind, words):
    with pytest.raises(AssertionError, match=words):
        check_similarity(kind, ["23", "1", "12.5"], period=7.0)


def test_a_kind_of_ones_own_that_is_right_passes():
    check_similarity(StrangersKind, ["23", "1", "12.5"], period=7.0)
