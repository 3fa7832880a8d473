"""Encodes: what embeds a table, a batch of its inputs at a time. This module does not know torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Float, Shaped

from mscon.deploy.vectors import RowVectors
from mscon.run.recipe import Recipe


@runtime_checkable
class Encodes(Protocol):
    """The part of an Embedder that it takes to embed a table; see there."""

    recipe: Recipe
    known: Mapping[str, Any] | None
    name: str

    @property
    def similarities(self) -> tuple[str, ...]: ...

    @property
    def digest(self) -> str: ...

    @property
    def uncertainty_digest(self) -> str: ...

    def width(self, similarity: str | None = None) -> int: ...

    def rates(self, similarity: str | None = None) -> bool: ...

    def encode_rated(
        self, inputs: Shaped[np.ndarray, "rows ..."], similarity: str | None = None
    ) -> tuple[Float[np.ndarray, "rows dim"], Float[np.ndarray, " rows"] | None]: ...

    def encode_all(self, inputs: Shaped[np.ndarray, "rows ..."]) -> RowVectors: ...
