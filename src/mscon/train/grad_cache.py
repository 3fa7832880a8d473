"""Cached gradients: a batch that the encoder cannot hold at once, with the gradient of the whole batch.

The loss needs all projections of a batch, the encoder's graph need not be there for all of them. So the encoder runs
over mini-batches without a graph; the loss gives the gradient of every projection; and the encoder runs again,
mini-batch by mini-batch, to pass it on.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple

import torch
from jaxtyping import Int, Shaped
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm

from mscon.train.gather import Samples
from mscon.train.module import TrainingModule
from mscon.train.step import MakeView, Measured, measure


def cached_backward(
    method: TrainingModule,
    inputs: Shaped[Tensor, "rows ..."],
    codes: Sequence[Shaped[Tensor, "rows ..."]],
    rows: Int[Tensor, " rows"],
    *,
    make_views: Sequence[MakeView],
    mini_batch_size: int,
    autocast: Callable[[], contextlib.AbstractContextManager[None]] = contextlib.nullcontext,
) -> Measured:
    """What `step` and `backward` do together, with the graph of `mini_batch_size` rows in memory at a time.

    The gradient is that of the whole batch, up to rounding, dropout included. Weightings and objectives get theirs
    once, from the loss of the whole batch. It is not the same where a network has batch norms, which
    then see mini-batches (`has_batch_norm` lets a caller warn); their running means move once for each mini-batch.

    Args:
        method: receives the gradients.
        inputs, codes, rows: a batch.
        make_views: each draws one view of each input.
        mini_batch_size: rows whose views the encoder holds at once.
        autocast: the precision of the forward passes.

    Source: GradCache, Gao et al. 2021, https://arxiv.org/abs/2101.06983.
    """
    views = len(make_views)
    samples = torch.cat([make_view(inputs) for make_view in make_views])
    chunks = samples.split(mini_batch_size * views)
    feature_chunks, projection_chunks, random_states = [], [], []
    with torch.no_grad(), _still_norms(method.model):
        for chunk in chunks:
            random_states.append(_random_state(chunk))
            with autocast():
                chunk_features, chunk_projections = method.model(chunk)
            feature_chunks.append(chunk_features)
            projection_chunks.append(chunk_projections)
    features = torch.cat(feature_chunks).requires_grad_()
    projections = torch.cat(projection_chunks, dim=1).requires_grad_()
    with autocast():
        measured = measure(
            Samples.of_views(projections, codes, rows, [0] * views),
            similarities=method.similarities,
            objective=method.objective,
            weighting=method.weighting,
            candidates=method.candidates,
        )
        measured = dataclasses.replace(measured, total=measured.total + method.penalty(features))
    measured.total.backward()
    # A batch without a pair moves no projection, and most heads have no penalty that moves the features.
    if features.grad is None and projections.grad is None:
        return _detached(measured)
    size = mini_batch_size * views
    of_features, of_projections = (
        _split(leaf.grad, size, dim, len(chunks)) for leaf, dim in ((features, 0), (projections, 1))
    )
    for number, (chunk, state) in enumerate(zip(chunks, random_states, strict=True)):
        with _drawing_from(state), autocast():  # the same dropout as the first time
            outputs = method.model(chunk)
        gradients = (of_features[number], of_projections[number])
        # Features of a frozen encoder have no graph.
        pairs = [(o, g) for o, g in zip(outputs, gradients, strict=True) if g is not None and o.requires_grad]
        torch.autograd.backward([output for output, _ in pairs], [gradient for _, gradient in pairs])
    return _detached(measured)


class _RandomState(NamedTuple):
    """States of the generators that a network draws from: that of the CPU, and those of other devices."""

    cpu: Tensor
    others: Mapping[torch.device, Tensor]


def _random_state(samples: Tensor) -> _RandomState:
    others = _accelerators(samples)
    return _RandomState(torch.get_rng_state(), {d: torch.get_device_module(d).get_rng_state(d) for d in others})


def _accelerators(samples: Tensor) -> list[torch.device]:
    return [] if samples.device.type == "cpu" else [samples.device]


@contextlib.contextmanager
def _drawing_from(state: _RandomState) -> Iterator[None]:
    """Random numbers are drawn from a state on; afterwards the generators stand as before."""
    kind = next((device.type for device in state.others), "cpu")
    with torch.random.fork_rng([*state.others], device_type=kind):
        torch.set_rng_state(state.cpu)
        for device, of_device in state.others.items():
            torch.get_device_module(device).set_rng_state(of_device, device)
        yield


def _split(gradient: Tensor | None, size: int, dim: int, parts: int) -> Sequence[Tensor] | Sequence[None]:
    return [None] * parts if gradient is None else gradient.split(size, dim=dim)


def has_batch_norm(model: nn.Module) -> bool:
    """Whether cached gradients differ from those of the whole batch."""
    return any(isinstance(module, _BatchNorm) for module in model.modules())


def _detached(measured: Measured) -> Measured:
    return dataclasses.replace(measured, total=measured.total.detach())


@contextlib.contextmanager
def _still_norms(model: nn.Module) -> Iterator[None]:
    """Batch norms whose running means do not move: the second pass moves them."""
    norms = [module for module in model.modules() if isinstance(module, _BatchNorm)]
    before = [
        (norm.momentum, None if norm.num_batches_tracked is None else norm.num_batches_tracked.clone())
        for norm in norms
    ]
    for norm in norms:
        norm.momentum = 0.0
    try:
        yield
    finally:
        for norm, (momentum, tracked) in zip(norms, before, strict=True):
            norm.momentum = momentum
            if tracked is not None and norm.num_batches_tracked is not None:
                norm.num_batches_tracked.copy_(tracked)
