"""Similarities made by hand and the tensors that they take, in anyone's loop."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.cyclic import Cyclic
from torch import Tensor

from mscon import MSConLoss
from mscon.errors import RecipeError
from mscon.method.objectives.rank_n_contrast import RankNContrast
from mscon.method.objectives.triplet_margin import TripletMargin
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.continuous import Continuous
from mscon.method.similarities.hierarchical import Hierarchical
from mscon.method.similarities.multi_label import MultiLabel
from mscon.method.similarities.ordinal import Ordinal
from mscon.method.similarities.same_row import SameRow

BY_HAND: list[Similarity] = [
    Categorical("make"),
    Continuous("price", width=5),
    Ordinal("grade", levels=4),
    MultiLabel("extras"),
    Hierarchical("kind"),
    SameRow(),
    Cyclic("hour", period=24.0),
]
NAN = math.nan


def labels_of(rows: int, seed: int = 0) -> dict[str, Tensor]:
    """One tensor for each of the above, with holes."""
    generator = torch.Generator().manual_seed(seed)
    draw = lambda low, high, *more: torch.randint(low, high, (rows, *more), generator=generator)
    price = 20 * torch.rand(rows, generator=generator)
    hour = 24 * torch.rand(rows, generator=generator)
    for values in (price, hour):
        values[draw(0, 5) == 0] = NAN
    kind = torch.stack([draw(-1, 2), draw(-1, 3), draw(-1, 2)], dim=1)
    return {"make": draw(-1, 4), "price": price, "grade": draw(-1, 4), "extras": draw(0, 2, 5), "kind": kind} | {
        "hour": hour
    }


@pytest.mark.parametrize("objective", ["supcon", "rank_n_contrast", "triplet_margin"])
def test_every_kind_has_the_loss_it_has_alone_with_views_and_a_memory(objective):
    """Two steps, so that the second one compares with what was remembered of the first."""
    z = torch.randn(2, len(BY_HAND), 12, 2, 6, generator=torch.Generator().manual_seed(1))
    settings = {"objective": objective, "weighting": "equal", "memory_size": 30}
    together = MSConLoss(BY_HAND, **settings)
    alone = [MSConLoss([similarity], **settings) for similarity in BY_HAND]
    for step in range(2):
        labels = labels_of(12, seed=step)
        total = together(z[step], labels)
        losses = [
            loss({s.column: z[step, i]}, {s.column: labels[s.column]} if s.columns else None)
            for i, (s, loss) in enumerate(zip(BY_HAND, alone, strict=True))
        ]
        torch.testing.assert_close(total, torch.stack(losses).sum())
        assert all(loss > 0 for loss in losses)


def test_numbers_attract_by_their_difference_in_the_unit_of_the_column():
    """One row is compared with two others: its loss is the cross-entropy with weights exp(-(d / width)^2 / 2)."""
    z = torch.randn(1, 3, 4, generator=torch.Generator().manual_seed(0))
    criterion = MSConLoss([Continuous("price", width=5, centre=1e6)], 0.5, "equal")
    unit = torch.nn.functional.normalize(z[0], dim=1)
    price = torch.tensor([1e6, 1e6 + 5, 1e6 + 10], dtype=torch.float64)
    expected = []
    for i in range(3):
        others = [j for j in range(3) if j != i]
        weight = torch.tensor([math.exp(-(((price[i] - price[j]) / 5) ** 2) / 2) for j in others])
        expected.append(torch.nn.functional.cross_entropy(unit[others] @ unit[i] / 0.5, weight / weight.sum()))
    torch.testing.assert_close(criterion(z, {"price": price}), torch.stack(expected).mean())
    torch.testing.assert_close(criterion(z, price[:, None]), torch.stack(expected).mean())


CELLS = [
    (Categorical, {}, ["b", None, "a", "c", "a"]),
    (Ordinal, {"levels": ["low", "middle", "high"]}, ["low", "high", None, "middle", "high"]),
    (Continuous, {"width": 2.0}, ["1995", "2003.5", None, "1994", "1e3"]),
    (MultiLabel, {"alike": "jaccard"}, ["zip;lace", None, "zip", "buckle", "lace;zip"]),
]


@pytest.mark.parametrize(("kind", "settings", "cells"), CELLS, ids=lambda case: getattr(case, "__name__", ""))
def test_the_tensor_of_a_column_compares_as_its_cells_do(kind, settings, cells):
    """What a probe is told of a column is what a training loop has of it."""
    similarity = kind.fit("c", cells, range(len(cells)), **settings)
    codes, values = similarity.encode(cells), similarity.target(cells)
    expected = similarity.compare(codes, codes)
    for labels in (values, torch.from_numpy(values), values.tolist()):
        codes_of_kind = similarity.encode_tensor(labels)
        pairs = similarity.compare(codes_of_kind, codes_of_kind)
        assert torch.equal(pairs.known, expected.known)
        torch.testing.assert_close(pairs.weight[pairs.known], expected.weight[pairs.known])


@given(st.lists(st.tuples(*[st.integers(-1, 2)] * 3), min_size=2, max_size=12), st.sampled_from([0, 100, 2**20]))
def test_each_class_of_a_hierarchy_may_number_its_own_from_0(rows, first):
    """The same tree as cells, as numbers that start anew under each class, and as numbers that never repeat."""
    paths = [row[: row.index(-1)] if -1 in row else row for row in rows]
    known = sorted({path[:end] for path in paths for end in range(1, len(path) + 1)})
    again = [[path[level] + first if level < len(path) else -1 for level in range(3)] for path in paths]
    apart = [[known.index(path[: level + 1]) if level < len(path) else -1 for level in range(3)] for path in paths]
    # Beside complete paths of three levels, so that one that ends early is open below, as -1 says.
    complete = [(a, b, c) for a in range(3) for b in range(3) for c in range(3)]
    fitted = Hierarchical("kind", tuple(tuple(map(str, path)) for path in complete))
    codes = fitted.encode(["/".join(map(str, path)) if path else None for path in paths])
    expected = fitted.compare(codes, codes)
    by_hand = Hierarchical("kind")
    for numbers in (again, apart):
        codes_of_kind = by_hand.encode_tensor(torch.tensor(numbers))
        pairs = by_hand.compare(codes_of_kind, codes_of_kind)
        assert torch.equal(pairs.known, expected.known)
        assert torch.equal(pairs.weight * pairs.known, expected.weight * expected.known)
        assert torch.equal(by_hand.missing(codes_of_kind), fitted.missing(codes))


@pytest.mark.parametrize("similarity", BY_HAND, ids=lambda s: s.column)
def test_what_is_made_by_hand_comes_back_from_json(similarity):
    assert type(similarity).from_json(json.loads(json.dumps(similarity.to_json()))) == similarity


def test_names_may_be_counted_or_listed():
    assert Categorical("make", 2) == Categorical("make", ["0", "1"]) == Categorical("make", ("0", "1"))
    assert Ordinal("grade", 3).levels == ("0", "1", "2")
    assert MultiLabel("extras", 2).target_names == ("0", "1")
    with pytest.raises(ValueError, match="must be a list of texts, or how many there are, got 'red'"):
        Categorical("make", "red")


def test_an_objective_is_a_name_or_an_object_with_its_settings():
    z, labels = torch.randn(2, 12, 6, generator=torch.Generator().manual_seed(0)), labels_of(12)
    parts = BY_HAND[:2]
    labels = {s.column: labels[s.column] for s in parts}
    for by_name, by_object in (
        ({"objective": "rank_n_contrast"}, {"objective": RankNContrast()}),
        ({"objective": "rank_n_contrast", "temperature": 1.0}, {"objective": RankNContrast(1.0)}),
        (
            {"objective": "triplet_margin", "margin": 0.5, "weighting": "uncertainty", "normalise": True},
            {"objective": TripletMargin(0.5), "weighting": "uncertainty", "normalise": True},
        ),
    ):
        one, other = MSConLoss(parts, **by_name), MSConLoss(parts, **by_object)
        torch.testing.assert_close(one(z, labels), other(z, labels))
    assert MSConLoss(parts, objective=RankNContrast(1.0))(z, labels) != MSConLoss(parts, objective="rank_n_contrast")(
        z, labels
    )


def test_cross_entropy_learns_classifiers_of_the_width_that_is_said():
    criterion = MSConLoss([Categorical("make", 4)], objective="cross_entropy", dim=6, weighting="equal")
    (weight, bias) = criterion.parameters()
    assert weight.shape == (4, 6)
    z, labels = torch.randn(1, 12, 6), labels_of(12)
    expected = torch.nn.functional.cross_entropy(z[0] @ weight.T + bias, labels["make"], ignore_index=-1)
    torch.testing.assert_close(criterion(z, {"make": labels["make"]}), expected)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("similarity", "labels", "words"),
    [
        (Categorical("c"), [0.5] * 4, "labels 'c' must be integers, got torch.float64"),
        (Categorical("c", 3), [0, 1, 2, 3], "'c' must be from 0 to 2, or -1 where missing, got 3"),
        (Categorical("c"), [[0], [1], [2], [3]], r"shape \(rows\), one value a row, got \(4, 1\)"),
        (Categorical("c"), ["a", "b", "c", "d"], "labels 'c' must be integers .*, got <U1"),
        (Continuous("c", 1), [1.0, 2.0, math.inf, 0.0], "'c' must be finite, or NaN where missing, got inf"),
        (Continuous("c", 1), [None, 1.0, 2.0, 3.0], "'c' must be numbers, got object"),
        (Continuous("c", 1), [1j] * 4, "'c' must be numbers, got complex128"),
        (Ordinal("c", 3), [0, 1, 2, 3], "'c' must be from 0 to 2, or -1 where missing, got 3"),
        (Ordinal("c", 3), [0.5, 1, 2, 2], "'c' must be whole, got 0.5"),
        (MultiLabel("c"), [[0, 1], [1, 2], [0, 0], [1, 1]], "'c' must be 0 or 1, .*, got 2"),
        (MultiLabel("c"), [[0, NAN], [1, 1], [0, 0], [1, 1]], "'c' must be 0 or 1, .*, got nan"),
        (MultiLabel("c", 3), [[0, 1]] * 4, r"'c' must have shape \(rows, 3\), .*, got \(4, 2\)"),
        (MultiLabel("c"), [0, 1, 1, 0], r"'c' must have shape \(rows, any\), .*, got \(4,\)"),
        (Hierarchical("c"), [[0, -2]] * 4, "'c' must be >= 0, or -1 where missing, got -2"),
        (Hierarchical("c"), [[0, 1, 2**21]] * 4, "'c' must be below 2,097,152 for 3 levels, got 2,097,152"),
        (Hierarchical("c", (("a", "b"),)), [[0, 1, 1]] * 4, r"'c' must have shape \(rows, 2\), .*, got \(4, 3\)"),
        (Cyclic("c", 24.0), [1.0, 2.0], r"'c' must have one value for each of 4 rows, got shape \(2,\)"),
    ],
)
def test_labels_that_a_kind_cannot_read_are_refused_and_leave_no_trace(similarity, labels, words):
    criterion = MSConLoss([similarity, "same_row"], memory_size=8)
    with pytest.raises(ValueError, match=words):
        criterion(torch.randn(2, 4, 2, 5), {"c": labels})
    assert criterion.candidates.filled == 0


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Continuous("c", width=0), "'c': width must be a positive number.*, got width 0"),
        (lambda: Continuous("c", width="5"), "'c': width must be a positive number.*, got width '5'"),
        (lambda: Continuous("c", width=1, centre=NAN), "centre finite, got width 1 and centre nan"),
        (lambda: Ordinal("c", 1), r"levels must be two or more, got \['0'\]"),
        (lambda: MultiLabel("c", alike="some"), "alike must be one of .* got 'some'"),
        (lambda: MSConLoss([Categorical(1)]), "names or Similarity objects, got Categorical"),
        (lambda: MSConLoss([Categorical]), "names or Similarity objects, got ABCMeta"),
        (lambda: MSConLoss(["c", Continuous("c", 1)]), "distinct names"),
        (lambda: MSConLoss(Categorical("c")), "must be a list of distinct names, or Similarity objects"),
        (
            lambda: MSConLoss([Categorical("c", 3)], objective="cross_entropy"),
            "give dim=, the width of the projections",
        ),
        (lambda: MSConLoss([Categorical("c", 3)], objective="cross_entropy", dim=4, memory_size=9), "compares no rows"),
        (lambda: MSConLoss([Continuous("c", 1)], weighting="exact"), r"needs classes, similarities \['c'\] have none"),
        (lambda: MSConLoss(["c"], objective="triplet_margin", weighting="exact"), "temperature, but TripletMargin has"),
    ],
)
def test_parts_that_cannot_be_meant_are_refused(make, words):
    with pytest.raises(ValueError, match=words):
        make()


def test_an_objective_says_which_kind_it_cannot_use():
    with pytest.raises(RecipeError, match="'cross_entropy' needs to know how many classes similarity 'make' has"):
        MSConLoss(["make"], objective="cross_entropy", dim=4)
    with pytest.raises(RecipeError, match="'himulcon' needs levels or classes, but similarity 'price'"):
        MSConLoss(BY_HAND[:2], objective="himulcon")
    assert MSConLoss([BY_HAND[0], BY_HAND[4]], objective="himulcon")(
        torch.randn(2, 12, 6), {name: labels_of(12)[name] for name in ("make", "kind")}
    ).isfinite()


def test_labels_of_one_tensor_must_have_a_column_for_each_similarity():
    z = torch.randn(1, 4, 5)
    with pytest.raises(ValueError, match=r"labels must be \(rows, 1\) for \['extras'\].* wants them by name"):
        MSConLoss([MultiLabel("extras")])(z, np.ones((4, 3)))
