"""Every path computes the equation: against loops in float64, and against one another."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Literal

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from batches import Batch, Naming, draw, namings, near, renamed
from mscon.method.kernels.dense import Dense
from mscon.method.kernels.online import Online
from mscon.method.kernels.path import Competitors, Kernel, evaluate
from mscon.method.kernels.tiles import Tiles
from mscon.method.pairs import Pairs
from reference import supcon_formula, supcon_loops

Positives = Literal["outside", "inside"]
F64 = torch.float64
SIZES = st.integers(1, 14)
TEMPERATURES = st.tuples(*[st.sampled_from([0.02, 0.07, 0.1, 0.5, 1.0])] * 3)


def dense(
    batch: Batch, temperatures: tuple[float, ...], positives: Positives, size: int, denominator: Competitors = "all"
) -> Kernel:
    return Dense.of(
        batch.pairs, temperatures, 1 / min(temperatures), F64, inside=positives == "inside", denominator=denominator
    )


def tiles(
    batch: Batch, temperatures: tuple[float, ...], positives: Positives, size: int, denominator: Competitors = "all"
) -> Kernel:
    return Tiles.of(
        batch.pairs,
        temperatures,
        1 / min(temperatures),
        is_square=batch.candidates is None,
        size=size,
        denominator=denominator,
    )


def online(
    batch: Batch, temperatures: tuple[float, ...], positives: Positives, size: int, denominator: Competitors = "all"
) -> Kernel:
    return Online(batch.pairs, temperatures, positives == "inside", denominator, block=(size, size + 1))


def by_loops(batch: Batch, temperatures: tuple[float, ...], positives: Positives, denominator: Competitors) -> Tensor:
    dense_pairs = [p.dense() for p in batch.pairs]
    losses = [
        supcon_loops(a.numpy(), c.numpy(), p.weight.numpy(), p.known.numpy(), t, positives, denominator)
        for a, c, p, t in zip(batch.anchors, batch.others, dense_pairs, temperatures, strict=True)
    ]
    return torch.from_numpy(np.stack(losses))


def by_autograd(
    batch: Batch, temperatures: tuple[float, ...], positives: Positives, denominator: Competitors, weight: Tensor
) -> list[Tensor]:
    def losses(anchors: Tensor, others: Tensor, t: Tensor) -> Tensor:
        dense_pairs = [p.dense() for p in batch.pairs]
        return torch.stack(
            [
                supcon_formula(a, c, p.weight, p.known, one, positives, denominator)
                for a, c, p, one in zip(anchors, others, dense_pairs, t, strict=True)
            ]
        )

    anchors, t = batch.anchors.clone().requires_grad_(), torch.tensor(temperatures, dtype=F64, requires_grad=True)
    if batch.candidates is None:
        return list(torch.autograd.grad((weight * losses(anchors, anchors, t)).sum(), (anchors, t)))
    others = batch.candidates.clone().requires_grad_()
    return list(torch.autograd.grad((weight * losses(anchors, others, t)).sum(), (anchors, t, others)))


def by_path(path: Kernel, batch: Batch, temperatures: tuple[float, ...], weight: Tensor) -> tuple[Tensor, list[Tensor]]:
    anchors, t = batch.anchors.clone().requires_grad_(), torch.tensor(temperatures, dtype=F64, requires_grad=True)
    others = None if batch.candidates is None else batch.candidates.clone().requires_grad_()
    losses = evaluate(path, anchors, others, t)
    inputs = (anchors, t) if others is None else (anchors, t, others)
    return losses.detach(), list(torch.autograd.grad((weight * losses).sum(), inputs))


@st.composite
def batches(draw_: Callable, graded: bool) -> Batch:
    return draw(
        draw_(SIZES),
        draw_(st.none() | SIZES),
        dim=draw_(st.integers(1, 5)),
        ids=draw_(st.sampled_from(["sample", "row", "shared"])),
        graded=graded,
        missing=draw_(st.booleans()),
        seed=draw_(st.integers(0, 99)),
    )


def check(
    build: Callable[..., Kernel],
    batch: Batch,
    temperatures: tuple[float, ...],
    positives: Positives,
    size: int,
    naming: Naming | None = None,
    denominator: Competitors = "all",
) -> None:
    """`naming`: what the path gets to see as classes and ids; the loops see small numbers."""
    weight = torch.randn(batch.anchors.shape[:2], generator=torch.Generator().manual_seed(size), dtype=F64)
    path = build(renamed(batch, naming) if naming else batch, temperatures, positives, size, denominator)
    losses, gradients = by_path(path, batch, temperatures, weight)
    torch.testing.assert_close(losses, by_loops(batch, temperatures, positives, denominator), rtol=1e-9, atol=1e-9)
    for gradient, expected in zip(
        gradients, by_autograd(batch, temperatures, positives, denominator, weight), strict=True
    ):
        torch.testing.assert_close(gradient, expected, rtol=1e-7, atol=1e-8)


@given(batches(graded=False), TEMPERATURES, st.integers(1, 6), st.sampled_from([dense, tiles, online]), namings)
@settings(max_examples=120)
def test_every_path_reads_the_paper_the_way_the_loops_do(batch, temperatures, size, build, naming):
    check(build, batch, temperatures, "outside", size, naming)


@given(
    batches(graded=True),
    TEMPERATURES,
    st.integers(1, 6),
    st.sampled_from([dense, online]),
    st.sampled_from(["outside", "inside"]),
)
@settings(max_examples=50)
def test_graded_pairs_by_blocks_give_what_the_loops_give(batch, temperatures, size, build, positives):
    check(build, batch, temperatures, positives, size)


@given(batches(graded=False), TEMPERATURES, st.integers(1, 6), st.sampled_from([dense, online]), namings)
def test_positives_inside_the_logarithm_give_what_the_loops_give(batch, temperatures, size, build, naming):
    check(build, batch, temperatures, "inside", size, naming)


@given(batches(graded=False), TEMPERATURES, st.integers(1, 6), st.sampled_from([dense, tiles, online]), namings)
def test_positives_that_compete_with_negatives_alone_give_what_the_loops_give(batch, temperatures, size, build, naming):
    check(build, batch, temperatures, "outside", size, naming, denominator="negatives")


@given(batches(graded=False), TEMPERATURES, st.integers(1, 6), st.sampled_from([dense, tiles, online]), namings)
def test_positives_that_compete_with_negatives_and_themselves_too(batch, temperatures, size, build, naming):
    check(build, batch, temperatures, "outside", size, naming, denominator="negatives_and_itself")


@given(
    batches(graded=True) | batches(graded=False),
    TEMPERATURES,
    st.integers(1, 6),
    st.sampled_from([dense, online]),
    st.sampled_from(["outside", "inside"]),
)
def test_so_do_graded_ones_and_those_inside_the_logarithm(batch, temperatures, size, build, positives):
    check(build, batch, temperatures, positives, size, denominator="negatives")
    check(build, batch, temperatures, "outside", size, denominator="negatives_and_itself")


@pytest.mark.parametrize("denominator", ["all", "negatives"])
@pytest.mark.parametrize("build", [dense, online])
def test_a_weight_below_zero_is_a_negative(build, denominator):
    def opposed(anchors: Tensor, candidates: Tensor) -> Pairs:
        pairs = near(anchors, candidates)
        return Pairs(torch.where(pairs.weight == 0, -0.5, pairs.weight), pairs.known)

    batch, temperatures = draw(9, graded=True), (0.1, 0.3, 0.7)
    below = Batch(batch.anchors, None, tuple(replace(p, compare=opposed) for p in batch.pairs))
    weight = torch.rand(3, 9, dtype=F64)
    paths = (build(b, temperatures, "outside", 4, denominator) for b in (batch, below))
    one, other = (by_path(path, b, temperatures, weight) for path, b in zip(paths, (batch, below), strict=True))
    torch.testing.assert_close(one, other, rtol=0, atol=0)
    assert ((below.pairs[0].dense().weight < 0) & below.pairs[0].dense().known).any()


def every_path() -> Iterator[object]:
    for build in (dense, tiles, online):
        for candidates in (None, 5):
            for positives in ("outside", "inside") if build is not tiles else ("outside",):
                name = f"{build.__name__}-{'square' if candidates is None else 'rectangular'}-{positives}"
                yield pytest.param(build, candidates, positives, id=name)


@pytest.mark.parametrize(("build", "candidates", "positives"), list(every_path()))
def test_gradients_are_those_of_finite_differences(build, candidates, positives):
    batch, temperatures = draw(7, candidates, dim=3, ids="shared"), (0.1, 0.3, 0.7)
    path = build(batch, temperatures, positives, 3)
    anchors = batch.anchors.clone().requires_grad_()
    if candidates is None:
        assert torch.autograd.gradcheck(lambda a: evaluate(path, a, None, 1.0), (anchors,), fast_mode=True)
    else:
        others = batch.others.clone().requires_grad_()
        assert torch.autograd.gradcheck(lambda a, c: evaluate(path, a, c, 1.0), (anchors, others), fast_mode=True)


@pytest.mark.parametrize("size", [5, 64, 384])
@pytest.mark.parametrize("ids", ["sample", "row"])
def test_a_hundred_small_classes_are_compared_and_few_large_ones_sliced_with_equal_results(size, ids):
    batch, ts = draw(300, ids=ids, dim=8), (0.1, 0.1, 0.1)
    labels = torch.randint(0, 100, (300,), generator=torch.Generator().manual_seed(1))
    many = tuple(type(p)(p.compare, labels, labels, p.anchor_ids, p.candidate_ids, True) for p in batch.pairs)
    weight = torch.rand(3, 300, dtype=F64)
    for pairs, denominator in itertools.product((batch.pairs, many), ("all", "negatives", "negatives_and_itself")):
        other = Batch(batch.anchors, None, pairs)
        expected = by_path(dense(other, ts, "outside", size, denominator), other, ts, weight)
        torch.testing.assert_close(by_path(tiles(other, ts, "outside", size, denominator), other, ts, weight), expected)


@pytest.mark.parametrize("build", [dense, tiles, online])
def test_candidates_that_want_no_gradient_cost_none(build):
    batch = draw(9, 6)
    anchors, others = batch.anchors.clone().requires_grad_(), batch.others
    both = evaluate(build(batch, (0.1,) * 3, "outside", 4), anchors, others.clone().requires_grad_(), 0.1).sum()
    alone = evaluate(build(batch, (0.1,) * 3, "outside", 4), anchors, others, 0.1).sum()
    torch.testing.assert_close(*torch.autograd.grad(both, anchors), *torch.autograd.grad(alone, anchors))


@pytest.mark.parametrize("build", [dense, tiles, online])
def test_a_graph_that_is_kept_gives_the_same_gradient_twice(build):
    batch = draw(9)
    anchors = batch.anchors.clone().requires_grad_()
    loss = evaluate(build(batch, (0.1,) * 3, "outside", 4), anchors, None, 0.1).sum()
    first, second = (torch.autograd.grad(loss, anchors, retain_graph=True)[0] for _ in range(2))
    torch.testing.assert_close(first, second, rtol=0, atol=0)
