"""Run: a directory that holds everything that happened. The only file that spells its file names.

    recipe.toml                 the resolved recipe; trains the same run again
    run.json                    versions, machine, table (path, content hash, counts), resolved hardware choices
    similarities.json           what the codes of each similarity stand for
    inputs.json                 how rows become vectors, where they are not images
    vectors.safetensors         the vectors, where they lay in a column of the table and in no file of their own
    fingerprints.safetensors    16 bytes a row, of its image or vector, where these lie in files outside the run
    rows.parquet                rows used: line, split, image path, and every label column
    log.jsonl                   a record a line: {"kind": "step" | "validation" | ..., "epoch", "step", ...}
    checkpoints/{last,best}.safetensors and .json
    features/{features,projections}.safetensors      one vector per row of rows.parquet, in its order
    masks.json                  what its heads let through of the embedding, where they are masks
    probe.json                  scores with intervals, a record each
    predictions.safetensors     probe predictions row by row, for paired comparison
    README.md                   its model card, once there is one; edits of it are kept
    tensorboard/, wandb/        copies of the log, where the recipe asks for them
    transfer.json               scores by the number of labelled rows, where an experiment asks for them

This module does not know how any of it was made.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mscon import recipe as recipes
from mscon import whole
from mscon.errors import RunError
from mscon.recipe import Recipe

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Run:
    """A run directory. Readers raise RunError where a part is not there yet, saying which verb makes it."""

    root: Path

    @classmethod
    def create(cls, root: Path, overwrite: bool = False) -> Run:
        """A new, empty run directory.

        Raises:
            RunError: if `root` exists and is not empty, unless `overwrite`; and, even then, if what
                is there is not a run.
        """
        cls.refuse_if_taken(root, overwrite)
        if root.exists():
            shutil.rmtree(root)
        root.mkdir(parents=True, exist_ok=True)
        return cls(root)

    @staticmethod
    def refuse_if_taken(root: Path, overwrite: bool = False) -> None:
        """Raise what `create` would, and change nothing: for asking before a long preparation."""
        if root.exists() and (not root.is_dir() or any(root.iterdir())):
            if not overwrite:
                raise RunError(f"'{root}' exists and is not empty. Choose another --out, or pass --overwrite.")
            if not (root / "recipe.toml").is_file():
                raise RunError(f"'{root}' is not a run directory (it has no recipe.toml), so it is not overwritten.")

    @classmethod
    def open(cls, root: Path) -> Run:
        """An existing run directory.

        Raises:
            RunError: if there is none.
        """
        if not (root / "recipe.toml").is_file():
            found = "it does not exist" if not root.exists() else "it has no recipe.toml"
            raise RunError(f"'{root}' is not a run directory: {found}. `mscon train` makes one.")
        return cls(root)

    @property
    def name(self) -> str:
        return self.root.resolve().name

    # What was asked for -------------------------------------------------------------------------

    @property
    def recipe(self) -> Recipe:
        return recipes.read(self.root / "recipe.toml")

    @property
    def recipe_text(self) -> str:
        """The same as text, for readers that must not import what a recipe names."""
        return self._need("recipe.toml", "mscon train").read_text("utf-8")

    @property
    def recipe_values(self) -> dict[str, Any]:
        """The same as plain values; nothing that it names is imported."""
        try:
            return tomllib.loads(self.recipe_text)
        except tomllib.TOMLDecodeError as error:
            raise RunError(f"{self.root / 'recipe.toml'} is not valid TOML: {error}") from None

    def write_recipe(self, recipe: Recipe) -> None:
        whole.write_text(self.root / "recipe.toml", recipe.to_toml())

    @property
    def facts(self) -> dict[str, Any]:
        """Versions, machine, table, resolved hardware choices."""
        return self._json("run.json", "mscon train")

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        whole.write_json(self.root / "run.json", dict(facts))

    @property
    def similarities(self) -> list[dict[str, Any]]:
        """For each similarity {"name": ..., "state": ...} with the state of its `to_json`."""
        return self._json("similarities.json", "mscon train")

    def write_similarities(self, states: list[dict[str, Any]]) -> None:
        whole.write_json(self.root / "similarities.json", states)

    @property
    def inputs(self) -> dict[str, Any] | None:
        """How rows become vectors; None where they are images."""
        return self._json("inputs.json", "mscon train") if (self.root / "inputs.json").is_file() else None

    @property
    def input_width(self) -> int | None:
        """Numbers of such a vector."""
        return None if (known := self.inputs) is None else known["width"]

    @property
    def vectors_file(self) -> Path | None:
        """The vectors of a list column; None where they come from elsewhere."""
        path = self.root / "vectors.safetensors"
        return path if path.is_file() else None

    def write_inputs(self, known: Mapping[str, Any], vectors: np.ndarray | None = None) -> None:
        """How rows become vectors; and these, where they lie in no file of their own."""
        if vectors is not None:
            self._write_arrays("vectors.safetensors", {"vectors": vectors})
        whole.write_json(self.root / "inputs.json", dict(known))

    @property
    def fingerprints(self) -> np.ndarray | None:
        """Of the inputs that it was trained on, [rows, 16] uint8; None where they lie in the run itself."""
        path = self.root / "fingerprints.safetensors"
        return self._arrays(path.name, "mscon train")["fingerprints"] if path.is_file() else None

    def write_fingerprints(self, fingerprints: np.ndarray) -> None:
        self._write_arrays("fingerprints.safetensors", {"fingerprints": fingerprints})

    @property
    def rows(self) -> pl.DataFrame:
        """Columns line, split, image, and the label columns as text; null where missing."""
        import polars as pl

        return pl.read_parquet(self._need("rows.parquet", "mscon train"))

    def write_rows(self, rows: pl.DataFrame) -> None:
        whole.write_with(self.root / "rows.parquet", rows.write_parquet)

    # What happened ------------------------------------------------------------------------------

    def append_log(self, record: Mapping[str, Any]) -> None:
        with (self.root / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(dict(record), allow_nan=False) + "\n")

    @property
    def log(self) -> list[dict[str, Any]]:
        path = self.root / "log.jsonl"
        return [json.loads(line) for line in path.read_text("utf-8").splitlines()] if path.exists() else []

    def cut_log(self, step: int) -> None:
        """Drop records later than `step`, as resuming from a checkpoint of that step must."""
        kept = [json.dumps(r) + "\n" for r in self.log if r.get("step", 0) <= step]
        whole.write_text(self.root / "log.jsonl", "".join(kept))

    def tracking(self, logger: str) -> Path:
        """The folder that another logger may fill."""
        folder = self.root / logger
        folder.mkdir(exist_ok=True)
        return folder

    def has_checkpoint(self, name: str) -> bool:
        return (self.root / "checkpoints" / f"{name}.safetensors").is_file()

    def write_checkpoint(self, name: str, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Tensors by name and plain JSON values, as one: the JSON travels in the tensors' file too."""
        from safetensors.torch import save_file

        own = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
        text = json.dumps(dict(state), allow_nan=False)
        folder = self.root / "checkpoints"
        whole.write_with(folder / f"{name}.safetensors", lambda path: save_file(own, path, metadata={"state": text}))
        whole.write_text(folder / f"{name}.json", text + "\n")  # the same, for people and scripts

    def read_checkpoint(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        from safetensors import safe_open

        path = self._need(f"checkpoints/{name}.safetensors", "mscon train")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {key: file.get_tensor(key) for key in file.keys()}, json.loads(metadata["state"])  # noqa: SIM118

    # What was learnt ----------------------------------------------------------------------------

    @property
    def has_features(self) -> bool:
        return (self.root / "features" / "features.safetensors").is_file()

    def features_are_current(self, checkpoint: str, *, of_trained_inputs: bool = False) -> bool:
        """Whether there are features, and they are those of the checkpoint as it is now, wherever both were copied.

        With `of_trained_inputs` also whether they were made of the inputs that were trained on, not of changed ones.
        """
        if not self.has_features:
            return False
        from safetensors import safe_open

        with safe_open(self.root / "features" / "features.safetensors", framework="np") as file:
            made_of = file.metadata() or {}
        trained = _digest_of(self.fingerprints) if of_trained_inputs else None
        return made_of.get("checkpoint") == self._digest(checkpoint) and trained in (None, made_of.get("inputs"))

    def write_features(
        self,
        features: np.ndarray,
        projections: np.ndarray,
        checkpoint: str = "last",
        *,
        inputs: np.ndarray | None = None,
        changed_rows: int = 0,
    ) -> None:
        """What a checkpoint makes of the rows.

        `features` [rows, width] float32; `projections` [similarities, rows, dim], unit length. `inputs` are the
        fingerprints of what they were made of, of which `changed_rows` are not those that were trained on.
        """
        made_by = {"checkpoint": self._digest(checkpoint)} if self.has_checkpoint(checkpoint) else {}
        if (digest := _digest_of(inputs)) is not None:
            made_by |= {"inputs": digest, "changed_rows": str(changed_rows)}
        self._write_arrays("features/projections.safetensors", {"projections": projections}, made_by)
        self._write_arrays("features/features.safetensors", {"features": features}, made_by)

    def _digest(self, checkpoint: str) -> str:
        with self._need(f"checkpoints/{checkpoint}.safetensors", "mscon train").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    @property
    def features(self) -> np.ndarray:
        return self._arrays("features/features.safetensors", "mscon probe")["features"]

    @property
    def projections(self) -> np.ndarray:
        return self._arrays("features/projections.safetensors", "mscon probe")["projections"]

    @property
    def masks(self) -> list[list[float]] | None:
        """A row of numbers per similarity; None where the heads are not masks."""
        return self._json("masks.json", "mscon probe") if (self.root / "masks.json").is_file() else None

    def write_masks(self, masks: Sequence[Sequence[float]]) -> None:
        whole.write_json(self.root / "masks.json", [list(row) for row in masks])

    @property
    def has_probe(self) -> bool:
        return (self.root / "probe.json").is_file()

    @property
    def probe(self) -> dict[str, Any]:
        return self._json("probe.json", "mscon probe")

    def write_probe(self, probe: Mapping[str, Any], predictions: Mapping[str, np.ndarray]) -> None:
        self._write_arrays("predictions.safetensors", predictions)
        whole.write_json(self.root / "probe.json", dict(probe))

    @property
    def predictions(self) -> dict[str, np.ndarray]:
        return self._arrays("predictions.safetensors", "mscon probe")

    @property
    def has_transfer(self) -> bool:
        return (self.root / "transfer.json").is_file()

    @property
    def transfer(self) -> dict[str, Any]:
        return self._json("transfer.json", "mscon reproduce")

    def write_transfer(self, transfer: Mapping[str, Any]) -> None:
        whole.write_json(self.root / "transfer.json", dict(transfer))

    @property
    def card(self) -> str | None:
        """Its model card as Markdown; None if there is none yet."""
        path = self.root / "README.md"
        return path.read_text("utf-8") if path.is_file() else None

    def write_card(self, text: str) -> Path:
        path = self.root / "README.md"
        whole.write_text(path, text)
        return path

    # --------------------------------------------------------------------------------------------

    def _need(self, name: str, verb: str) -> Path:
        path = self.root / name
        if not path.is_file():
            raise RunError(f"run '{self.root}' has no {name}: `{verb}` writes it, and has not finished here.")
        return path

    def _json(self, name: str, verb: str) -> Any:
        path = self._need(name, verb)
        try:
            return json.loads(path.read_text("utf-8"))
        except ValueError as error:
            raise RunError(f"{path} is not valid JSON: {error}") from None

    def _arrays(self, name: str, verb: str) -> dict[str, np.ndarray]:
        from safetensors.numpy import load_file

        return load_file(self._need(name, verb))

    def _write_arrays(
        self, name: str, arrays: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None
    ) -> None:
        import numpy as np
        from safetensors.numpy import save_file

        own = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
        whole.write_with(self.root / name, lambda path: save_file(own, path, metadata))


def _digest_of(fingerprints: np.ndarray | None) -> str | None:
    return None if fingerprints is None else hashlib.sha256(fingerprints.tobytes()).hexdigest()
