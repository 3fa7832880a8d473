"""Heads: features -> one projection per similarity. Used in training, kept in the run for search."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import pad

Mean = Callable[[Tensor], Tensor]

WIDEST = 65_536
"""Layers of heads are at most so wide: what is wider is a slip of the pen, and fills the memory."""


class Heads(nn.Module, ABC):
    """All projection heads of a model, computed together. Subclasses are final.

    Args:
        similarities: how many heads.
        input_dim: width of the features.

    Attributes:
        output_dim: of projections.
        widths: of the projections of each similarity, where they differ; narrower ones are filled up with zeros.
    """

    output_dim: int
    widths: tuple[int, ...] | None = None

    @abstractmethod
    def forward(self, features: Float[Tensor, "samples features"]) -> Float[Tensor, "similarities samples dim"]:
        """One projection space per similarity; vectors are not of unit length."""

    def penalty(self, features: Float[Tensor, "samples features"], mean: Mean = torch.mean) -> Float[Tensor, ""]:
        """What is added to the total of a step, whatever the weighting; 0 for most heads.

        Args:
            features: of the samples of this process.
            mean: of a number of each of them, over the samples of all processes.
        """
        del mean
        return features.new_zeros(())

    @property
    def shown(self) -> Float[Tensor, "similarities dim"] | None:
        """Numbers of these heads that a report can show, a row per similarity; None for most heads."""
        return None


class HeadGroups(Heads):
    """Heads of several kinds or widths, those of equal settings computed together.

    Narrower projections are filled up with zeros, which change neither cosines nor distances.

    Args:
        groups: heads, and the numbers of the similarities that they serve, in their order.
    """

    def __init__(self, groups: Sequence[tuple[Heads, Sequence[int]]]) -> None:
        super().__init__()
        self.parts = nn.ModuleList(heads for heads, _ in groups)
        self.output_dim = max(heads.output_dim for heads, _ in groups)
        order = [number for _, numbers in groups for number in numbers]
        self._place = [order.index(number) for number in range(len(order))]
        widths = [heads.output_dim for heads, numbers in groups for _ in numbers]
        self.widths = tuple(widths[place] for place in self._place)

    def forward(self, features: Float[Tensor, "samples features"]) -> Float[Tensor, "similarities samples dim"]:
        each = [heads(features) for heads in self.parts]
        return torch.cat([pad(z, (0, self.output_dim - z.shape[2])) for z in each])[self._place]

    def penalty(self, features: Float[Tensor, "samples features"], mean: Mean = torch.mean) -> Float[Tensor, ""]:
        total = features.new_zeros(())
        for heads in self.parts:
            assert isinstance(heads, Heads)
            total = total + heads.penalty(features, mean)
        return total
