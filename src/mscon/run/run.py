"""Run: a directory that holds everything that happened. The only file that spells its file names.

    recipe.toml                 the resolved recipe; trains the same run again
    run.json                    versions, machine, table (path, content hash, counts), resolved hardware choices
    similarities.json           what the codes of each similarity stand for
    signature.json              that its user trained it on this machine, and both files are as they were, see `trust`
    inputs.json                 how rows become vectors, where they are not images
    vectors.safetensors         the vectors, where they lay in a column of the table and in no file of their own
    fingerprints.safetensors    16 bytes a row, of its image or vector, where these lie in files outside the run
    rows.parquet                rows used: line, split, image path, and every label column
    log.jsonl                   a record a line: {"kind": "step" | "validation" | ..., "epoch", "step", ...}
    checkpoints/{last,best}.safetensors     weights; last also has all else that is needed to go on
    features/{features,projections}.safetensors      one vector per row of rows.parquet, in its order
    masks.json                  what its heads let through of the embedding, where they are masks
    probe.json                  scores with intervals, a record each
    predictions.safetensors     probe predictions row by row, for paired comparison
    README.md                   its model card, once there is one; edits of it are kept
    tensorboard/, wandb/        copies of the log, where the recipe asks for them
    transfer.json               scores by the number of labelled rows, where an experiment asks for them
    report.{html,json}          its report, and explorer.html its explorer, if they were not sent elsewhere
    checksums.jsonl             size and SHA-256 of each of these files, checked when it is read
    .lock, .next/               see mscon.run.folder

This module does not know how any of it was made.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from mscon.errors import RunError
from mscon.run import atomic, checksums, folder
from mscon.run import recipe as recipes
from mscon.run.files import CheckedFiles, mapped
from mscon.run.recipe import Recipe
from mscon.run.trust import foreign_code, is_signature, need_trust, signature

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from torch import Tensor


# Files of a run that verbs also write elsewhere, where their user wants it.
_SHOWN = ("README.md", "report.html", "report.json", "explorer.html")

_FEATURES = ("features/features.safetensors", "features/projections.safetensors")


@dataclass(frozen=True, slots=True)
class Run(CheckedFiles):
    """A run directory. Readers raise RunError where a part is not there yet, saying which verb makes it.

    Attributes:
        root: the directory.
        trust: whether code from outside mscon that the run names may be imported, even if it was trained elsewhere.
    """

    # All files that a run consists of: what may be removed where a run is replaced, and nothing else.
    NAMES: ClassVar[tuple[str, ...]] = (
        "recipe.toml",
        "run.json",
        "similarities.json",
        "signature.json",
        "inputs.json",
        "vectors.safetensors",
        "fingerprints.safetensors",
        "rows.parquet",
        "log.jsonl",
        "checkpoints/last.safetensors",
        "checkpoints/best.safetensors",
        "features/features.safetensors",
        "features/projections.safetensors",
        "masks.json",
        "probe.json",
        "predictions.safetensors",
        "README.md",
        "transfer.json",
        "report.html",
        "report.json",
        "explorer.html",
        checksums.NAME,
    )

    trust: bool = False

    def as_it_is(self) -> Run:
        """The same run, for those that read and do not write it: each file is read once, and remembered.

        What they say then is of one state of the run, whoever writes to it meanwhile. Large arrays are mapped from
        their files. What a reader returns is not to be changed.
        """
        return self if self._memory is not None else replace(self, _memory={})

    @classmethod
    def create(cls, root: Path, overwrite: bool = False, protected: Sequence[Path] = ()) -> Run:
        """A new, empty run directory; where a run is replaced, one within it until `take_place` is called.

        It is trusted: what it will name, its maker has chosen.

        Raises:
            RunError: see `refuse_if_taken`.
        """
        cls.refuse_if_taken(root, overwrite, protected)
        return cls(folder.begin(root, cls.NAMES), trust=True)

    @staticmethod
    def refuse_if_taken(root: Path, overwrite: bool = False, protected: Sequence[Path] = ()) -> None:
        """Raise what `create` would, and change nothing: for asking before a long preparation.

        Args:
            root: where the run is to go. What a run that never began has left there is not in the way.
            overwrite: whether it may replace a run, a folder whose run.json says that mscon made it.
            protected: files and folders that the run is made from; a folder that holds one is not replaced.

        Raises:
            RunError: if something is in the way.
        """
        folder.refuse_if_taken(root, Run.NAMES, overwrite, protected)

    @classmethod
    def open(cls, root: str | Path, trust: bool = False) -> Run:
        """An existing run directory.

        Args:
            root: the directory.
            trust: also import classes from outside mscon ("pkg.mod:Class") that the run names, which executes them.
                A run that this user trained on this machine is trusted anyway, see `is_signed`.

        Raises:
            RunError: if there is none.
        """
        root = Path(root)
        folder.finish_exchange(root, Run.NAMES)
        if root.is_dir() and any(root.iterdir()) and folder.is_beginning(root, Run.NAMES):
            raise RunError(
                f"'{root}' holds the beginning of a run that was stopped before its training began. Start it again "
                "with the same `mscon train`."
            )
        if not (root / "recipe.toml").is_file():
            found = "it does not exist" if not root.exists() else "it has no recipe.toml"
            raise RunError(f"'{root}' is not a run directory: {found}. `mscon train` makes one.")
        return cls(root, trust=trust)

    @staticmethod
    def held(root: Path) -> contextlib.AbstractContextManager[None]:
        """Be the only process that trains the run there.

        Raises:
            RunError: if another does.
        """
        return folder.held(root, Run.NAMES)

    @property
    def is_next(self) -> bool:
        """Whether it lies within a run that it is to replace."""
        return self.root.name == folder.NEXT

    def take_place(self) -> Run:
        """Where it was begun within the run that it replaces: that one goes, and this one takes its place."""
        if not self.is_next:
            return self
        folder.finish_exchange(self.root.parent, Run.NAMES, is_held=True)
        return replace(self, root=self.root.parent)

    @property
    def name(self) -> str:
        return self.root.resolve().name

    @property
    def files(self) -> list[Path]:
        """Where everything lies that it was made from or holds, there or not: nothing else may be written there."""
        facts = self.read_facts() if (self.root / "run.json").is_file() else {}
        table, images = facts.get("table", {}).get("path"), facts.get("images_root")
        vectors = self.read_recipe_values().get("data", {}).get("vectors")
        return [
            *(self.root / name for name in Run.NAMES if name not in _SHOWN),
            *([Path(table)] if table else []),
            *([Path(images) / vectors] if images and vectors else []),
        ]

    @property
    def images(self) -> Iterator[Path]:
        """Where the images of its rows lay when it was trained; none where rows are not images."""
        images = self.read_facts().get("images_root") if (self.root / "run.json").is_file() else None
        rows = self.read_rows() if images is not None and (self.root / "rows.parquet").is_file() else None
        if images is not None and rows is not None and "image" in rows.columns:
            yield from (Path(images) / name for name in rows.get_column("image") if name is not None)

    # What was asked for -------------------------------------------------------------------------

    def read_recipe(self) -> Recipe:
        """The recipe with every part that it names, which are imported; see `recipe_with`."""
        return self.recipe_with()

    def recipe_with(self, overrides: Sequence[str] = ()) -> Recipe:
        """The same with some values overridden, as in "train.epochs=40".

        Raises:
            RunError: see `need_trust`.
            RecipeError: see `mscon.run.recipe.read`.
        """
        self.need_trust()
        return recipes.parse(self.read_recipe_text(), overrides, where=f"{self.root / 'recipe.toml'}: ")

    def need_trust(self) -> None:
        """Raise if the run names code from outside mscon, and is neither trusted nor trained here by this user.

        Raises:
            RunError: naming the code.
        """
        states = self.read_similarities() if (self.root / "similarities.json").is_file() else []
        if foreign := foreign_code(self.read_recipe_values(), states):
            need_trust(f"run '{self.root}'", foreign, self.may_import)

    def sign(self) -> None:
        """Write that this user trained the run here; nothing where this machine cannot keep a key."""
        if (digest := signature(self._signed())) is not None:
            self._write_json("signature.json", {"hmac_sha256": digest})

    @property
    def may_import(self) -> bool:
        """Whether code from outside mscon that it names may be imported: its user trusts it, or trained it here."""
        return self.trust or self.is_signed

    @property
    def is_signed(self) -> bool:
        """Whether this user trained it on this machine, and recipe and similarities are as they were then."""
        try:
            kept = self._json("signature.json", "mscon train")
            return isinstance(kept, dict) and is_signature(kept.get("hmac_sha256"), self._signed())
        except RunError:  # no signature, or none that can be read
            return False

    def _signed(self) -> list[bytes]:
        return [self._bytes(name, "mscon train") for name in ("recipe.toml", "similarities.json")]

    def read_recipe_text(self) -> str:
        """The same as text, for readers that must not import what a recipe names."""
        return self._bytes("recipe.toml", "mscon train").decode("utf-8")

    def read_recipe_values(self) -> dict[str, Any]:
        """The same as plain values; nothing that it names is imported."""
        try:
            return tomllib.loads(self.read_recipe_text())
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise RunError(f"{self.root / 'recipe.toml'} is not valid TOML: {error}") from None

    def write_recipe(self, recipe: Recipe) -> None:
        self._write_text("recipe.toml", recipe.to_toml())

    def read_facts(self) -> dict[str, Any]:
        """Versions, machine, table, resolved hardware choices."""
        return self._json("run.json", "mscon train")

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        self._write_json("run.json", dict(facts))

    def read_similarities(self) -> list[dict[str, Any]]:
        """For each similarity {"name": ..., "state": ...} with the state of its `to_json`."""
        return self._json("similarities.json", "mscon train")

    def write_similarities(self, states: list[dict[str, Any]]) -> None:
        self._write_json("similarities.json", states)

    def read_inputs(self) -> dict[str, Any] | None:
        """How rows become vectors; None where they are images."""
        return self._json("inputs.json", "mscon train") if self._has("inputs.json", "mscon train") else None

    @property
    def input_width(self) -> int | None:
        """Numbers of such a vector."""
        return None if (known := self.read_inputs()) is None else known["width"]

    @property
    def vectors_file(self) -> Path | None:
        """The vectors of a list column; None where they come from elsewhere."""
        path = self.root / "vectors.safetensors"
        return path if self._has(path.name, "mscon train") else None

    def write_inputs(self, known: Mapping[str, Any], vectors: np.ndarray | None = None) -> None:
        """How rows become vectors; and these, where they lie in no file of their own."""
        if vectors is not None:
            self._write_arrays("vectors.safetensors", {"vectors": vectors})
        self._write_json("inputs.json", dict(known))

    def read_fingerprints(self) -> np.ndarray | None:
        """Of the inputs that it was trained on, [rows, 16] uint8; None where they lie in the run itself."""
        name, verb = "fingerprints.safetensors", "mscon train"
        return self._arrays(name, verb)["fingerprints"] if self._has(name, verb) else None

    def write_fingerprints(self, fingerprints: np.ndarray) -> None:
        self._write_arrays("fingerprints.safetensors", {"fingerprints": fingerprints})

    def read_rows(self) -> pl.DataFrame:
        """Columns line, split, image, and the label columns as text; null where missing."""
        import polars as pl

        return self._once("rows", lambda: pl.read_parquet(io.BytesIO(self._read("rows.parquet", "mscon train"))))

    def write_rows(self, rows: pl.DataFrame) -> None:
        self._write("rows.parquet", rows.write_parquet)

    # What happened ------------------------------------------------------------------------------

    def append_log(self, record: Mapping[str, Any]) -> None:
        atomic.append_json(self.root / "log.jsonl", dict(record))

    def read_log(self) -> list[dict[str, Any]]:
        """All records, but for one that a crash tore."""
        path = self.root / "log.jsonl"
        if not path.is_file():
            return []
        content = self._once("log.jsonl", path.read_bytes)
        if fault := self._fault(lambda known: checksums.grown_fault(content, known.get("log.jsonl", []))):
            raise RunError(
                f"{path} {fault}.\n  Restore it from a copy, or take it away: then curves lack what was in it."
            )
        return [record for record in atomic.json_lines(content) if isinstance(record, dict)]

    @property
    def has_lost_log(self) -> bool:
        """Whether log.jsonl has lost records of steps that the last checkpoint has taken."""
        return checksums.is_short(self.root / "log.jsonl", self._checksums().get("log.jsonl", []))

    def cut_log(self, step: int) -> None:
        """Drop records later than `step`, as resuming from a checkpoint of that step must."""
        kept = [json.dumps(r) + "\n" for r in self.read_log() if r.get("step", 0) <= step]
        self._write_text("log.jsonl", "".join(kept))

    def tracking(self, logger: str) -> Path:
        """The folder that another logger may fill."""
        folder = self.root / logger
        folder.mkdir(exist_ok=True)
        return folder

    def has_checkpoint(self, name: str) -> bool:
        return (self.root / "checkpoints" / f"{name}.safetensors").exists()

    def write_checkpoint(self, name: str, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Tensors by name and plain JSON values, as one: the JSON travels in the tensors' file too."""
        from safetensors.torch import save_file

        own = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
        text = json.dumps(dict(state), allow_nan=False)
        if (log := self.root / "log.jsonl").is_file():  # it must not lack, after a power cut, what a checkpoint has
            atomic.sync(log)
            checksums.record(self.root, "log.jsonl")
        self._write(f"checkpoints/{name}.safetensors", lambda path: save_file(own, path, metadata={"state": text}))

    def read_checkpoint(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        from safetensors import safe_open

        path = self._need(f"checkpoints/{name}.safetensors", "mscon train")
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata() or {}
            return {key: file.get_tensor(key) for key in file.keys()}, json.loads(metadata["state"])  # noqa: SIM118

    # What was learnt ----------------------------------------------------------------------------

    @property
    def has_features(self) -> bool:
        return (self.root / _FEATURES[0]).exists()

    def features_are_current(self, checkpoint: str, *, of_trained_inputs: bool = False) -> bool:
        """Whether there are features, and they are those of the checkpoint as it is now, wherever both were copied.

        With `of_trained_inputs` also whether they were made of the inputs that were trained on, not of changed ones.

        Raises:
            RunError: if they have changed since they were written.
        """
        if not self.has_features:
            return False
        from safetensors import safe_open

        with safe_open(self._need(_FEATURES[0], "mscon probe"), framework="np") as file:
            made_of = file.metadata() or {}
        self._need(_FEATURES[1], "mscon probe")
        trained = _digest_of(self.read_fingerprints()) if of_trained_inputs else None
        return made_of.get("checkpoint") == self._digest(checkpoint) and trained in (None, made_of.get("inputs"))

    @property
    def has_whole_features(self) -> bool:
        """Whether there are features, and they are as they were written."""
        are_there = all((self.root / name).is_file() for name in _FEATURES)
        return are_there and not (
            checksums.are_kept(self.root) and any(checksums.fault(self.root, name) for name in _FEATURES)
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

    def read_features(self) -> np.ndarray:
        return self._vectors("features")

    def read_projections(self) -> np.ndarray:
        return self._vectors("projections")

    def read_masks(self) -> list[list[float]] | None:
        """A row of numbers per similarity; None where the heads are not masks."""
        return self._json("masks.json", "mscon probe") if self._has("masks.json", "mscon probe") else None

    def write_masks(self, masks: Sequence[Sequence[float]]) -> None:
        self._write_json("masks.json", [list(row) for row in masks])

    @property
    def has_probe(self) -> bool:
        return (self.root / "probe.json").exists()

    def read_probe(self) -> dict[str, Any]:
        return self._json("probe.json", "mscon probe")

    def write_probe(self, probe: Mapping[str, Any], predictions: Mapping[str, np.ndarray]) -> None:
        self._write_arrays("predictions.safetensors", predictions)
        self._write_json("probe.json", dict(probe))

    def read_predictions(self) -> dict[str, np.ndarray]:
        return self._arrays("predictions.safetensors", "mscon probe")

    @property
    def has_transfer(self) -> bool:
        return (self.root / "transfer.json").exists()

    def read_transfer(self) -> dict[str, Any]:
        return self._json("transfer.json", "mscon reproduce")

    def write_transfer(self, transfer: Mapping[str, Any]) -> None:
        self._write_json("transfer.json", dict(transfer))

    def read_card(self) -> str | None:
        """Its model card as Markdown; None if there is none yet."""
        path = self.root / "README.md"
        return path.read_text("utf-8") if path.is_file() else None

    def write_card(self, text: str) -> Path:
        self._write_text("README.md", text)
        return self.root / "README.md"

    def _vectors(self, name: str) -> np.ndarray:
        file, verb = f"features/{name}.safetensors", "mscon probe"
        if self._memory is None:
            return self._arrays(file, verb)[name]
        return self._once(file, lambda: mapped(self._need(file, verb), name))


def _digest_of(fingerprints: np.ndarray | None) -> str | None:
    return None if fingerprints is None else hashlib.sha256(fingerprints.tobytes()).hexdigest()
