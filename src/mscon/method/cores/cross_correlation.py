"""BarLIP: the same dimensions of two inputs shall vary together, and different ones apart."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.method.cores.clip import Vectors
from mscon.method.kernels.precision import products


def barlip(first: Vectors, second: Vectors, *, redundancy: float = 5e-3, scale: float = 0.025) -> Float[Tensor, ""]:
    """Barlow Twins between the inputs: scale * ( sum_d (1 - c_dd)^2 + redundancy * sum_{d != e} c_de^2 ).

    With c the correlations of the dimensions of both over the rows. Dimensions that do not vary correlate with none.
    In the authors' code the projector's last normalisation makes products correlations.

    Args:
        first, second: projections of the two inputs of each row.
        redundancy: weight of the correlations of different dimensions.
        scale: of the whole; the authors add it to `cl2l`.

    Source: Fini et al. 2023, https://arxiv.org/abs/2305.08675; after Barlow Twins, Zbontar et al. 2021,
        https://arxiv.org/abs/2103.03230.
    """
    one, other = (_standardised(vectors) for vectors in (first, second))
    correlations = products(one.T, other.T) / len(first)
    wrong = (correlations - torch.eye(first.shape[1], dtype=one.dtype, device=one.device)).square()
    diagonal = wrong.diagonal().sum()
    return scale * (diagonal + redundancy * (wrong.sum() - diagonal))


def _standardised(vectors: Vectors) -> Vectors:
    wide = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
    centred = wide - wide.mean(dim=0)
    variance = centred.square().mean(dim=0)
    return centred / torch.where(variance > 0, variance, 1.0).sqrt()
