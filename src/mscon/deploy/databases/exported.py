"""Export: what the rows of a table in a database are of, as it is stored with them, and queries that fit them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import msgspec
import numpy as np
from jaxtyping import Float32

from mscon.deploy.databases.database import open_database
from mscon.deploy.embedder import Embedder
from mscon.deploy.vectors import MIX, query_vector
from mscon.errors import RunError, nearest


@dataclass(frozen=True, slots=True)
class Export:
    """What the rows of a table in a database are of.

    Attributes:
        model: hash of the model's weights and recipe (`Embedder.digest`).
        source: hash of the rows and their inputs: of the table, and of size and times of image files, or of vectors.
        similarities: of the model, in the order in which `mix` has their vectors.
        spaces: the columns, named vectors or files with vectors; see `mscon.deploy.vectors`.
        columns: of the user's table that are stored beside them.
        last_line: of the table; the export is complete once it is stored.
        version: of this record.
    """

    model: str
    source: str
    similarities: tuple[str, ...]
    spaces: tuple[str, ...]
    columns: tuple[str, ...]
    last_line: int
    version: Literal[1] = 1

    @classmethod
    def from_json(cls, text: str) -> Export | None:
        """The record that a database keeps; None if it is none of this version."""
        try:
            return msgspec.json.decode(text, type=cls)
        except msgspec.DecodeError:
            return None

    def to_json(self) -> str:
        return msgspec.json.encode(self).decode()

    def query_vector(self, model: Embedder, query: Any, mix: Mapping[str, float | int]) -> Float32[np.ndarray, " mix"]:
        """A query for the space `mix`: its inner product with a row is the row's score in `mscon search`.

        Args:
            model: the one whose vectors were exported.
            query: one image, vector, text or row of a table, as `Embedder.embed` takes it.
            mix: a weight for each similarity that counts, 0 or above; only their proportions matter.

        Returns:
            The unit vectors of all similarities side by side, multiplied by the shares of their weights.

        Raises:
            RunError: if the model is another one; if `mix` was not exported; for a similarity that there is not, or
                weights that are no weights.
            TableError, ValueError: for a query that cannot be embedded, or is not one.
        """
        if model.digest != self.model:
            raise RunError(
                f"{model.name} is not the model whose vectors were exported, so it cannot search them (its hash is "
                f"{model.digest[:12]}, theirs {self.model[:12]}). Load that model, or export with this one."
            )
        if unknown := [name for name in mix if name not in self.similarities]:
            known = ", ".join(map(repr, self.similarities))
            listed = "\n  ".join(
                f"there is no similarity {name!r}.{nearest(name, self.similarities)}" for name in unknown
            )
            raise RunError(f"mix {dict(mix)}: {listed}\n  Similarities here: {known}.")
        if MIX not in self.spaces:
            raise RunError(
                f"mix {dict(mix)} needs the space '{MIX}', which was not exported. Exported are "
                f"{', '.join(map(repr, self.spaces))}.\n  Search one of them alone, or export with --spaces {MIX}."
            )
        rows = model.embed_all(query)
        if len(rows.features) != 1:
            raise ValueError(f"a query is one row, got {len(rows.features)}.")
        weights = {name: float(weight) for name, weight in mix.items()}
        try:
            return query_vector(dict(zip(rows.similarities, rows.projections[:, 0], strict=True)), weights)
        except ValueError as error:
            raise RunError(f"mix {dict(mix)}: {error}") from None


def open_export(to: str, at: str, name: str = "vectors") -> Export:
    """What `export_vectors` wrote into a database, for queries that fit it.

    Args:
        to: the engine, see `export_vectors`.
        at: address of the database.
        name: of the table, collection or folder.

    Raises:
        RunError: if there is no such table, mscon did not write it, or the database does not answer.
    """
    with open_database(to, at, name) as database:
        with database.refusals():
            record = database.record()
        if record is None:
            raise RunError(f"{database} does not exist. `mscon export RUN --to {to}` writes one.")
        if (export := Export.from_json(record)) is None:
            raise RunError(f"{database} was not written by `mscon export` of this version.")
    return export
