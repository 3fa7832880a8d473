"""CLIP: the two inputs of a row, such as an image and a text, shall find each other among those of all rows."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.method.cores.info_nce import info_nce

Vectors = Float[Tensor, "rows dim"]
Targets = Float[Tensor, "rows rows"]


def clip(
    first: Vectors,
    second: Vectors,
    *,
    temperature: float | Tensor = 0.07,
    targets: Targets | None = None,
    smoothing: float = 0.0,
) -> Float[Tensor, " rows"]:
    """InfoNCE from the first input of each row to the second and back, and the mean of both.

    Args:
        first, second: projections of the two inputs of each row, of any length.
        temperature: divides cosines, > 0; a number, or a tensor such as the exponential of a parameter.
        targets: how much the second input j belongs to the first input i; the way back has them transposed, and a row
            counts there by the sum of its targets. None if row i belongs to row i.
        smoothing: share of the targets that is spread over all rows alike (label smoothing), from 0 to below 1.

    Returns:
        A loss per row; its mean is the number to minimise, log(rows) if all vectors coincide.

    Raises:
        ValueError: for inputs of different numbers of rows, smoothing that is no share, and what `info_nce` refuses.

    Source: Radford et al. 2021, https://arxiv.org/abs/2103.00020.
    """
    if not 0 <= smoothing < 1:
        raise ValueError(f"smoothing must be at least 0 and below 1, got {smoothing}.")
    rows = len(first)
    if len(second) != rows:
        raise ValueError(
            f"first and second must be the two inputs of the same rows, got {rows} and {len(second)} rows."
        )
    shares = torch.eye(rows, dtype=first.dtype, device=first.device) if targets is None else targets
    shares = (1 - smoothing) * shares + smoothing * shares.sum(dim=1, keepdim=True) / rows
    ways = [(first, second, shares), (second, first, shares.T)]
    there, back = (info_nce(a, b, temperature=temperature, positives=p) * p.sum(dim=1) for a, b, p in ways)
    return (there + back) / 2
