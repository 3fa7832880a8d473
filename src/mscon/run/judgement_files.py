"""Judgement files: what verbs write into a run about its labels, rows and columns, by features or projections of it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from mscon.run.contents import fault_of, parse_doubt
from mscon.run.evaluation_files import FEATURES, EvaluationFiles
from mscon.run.parsing import parse_json

if TYPE_CHECKING:
    import numpy as np
    import polars as pl

_UNCERTAINTY = "uncertainty.safetensors"
_PREDICTORS = "predictors.safetensors"
_LABEL_WEIGHTS = "label_weights.safetensors"
# What predictors are fitted from.
_FITTED_FROM = ("rows.parquet", "recipe.toml", "similarities.json")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class JudgementFiles(EvaluationFiles):
    """The part of a `mscon.run.run.Run` that holds predictors, doubted labels, uncertainty of rows and affinity."""

    @property
    def has_predictors(self) -> bool:
        return (self.root / _PREDICTORS).exists()

    @property
    def predictors_source(self) -> str:
        """A digest of all that predictors are fitted from: features, rows, recipe and similarities as they are now."""
        # Not of the file: features that are computed again are the same, but their metadata comes in any order.
        digest = hashlib.sha256(self.read_features().tobytes())
        digest.update("".join(map(self._sha256, _FITTED_FROM)).encode())
        return digest.hexdigest()

    def read_predictors(self, build: Callable[[Mapping[str, Any], Mapping[str, np.ndarray]], T]) -> T:
        """What `build` makes of the plain values and the arrays of the file; its ValueError becomes a RunError."""
        about, arrays = self._described(_PREDICTORS)
        with self._reading_tensors(_PREDICTORS):
            return build(about, arrays)

    def write_predictors(self, about: Mapping[str, Any], arrays: Mapping[str, np.ndarray]) -> None:
        self._write_arrays(_PREDICTORS, arrays, {"mscon": json.dumps(dict(about), allow_nan=False)})

    def read_doubt(self) -> dict[str, Any]:
        """The estimated share of wrong labels of each column, see `mscon.evaluate.label_quality.doubt`."""
        return self._json("doubt.json")

    def read_judged_labels(self) -> pl.DataFrame:
        """Each label and how probably it is right, of the same function."""
        return self._once("doubt", lambda: self._parsed("doubt.parquet", parse_doubt))

    @property
    def has_doubt(self) -> bool:
        """Whether labels were judged, and the run was not trained on since.

        Raises:
            RunError: if what is written of it has changed since.
        """
        return self._has("doubt.json") and self._is_current(self.read_doubt())

    def _is_current(self, judged: Mapping[str, Any]) -> bool:
        """Whether the checkpoint of a judgement is as it was, or gone."""
        name = judged["checkpoint"]
        return not self.has_checkpoint(name) or self._digest(name) == judged["checkpoint_sha256"]

    def write_doubt(self, labels: pl.DataFrame, record: Mapping[str, Any], *, checkpoint: str) -> None:
        """What labels of the run were judged with, for a checkpoint of it."""
        self._write("doubt.parquet", labels.write_parquet)
        self._write_json("doubt.json", {**record, **self._of_checkpoint(checkpoint)})

    def read_label_weights(self, similarities: int, rows: int) -> np.ndarray | None:
        """With what probability each label is used in an epoch, [similarities, rows] float32; None where all are.

        Raises:
            RunError: if the file has changed since it was written, or does not hold what mscon writes.
        """
        if not self._has(_LABEL_WEIGHTS):
            return None
        weights = self._array(_LABEL_WEIGHTS, "weights", 2)
        if weights.shape != (similarities, rows) or not ((weights >= 0) & (weights <= 1)).all():
            self._refuse_odd(_LABEL_WEIGHTS, "there must be a number from 0 to 1 for each similarity and row")
        return weights

    def write_label_weights(self, weights: np.ndarray) -> None:
        self._write_arrays(_LABEL_WEIGHTS, {"weights": weights})

    def write_uncertainty(
        self, arrays: Mapping[str, np.ndarray], columns: Sequence[Mapping[str, Any]], checkpoint: str
    ) -> None:
        """What it takes to say how uncertain rows are, and how uncertain those of the run are.

        Args:
            arrays: of `mscon.model.row_uncertainty`, with "rows", a number for each row of the run.
            columns: plain values of each column, from there.
            checkpoint: whose features and projections they were computed from.
        """
        about = json.dumps({"checkpoint": self._digest(checkpoint), "columns": list(columns)}, allow_nan=False)
        self._write_arrays(_UNCERTAINTY, arrays, {"mscon": about})

    def read_uncertainty(self, checkpoint: str) -> tuple[dict[str, np.ndarray], list[dict[str, Any]]] | None:
        """The same; None where there is none of the checkpoint as it is now.

        Of a checkpoint that is gone, vectors are left, and those of the file are the ones that were computed from it.

        Raises:
            RunError: if the file has changed since it was written, or does not hold what mscon writes.
        """
        if not self._has(_UNCERTAINTY):
            return None
        if self.has_checkpoint(checkpoint):
            current: str | None = self._digest(checkpoint)
        else:
            current = self._features_source().get("checkpoint") if self._has(FEATURES) else None
        about, arrays = self._described(_UNCERTAINTY)
        return (arrays, about["columns"]) if about["checkpoint"] == current else None

    def write_affinity(self, affinity: Mapping[str, Any], *, checkpoint: str) -> None:
        self._write_json("affinity.json", {**self._of_checkpoint(checkpoint), **affinity})

    def read_affinity(self) -> dict[str, Any] | None:
        """What `mscon affinity` found; None where it has not, or the run was trained on since.

        Raises:
            RunError: if what is written of it has changed since, or is not what mscon writes.
        """
        affinity = self._json("affinity.json") if self._has("affinity.json") else None
        return affinity if affinity is not None and self._is_current(affinity) else None

    def _described(self, file: str) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
        """The plain values in the metadata of a file of arrays, and the arrays."""
        from safetensors import safe_open

        arrays = self._arrays(file)
        with self._reading_tensors(file), safe_open(self._need(file), framework="np") as opened:
            about = parse_json((opened.metadata() or {})["mscon"])
        self._refuse_odd(file, fault_of(file, about))
        return about, arrays
