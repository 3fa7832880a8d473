"""Cached gradients: those of the whole batch, a part of it in memory at a time."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from mscon.method.objectives.supcon import SupCon
from mscon.method.similarities.categorical import Categorical
from mscon.method.weightings.uncertainty import Uncertainty
from mscon.model.encoder import Encoder
from mscon.model.heads.mlp import MLP
from mscon.model.model import Model
from mscon.train.gather import InBatch
from mscon.train.grad_cache import cached_backward, has_batch_norm
from mscon.train.module import TrainingModule

ROWS, VIEWS = 11, 2


class Flat(nn.Module):
    """An encoder small enough for float64."""

    def __init__(self, norm: bool, dropout: float) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Flatten(), nn.Linear(16, 8), nn.BatchNorm1d(8) if norm else nn.Identity(), nn.ReLU(), nn.Dropout(dropout)
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images)


def make(norm: bool = False, dropout: float = 0.0) -> TrainingModule:
    torch.manual_seed(0)
    similarities = [Categorical("a", ("x", "y")), Categorical("b", ("p", "q", "r"))]
    model = Model(Encoder(Flat(norm, dropout), 8, [0.0], [1.0]), MLP(2, 8, 6, 4, batch_norm=False))
    return TrainingModule(model, SupCon(), Uncertainty(2), InBatch(), similarities).double()


def batch() -> tuple[Tensor, list[Tensor], Tensor]:
    generator = torch.Generator().manual_seed(1)
    images = torch.randint(0, 256, (ROWS, 1, 4, 4), dtype=torch.uint8, generator=generator)
    return images, [torch.randint(-1, k, (ROWS,), generator=generator) for k in (2, 3)], torch.arange(ROWS)


def views_of(seed: int = 2):
    generator = torch.Generator().manual_seed(seed)
    return lambda images: images.double() / 255 + torch.randn(images.shape, dtype=torch.float64, generator=generator)


def learn(method: TrainingModule, mini_batch_size: int) -> tuple[Tensor, list[Tensor]]:
    images, codes, rows = batch()
    if mini_batch_size:
        total = cached_backward(
            method, images, codes, rows, make_views=[views_of()] * VIEWS, mini_batch_size=mini_batch_size
        ).total
    else:
        total = method(images, codes, rows, [views_of()] * VIEWS).total
        total.backward()
    return total.detach(), [p.grad for p in method.parameters()]


@pytest.mark.parametrize("mini_batch_size", [1, 3, 10, 11, 50])
def test_gradients_are_those_of_the_whole_batch(mini_batch_size):
    whole, cached = learn(make(), 0), learn(make(), mini_batch_size)
    torch.testing.assert_close(cached[0], whole[0])
    for one, other in zip(whole[1], cached[1], strict=True):
        torch.testing.assert_close(other, one)
    assert any((g != 0).any() for g in whole[1])


def test_the_second_pass_drops_out_what_the_first_did():
    """Else the gradient is that of another network: compared with finite differences of the loss as it was drawn."""
    method = make(dropout=0.4)
    parameter = method.model.heads.bias
    images, codes, rows = batch()

    def total() -> Tensor:
        torch.manual_seed(7)
        return cached_backward(method, images, codes, rows, make_views=[views_of()] * VIEWS, mini_batch_size=4).total

    method.zero_grad()
    total()
    gradient, step = parameter.grad[0, 0, 1].item(), 1e-6
    with torch.no_grad():
        parameter[0, 0, 1] += step
    above = total()
    with torch.no_grad():
        parameter[0, 0, 1] -= 2 * step
    below = total()
    assert gradient == pytest.approx(((above - below) / (2 * step)).item(), rel=1e-4)


def test_running_means_move_once_for_each_mini_batch():
    method = make(norm=True)
    assert has_batch_norm(method.model)
    learn(method, 4)
    norm = method.model.encoder.backbone.layers[2]
    assert norm.num_batches_tracked == 3
    assert norm.momentum == 0.1


def test_a_network_without_batch_norm_is_told_from_one_with():
    assert not has_batch_norm(make().model)
