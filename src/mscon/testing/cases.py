"""Seeded cases, and statements about them that fail with a sentence."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor

Naming = Callable[[Tensor], Tensor]
"""Other numbers for small codes and ids: equal ones stay equal, missing ones missing."""


def around(middle: int, codes: Tensor) -> Tensor:
    """Of 0 to 30 the numbers up to 15 above and below another."""
    return torch.where(codes < 0, codes, middle + 15 - codes)


def of_type(dtype: torch.dtype, codes: Tensor) -> Tensor:
    """The same numbers in another type."""
    return codes.to(dtype)


# Where float32, int32, float64 and int64 stop telling integers apart; the last name is 2^63 - 1 itself.
LARGE_NAMINGS: list[Naming] = [partial(around, middle) for middle in (2**24, 2**31, 2**53, 2**63 - 16)]
SIGNED_NAMINGS: list[Naming] = [partial(of_type, d) for d in (torch.int8, torch.int16, torch.int32, torch.int64)]


def holds(condition: bool | Tensor, sentence: str) -> None:
    if not bool(condition):
        raise AssertionError(sentence)


def equal(actual: Any, expected: Any, sentence: str, rtol: float = 1e-6, atol: float = 1e-6) -> None:
    try:
        torch.testing.assert_close(actual, expected, rtol=rtol, atol=atol, equal_nan=True)
    except AssertionError as error:
        raise AssertionError(f"{sentence}\n{error}") from None


def seeded(seed: int = 3) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
