"""How products are rounded while a loss is computed. What the process allows elsewhere is put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor

# torch < 2.9 has one switch for all devices, later ones a switch a device; mixing the two is an error there.
_CPU: Any = getattr(torch.backends.mkldnn, "matmul", None)
_CUDA: Any = torch.backends.cuda.matmul


@contextmanager
def float32_products(*, rounded_to_bfloat16: bool = False) -> Iterator[None]:
    """Multiply float32 matrices as float32.

    TF32 and bfloat16 keep 10 and 7 bits of a factor. The gradient of a contrastive loss is a difference
    of nearly equal sums, so on tight clusters 4 to 40 % of it would be rounding.

    Args:
        rounded_to_bfloat16: multiply on bfloat16 matrix units instead where the CPU has them. Exact for
            factors that came as bfloat16; sums stay float32.
    """
    if _CPU is None:
        before = torch.get_float32_matmul_precision()
        torch.set_float32_matmul_precision("medium" if rounded_to_bfloat16 else "highest")
        try:
            yield
        finally:
            torch.set_float32_matmul_precision(before)
        return
    before_by_device = _CPU.fp32_precision, _CUDA.fp32_precision
    _CPU.fp32_precision, _CUDA.fp32_precision = "bf16" if rounded_to_bfloat16 else "ieee", "ieee"
    try:
        yield
    finally:
        _CPU.fp32_precision, _CUDA.fp32_precision = before_by_device


@contextmanager
def no_rounding(like: Tensor) -> Iterator[None]:
    """Where this tensor lies, neither autocast, which would round factors even of a product of float32, nor TF32."""
    if not torch.is_autocast_enabled(like.device.type):  # asking is much cheaper than disabling
        with float32_products():
            yield
        return
    with torch.autocast(like.device.type, enabled=False), float32_products():
        yield
