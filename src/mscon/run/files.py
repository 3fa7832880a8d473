"""Checked files: the files of a folder, written whole, and refused where they are not as they were written."""

from __future__ import annotations

import json
import mmap
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mscon.errors import RunError
from mscon.run import atomic, checksums
from mscon.run.layout import FILES

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

# What to do, besides restoring it from a copy, about a file that has changed since a verb wrote it.
_REWRITE = {"mscon train": ", or train again", "mscon probe": ", or run `mscon probe` again"}


@dataclass(frozen=True, slots=True)
class CheckedFiles:
    """Files of a run by name, each with a checksum. Readers raise RunError where one is missing or has changed.

    Attributes:
        root: the folder.
    """

    root: Path
    _memory: dict[str, Any] | None = field(default=None, repr=False, compare=False, kw_only=True)

    def _has(self, name: str) -> bool:
        """Whether there is a file that not every run has; one that was there and is gone is a fault."""
        if (self.root / name).is_file():
            return True
        if name in self._checksums():
            raise RunError(f"{self.root / name} is gone: mscon wrote it here.\n  {_advice(name)}.")
        return False

    def _once(self, name: str, read: Callable[[], T]) -> T:
        """What `read` returns; of a run `as_it_is` what it returned the first time."""
        if self._memory is None:
            return read()
        if name not in self._memory:
            self._memory[name] = read()
        return self._memory[name]

    def _checksums(self) -> checksums.Known:
        return self._once(checksums.NAME, lambda: checksums.read(self.root))

    def _fault(self, judge: Callable[[checksums.Known], str]) -> str:
        fault = judge(self._checksums())
        if fault and self._memory is not None:  # a file may have been written since, which has a newer checksum
            del self._memory[checksums.NAME]
            fault = judge(self._checksums())
        return fault

    def _bytes(self, name: str) -> bytes:
        """The content of a small file, which is as it was written."""
        return self._once(name, lambda: self._read(name))

    def _read(self, name: str) -> bytes:
        content = self._existing(name).read_bytes()
        self._refuse_changed(name, content)
        return content

    def _need(self, name: str) -> Path:
        """Where a file lies, which is as it was written."""
        path = self._existing(name)
        self._refuse_changed(name)
        return path

    def _existing(self, name: str) -> Path:
        path, verb = self.root / name, FILES[name]
        if path.is_dir():
            raise RunError(f"{path} is a folder, where a file should be. Move it away; `{verb}` writes the file.")
        if not path.is_file():
            raise RunError(f"run '{self.root}' has no {name}: `{verb}` writes it, and has not finished here.")
        return path

    def _refuse_changed(self, name: str, content: bytes | None = None) -> None:
        if not checksums.are_kept(self.root):
            return
        if fault := self._fault(lambda known: checksums.fault(self.root, name, content, known)):
            advice = _advice(name)
            if name == "recipe.toml":
                advice = (
                    "Restore it from a copy; to continue training with other settings: "
                    f"mscon resume {self.root} --set KEY=VALUE"
                )
            raise RunError(f"{self.root / name} {fault}.\n  {advice}.")

    def _write(self, name: str, write: Callable[[Path], Any]) -> None:
        if not checksums.are_kept(self.root):  # a run of an older mscon: its files are taken as they are now
            for other in FILES:
                if (self.root / other).is_file():
                    checksums.record(self.root, other)
        checksums.write_with(self.root, name, write)

    def _write_text(self, name: str, text: str) -> None:
        self._write(name, lambda path: path.write_bytes(text.encode("utf-8")))

    def _write_json(self, name: str, value: Any) -> None:
        self._write_text(name, atomic.json_text(value))

    def _json(self, name: str) -> Any:
        content = self._bytes(name)
        try:
            return self._once(f"{name} as values", lambda: json.loads(content.decode("utf-8")))
        except ValueError as error:
            raise RunError(f"{self.root / name} is not valid JSON: {error}") from None

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        from safetensors.numpy import load, load_file

        if self._memory is None:
            return load_file(self._need(name))  # large ones are not in memory twice
        return self._once(name, lambda: load(self._read(name)))

    def _write_arrays(
        self, name: str, arrays: Mapping[str, np.ndarray], metadata: dict[str, str] | None = None
    ) -> None:
        import numpy as np
        from safetensors.numpy import save_file

        contiguous = {key: np.ascontiguousarray(value) for key, value in arrays.items()}
        self._write(name, lambda path: save_file(contiguous, path, metadata))


def _advice(name: str) -> str:
    return f"Restore it from a copy{_REWRITE.get(FILES[name], '')}"


def mapped(path: Path, name: str) -> np.ndarray:
    """A float32 array of a safetensors file, read from the disk as it is used: several may be more than fits."""
    import numpy as np

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        array = json.loads(file.read(length))[name]
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    begin, end = array["data_offsets"]
    return np.frombuffer(content, np.float32, (end - begin) // 4, 8 + length + begin).reshape(array["shape"])
