"""Weight budget: a model that is built for the weights of a file may be no larger than these."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

_MAKE = (torch.empty, torch.zeros, torch.ones, torch.rand, torch.randn, torch.full)

# Beyond the weights themselves: examples by which a backbone is measured, and buffers that no file keeps.
_SPARE = 2**26


class WeightBudget(TorchFunctionMode):
    """While it is entered, tensors made anew may have no more numbers, all in all, than those of a file and 67 million.

    A recipe of a stranger may describe a model of any size; this refuses it before its memory is taken.

    Args:
        tensors: of the file.
    """

    def __init__(self, tensors: Mapping[str, Tensor]) -> None:
        super().__init__()
        self._left = sum(tensor.numel() for tensor in tensors.values()) + _SPARE

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        """Raises RuntimeError when there is nothing left of the budget."""
        if func in _MAKE:
            size = (kwargs or {}).get("size", args[0] if args and isinstance(args[0], Sequence) else args)
            self._left -= math.prod(size)
            if self._left < 0:
                raise RuntimeError("it describes a larger model than it has weights for")
        return func(*args, **(kwargs or {}))
