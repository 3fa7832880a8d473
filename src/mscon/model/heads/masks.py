"""One embedding for all similarities, of which each sees the dimensions that its mask lets through."""

from __future__ import annotations

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mscon.model.heads.base import WIDEST, Heads, Mean

MaskKind = Literal["learned", "disjoint", "preinitialised"]
Norm = Literal["root", "squared"]


class Masks(Heads):
    r"""One shared embedding and a mask per similarity, (W h + b) * relu(m_c): conditional similarity networks (CSN).

    Projections are not scaled to unit length; distances between them are what objective `triplet_margin` compares.
    With D = output_dim and C similarities the masks are

    - "learned": trainable, drawn from N(0.9, 0.7), so that some begin switched off;
    - "disjoint": fixed; floor(D / C) dimensions of its own are 1 for each similarity, the rest is 0;
    - "preinitialised": trainable, from 1 on those dimensions and 0.1 on the others.

    Args:
        similarities: how many masks.
        input_dim: width of the features.
        output_dim: width D of the embedding; the authors have 64.
        masks: "learned", "disjoint" or "preinitialised".
        embedding_penalty: of the length of unmasked embeddings in the total, see `penalty`.
        embedding_norm: "root", as the authors' code, takes their root mean square; "squared", as the paper writes
            it, the mean square.
        mask_penalty: of the L1 norm of the masks in the total.

    Source: Veit et al. 2017, "Conditional Similarity Networks", https://arxiv.org/abs/1603.07810, and the settings
        of the authors' code. What differs is in docs/decisions/0007.
    """

    mask: Tensor

    def __init__(
        self,
        similarities: int,
        input_dim: int,
        output_dim: int = 64,
        masks: MaskKind = "learned",
        embedding_penalty: float = 5e-3,
        embedding_norm: Norm = "root",
        mask_penalty: float = 5e-4,
    ) -> None:
        super().__init__()
        if output_dim > WIDEST:
            raise ValueError(f"output_dim must be at most {WIDEST}, got {output_dim}.")
        if output_dim < similarities:
            raise ValueError(
                f"output_dim must be at least the number of similarities {similarities}, got {output_dim}."
            )
        for name, value in (("embedding_penalty", embedding_penalty), ("mask_penalty", mask_penalty)):
            if not 0 <= value < float("inf"):
                raise ValueError(f"{name} must be finite and not negative, got {value}.")
        self.similarities, self.output_dim = similarities, output_dim
        self.embedding_penalty, self.mask_penalty = embedding_penalty, mask_penalty
        self.embedding_norm: Norm = embedding_norm
        self.embedding = nn.Linear(input_dim, output_dim)
        first = _first(masks, similarities, output_dim)
        if masks == "disjoint":
            self.register_buffer("mask", first)
        else:
            self.mask = nn.Parameter(first)

    def forward(self, features: Float[Tensor, "samples features"]) -> Float[Tensor, "similarities samples dim"]:
        return self.embedding(features) * self.shown[:, None]

    @property
    def shown(self) -> Float[Tensor, "similarities dim"]:
        return self.mask.relu()

    def penalty(self, features: Float[Tensor, "samples features"], mean: Mean = torch.mean) -> Float[Tensor, ""]:
        r"""C * (embedding_penalty * R + mask_penalty * S), with C the number of similarities.

        R is the root of the mean over the samples of ||e||^2, or that mean itself ("squared"); S the mean over the
        similarities of ||relu(m_c)||_1. The authors take the mean loss over the triplets of all similarities; the
        total here is the sum of one mean a similarity, C times that, so the penalties are C times theirs too.
        """
        # Squares of 64 numbers in bfloat16 would keep two digits.
        embedded = self.embedding(features)
        square = mean(embedded.to(torch.promote_types(embedded.dtype, torch.float32)).square().sum(dim=1))
        # The root's slope at 0 is infinite; embeddings that are all 0 get none.
        length = square if self.embedding_norm == "squared" else square.clamp_min(1e-24).sqrt()
        return self.similarities * self.embedding_penalty * length + self.mask_penalty * self.shown.sum()

    def no_weight_decay(self) -> set[str]:
        """Names of parameters that do not decay: the masks have a penalty of their own."""
        return {"mask"}


def _first(masks: MaskKind, similarities: int, dim: int) -> Float[Tensor, "similarities dim"]:
    if masks == "learned":
        return torch.empty(similarities, dim).normal_(0.9, 0.7)
    blocks = torch.eye(similarities).repeat_interleave(dim // similarities, dim=1)
    blocks = nn.functional.pad(blocks, (0, dim - blocks.shape[1]))
    return blocks if masks == "disjoint" else blocks.clamp_min(0.1)
