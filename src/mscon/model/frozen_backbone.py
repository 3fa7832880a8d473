"""Frozen backbone: the part of a frozen encoder whose features can be computed once and stored."""

from __future__ import annotations

import contextlib
import inspect
import re
from dataclasses import dataclass
from functools import cached_property

import torch
from jaxtyping import Float32
from torch import Tensor

from mscon.model.digest import digest
from mscon.model.encoder import Encoder


@dataclass(frozen=True, eq=False)
class FrozenBackbone:
    """What an encoder computes before its adapter, always in single precision and in evaluation mode."""

    encoder: Encoder

    @cached_property
    def digest(self) -> str:
        """A hash of all that `encode` depends on: architecture, weights and preprocessing."""
        backbone, code = self.encoder.backbone, ""
        with contextlib.suppress(OSError, TypeError):  # a class of which no file has the code
            code = inspect.getsource(type(backbone))
        architecture = re.sub(r" at 0x[0-9a-f]+", "", repr(backbone))  # where a function lies in this process
        preprocessing = {"mean": self.encoder.mean, "std": self.encoder.std}
        weights = {f"backbone.{name}": tensor for name, tensor in backbone.state_dict().items()}
        return digest(f"{code}\n{architecture}", {**preprocessing, **weights})

    @torch.inference_mode()
    def encode(self, images: Float32[Tensor, "samples channels height width"]) -> Float32[Tensor, "samples stored"]:
        """Features of images in [0, 1], on the CPU."""
        device = self.encoder.mean.device
        self.encoder.backbone.eval()
        with torch.autocast(device.type, enabled=False):
            return self.encoder.encode(images.to(device)).float().cpu()
