"""Heads: features -> one projection per similarity. Used in training, kept in the run for search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

Mean = Callable[[Tensor], Tensor]


class Heads(nn.Module, ABC):
    """All projection heads of a model, computed together. Subclasses are final.

    Args:
        similarities: how many heads.
        input_dim: width of the features.
    """

    output_dim: int

    @abstractmethod
    def forward(self, features: Float[Tensor, "samples features"]) -> Float[Tensor, "similarities samples dim"]:
        """One projection space per similarity; vectors are not of unit length."""

    def penalty(self, features: Float[Tensor, "samples features"], mean: Mean = torch.mean) -> Float[Tensor, ""]:
        """What is added to the total of a step, whatever the weighting; 0 for most heads.

        Args:
            features: of the samples of this process.
            mean: of a number of each of them, over the samples of all processes.
        """
        del mean
        return features.new_zeros(())

    @property
    def shown(self) -> Float[Tensor, "similarities dim"] | None:
        """Numbers of these heads that a report can show, a row per similarity; None for most heads."""
        return None
