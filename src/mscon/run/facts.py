"""Facts: what a run records of its training (run.json), and where its images are now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscon.run.checksums import CheckedFiles, are_kept


@dataclass(frozen=True, slots=True)
class Facts(CheckedFiles):
    """The part of a `mscon.run.run.Run` that says how it was trained, and on what.

    Attributes:
        images_root: the folder in which its images, or its file of vectors, are now; None for that of the training.
    """

    images_root: Path | None = None

    def read_facts(self) -> dict[str, Any]:
        """Versions, machine, table, resolved hardware choices; "images_root" is where the images are now."""
        facts: dict[str, Any] = self._json("run.json")
        if not are_kept(self.root) and (gone := [name for name in ("images_root", "table") if name not in facts]):
            self._refuse_odd("run.json", f"it has no '{gone[0]}'")  # with checksums it is what mscon wrote
        return facts if self.images_root is None else {**facts, "images_root": str(self.images_root)}

    def write_facts(self, facts: Mapping[str, Any]) -> None:
        self._write_json("run.json", dict(facts))

    def record_move(self) -> None:
        """Remember where the images are now, for all verbs to come."""
        if self.images_root is not None:
            self.write_facts(self.read_facts())
