"""Digest: a hash of weights, by which files computed with them are found again or noticed as damaged."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping

import torch
from torch import Tensor


def digest(text: str, tensors: Mapping[str, Tensor]) -> str:
    """SHA-256 over a text, and over name, type, shape and bytes of each tensor, in the order of their names."""
    hasher = hashlib.sha256(text.encode("utf-8"))
    for key in sorted(tensors):
        tensor = tensors[key].detach().cpu().contiguous()
        hasher.update(f"\n{key} {tensor.dtype} {list(tensor.shape)}\n".encode())
        hasher.update(tensor.reshape(-1).view(torch.uint8).numpy().data)  # numpy has no bfloat16
    return hasher.hexdigest()
