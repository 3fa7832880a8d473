"""Run: a directory that holds all that is known of one training. `mscon.run.layout` lists its files.

This module does not know how any of it was computed.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mscon.errors import RunError
from mscon.run import atomic, checksums, folder
from mscon.run import recipe as recipes
from mscon.run.contents import fault_of, parse_rows
from mscon.run.judgement_files import JudgementFiles
from mscon.run.layout import FILES, NEXT, SHOWN, checkpoint_file
from mscon.run.parsing import parse_json, parse_toml
from mscon.run.recipe import Recipe
from mscon.run.trust import foreign_code, is_signature, need_trust, signature

if TYPE_CHECKING:
    import numpy as np
    import polars as pl
    from torch import Tensor


@dataclass(frozen=True, slots=True)
class Run(JudgementFiles):
    """A run directory. Readers raise RunError where a file is missing, naming the verb that writes it.

    Attributes:
        root: the directory.
        trust: whether code from outside mscon that the run names may be imported, even if it was trained elsewhere.
    """

    trust: bool = False

    def as_it_is(self) -> Run:
        """The same run, for those that read and do not write it: each file is read once, and remembered.

        Readers then describe one state of the run, even if another process writes to it meanwhile. Large arrays are
        mapped from their files. Values that a reader returns must not be changed.
        """
        return self if self._memory is not None else replace(self, _memory={})

    @classmethod
    def create(cls, root: Path, overwrite: bool = False, protected: Sequence[Path] = ()) -> Run:
        """A new, empty run directory; where a run is replaced, one within it until `take_place` is called.

        It is trusted: the code that it will name was chosen by its user.

        Raises:
            RunError: see `mscon.run.folder.refuse_if_taken`.
        """
        folder.refuse_if_taken(root, overwrite, protected)
        return cls(folder.begin(root), trust=True)

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
        folder.finish_exchange(root)
        if root.is_dir() and any(root.iterdir()) and folder.is_beginning(root):
            raise RunError(
                f"'{root}' holds the beginning of a run that was stopped before its training began. Start it again "
                "with the same `mscon train`."
            )
        if not (root / "recipe.toml").is_file():
            reason = "it does not exist" if not root.exists() else "it has no recipe.toml"
            raise RunError(f"'{root}' is not a run directory: {reason}. `mscon train` makes one.")
        return cls(root, trust=trust)

    @classmethod
    def of(cls, run: Run | str | Path) -> Run:
        """A run as it is, or the one in a directory.

        Raises:
            RunError: see `open`.
        """
        return run if isinstance(run, Run) else cls.open(run)

    def moved(self, images: str | Path | None) -> Run:
        """The same run, whose images or file of vectors are now in another folder; None leaves it as it is."""
        return self if images is None else replace(self, images_root=Path(images).resolve())

    @property
    def is_next(self) -> bool:
        """Whether it lies within a run that it is to replace."""
        return self.root.name == NEXT

    def take_place(self) -> Run:
        """Where it was begun within the run that it replaces: that one goes, and this one takes its place."""
        if not self.is_next:
            return self
        folder.finish_exchange(self.root.parent, is_held=True)
        return replace(self, root=self.root.parent)

    @property
    def name(self) -> str:
        return self.root.resolve().name

    @property
    def files(self) -> list[Path]:
        """All files that it was made from or holds, existing or not: other output must not be written there."""
        facts = self.read_facts() if (self.root / "run.json").is_file() else {}
        table, images = facts.get("table", {}).get("path"), facts.get("images_root")
        recipe = self.read_recipe_values()
        vectors = [recipe.get("data", {}).get("vectors"), *(part.get("of") for part in recipe.get("similarity", []))]
        return [
            *(self.root / name for name in FILES if name not in SHOWN),
            *([Path(table)] if table else []),
            *(Path(images) / name for name in vectors if images and name),
        ]

    @property
    def images(self) -> Iterator[Path]:
        """Where the images of its rows, or their shards, were when it was trained; none where rows are not images."""
        images = self.read_facts().get("images_root") if (self.root / "run.json").is_file() else None
        rows = self.read_rows() if images is not None and (self.root / "rows.parquet").is_file() else None
        if images is not None and rows is not None and "image" in rows.columns:
            # Of a shard its file, and of a box its image.
            names = rows.get_column("image").drop_nulls().str.split("::").list.last().str.split("#xywh=").list.first()
            yield from (Path(images) / name for name in names)

    # The recipe -----------------------------------------------------------------------------------

    def read_recipe(self, overrides: Sequence[str] = ()) -> Recipe:
        """The recipe. Every part that it names is imported.

        Args:
            overrides: change some values, as in "train.epochs=40".

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
            record = self._json("signature.json")
            return isinstance(record, dict) and is_signature(record.get("hmac_sha256"), self._signed())
        except RunError:  # no signature, or none that can be read
            return False

    def _signed(self) -> list[bytes]:
        return [self._bytes(name) for name in ("recipe.toml", "similarities.json")]

    def read_recipe_text(self) -> str:
        """The same as text, for readers that must not import what a recipe names."""
        return self._bytes("recipe.toml").decode("utf-8")

    def read_recipe_values(self) -> dict[str, Any]:
        """The same as plain values; nothing that it names is imported."""
        try:
            values = parse_toml(self.read_recipe_text())
        except ValueError as error:
            raise RunError(f"{self.root / 'recipe.toml'} is not valid TOML: {error}") from None
        self._refuse_odd("recipe.toml", fault_of("recipe.toml", values))
        return values

    def write_recipe(self, recipe: Recipe) -> None:
        self._write_text("recipe.toml", recipe.to_toml())

    def read_similarities(self) -> list[dict[str, Any]]:
        """For each similarity {"name": ..., "state": ...} with the state of its `to_json`."""
        return self._json("similarities.json")

    def write_similarities(self, states: list[dict[str, Any]]) -> None:
        self._write_json("similarities.json", states)

    def read_inputs(self) -> dict[str, Any] | None:
        """How rows become vectors; None where they are images."""
        return self._json("inputs.json") if self._has("inputs.json") else None

    @property
    def input_width(self) -> int | None:
        """Numbers of such a vector."""
        return None if (known := self.read_inputs()) is None else known["width"]

    @property
    def vectors_file(self) -> Path | None:
        """The vectors of a list column; None where they come from elsewhere."""
        path = self.root / "vectors.safetensors"
        return path if self._has(path.name) else None

    def write_inputs(self, known: Mapping[str, Any], vectors: np.ndarray | None = None) -> None:
        """How rows become vectors; and these, where they lie in no file of their own."""
        if vectors is not None:
            self._write_arrays("vectors.safetensors", {"vectors": vectors})
        self._write_json("inputs.json", dict(known))

    def read_teachers(self) -> dict[str, np.ndarray]:
        """The codes of similarities of kind `teacher`, by name: [rows, numbers] float16."""
        return self._arrays("teachers.safetensors")

    def write_teachers(self, codes: Mapping[str, np.ndarray]) -> None:
        self._write_arrays("teachers.safetensors", codes)

    def write_fingerprints(self, fingerprints: np.ndarray) -> None:
        self._write_arrays("fingerprints.safetensors", {"fingerprints": fingerprints})

    def read_rows(self) -> pl.DataFrame:
        """Columns line, split, image, and the label columns as text; null where missing."""
        return self._once("rows", lambda: self._parsed("rows.parquet", parse_rows))

    def write_rows(self, rows: pl.DataFrame) -> None:
        self._write("rows.parquet", rows.write_parquet)

    # Training -----------------------------------------------------------------------------------

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
                f"{path} {fault}.\n  Restore it from a copy, or move it away; curves will then lack its records."
            )
        records = [record for record in atomic.json_lines(content) if isinstance(record, dict)]
        self._refuse_odd("log.jsonl", fault_of("log.jsonl", records))
        return records

    @property
    def has_lost_log(self) -> bool:
        """Whether log.jsonl has lost records of steps that the last checkpoint has taken."""
        return checksums.is_short(self.root / "log.jsonl", self._checksums().get("log.jsonl", []))

    def cut_log(self, step: int) -> None:
        """Drop records later than `step`, as resuming from a checkpoint of that step must, if there is a log."""
        if not (self.root / "log.jsonl").is_file():
            return
        records = [record for record in self.read_log() if record.get("step", 0) <= step]
        self._write_text("log.jsonl", "".join(f"{json.dumps(record)}\n" for record in records))

    def tracking(self, logger: str) -> Path:
        """The folder that another logger may fill."""
        folder = self.root / logger
        folder.mkdir(exist_ok=True)
        return folder

    def write_checkpoint(self, name: str, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> None:
        """Tensors by name and plain JSON values, as one: the JSON travels in the tensors' file too."""
        from safetensors.torch import save_file

        copies = {key: tensor.detach().cpu().contiguous().clone() for key, tensor in tensors.items()}
        text = json.dumps(dict(state), allow_nan=False)
        if (log := self.root / "log.jsonl").is_file():  # it must not lack, after a power cut, what a checkpoint has
            atomic.sync(log)
            checksums.record(self.root, "log.jsonl")
        self._write(checkpoint_file(name), lambda path: save_file(copies, path, metadata={"state": text}))

    def read_checkpoint(self, name: str) -> tuple[dict[str, Tensor], dict[str, Any]]:
        from safetensors import safe_open

        path = self._need(checkpoint_file(name))
        with self._reading_tensors(checkpoint_file(name)), safe_open(path, framework="pt") as file:
            state = parse_json((file.metadata() or {})["state"])
            return {key: file.get_tensor(key) for key in file.keys()}, dict(state)  # noqa: SIM118
