"""Evaluation files: what verbs write into a run after training, and whether it still fits the checkpoint."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mscon.errors import RunError
from mscon.run import checksums
from mscon.run.checksums import mapped
from mscon.run.facts import Facts
from mscon.run.layout import checkpoint_file

if TYPE_CHECKING:
    import numpy as np

FEATURES, _PROJECTIONS = "features/features.safetensors", "features/projections.safetensors"


@dataclass(frozen=True, slots=True)
class EvaluationFiles(Facts):
    """The part of a `mscon.run.run.Run` that is read and written after training."""

    def has_checkpoint(self, name: str) -> bool:
        return (self.root / checkpoint_file(name)).exists()

    def read_fingerprints(self) -> np.ndarray | None:
        """Of the inputs that it was trained on, [rows, 16] uint8; None where these are stored in the run itself."""
        name = "fingerprints.safetensors"
        return self._array(name, "fingerprints", 2) if self._has(name) else None

    def need_features(self, checkpoint: str | None = None) -> None:
        """Raise RunError if there are no features; or not those of that checkpoint as it is now, where it is there."""
        self._existing(FEATURES)
        if checkpoint is not None and self.has_checkpoint(checkpoint) and not self.features_are_current(checkpoint):
            raise RunError(
                f"{self.root / FEATURES} was not computed with {self.root / checkpoint_file(checkpoint)} as it is "
                "now: the run was trained on since, or one of these files is damaged.\n"
                f"  `mscon probe {self.root}` computes features and projections anew."
            )

    def features_are_current(self, checkpoint: str, *, of_trained_inputs: bool = False) -> bool:
        """Whether the features are those of the checkpoint as it is now, wherever both were copied.

        With `of_trained_inputs` also whether they were computed from the inputs that were trained on, not changed ones.

        Raises:
            RunError: if there are none, or they have changed since they were written.
        """
        source = self._features_source()
        self._need(_PROJECTIONS)
        trained = inputs_digest(self.read_fingerprints()) if of_trained_inputs else None
        return source.get("checkpoint") == self._digest(checkpoint) and trained in (None, source.get("inputs"))

    @property
    def features_inputs(self) -> str | None:
        """A digest of the inputs that its features were computed from, see `inputs_digest`; None if it keeps them."""
        return self._features_source().get("inputs")

    def _features_source(self) -> dict[str, str]:
        from safetensors import safe_open

        with self._reading_tensors(FEATURES), safe_open(self._need(FEATURES), framework="np") as file:
            return file.metadata() or {}

    @property
    def has_whole_features(self) -> bool:
        """Whether there are features, and they are as they were written."""
        exist = all((self.root / name).is_file() for name in (FEATURES, _PROJECTIONS))
        return exist and not (
            checksums.are_kept(self.root) and any(checksums.fault(self.root, name) for name in (FEATURES, _PROJECTIONS))
        )

    def write_features(
        self,
        features: np.ndarray,
        projections: np.ndarray,
        checkpoint: str = "last",
        *,
        inputs: np.ndarray | None = None,
        changed_rows: int = 0,
    ) -> None:
        """The vectors that a checkpoint computes for the rows.

        Args:
            features: [rows, width] float32.
            projections: [similarities, rows, dim], unit length.
            checkpoint: its name.
            inputs: fingerprints of the inputs that they were computed from.
            changed_rows: how many of these are not the inputs that the run was trained on.
        """
        source = {"checkpoint": self._digest(checkpoint)} if self.has_checkpoint(checkpoint) else {}
        if (digest := inputs_digest(inputs)) is not None:
            source |= {"inputs": digest, "changed_rows": str(changed_rows)}
        self._write_arrays(_PROJECTIONS, {"projections": projections}, source)
        self._write_arrays(FEATURES, {"features": features}, source)

    def _digest(self, checkpoint: str) -> str:
        return self._sha256(checkpoint_file(checkpoint))

    def _sha256(self, name: str) -> str:
        with self._need(name).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def read_features(self) -> np.ndarray:
        return self._vectors("features", 2)

    def read_projections(self) -> np.ndarray:
        return self._vectors("projections", 3)

    def read_masks(self) -> list[list[float]] | None:
        """One list of numbers for each similarity; None where the heads are not masks."""
        return self._json("masks.json") if self._has("masks.json") else None

    def write_masks(self, masks: Sequence[Sequence[float]]) -> None:
        self._write_json("masks.json", [list(row) for row in masks])

    @property
    def has_probe(self) -> bool:
        return (self.root / "probe.json").exists()

    def read_probe(self) -> dict[str, Any]:
        return self._json("probe.json")

    def write_probe(self, probe: Mapping[str, Any], predictions: Mapping[str, np.ndarray]) -> None:
        self._write_arrays("predictions.safetensors", predictions)
        self._write_json("probe.json", dict(probe))

    def read_predictions(self) -> dict[str, np.ndarray]:
        return self._arrays("predictions.safetensors")

    def read_layers(self) -> dict[str, Any]:
        """Scores of intermediate layers; of none where none was probed."""
        return self._json("layers.json") if self._has("layers.json") else {"layers": {}}

    def read_layer_predictions(self) -> dict[str, np.ndarray]:
        return self._arrays("layer_predictions.safetensors")

    def write_layer(
        self,
        name: str,
        record: Mapping[str, Any],
        predictions: Mapping[str, np.ndarray],
        *,
        checkpoint: str,
        draws: int,
    ) -> None:
        """Add the scores of a layer to those of other layers of the same checkpoint, in place of earlier ones."""
        digest = self._digest(checkpoint)
        known = self.read_layers()
        is_current = known.get("checkpoint_sha256") == digest
        others = {n: r for n, r in known["layers"].items() if n != name} if is_current else {}
        arrays = self.read_layer_predictions() if others else {}
        arrays = {key: array for key, array in arrays.items() if key.rsplit("/", 3)[0] in others}
        arrays |= {f"{name}/{key}": array for key, array in predictions.items()}
        about = {**self._of_checkpoint(checkpoint), "draws": draws}
        self._write_arrays("layer_predictions.safetensors", arrays)
        self._write_json("layers.json", {**about, "layers": {**others, name: dict(record)}})

    def _of_checkpoint(self, name: str) -> dict[str, str]:
        return {"checkpoint": name, "checkpoint_sha256": self._digest(name)}

    @property
    def has_transfer(self) -> bool:
        return (self.root / "transfer.json").exists()

    def read_transfer(self) -> dict[str, Any]:
        return self._json("transfer.json")

    def write_transfer(self, transfer: Mapping[str, Any]) -> None:
        self._write_json("transfer.json", dict(transfer))

    def read_card(self) -> str | None:
        """Its model card as Markdown; None if there is none yet."""
        path = self.root / "README.md"
        return path.read_text("utf-8") if path.is_file() else None

    def write_card(self, text: str) -> Path:
        self._write_text("README.md", text)
        return self.root / "README.md"

    def _vectors(self, name: str, dimensions: int) -> np.ndarray:
        file = f"features/{name}.safetensors"
        if self._memory is None:
            return self._array(file, name, dimensions)
        with self._reading_tensors(file):
            array = self._once(file, lambda: mapped(self._need(file), name))
        return self._of_dimensions(file, name, {name: array}, dimensions)

    def _array(self, file: str, name: str, dimensions: int) -> np.ndarray:
        """The only array of a file.

        Raises:
            RunError: if it is not there, or has another number of dimensions.
        """
        return self._of_dimensions(file, name, self._arrays(file), dimensions)

    def _of_dimensions(self, file: str, name: str, arrays: Mapping[str, np.ndarray], dimensions: int) -> np.ndarray:
        if list(arrays) != [name] or arrays[name].ndim != dimensions:
            self._refuse_odd(file, f"it must hold one array '{name}' of {dimensions} dimensions")
        return arrays[name]


def inputs_digest(fingerprints: np.ndarray | None) -> str | None:
    """One digest of the fingerprints of all rows, [rows, 16]; None where there are none."""
    return None if fingerprints is None else hashlib.sha256(fingerprints.tobytes()).hexdigest()
