"""Batches on which other implementations return NaN or another number. Theirs, as measured, in the docstrings.

SupContrast is its `losses.py`; PML is pytorch-metric-learning 2.9.0.
"""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn.functional import normalize

from batches import draw
from mscon.method.kernels import contrast
from mscon.method.kernels.dense import Dense
from mscon.method.kernels.online import Online
from mscon.method.kernels.path import evaluate
from mscon.method.kernels.tiles import Tiles
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.categorical import same_class

WAYS = ["dense", "tiles", "online"]


def one(labels: Tensor) -> tuple[LazyPairs, ...]:
    ids = torch.arange(len(labels))
    return (LazyPairs(same_class, labels, labels, ids, ids, True),)


def losses_and_gradient(way: str, vectors: Tensor, labels: Tensor, temperature: float) -> tuple[Tensor, Tensor]:
    """Loss of each anchor, and the gradient of their mean over anchors with a positive."""
    anchors = vectors[None].clone().requires_grad_()
    pairs, t = one(labels), (temperature,)
    if way == "online" or temperature < 0.0139:
        path = Online(pairs, t, inside=False)
    elif way == "tiles":
        path = Tiles.of(pairs, t, 1 / temperature, is_square=True)
    else:
        path = Dense.of(pairs, t, 1 / temperature, torch.promote_types(vectors.dtype, torch.float32), inside=False)
    losses = evaluate(path, anchors, None, temperature)[0]
    counted = pairs[0].dense().has_positive
    (losses.sum() / counted.sum().clamp_min(1)).backward()
    return losses.detach(), anchors.grad[0]


def random_vectors(rows: int = 256, dim: int = 64) -> Tensor:
    return normalize(torch.randn(rows, dim, generator=torch.Generator().manual_seed(0)), dim=1)


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("temperature", [0.01, 0.006, 0.001])
def test_small_temperatures_are_finite(way, temperature):
    """SupContrast: NaN from 0.006 down, because its row maximum is the row itself and all others underflow."""
    vectors, labels = random_vectors(), torch.arange(256) % 5
    losses, gradient = losses_and_gradient(way, vectors, labels, temperature)
    expected, exact = losses_and_gradient("online", vectors.double(), labels, temperature)
    torch.testing.assert_close(losses.double(), expected, rtol=1e-5, atol=1e-4)
    assert (gradient - exact).norm() < 1e-4 * exact.norm()


@pytest.mark.parametrize("way", WAYS)
def test_antipodal_pairs_are_finite(way):
    """SupContrast: loss 100.869 and a NaN gradient. PML: 100.859, as here."""
    vectors = normalize(torch.tensor([[1, 0, 0, 0], [-1, 0.01, 0, 0], [0, 1, 0, 0], [0, -1, 0, 0]]), dim=1)
    losses, gradient = losses_and_gradient(way, vectors, torch.tensor([0, 0, 1, 1]), 0.01)
    assert losses.mean().item() == pytest.approx(100.859, abs=1e-3)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("way", WAYS)
def test_losses_of_exactly_zero_count_in_the_mean(way):
    """SupContrast: NaN. PML: 1.0986, because it averages over anchors whose loss is not zero."""
    vectors = torch.tensor([[1, 0], [1, 0], [-0.5, 0.8660254], [-0.5, -0.8660254]])
    losses, _ = losses_and_gradient(way, vectors, torch.tensor([0, 0, 1, 1]), 0.01)
    assert losses.mean().item() == pytest.approx(0.5493, abs=1e-4)


@pytest.mark.parametrize("way", WAYS)
def test_rows_without_a_positive_are_exactly_zero_and_pass_no_gradient_of_their_own(way):
    """SupContrast averages them in as zeros: 4.73 instead of 6.30 with 64 of 256 such rows."""
    vectors = random_vectors()
    labels = torch.where(torch.arange(256) < 64, 100 + torch.arange(256), torch.arange(256) % 3)
    losses, _ = losses_and_gradient(way, vectors, labels, 0.1)
    assert (losses[:64] == 0).all()
    assert (losses[64:] > 0).all()
    ratio = losses.sum() / 192 / losses.mean()
    assert ratio.item() == pytest.approx(256 / 192)


@pytest.mark.parametrize("way", WAYS)
def test_a_batch_without_any_positive_is_zero_throughout(way):
    losses, gradient = losses_and_gradient(way, random_vectors(), torch.arange(256), 0.1)
    assert (losses == 0).all()
    assert (gradient == 0).all()


@pytest.mark.parametrize("way", WAYS)
def test_a_single_class_still_attracts(way):
    """PML: 0 and no gradient, since it asks for a negative."""
    vectors = random_vectors()
    losses, gradient = losses_and_gradient(way, vectors, torch.zeros(256, dtype=torch.long), 0.1)
    logits = (vectors.double() @ vectors.double().T / 0.1).fill_diagonal_(-torch.inf)
    expected = logits.logsumexp(dim=1) - logits.fill_diagonal_(0).sum(dim=1) / 255
    torch.testing.assert_close(losses.double(), expected, rtol=1e-6, atol=1e-6)
    assert gradient.norm() > 0.01


@pytest.mark.parametrize("way", WAYS)
def test_a_missing_label_is_no_class(way):
    """SupContrast and PML pull rows labelled -1 together: 6.308 instead of 5.931 with a third missing."""
    vectors, labels = random_vectors(), torch.arange(256) % 5
    labels[::3] = -1
    losses, gradient = losses_and_gradient(way, vectors, labels, 0.1)
    others = labels >= 0
    expected, expected_gradient = losses_and_gradient(way, vectors[others], labels[others], 0.1)
    torch.testing.assert_close(losses[others], expected)
    torch.testing.assert_close(gradient[others], expected_gradient)
    assert (losses[~others] == 0).all()
    assert (gradient[~others] == 0).all()


@pytest.mark.parametrize("way", WAYS)
def test_labels_that_are_all_missing_are_zero(way):
    """SupContrast: 6.3, one big class."""
    losses, gradient = losses_and_gradient(way, random_vectors(), torch.full((256,), -1), 0.1)
    assert (losses == 0).all()
    assert (gradient == 0).all()


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("temperature", [0.1, 0.01])
def test_duplicates_give_the_log_of_their_number(way, temperature):
    vectors = random_vectors(1).repeat(200, 1)
    losses, gradient = losses_and_gradient(way, vectors, torch.arange(200) % 2, temperature)
    torch.testing.assert_close(losses, torch.full((200,), math.log(199)))
    assert gradient.norm() < 1e-4


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("temperature", [1.0, 0.0139, 0.01])
def test_an_anchor_opposite_to_all_candidates_still_has_a_sum(way, temperature):
    """With a fixed shift by 1 / t each of its exponentials vanishes in float32."""
    vectors = torch.cat([-random_vectors(1), random_vectors(1).repeat(200, 1)])
    losses, gradient = losses_and_gradient(way, vectors, torch.zeros(201, dtype=torch.long), temperature)
    assert losses[0].item() == pytest.approx(math.log(200), abs=1e-4)
    assert gradient.isfinite().all()


@pytest.mark.parametrize("way", WAYS)
def test_half_precision_vectors_lose_nothing_but_their_own_rounding(way):
    """float16 at 0.01: NaN in SupContrast, 0.016 off in PML."""
    vectors, labels = random_vectors().half(), torch.arange(256) % 5
    losses, gradient = losses_and_gradient(way, vectors, labels, 0.01)
    expected, exact = losses_and_gradient("online", vectors.double(), labels, 0.01)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), expected, rtol=1e-6, atol=1e-4)
    assert (gradient - exact).norm() < 1e-3 * exact.norm()


@pytest.mark.parametrize("rows", [200, 1_024])
def test_bfloat16_vectors_in_tight_clusters_have_a_gradient_as_good_as_its_own_rounding(rows):
    """Gradient 21 % off in SupContrast and 93 % in PML, which also returns its loss as bfloat16."""
    batch = draw(rows, spread=0.02, dim=128, missing=False, dtype=torch.bfloat16)
    narrow, exact = batch.anchors.clone().requires_grad_(), batch.anchors.double().requires_grad_()
    losses = contrast(narrow, None, batch.pairs, temperature=0.1)
    expected = contrast(exact, None, batch.pairs, temperature=0.1)
    assert losses.dtype == torch.float32
    torch.testing.assert_close(losses.double(), expected, rtol=0, atol=4e-6)
    losses[0].mean().backward()
    expected[0].mean().backward()
    assert narrow.grad.dtype == torch.bfloat16
    assert (narrow.grad.double() - exact.grad)[0].norm() < 3e-3 * exact.grad[0].norm()
