"""No heads: every similarity sees the features themselves."""

from __future__ import annotations

from jaxtyping import Float
from torch import Tensor

from mscon.model.heads.base import Heads


class Identity(Heads):
    """No heads: the features themselves. For cross-entropy, whose classifiers belong to the objective."""

    def __init__(self, similarities: int, input_dim: int) -> None:
        super().__init__()
        self.similarities, self.output_dim = similarities, input_dim

    def forward(self, features: Float[Tensor, "samples features"]) -> Float[Tensor, "similarities samples dim"]:
        return features.expand(self.similarities, -1, -1)
