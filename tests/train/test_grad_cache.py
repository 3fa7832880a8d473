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


def assert_gradient_is_of_the_network_as_it_was_drawn(method: TrainingModule, device: str = "cpu") -> None:
    """By finite differences of the loss: if the second pass drops out something else, they are of another network."""
    parameter = method.to(device).model.heads.weight  # its gradient holds the hidden layer of the second pass
    images, codes, rows = batch()
    images, codes, rows = images.to(device), [code.to(device) for code in codes], rows.to(device)

    def total() -> Tensor:
        torch.manual_seed(7)
        views = [lambda inputs: views_of()(inputs.cpu()).to(device)] * VIEWS
        return cached_backward(method, images, codes, rows, make_views=views, mini_batch_size=4).total

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


def test_the_second_pass_drops_out_what_the_first_did():
    assert_gradient_is_of_the_network_as_it_was_drawn(make(dropout=0.4))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_so_it_does_on_a_gpu():
    assert_gradient_is_of_the_network_as_it_was_drawn(make(dropout=0.4), "cuda")


class DropoutOfADevice(nn.Module):
    """Dropout that draws as on a GPU: from a generator that is not the CPU's."""

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def forward(self, features: Tensor) -> Tensor:
        return features * (torch.rand(features.shape, dtype=features.dtype, generator=self.generator) > 0.4)


def test_so_it_does_with_the_generator_of_another_device(monkeypatch):
    """A generator of the CPU stands for that of a GPU, which machines of most tests lack."""
    generator = torch.Generator()
    monkeypatch.setattr("mscon.train.grad_cache._accelerators", lambda samples: [torch.device("cuda", 0)])
    monkeypatch.setattr(torch.cuda, "get_rng_state", lambda device: generator.get_state())
    monkeypatch.setattr(torch.cuda, "set_rng_state", lambda state, device: generator.set_state(state))
    monkeypatch.setattr(torch, "manual_seed", generator.manual_seed)
    method = make()
    method.model.encoder.backbone.layers.append(DropoutOfADevice(generator))
    assert_gradient_is_of_the_network_as_it_was_drawn(method)
    after = generator.get_state()
    generator.manual_seed(7)
    for size in (4, 4, 3):  # rows of each mini-batch, in the first pass: the second leaves the generator as it was
        torch.rand(VIEWS * size, 8, dtype=torch.float64, generator=generator)
    assert torch.equal(after, generator.get_state())


def test_running_means_move_once_for_each_mini_batch():
    method = make(norm=True)
    assert has_batch_norm(method.model)
    learn(method, 4)
    norm = method.model.encoder.backbone.layers[2]
    assert norm.num_batches_tracked == 3
    assert norm.momentum == 0.1


def test_a_network_without_batch_norm_is_told_from_one_with():
    assert not has_batch_norm(make().model)
