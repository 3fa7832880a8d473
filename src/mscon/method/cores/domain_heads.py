"""Heads by domain: each row goes through the projection head of its own domain."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor, nn


class DomainHeads(nn.Module):
    """One projection head for each domain into one space: a mixture of experts whose routing is given.

    Train it with `info_nce(..., temperature=0.05)`, the multiple negatives ranking loss with its usual scale of 20.

    Args:
        domains: how many.
        input_dim: width of the features.
        output_dim: width of the projections.
        hidden_dim: width of the hidden layer; 0 for that of the features.

    Source: Hallee et al. 2024, "Contrastive Learning and Mixture of Experts Enables Precise Vector Embeddings",
        https://arxiv.org/abs/2401.15713. Their experts are layers within a transformer; here they are heads behind it.
    """

    def __init__(self, domains: int, input_dim: int, output_dim: int = 32, hidden_dim: int = 0) -> None:
        super().__init__()
        if min(domains, input_dim, output_dim) < 1 or hidden_dim < 0:
            raise ValueError(
                f"domains and widths must be positive, got {(domains, input_dim, output_dim, hidden_dim)}."
            )
        hidden = hidden_dim or input_dim
        self.output_dim = output_dim
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Linear(input_dim, hidden), nn.ReLU(), nn.Linear(hidden, output_dim))
            for _ in range(domains)
        )

    def forward(
        self, features: Float[Tensor, "rows features"], domains: Int[Tensor, " rows"]
    ) -> Float[Tensor, "rows dim"]:
        """The projection of each row.

        Args:
            features: of an encoder.
            domains: number of the domain of each row, from 0.

        Raises:
            ValueError: for numbers of no domain.
        """
        unknown = (domains < 0) | (domains >= len(self.heads))
        if unknown.any():
            row = int(unknown.nonzero()[0])
            raise ValueError(
                f"{int(unknown.sum())} of {len(domains)} rows are of no domain, the first is row {row} with "
                f"{int(domains[row])}. Domains are 0 to {len(self.heads) - 1}."
            )
        order = domains.argsort(stable=True)
        parts = features[order].split(domains.bincount(minlength=len(self.heads)).tolist())
        projections = torch.cat([head(part) for head, part in zip(self.heads, parts, strict=True)])
        return projections[order.argsort()]
