"""The one function that objectives call: which path it takes, what it refuses, what does not disturb it."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable

import pytest
import torch
from torch.nn.functional import normalize

from batches import Batch, draw
from mscon.method.kernels import contrast, dispatch
from mscon.method.kernels.precision import float32_products
from reference import supcon_formula

F64 = torch.float64


@pytest.fixture
def paths_taken(monkeypatch):
    ways = []
    real = dispatch._kernel

    def spy(way, *arguments, **settings):
        ways.append(way)
        return real(way, *arguments, **settings)

    monkeypatch.setattr(dispatch, "_kernel", spy)
    return ways


def formula(batch: Batch, temperature: float = 0.1, positives: str = "outside") -> torch.Tensor:
    dense_pairs = [p.dense() for p in batch.pairs]
    return torch.stack(
        [
            supcon_formula(a.double(), c.double(), p.weight, p.known, temperature, positives)
            for a, c, p in zip(batch.anchors, batch.others, dense_pairs, strict=True)
        ]
    )


@pytest.mark.parametrize(
    ("rows", "graded", "temperature", "positives", "way"),
    [
        (40, False, 0.1, "outside", "dense"),
        (40, True, 0.1, "inside", "dense"),
        (40, False, 0.001, "outside", "online"),
        (600, False, 0.1, "outside", "tiles"),
        (600, False, 0.0139, "outside", "tiles"),
        (600, False, 0.0138, "outside", "online"),
        (600, False, 0.1, "inside", "online"),
        (600, True, 0.1, "outside", "online"),
    ],
)
def test_size_temperature_and_kind_choose_the_path_and_never_the_numbers(
    rows, graded, temperature, positives, way, paths_taken
):
    batch = draw(rows, graded=graded, dim=5)
    losses = contrast(batch.anchors, None, batch.pairs, temperature=temperature, positives=positives)
    assert paths_taken == [way]
    torch.testing.assert_close(losses, formula(batch, temperature, positives))


def test_similarities_of_different_kinds_share_a_call_and_keep_their_order(paths_taken):
    classes, graded = draw(600, dim=5), draw(600, dim=5, graded=True)
    mixed = dataclasses.replace(classes, pairs=(classes.pairs[0], graded.pairs[1], classes.pairs[2]))
    temperature = torch.tensor([0.1, 0.2, 0.3], dtype=F64, requires_grad=True)
    anchors = mixed.anchors.clone().requires_grad_()
    losses = contrast(anchors, None, mixed.pairs, temperature=temperature)
    assert paths_taken == ["tiles", "online"]
    expected = torch.stack([formula(mixed, t)[h] for h, t in enumerate((0.1, 0.2, 0.3))])
    torch.testing.assert_close(losses, expected)
    losses.sum().backward()
    assert (anchors.grad != 0).any(dim=(1, 2)).all()
    assert (temperature.grad != 0).all()


def test_vectors_that_are_not_of_unit_length_are_inner_products_all_the_same(paths_taken):
    batch = draw(600, dim=5)
    longer = dataclasses.replace(batch, anchors=4 * batch.anchors)
    torch.testing.assert_close(contrast(longer.anchors, None, longer.pairs, temperature=0.1), formula(longer))
    assert paths_taken == ["online"]


def test_anchors_whose_labels_are_hidden_still_serve_as_candidates(paths_taken):
    batch = draw(600, dim=5, missing=False)
    hidden = torch.arange(600) % 3 == 0
    pairs = tuple(dataclasses.replace(p, anchors=torch.where(hidden, -1, p.anchors)) for p in batch.pairs)
    batch = dataclasses.replace(batch, pairs=pairs)
    anchors = batch.anchors.clone().requires_grad_()
    losses = contrast(anchors, None, pairs, temperature=0.1)
    assert paths_taken == ["tiles"]
    torch.testing.assert_close(losses, formula(batch))
    (gradient,) = torch.autograd.grad(losses.sum(), anchors)
    other = batch.anchors.clone().requires_grad_()
    (expected,) = torch.autograd.grad(formula(dataclasses.replace(batch, anchors=other)).sum(), other)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("rows", [30, 600])
@pytest.mark.parametrize("candidates", [None, 20])
@pytest.mark.parametrize("denominator", ["all", "negatives", "negatives_and_itself"])
def test_an_anchor_may_have_a_temperature_of_its_own(rows, candidates, denominator):
    batch = draw(rows, candidates, dim=5)
    temperature = 0.1 + 0.2 * torch.rand(3, rows, dtype=F64, generator=torch.Generator().manual_seed(1))
    weight = torch.rand(3, rows, dtype=F64, generator=torch.Generator().manual_seed(2))

    def both(losses: Callable[..., torch.Tensor]) -> tuple[torch.Tensor, ...]:
        anchors, t = batch.anchors.clone().requires_grad_(), temperature.clone().requires_grad_()
        others = None if candidates is None else batch.others.clone().requires_grad_()
        inputs = [v for v in (anchors, t, others) if v is not None]
        values = losses(2 * anchors, None if others is None else 3 * others, t)
        return values.detach(), *torch.autograd.grad((weight * values).sum(), inputs)

    def looped(anchors, others, t):
        a, c = (normalize(v, dim=2) for v in (anchors, anchors if others is None else others))
        dense_pairs = [p.dense() for p in batch.pairs]
        return torch.stack(
            [
                supcon_formula(
                    a[h], c[h], p.weight, p.known, t[h, :, None].expand(-1, c.shape[1]), "outside", denominator
                )
                for h, p in enumerate(dense_pairs)
            ]
        )

    def ours(anchors, others, t):
        return contrast(anchors, others, batch.pairs, temperature=t, denominator=denominator, cosine=True)

    torch.testing.assert_close(both(ours), both(looped))


def test_written_out_pairs_and_lazy_ones_agree():
    batch = draw(30, 20)
    dense_pairs = [p.dense() for p in batch.pairs]
    torch.testing.assert_close(
        contrast(batch.anchors, batch.candidates, dense_pairs, temperature=0.1),
        contrast(batch.anchors, batch.candidates, batch.pairs, temperature=0.1),
    )


@pytest.mark.parametrize("rows", [40, 600])
@pytest.mark.parametrize("temperature", [0.1, 0.005])
def test_weights_of_anchors_are_whatever_the_gradient_that_arrives_says(rows, temperature):
    batch = draw(rows, dim=5)
    anchors = batch.anchors.clone().requires_grad_()
    losses = contrast(anchors, None, batch.pairs, temperature=temperature)
    one_by_one = sum((0.5 * h - i % 3) * losses[h, i] for h in range(3) for i in range(0, rows, 50))
    (expected,) = torch.autograd.grad(one_by_one, anchors, retain_graph=True)
    weight = torch.zeros(3, rows, dtype=F64)
    for i in range(0, rows, 50):
        weight[:, i] = torch.tensor([0.0, 0.5, 1.0]) - i % 3
    (gradient,) = torch.autograd.grad(losses, anchors, weight)
    torch.testing.assert_close(gradient, expected)


@pytest.mark.parametrize("rows", [40, 600])
def test_nothing_the_process_allows_for_other_products_rounds_these(rows):
    batch = draw(rows, dim=32, spread=0.05, dtype=torch.float32)
    anchors = batch.anchors.clone().requires_grad_()

    def gradient() -> torch.Tensor:
        return torch.autograd.grad(contrast(anchors, None, batch.pairs, temperature=0.1).sum(), anchors)[0]

    expected = gradient()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(gradient(), expected, rtol=0, atol=0)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        torch.testing.assert_close(gradient(), expected, rtol=0, atol=0)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)


def test_the_precision_of_products_is_put_back_after_a_failure():
    before = torch.get_float32_matmul_precision()
    with pytest.raises(KeyError), float32_products(rounded_to_bfloat16=True):
        raise KeyError
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.parametrize("rows", [40, 600])
def test_a_second_derivative_is_refused_in_words_and_the_first_still_works_with_create_graph(rows):
    batch = draw(rows, dim=5)
    anchors = (2 * batch.anchors).requires_grad_()
    loss = contrast(anchors, None, batch.pairs, temperature=0.1, cosine=True).sum()
    (gradient,) = torch.autograd.grad(loss, anchors, create_graph=True)
    assert gradient.isfinite().all()
    with pytest.raises(RuntimeError, match=r"no second derivative.*create_graph=True"):
        gradient.pow(2).sum().backward()


def test_no_gradient_is_kept_where_none_is_wanted():
    batch = draw(20)
    assert not contrast(batch.anchors, None, batch.pairs, temperature=0.1).requires_grad


@pytest.mark.filterwarnings("ignore:Anomaly Detection has been enabled")
def test_anomaly_detection_finds_nothing_in_rows_without_candidates():
    batch = draw(600, dim=5)
    lonely = tuple(
        dataclasses.replace(p, anchors=q, candidates=q) for p in batch.pairs for q in [torch.full((600,), -1)]
    )
    for rows in (3, 600):
        anchors = batch.anchors[:, :rows].clone().requires_grad_()
        for temperature in (0.1, 0.001):
            some = [p if rows == 600 else _head(p, rows) for p in lonely]
            with torch.autograd.detect_anomaly(check_nan=True):
                losses = contrast(anchors, None, some, temperature=temperature)
                losses.sum().backward()
            assert (losses == 0).all()
            assert (anchors.grad == 0).all()


def _head(pairs, rows):
    sides = {n: getattr(pairs, n)[:rows] for n in ("anchors", "candidates", "anchor_ids", "candidate_ids")}
    return dataclasses.replace(pairs, **sides)


def with_value(batch: Batch, value: float) -> torch.Tensor:
    anchors = batch.anchors.clone()
    anchors[1, 2] = value
    return anchors


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda b: {"temperature": 0.0}, r"temperature must be positive, got 0\.0"),
        (lambda b: {"temperature": -1.0}, "temperature must be positive, got -1"),
        (lambda b: {"temperature": math.nan}, "temperature must be positive, got nan"),
        (lambda b: {"temperature": math.inf}, "temperature must be positive, got inf"),
        (lambda b: {"temperature": torch.tensor([0.1, 0.0, 0.1])}, "temperature must be positive, got 0"),
        (lambda b: {"temperature": torch.tensor([0.1])}, r"one for each of 3 similarities, got shape \(1,\)"),
        (lambda b: {"temperature": torch.zeros(3, 8)}, "positive and finite for each anchor"),
        (lambda b: {"temperature": torch.ones(3, 7)}, r"8 anchors of 3 similarities, got shape \(3, 7\)"),
        (
            lambda b: {"anchors": with_value(b, 0.0)},
            r"1 of 24 anchors are zero, the first is row 2 of similarity 1.*\(3, 8, 6\)",
        ),
        (
            lambda b: {"anchors": with_value(b, math.nan)},
            "1 of 24 anchors are not finite, the first is row 2 of similarity 1",
        ),
        (lambda b: {"candidates": with_value(b, math.inf)}, "1 of 24 candidates are not finite"),
        (lambda b: {"anchors": b.anchors[:, :0]}, r"empty batch: anchors \(3, 0, 6\)"),
        (lambda b: {"candidates": b.anchors[:, :0]}, r"empty batch: .*candidates \(3, 0, 6\)"),
        (lambda b: {"pairs": b.pairs[:2]}, "2 pairs for vectors of 3 similarities"),
        (lambda b: {"anchors": b.anchors[:, :7]}, r"pairs of 8 anchors and 8 candidates for anchors \(3, 7, 6\)"),
        (lambda b: {"candidates": b.anchors[..., :5]}, r"\(3, 8, 6\), candidates \(3, 8, 5\)"),
        (lambda b: {"anchors": b.anchors.long()}, "floating point, got torch.int64"),
        (
            lambda b: {"pairs": [dataclasses.replace(p, anchors=p.anchors.double()) for p in b.pairs]},
            "one integer a row .* got torch.float64",
        ),
        (
            lambda b: {"pairs": [dataclasses.replace(p, anchor_ids=p.anchor_ids[:5]) for p in b.pairs]},
            "ids of 5 anchors and 8 candidates, but labels of 8 and 8",
        ),
    ],
)
def test_what_cannot_be_computed_is_refused_with_its_value_and_shape(change, words):
    batch = draw(8)
    arguments = {"anchors": batch.anchors, "candidates": None, "pairs": batch.pairs, "temperature": 0.1} | change(batch)
    with pytest.raises(ValueError, match=words):
        contrast(arguments.pop("anchors"), arguments.pop("candidates"), arguments.pop("pairs"), **arguments)


@pytest.mark.parametrize("rows", [9, 600])
@pytest.mark.parametrize("candidates", [None, 5])
def test_cosines_are_inner_products_of_normalised_vectors(rows, candidates):
    batch = draw(rows, candidates, dim=5)
    stretch = 1 + torch.arange(rows, dtype=F64)[:, None]
    anchors = (stretch * batch.anchors).requires_grad_()
    others = None if candidates is None else (3 * batch.others).requires_grad_()
    inputs = (anchors,) if others is None else (anchors, others)
    by_hand = contrast(
        normalize(anchors, dim=2), None if others is None else normalize(others, dim=2), batch.pairs, temperature=0.1
    )
    losses = contrast(anchors, others, batch.pairs, temperature=0.1, cosine=True)
    torch.testing.assert_close(losses, by_hand)
    weight = torch.rand(losses.shape, dtype=F64)
    torch.testing.assert_close(
        torch.autograd.grad(losses, inputs, weight), torch.autograd.grad(by_hand, inputs, weight)
    )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_cosines_of_half_precision_are_those_of_the_same_vectors_in_float32(dtype):
    batch = draw(20, spread=0.05, dtype=torch.float32)
    half = (2 * batch.anchors).to(dtype)
    losses = contrast(half, None, batch.pairs, temperature=0.1, cosine=True)
    torch.testing.assert_close(losses, contrast(half.float(), None, batch.pairs, temperature=0.1, cosine=True))
