"""Heads: features -> one projection per similarity. Used in training, kept in the run for search."""

from __future__ import annotations

from abc import ABC, abstractmethod

from jaxtyping import Float
from torch import Tensor, nn


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
