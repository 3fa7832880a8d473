"""Within an epoch: where it stands, beside the weights and the optimiser, so that it can go on from between two steps.

What is random in an epoch follows from its seeds, but not from the middle of it: there the states of the generators are
needed. Of several processes each has its own, and running means of its own until the end of the epoch.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, fields
from hashlib import blake2b
from typing import Any

import torch
from torch import Tensor, nn

from mscon.errors import RunError
from mscon.train.gather import gathered, processes
from mscon.train.step import Measured

PREFIX = "within."


def derived_seed(seed: int, epoch: int, purpose: str) -> int:
    """A seed for one purpose in one epoch. Hashed: seed 0 in epoch 1 must not be seed 1 in epoch 0."""
    return int.from_bytes(blake2b(f"{seed}/{epoch}/{purpose}".encode(), digest_size=7).digest(), "big")


@dataclass(slots=True, eq=False)
class WithinEpoch:
    """Where an epoch stands.

    Attributes:
        steps: of the epoch that are taken; 0 outside an epoch.
        compared: similarities that a batch of the epoch has compared rows by.
        window: what steps have measured that are in no record of the log yet.
        views: draws the views.
        is_pause: asked after each step whether to pause there; it gets whether a record has all steps so far.
    """

    steps: int = 0
    compared: set[str] = field(default_factory=set)
    window: list[Measured] = field(default_factory=list)
    views: torch.Generator | None = None
    is_pause: Callable[[bool], bool] = lambda is_recorded: False
    _resumed: dict[str, Tensor] = field(default_factory=dict)

    def begin(self, seed: int, epoch: int, device: torch.device) -> torch.Generator:
        """Seed what is random in an epoch, or take it up where it stands. Returns the generator of the views."""
        if self.views is not None and self.steps:
            return self.views  # it was paused in this process
        # A checkpoint from another device, or another number of processes, has no states that fit here.
        again = f" {self.steps}" if self.steps and not self._resumed else ""
        rank = processes()[0]  # no two processes must drop out the same units
        torch.manual_seed(derived_seed(seed, epoch, f"network {rank}{again}" if rank else f"network{again}"))
        self.views = torch.Generator(device).manual_seed(derived_seed(seed, epoch, f"views{again}"))
        if self._resumed:
            torch.set_rng_state(self._resumed["network"])
            self.views.set_state(self._resumed["views"])
            if "device" in self._resumed:
                torch.get_device_module(device).set_rng_state(self._resumed["device"], device)
            self._resumed = {}
        return self.views

    def end(self) -> None:
        """The epoch is over."""
        self.steps, self.views = 0, None
        self.window.clear()

    def saved(self, modules: Mapping[str, nn.Module], device: torch.device) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors and plain JSON values for a checkpoint. All processes call it together.

        Args:
            modules: by name; their running means differ between processes.
            device: that trains.
        """
        world = processes()[1]
        assert self.views is not None
        tensors = {"views": self.views.get_state(), "network": self._of_all(torch.get_rng_state(), device)}
        if device.type != "cpu":
            tensors["device"] = self._of_all(torch.get_device_module(device).get_rng_state(device), device)
        if world > 1:
            tensors |= {f"means.{name}": self._of_all(mean, device) for name, mean in _running_means(modules)}
        for number, measured in enumerate(self.window):
            values = {part.name: getattr(measured, part.name) for part in fields(measured)}
            tensors |= {f"window.{number}.{name}": v for name, v in values.items() if isinstance(v, Tensor)}
        state = {
            "steps": self.steps,
            "compared": sorted(self.compared),
            "window": len(self.window),
            "processes": world,
            "device": device.type,
        }
        return {f"{PREFIX}{name}": value for name, value in tensors.items()}, state

    def restore(
        self,
        tensors: Mapping[str, Tensor],
        state: Mapping[str, Any],
        modules: Mapping[str, nn.Module],
        device: torch.device,
    ) -> str:
        """Stand where `saved` was called.

        Returns:
            What wrote it, where that has other random numbers than there can be here; else "".
        """
        rank, world = processes()
        self.steps, self.compared = state["steps"], set(state["compared"])
        tensors = {name.removeprefix(PREFIX): value for name, value in tensors.items() if name.startswith(PREFIX)}
        self.window = [_measured(tensors, f"window.{number}.", device) for number in range(state["window"])]
        if (state["processes"], state["device"]) != (world, device.type):
            count = "one process" if state["processes"] == 1 else f"{state['processes']} processes"
            return f"{count} on device '{state['device']}'"
        for name, mean in _running_means(modules) if world > 1 else ():
            mean.copy_(tensors[f"means.{name}"][rank])
        self._resumed = {"views": tensors["views"], "network": tensors["network"][rank].clone()}
        if "device" in tensors:
            self._resumed["device"] = tensors["device"][rank].clone()
        return ""

    @staticmethod
    def _of_all(local: Tensor, device: torch.device) -> Tensor:
        """That of each process, one after the other."""
        world = processes()[1]
        return (local[None] if world == 1 else gathered(local[None].to(device), [1] * world)).cpu()


def need_same_batches(before: Mapping[str, Any], after: Mapping[str, Any]) -> None:
    """Raise if settings of [train] that the batches of an epoch follow from have changed within it.

    Raises:
        RunError: naming the first, and its value before.
    """
    for name in ("batch_size", "seed"):
        if before[name] != after[name]:
            raise RunError(
                f"--set train.{name}={after[name]}: the last checkpoint lies within an epoch, and its batches follow "
                f"from train.{name} = {before[name]}. Resume without this setting until the epoch is over."
            )


def _running_means(modules: Mapping[str, nn.Module]) -> Iterator[tuple[str, Tensor]]:
    for place, module in modules.items():
        for name, buffer in module.named_buffers():
            if buffer.is_floating_point():
                yield f"{place}.{name}", buffer


def _measured(tensors: Mapping[str, Tensor], prefix: str, device: torch.device) -> Measured:
    values: dict[str, Any] = {part.name: None for part in fields(Measured)}
    stored = {name.removeprefix(prefix): value.to(device) for name, value in tensors.items() if name.startswith(prefix)}
    return Measured(**values | stored)
