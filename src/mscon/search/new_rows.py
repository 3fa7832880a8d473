"""New rows: images, vectors, texts and cells that are no row of a run, read and encoded as its model takes them."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import cached_property
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float

from mscon.data.inputs.vectors import SUFFIXES, map_array
from mscon.deploy.cells import encoded_columns, unknown_categories
from mscon.errors import RunError, counted
from mscon.run.recipe import data_of
from mscon.run.run import Run
from mscon.search.example import Example

# By [data] input: what a run is trained on, what a new row of it is, and how that is written.
_TRAINED_ON = {"image": "images", "vectors": "vectors", "text": "texts", "columns": "columns of a table"}
_NEW = {"image": "a new image", "vectors": "a new vector", "text": "a new text", "columns": "the cells of a new row"}
_FORMS = {
    "image": "the path of a new image",
    "vectors": "a new vector: the path of a .npy or .safetensors file with one, or its numbers ([0.1, -2, 0.5])",
    "text": "a new text (text:small red boots)",
    "columns": 'the cells of a new row as a JSON object ({"COLUMN": VALUE, ...}), or the path of a table of one row',
}


class NewRows:
    """Reads new rows for one run. Its model is loaded with the first of them.

    Args:
        run: with a checkpoint.
        truncate_dim: see `mscon.load`.

    Attributes:
        input: what its rows are, as [data] input of its recipe says it.
    """

    def __init__(self, run: Run, truncate_dim: int | None = None) -> None:
        self.truncate_dim = truncate_dim
        self.run, self.input = run, data_of(run.read_recipe_values()).input

    @property
    def form(self) -> str:
        """How a new row is written on the command line, in words."""
        return _FORMS[self.input]

    @property
    def columns(self) -> tuple[str, ...]:
        """Columns that the model encodes, where rows are made of columns and the run says how."""
        return tuple(encoded_columns(self._known)) if self.input == "columns" and self._known else ()

    def need(self, kind: str, query: str) -> None:
        """Complain unless a new row of this run is one of a kind of [data] input.

        Raises:
            RunError: with what it is instead.
        """
        if kind != self.input:
            raise RunError(
                f"query '{query}': {_NEW[kind]} cannot be a query, since {self._name} was trained on "
                f"{_TRAINED_ON[self.input]}.\n  Write a row, a label, or {self.form}."
            )

    def read(self, value: Any, wording: str) -> Example:
        """A new row, read and checked, which is not encoded before its vectors are needed.

        Args:
            value: as `mscon.load(...).embed` takes one row of this run: an image, a vector, a text, or cells as a
                dictionary or a table. A path is that of an image, of a file with one vector, or of a table.
            wording: what it is called.

        Raises:
            RunError: for what is no row of this run; more than one; and a vector of another width, of zeros, or with
                a number that is not finite.
            TableError: for a file that cannot be read, and cells that are at fault.
        """
        if self.input == "text":
            value = value[0] if isinstance(value, list | tuple) and len(value) == 1 else value
            if not isinstance(value, str) or not value.strip():
                raise RunError(f"query {wording}: {self._name} takes a text, got {type(value).__name__} without words.")
            return Example(wording, lambda: self._encode(next(self._embedder.read(value))))
        if self.input == "vectors":
            value = self._vector(value, wording)
        if isinstance(value, Mapping):
            self.need("columns", wording)
        try:
            rows = list(islice(self._embedder.read(value, 1), 2))
        except ValueError as error:
            raise RunError(f"query {wording}: {error}") from None
        if len(rows) != 1:
            raise RunError(f"query {wording}: it must be one row, got {'more' if rows else 'none'}.")
        notes = unknown_categories(value, rows[0][0], self._known) if isinstance(value, Mapping) else ()
        return Example(wording, lambda: self._encode(rows[0]), notes=tuple(notes))

    def _vector(self, value: Any, wording: str) -> Float[np.ndarray, "1 dim"]:
        if isinstance(value, str | os.PathLike):
            path = Path(value)
            if path.suffix.lower() not in SUFFIXES:
                raise RunError(f"query {wording}: vectors are read from {' and '.join(SUFFIXES)} files.")
            value = map_array(path, "query")
        try:
            array = np.asarray(value)
        except ValueError as error:  # of lists of different lengths
            raise RunError(f"query {wording}: this is no vector: {error}") from None
        width = self.run.input_width
        if array.dtype.kind not in "fiu" or array.shape not in ((width,), (1, width)):
            shape = f"{list(array.shape)} of {array.dtype}"
            raise RunError(f"query {wording}: it must be one vector of {width:,} numbers, got {shape}.")
        with np.errstate(over="ignore"):  # what single precision cannot hold becomes infinite, and is refused here
            vector = np.asarray(array, dtype=np.float32).reshape(1, -1)
        if broken := int(np.count_nonzero(~np.isfinite(vector))):
            what = f"{counted(broken, 'number')} of {width:,} {'is' if broken == 1 else 'are'}"
            raise RunError(f"query {wording}: {what} NaN, infinite or too large.")
        if not vector.any():
            raise RunError(f"query {wording}: all of its numbers are 0, so it has no direction to search in.")
        return vector

    def _encode(self, inputs: Any) -> Float[np.ndarray, "spaces dim"]:
        vectors: Float[np.ndarray, "spaces dim"] = (
            self._embedder.encode_all(inputs).projections[:, 0].astype(np.float64)
        )
        return vectors

    @property
    def _name(self) -> str:
        return f"run '{self.run.root}'"

    @cached_property
    def _known(self) -> Mapping[str, Any]:
        return self.run.read_inputs() or {}

    @cached_property
    def _embedder(self) -> Any:
        from mscon.deploy.load import load

        return load(self.run.root, trust=self.run.trust, truncate_dim=self.truncate_dim)
