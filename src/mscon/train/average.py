"""Average: a moving average of the weights over the steps of a training."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import cast

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel

from mscon.method.objectives.base import Objective
from mscon.model.model import Model
from mscon.train.gather import average_running_means
from mscon.train.module import TrainingModule

Tensors = tuple[Tensor, ...] | list[Tensor]


class MovingAverage:
    """An exponential moving average of model and objective, buffers included.

    After step t the average is d * average + (1 - d) * weights, with d the decay, or (1 + t) / (10 + t) where that is
    smaller: else the weights of the first steps would count for much in a short training.

    Args:
        method: whose weights are averaged.
        decay: from 0 to below 1.

    Attributes:
        model, objective: with the average for weights.

    Source: Polyak and Juditsky 1992, "Acceleration of stochastic approximation by averaging"; by torch's AveragedModel,
        with the decay of TensorFlow's ExponentialMovingAverage.
    """

    def __init__(self, method: TrainingModule, decay: float) -> None:
        self._method, self._parts = method, nn.ModuleDict({"model": method.model, "objective": method.objective})

        def take_in(averages: Tensors, values: Tensors, updates: Tensor | int) -> None:
            steps = int(updates)
            if averages[0].is_floating_point():
                torch._foreach_lerp_(averages, values, 1 - min(decay, (1 + steps) / (10 + steps)))
            else:
                torch._foreach_copy_(averages, values)

        self._average = AveragedModel(self._parts, multi_avg_fn=take_in, use_buffers=True)
        self._average.requires_grad_(False)
        parts = self._average.module
        assert isinstance(parts, nn.ModuleDict)
        self.model: Model = cast(Model, parts["model"])
        self.objective: Objective = cast(Objective, parts["objective"])

    def update(self) -> None:
        """Take in the weights as they are after a step."""
        self._average.update_parameters(self._parts)

    def agree(self) -> None:
        """Average what processes have each for themselves, which are running means."""
        average_running_means(self._average.module)

    @contextlib.contextmanager
    def in_use(self) -> Iterator[None]:
        """Within it the method has the average in place of its weights."""
        method = self._method
        trained = method.model, method.objective
        method.model, method.objective = self.model, self.objective
        try:
            yield
        finally:
            method.model, method.objective = trained

    def state_dict(self) -> dict[str, Tensor]:
        return dict(self._average.state_dict())

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        self._average.load_state_dict(state)
