"""Two-layer heads, all similarities in one product."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mscon.model.heads.base import WIDEST, Heads


class MLP(Heads):
    """Linear, norm, ReLU, Linear for each similarity; the hidden layers are one wide layer.

    Args:
        similarities: how many heads.
        input_dim: width of the features.
        hidden_dim: width of each hidden layer; 0 for the width of the features, as SupContrast's head.
        output_dim: width of each projection; the paper has 32 on ResNet-18 and 64 on ResNet-50.
        batch_norm: normalise the hidden layer over the batch. The authors' head has none
            (docs/decisions/0005).
        matryoshka: the loss is also computed on so many first dimensions of each projection, such as [8, 16], which
            then work alone, see `mscon.method.matryoshka`; empty for whole projections only.
    """

    def __init__(
        self,
        similarities: int,
        input_dim: int,
        hidden_dim: int = 0,
        output_dim: int = 32,
        batch_norm: bool = True,
        matryoshka: tuple[int, ...] | None = None,
    ) -> None:
        super().__init__()
        hidden = hidden_dim or input_dim
        if not (1 <= hidden <= WIDEST and 1 <= output_dim <= WIDEST):
            raise ValueError(
                f"hidden_dim and output_dim must be positive and at most {WIDEST}, got {hidden_dim} and {output_dim}."
            )
        # Only checked here: the loss on prefixes is a matter of the objective.
        if matryoshka and max(matryoshka) >= output_dim:
            raise ValueError(
                f"matryoshka must be numbers of dimensions below output_dim ({output_dim}), got {list(matryoshka)}."
            )
        self.similarities, self.hidden_dim, self.output_dim = similarities, hidden, output_dim
        self.hidden = nn.Linear(input_dim, similarities * hidden, bias=not batch_norm)
        self.norm = nn.BatchNorm1d(similarities * hidden) if batch_norm else nn.Identity()
        bound = hidden**-0.5  # nn.Linear's own initialisation, for each head
        self.weight = nn.Parameter(torch.empty(similarities, hidden, output_dim).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.empty(similarities, 1, output_dim).uniform_(-bound, bound))

    def forward(self, features: Float[Tensor, "samples features"]) -> Float[Tensor, "similarities samples dim"]:
        hidden = self.norm(self.hidden(features)).relu()
        hidden = hidden.unflatten(1, (self.similarities, self.hidden_dim)).transpose(0, 1)
        return torch.baddbmm(self.bias.to(hidden.dtype), hidden, self.weight.to(hidden.dtype))
