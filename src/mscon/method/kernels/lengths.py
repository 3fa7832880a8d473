"""Lengths of vectors: what may be wrong with them, and the division by them."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

VectorStack = Float[Tensor, "similarities rows dim"]
Lengths = Float[Tensor, "similarities rows 1"]


def lengths_of(vectors: VectorStack, name: str) -> tuple[Lengths, float]:
    """Length of each vector in float32 at least (half precision keeps three digits of it), and the largest.

    Raises:
        ValueError: if a vector is zero or not finite. `name` says of what.
    """
    dtype = torch.promote_types(vectors.dtype, torch.float32)
    lengths = torch.linalg.vector_norm(vectors.detach(), dim=2, keepdim=True, dtype=dtype)
    if not lengths.numel():  # a process may have no anchors
        return lengths, 0.0
    low, high = (bound.item() for bound in lengths.aminmax())
    if low > 0 and high < math.inf:  # both are false for NaN
        return lengths, high
    wrong, what, hint = (
        (lengths == 0, "zero", "A zero vector has no direction: look for a dead head or an empty input.")
        if lengths.isfinite().all()
        else (~lengths.isfinite(), "not finite", "Look for a learning rate that is too high, or a division by zero.")
    )
    head, row, _ = wrong.nonzero()[0].tolist()
    raise ValueError(
        f"{int(wrong.sum())} of {wrong.numel()} {name} are {what}, the first is row {row} of similarity {head}, which "
        f"begins {vectors[head, row, :4].tolist()} (shape {tuple(vectors.shape)}). {hint}"
    )


def divided(vectors: VectorStack, lengths: Lengths | None) -> VectorStack:
    """VectorStack divided by lengths, in the wider type of the two; as they are where there are no lengths."""
    return vectors if lengths is None else vectors / lengths


def across(gradient: VectorStack, unit: VectorStack, lengths: Lengths | None) -> VectorStack:
    """Gradient to vectors from that to `divided` ones, in its memory: what of it lies across them, divided as well."""
    if lengths is None:
        return gradient
    along = (gradient * unit).sum(dim=2, keepdim=True)
    return gradient.addcmul_(unit, along, value=-1).div_(lengths)
