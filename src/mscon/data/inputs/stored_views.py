"""Stored views: inputs that are random views of images as a frozen encoder sees them, computed before."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32, Int, Int64, Shaped
from torch import Tensor

from mscon.run.recipe import Views

Orders = Mapping[Views, Int64[np.ndarray, "placed stored"]]
"""For each way to draw views, and each row, its stored views in an order by chance."""


@dataclass(frozen=True, slots=True, eq=False)
class StoredViews:
    """Several views of each row, of which a batch draws some; by number, features of the images as they are.

    Attributes:
        as_they_are: without augmentation.
        place: of each row in `features`; -1 where it has no views, since no batch has it.
        features: of the stored views, for each way to draw them.
    """

    as_they_are: Float32[np.ndarray, "rows dim"]
    place: Int64[np.ndarray, " rows"]
    features: Mapping[Views, Shaped[np.ndarray, "placed stored dim"]]

    def __len__(self) -> int:
        return len(self.place)

    def __getitem__(self, rows: Int[np.ndarray, " batch"] | Sequence[int]) -> Float32[np.ndarray, "batch dim"]:
        """A copy of those of these rows, without augmentation.

        Raises:
            IndexError: for a row that is not there; a negative number is no row.
        """
        numbers = np.asarray(rows, dtype=np.int64)
        if numbers.size and (numbers.min() < 0 or numbers.max() >= len(self)):
            raise IndexError(f"rows {numbers.min()} to {numbers.max()} asked of {len(self)} stored ones.")
        return np.array(self.as_they_are[numbers])

    def orders(self, seed: int) -> Orders:
        """Those of an epoch. The first views of a row's order are different ones, so that a batch has none twice."""
        generator = np.random.default_rng(seed)
        return {
            views: generator.random(features.shape[:2], dtype=np.float32).argsort(axis=1)
            for views, features in self.features.items()
        }

    def draw(
        self, rows: Int64[Tensor, " batch"], views: Views, number: int, orders: Orders
    ) -> Float32[Tensor, "batch dim"]:
        """One stored view of each row, in single precision.

        Args:
            rows: their numbers.
            views: how it was drawn.
            number: its place in the order of the row.
            orders: of the epoch.
        """
        places = self.place[rows.numpy(force=True)]
        features = self.features[views][places, orders[views][places, number]]
        return torch.from_numpy(features).to(rows.device, torch.float32)
