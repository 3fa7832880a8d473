"""How products are rounded while a loss is computed. What the process allows elsewhere is put back."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from jaxtyping import Float
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


def products(left: Float[Tensor, "rows dim"], right: Float[Tensor, "columns dim"]) -> Float[Tensor, "rows columns"]:
    """The product of every row with every other, rounded neither here nor in backward, which runs when a context of
    `no_rounding` has long been left."""
    product: Tensor = _Products.apply(left, right)
    return product


class _Products(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, left: Tensor, right: Tensor) -> Tensor:
        ctx.save_for_backward(left, right)
        with no_rounding(left):
            return left @ right.T

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        (left, right), (grad,) = ctx.saved_tensors, grads
        with no_rounding(left):
            return (
                grad @ right if ctx.needs_input_grad[0] else None,
                grad.T @ left if ctx.needs_input_grad[1] else None,
            )
