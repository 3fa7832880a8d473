"""Rows: a trained model as a function from columns to columns of vectors, for engines that map batches."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jaxtyping import Shaped

from mscon.deploy.embedder import Embedder
from mscon.deploy.load import load
from mscon.errors import RunError, TableError, nearest


class Rows:
    """Batches of rows in, their vectors out. It can be pickled; each process loads the model at its first batch.

        dataset.map_batches(Rows, fn_constructor_args=("runs/shoes",), concurrency=4, batch_format="numpy")  # Ray Data

    Args:
        source: what `mscon.load` takes. Other machines must find it under the same name.
        column: holds the inputs, as `Embedder.embed` takes them; by default called as in training. Not read where the
            model encodes columns of a table, which keep their names.
        spaces: which columns of vectors to return; by default all: "features", "projection_NAME" of each similarity,
            and "mix", all projections side by side.
        with_columns: columns of the batch to return beside the vectors, such as a key.
        batch_size: rows encoded at a time; changes speed and memory only.
        trust, device: see `mscon.load`.
    """

    def __init__(
        self,
        source: str | Path,
        *,
        column: str | None = None,
        spaces: Sequence[str] = (),
        with_columns: Sequence[str] = (),
        batch_size: int = 256,
        trust: bool = False,
        device: str | None = None,
    ) -> None:
        self.source, self.column, self.batch_size = source, column, batch_size
        self.spaces, self.with_columns = tuple(spaces), tuple(with_columns)
        self.trust, self.device = trust, device

    @cached_property
    def embedder(self) -> Embedder:
        """The model, loaded when it is first used.

        Raises:
            RunError: see `mscon.load`.
        """
        return load(self.source, trust=self.trust, device=self.device)

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "embedder"}

    def __call__(self, batch: Mapping[str, Any]) -> dict[str, Shaped[np.ndarray, "rows ..."]]:
        """Vectors of a batch, and "uncertainty" where the model knows it.

        Args:
            batch: columns, each an array or a sequence of one value a row.

        Returns:
            Columns of vectors, float32 [rows, numbers], and those of `with_columns`.

        Raises:
            TableError: if a column is not there; or as `Embedder.embed`.
            RunError: if a space is not one of the model's; or as `Embedder.embed`.
            ValueError: for inputs that are none, see `Embedder.embed`.
        """
        data = self.embedder.recipe.data
        read = data.encoded if data.input == "columns" else [self.column or getattr(data, data.input)]
        for name in (*read, *self.with_columns):
            if name not in batch:
                raise TableError(f"the batch has no column {name!r}.{nearest(name, batch)} It has {', '.join(batch)}.")
        if data.input == "columns":
            inputs: Any = pl.DataFrame({name: list(batch[name]) for name in read})
        else:
            inputs = list(batch[read[0]])
        vectors = self.embedder.embed_all(inputs, self.batch_size)
        columns = vectors.columns
        if unknown := [name for name in self.spaces if name not in columns]:
            raise RunError(f"{self.embedder.name} has no space {unknown[0]!r}. Its spaces: {', '.join(columns)}.")
        rated = {} if vectors.uncertainty is None else {"uncertainty": vectors.uncertainty}
        beside = {name: np.asarray(batch[name]) for name in self.with_columns}
        return {**beside, **{name: columns[name] for name in self.spaces or columns}, **rated}
