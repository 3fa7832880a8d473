"""Labels in one's own training loop: tensors, arrays or lists, checked; a kind turns them into its codes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

# Shapes are in the docstrings and checked by hand here: users' own tensors come in here.
Values = Tensor | np.ndarray | Sequence[Any]


def tensor_of(what: str, values: Values, kind: str = "numbers") -> Tensor:
    """Values as a tensor, where they lie.

    Args:
        what: begins the message, for example "labels 'price'".
        values: a tensor, which is returned as it is, an array or a list.
        kind: what they should be, for the message.

    Raises:
        ValueError: for texts, None, or lists of unequal lengths.
    """
    if isinstance(values, Tensor):
        return values
    try:
        array = np.asarray(values)
    except ValueError:  # rows of unequal lengths
        raise ValueError(f"{what} must be {kind}, one a row, got a list with lists of other lengths.") from None
    if array.dtype.kind not in "biuf":
        raise ValueError(f"{what} must be {kind}, got {array.dtype}: {array.ravel()[:4].tolist()}.")
    # A copy: torch takes no array that is reversed, of foreign byte order or read-only.
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))


def need_shape(what: str, values: Tensor, *widths: int | None, words: str) -> None:
    """Raise ValueError unless there is a dimension of rows and, for each width, one of that size (None for any)."""
    shape = values.shape[1:]
    if values.dim() != 1 + len(widths) or any(n == 0 or w not in (None, n) for w, n in zip(widths, shape, strict=True)):
        expected = ", ".join(["rows", *("any" if width is None else str(width) for width in widths)])
        raise ValueError(f"{what} must have shape ({expected}), {words}, got {tuple(values.shape)}.")


def integers(
    what: str, values: Values, *, most: int | None = None, truth_values: bool = True
) -> Int64[Tensor, "rows ..."]:
    """Integers of any type as int64, each >= 0 or -1 where missing.

    Args:
        most: the largest that there may be; None for 2^63 - 1.
        truth_values: whether booleans count as 0 and 1.

    Raises:
        ValueError: for anything else.
    """
    raw = tensor_of(what, values, "integers up to 2^63 - 1")
    if raw.is_floating_point() or raw.is_complex() or (raw.dtype == torch.bool and not truth_values):
        raise ValueError(f"{what} must be integers, got {raw.dtype}.")
    codes = raw.to(torch.int64)  # first, since torch compares few of the unsigned types
    if not codes.numel():
        return codes
    least, greatest = (int(bound) for bound in codes.aminmax())
    if raw.dtype == torch.uint64 and least < 0:
        raise ValueError(f"{what} must be at most 2^63 - 1, got {int(codes[codes < 0][0]) + 2**64}.")
    if least < -1:
        raise ValueError(f"{what} must be >= 0, or -1 where missing, got {least}.")
    if most is not None and greatest > most:
        raise ValueError(f"{what} must be from 0 to {most:,}, or -1 where missing, got {greatest:,}.")
    return codes


def ranks(what: str, values: Values, most: int) -> Int64[Tensor, "rows ..."]:
    """`integers`; also as floats that are whole, NaN where missing, as a table of numbers holds them."""
    raw = tensor_of(what, values, "integers")
    if not raw.is_floating_point():
        return integers(what, raw, most=most)
    missing = raw.isnan()
    whole = raw.masked_fill(missing, -1)
    if (whole != whole.floor()).any():
        raise ValueError(f"{what} must be whole, got {float(whole[whole != whole.floor()][0]):g}.")
    return integers(what, whole.to(torch.int64), most=most)


def numbers(what: str, values: Values) -> Float[Tensor, "rows ..."]:
    """Finite numbers of any type as float64, NaN where missing.

    Raises:
        ValueError: for infinities, complex numbers, texts or None.
    """
    raw = tensor_of(what, values, "numbers")
    if raw.is_complex():
        raise ValueError(f"{what} must be numbers, got {raw.dtype}.")
    # Apple's GPUs have no float64.
    wide = raw.to(torch.float32 if raw.device.type == "mps" else torch.float64)
    if wide.isinf().any():
        raise ValueError(f"{what} must be finite, or NaN where missing, got {float(wide[wide.isinf()][0])}.")
    return wide


def zeros_and_ones(what: str, values: Values) -> Bool[Tensor, "rows columns"]:
    """Where there is a 1, of numbers or truth values that are 0 and 1. A row that is all NaN has none.

    Raises:
        ValueError: for another number, or a row that is NaN in part.
    """
    raw = tensor_of(what, values, "0 and 1")
    ones = raw == 1
    missing = raw.isnan().all(dim=1, keepdim=True) if raw.is_floating_point() else torch.zeros_like(ones)
    if (wrong := ~(ones | (raw == 0) | missing)).any():
        raise ValueError(f"{what} must be 0 or 1, or a whole row 0 or NaN where missing, got {raw[wrong][0].item()}.")
    return ones
