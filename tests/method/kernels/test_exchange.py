"""Processes that exchange a few numbers have, each for its own rows, the whole gradient: checked without processes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from batches import Batch, Naming, draw, namings, renamed
from mscon.method.kernels import contrast
from mscon.method.kernels.dense import Dense
from mscon.method.kernels.online import Online
from mscon.method.kernels.path import Competitors, Kernel, evaluate
from mscon.method.kernels.shift import LARGEST_LOGIT
from mscon.method.kernels.tiles import Tiles
from mscon.method.pairs import Exchange, LazyPairs, Pairs

F64 = torch.float64
TEMPERATURES = (0.07, 0.3, 1.0)


def dense(pairs: Sequence[LazyPairs], inside: bool, denominator: Competitors) -> Kernel:
    return Dense.of(pairs, TEMPERATURES, 1 / min(TEMPERATURES), F64, inside=inside, denominator=denominator)


def tiles(pairs: Sequence[LazyPairs], inside: bool, denominator: Competitors) -> Kernel:
    return Tiles.of(pairs, TEMPERATURES, 1 / min(TEMPERATURES), is_square=False, size=3, denominator=denominator)


def online(pairs: Sequence[LazyPairs], inside: bool, denominator: Competitors) -> Kernel:
    return Online(tuple(pairs), TEMPERATURES, inside, denominator, block=(3, 4))


class Processes:
    """Parts of a batch, as processes hold them. Each is asked twice: who exchanges must first be heard."""

    def __init__(self, sizes: Sequence[int], past: int = 0) -> None:
        self.sizes, self.past = sizes, past
        self.heard: list[Tensor] = []
        self.numbers = 0

    def exchange(self) -> Exchange:
        def exchanged(numbers: Tensor) -> Tensor:
            self.heard.append(numbers)
            self.numbers = numbers.shape[0]
            heard = self.heard if len(self.heard) <= len(self.sizes) else self.heard[: len(self.sizes)]
            exchanged_pairs = torch.cat(heard, dim=2)
            return torch.cat(
                [
                    exchanged_pairs,
                    exchanged_pairs.new_zeros(
                        *exchanged_pairs.shape[:2], sum(self.sizes) + self.past - exchanged_pairs.shape[2]
                    ),
                ],
                dim=2,
            )

        return exchanged

    def gradients(self, of_part: Callable[[slice], list[Tensor]]) -> list[list[Tensor]]:
        """What each process finds, once all were heard."""
        parts = [slice(sum(self.sizes[:k]), sum(self.sizes[: k + 1])) for k in range(len(self.sizes))]
        for part in parts:
            of_part(part)
        return [of_part(part) for part in parts]


def of_process(batch: Batch, part: slice, exchange: Exchange) -> list[LazyPairs]:
    return [replace(p, anchors=p.anchors[part], anchor_ids=p.anchor_ids[part], exchange=exchange) for p in batch.pairs]


def whole_gradient(batch: Batch, inside: bool, denominator: Competitors, weight: Tensor) -> list[Tensor]:
    anchors, t = batch.anchors.clone().requires_grad_(), torch.tensor(TEMPERATURES, dtype=F64, requires_grad=True)
    losses = evaluate(online(batch.pairs, inside, denominator), anchors, None, t)
    return list(torch.autograd.grad((weight * losses).sum(), (anchors, t)))


def check(
    build: Callable[..., Kernel],
    batch: Batch,
    inside: bool,
    sizes: Sequence[int],
    naming: Naming | None = None,
    denominator: Competitors = "all",
) -> int:
    in_parts = renamed(batch, naming) if naming else batch
    weight = torch.rand(batch.anchors.shape[:2], dtype=F64, generator=torch.Generator().manual_seed(1))
    processes = Processes(sizes)
    exchange = processes.exchange()

    def of_part(part: slice) -> list[Tensor]:
        anchors, t = batch.anchors[:, part].clone().requires_grad_(), torch.tensor(TEMPERATURES, dtype=F64)
        t.requires_grad_()
        others = batch.anchors.clone().requires_grad_()
        path = build(of_process(in_parts, part, exchange), inside, denominator)
        losses = evaluate(path, anchors, others, t, exchange=exchange)
        of_a, of_t, of_c = torch.autograd.grad(
            (weight[:, part] * losses).sum(), (anchors, t, others), allow_unused=True
        )
        assert of_c is None
        return [of_a, of_t]

    results = processes.gradients(of_part)
    expected = whole_gradient(batch, inside, denominator, weight)
    torch.testing.assert_close(torch.cat([f[0] for f in results], dim=1), expected[0])
    torch.testing.assert_close(torch.stack([f[1] for f in results]).sum(dim=0), expected[1])
    return processes.numbers


@st.composite
def splits(draw_: Callable) -> list[int]:
    return draw_(st.lists(st.integers(0, 9), min_size=1, max_size=3).filter(lambda sizes: sum(sizes) > 1))


@pytest.mark.parametrize("build", [dense, tiles, online])
@settings(deadline=None, derandomize=True, max_examples=15)
@given(
    sizes=splits(),
    missing=st.booleans(),
    ids=st.sampled_from(["sample", "row"]),
    seed=st.integers(0, 50),
    naming=namings,
    denominator=st.sampled_from(["all", "negatives", "negatives_and_itself"]),
)
def test_of_classes_two_to_four_numbers_an_anchor_give_all(build, sizes, missing, ids, seed, naming, denominator):
    numbers = check(build, draw(sum(sizes), ids=ids, missing=missing, seed=seed), False, sizes, naming, denominator)
    assert numbers == (3 if build is online else 2) + (denominator == "negatives_and_itself")


@pytest.mark.parametrize("build", [dense, online])
@settings(deadline=None, derandomize=True, max_examples=10)
@given(
    sizes=splits(),
    graded=st.booleans(),
    inside=st.booleans(),
    seed=st.integers(0, 50),
    denominator=st.sampled_from(["all", "negatives"]),
)
def test_of_graded_similarities_and_positives_inside_too(build, sizes, graded, inside, seed, denominator):
    check(build, draw(sum(sizes), graded=graded, seed=seed), inside, sizes, denominator=denominator)
    check(build, draw(sum(sizes), graded=graded, seed=seed), False, sizes, denominator="negatives_and_itself")


def one_sided(anchors: Tensor, candidates: Tensor) -> Pairs:
    """Not symmetric, neither in how alike nor in what is known."""
    higher = anchors[:, None] - candidates[None, :]
    return Pairs(higher.clamp(0, 1), higher > -1.5)


@pytest.mark.parametrize("build", [dense, online])
@pytest.mark.parametrize("inside", [False, True])
def test_a_similarity_need_not_be_symmetric(build, inside):
    batch = draw(11, graded=True, missing=False)
    check(build, replace(batch, pairs=tuple(replace(p, compare=one_sided) for p in batch.pairs)), inside, [7, 4])


@pytest.mark.parametrize("rows", [40, 700])
@pytest.mark.parametrize("temperature", [0.1, 0.004])
@pytest.mark.parametrize("length", [0.5, 3.0])
def test_contrast_goes_the_same_way_in_all_processes(rows, temperature, length):
    """Dense, tiled and, for low temperatures, online; with vectors of other lengths in another process."""
    batch = draw(rows, dim=4, missing=True)
    scale = torch.linspace(0.2, length, rows, dtype=F64)[:, None]
    vectors = batch.anchors * scale
    for cosine in (True, False):
        alone = vectors.clone().requires_grad_()
        losses = contrast(alone, None, batch.pairs, temperature=temperature, cosine=cosine)
        losses.sum().backward()
        processes = Processes([rows - 9, 0, 9])
        exchange = processes.exchange()

        def of_part(part: slice, cosine: bool = cosine, exchange: Exchange = exchange) -> list[Tensor]:
            local = vectors[:, part].clone().requires_grad_()
            pairs = of_process(batch, part, exchange)
            results = contrast(local, vectors, pairs, temperature=temperature, cosine=cosine)
            results.sum().backward()
            return [local.grad, results.detach()]

        results = processes.gradients(of_part)
        torch.testing.assert_close(torch.cat([f[1] for f in results], dim=1), losses.detach())
        torch.testing.assert_close(torch.cat([f[0] for f in results], dim=1), alone.grad)
        largest_logit = (1 if cosine else length**2) / temperature
        assert processes.numbers == (3 if largest_logit > LARGEST_LOGIT else 2)


@pytest.mark.parametrize("rows", [20, 700])
@pytest.mark.parametrize("temperature", [0.1, 0.004])
def test_candidates_that_are_nobodys_anchors_only_repel_and_attract_anchors(rows, temperature):
    """As those of a memory: 0 is told of them, which no path may divide by."""
    batch = draw(rows, rows + 30, dim=4)
    others = torch.cat([batch.anchors, batch.others[:, rows:]], dim=1)
    ids = torch.arange(rows + 30)
    codes = [torch.cat([p.anchors, p.candidates[rows:]]) for p in batch.pairs]
    pairs = [
        replace(p, candidates=c, anchor_ids=ids[:rows], candidate_ids=ids)
        for p, c in zip(batch.pairs, codes, strict=True)
    ]
    anchors = batch.anchors.clone().requires_grad_()
    both = torch.cat([anchors, others[:, rows:]], dim=1)
    contrast(anchors, both, pairs, temperature=temperature, cosine=True).sum().backward()

    def exchange(numbers: Tensor) -> Tensor:
        return torch.nn.functional.pad(numbers, (0, 30))

    again = batch.anchors.clone().requires_grad_()
    exchanged_pairs = [replace(p, exchange=exchange) for p in pairs]
    contrast(again, others, exchanged_pairs, temperature=temperature, cosine=True).sum().backward()
    torch.testing.assert_close(again.grad, anchors.grad)


def test_similarities_must_exchange_all_or_none():
    batch = draw(4)
    pairs = [replace(p, exchange=lambda numbers: numbers) if h else p for h, p in enumerate(batch.pairs)]
    with pytest.raises(ValueError, match="one exchange, or none"):
        contrast(batch.anchors, batch.anchors.clone(), pairs, temperature=0.1)
