"""Checksums: size and SHA-256 of every file that was written to a folder, so that one that has changed is noticed.

    checksums.jsonl     a line a file and time of writing: {"file": "run.json", "bytes": 812, "sha256": "..."}

A line is there before its file is, so a crash between the two leaves a file that an earlier line knows; and once more
after a file that was not there before, so that one that is gone is told from one that never was. Lines are only
added, each in one write, so several processes may write to one folder.
"""

from __future__ import annotations

import contextlib
import hashlib
import mmap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from mscon.errors import RunError
from mscon.run import atomic
from mscon.run.contents import fault_of
from mscon.run.layout import CHECKSUMS as NAME
from mscon.run.layout import FILES
from mscon.run.parsing import parse_json

if TYPE_CHECKING:
    import numpy as np

T = TypeVar("T")

Known = dict[str, list[tuple[int, str]]]


@dataclass(frozen=True, slots=True)
class Checked:
    """A file as it is now: its size, its SHA-256, and what is wrong with it, to follow its name, or ""."""

    bytes: int
    sha256: str
    fault: str


def write_with(folder: Path, name: str, write: Callable[[Path], Any]) -> None:
    """Let `write` fill the file `name` of a folder, whole or not at all, and keep its checksum."""
    is_new = not (folder / name).exists()
    atomic.write_with(folder / name, write, before=lambda temporary: record(folder, name, temporary))
    if is_new:
        record(folder, name)


def record(folder: Path, name: str, content: Path | None = None) -> None:
    """Keep the checksum of a file, or of what is about to become it."""
    size, digest = _measure(folder / name if content is None else content)
    atomic.append_json(folder / NAME, {"file": name, "bytes": size, "sha256": digest})
    atomic.sync(folder / NAME)


def are_kept(folder: Path) -> bool:
    """Whether a folder has checksums at all."""
    return (folder / NAME).is_file()


def fault(folder: Path, name: str, content: bytes | None = None, known: Known | None = None) -> str:
    """What is wrong with a file, to follow its name; "" where it is as it was written.

    Args:
        folder: one with checksums.
        name: of a file that is there.
        content: of the file, where it has been read already.
        known: the checksums of the folder, where they have been read already.
    """
    measured = _measure(folder / name) if content is None else (len(content), hashlib.sha256(content).hexdigest())
    return _fault(*measured, (read(folder) if known is None else known).get(name, []))


def check(folder: Path, names: Iterable[str]) -> dict[str, Checked]:
    """The same of several files at once: the list is read once, and each file to its end."""
    known = read(folder)
    checked = {}
    for name in names:
        size, digest = _measure(folder / name)
        checked[name] = Checked(size, digest, _fault(size, digest, known.get(name, [])))
    return checked


def _fault(size: int, digest: str, lines: list[tuple[int, str]]) -> str:
    if not lines:
        return f"is not in {NAME}, so mscon did not write it, or that list is damaged"
    if (size, digest) in lines:
        return ""
    sizes = sorted({known for known, _ in lines})
    if size not in sizes:
        return f"has changed since mscon wrote it: it has {size:,} bytes, not {sizes[-1]:,}"
    return "has changed since mscon wrote it: its content is another"


def grown_fault(content: bytes, lines: list[tuple[int, str]]) -> str:
    """The same of a file that grows by lines: it may be longer than when its checksum was last taken, or cut short.

    Args:
        content: of the file.
        lines: the sizes and checksums that it has had, oldest first.
    """
    fitting = [line for line in lines if line[0] <= len(content)]
    # A file that is written anew with fewer lines gets its checksum first; until it is moved the old one is there.
    is_anew = len(fitting) > 1 and fitting[-1][0] <= fitting[-2][0]
    known = fitting[-2:] if is_anew else fitting[-1:]
    for size, digest in known:
        if hashlib.sha256(content[:size]).hexdigest() == digest:
            return ""
    return "has changed since mscon wrote it: its content is another" if known else ""


def is_short(path: Path, lines: list[tuple[int, str]]) -> bool:
    """Whether such a file has lost what it had when its checksum was last taken."""
    return bool(lines) and (not path.is_file() or path.stat().st_size < lines[-1][0])


def read(folder: Path) -> Known:
    """For each file the sizes and checksums that it has had, oldest first."""
    path = folder / NAME
    lines: Known = {}
    for line in atomic.json_lines(path.read_bytes()) if path.is_file() else []:
        if isinstance(line, dict) and {"file", "bytes", "sha256"} <= line.keys():
            lines.setdefault(str(line["file"]), []).append((line["bytes"], line["sha256"]))
    return lines


def _measure(path: Path) -> tuple[int, str]:
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


# What to do, besides restoring it from a copy, about a file that has changed since a verb wrote it.
_REWRITE = {verb: f", or run `{verb}` again" for verb in ("mscon probe", "mscon doubt")}
_REWRITE |= {"mscon train": ", or train again", "mscon predict": ", or delete it and run `mscon predict` again"}


@dataclass(frozen=True, slots=True)
class CheckedFiles:
    """Files of a run by name, each with a checksum. Readers raise RunError where one is missing or has changed.

    Attributes:
        root: the folder.
    """

    root: Path
    _memory: dict[str, Any] | None = field(default=None, repr=False, compare=False, kw_only=True)

    def _has(self, name: str) -> bool:
        """Whether there is a file that not every run has. A folder in its place, or one that is gone, is a fault."""
        return ((self.root / name).exists() or self._is_gone(name)) and self._existing(name).is_file()

    def _is_gone(self, name: str) -> bool:
        """Whether a file that is not there once was."""
        return len(self._checksums().get(name, [])) > 1  # one alone: it was never moved into place

    def _once(self, name: str, read: Callable[[], T]) -> T:
        """What `read` returns; of a run `as_it_is` what it returned the first time."""
        if self._memory is None:
            return read()
        if name not in self._memory:
            self._memory[name] = read()
        return self._memory[name]

    def _checksums(self) -> Known:
        return self._once(NAME, lambda: read(self.root))

    def _fault(self, judge: Callable[[Known], str]) -> str:
        complaint = judge(self._checksums())
        if complaint and self._memory is not None:  # a file may have been written since, which has a newer checksum
            del self._memory[NAME]
            complaint = judge(self._checksums())
        return complaint

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
        if not path.is_file() and self._is_gone(name):
            raise RunError(f"{path} is gone: `{verb}` wrote it here.\n  {_advice(name)}.")
        if not path.is_file():
            raise RunError(f"run '{self.root}' has no {name}: `{verb}` writes it, and has not finished here.")
        return path

    def _refuse_changed(self, name: str, content: bytes | None = None) -> None:
        if not are_kept(self.root):
            return
        if complaint := self._fault(lambda known: fault(self.root, name, content, known)):
            advice = _advice(name)
            if name == "recipe.toml":
                advice = (
                    "Restore it from a copy; to continue training with other settings: "
                    f"mscon resume {self.root} --set KEY=VALUE"
                )
            raise RunError(f"{self.root / name} {complaint}.\n  {advice}.")

    def _write(self, name: str, write: Callable[[Path], Any]) -> None:
        if not are_kept(self.root):  # a run of an older mscon: its files are taken as they are now
            for other in FILES:
                if (self.root / other).is_file():
                    record(self.root, other)
        write_with(self.root, name, write)

    def _write_text(self, name: str, text: str) -> None:
        self._write(name, lambda path: path.write_bytes(text.encode("utf-8")))

    def _write_json(self, name: str, value: Any) -> None:
        self._write_text(name, atomic.json_text(value))

    def _json(self, name: str) -> Any:
        content = self._bytes(name)
        try:
            values = self._once(f"{name} as values", lambda: parse_json(content))
        except ValueError as error:
            raise RunError(f"{self.root / name} is not valid JSON: {error}") from None
        self._refuse_odd(name, fault_of(name, values))
        return values

    def _parsed(self, name: str, parse: Callable[[bytes], T]) -> T:
        """What `parse` makes of a file; its ValueError becomes a RunError that names the file."""
        content = self._read(name)
        try:
            return parse(content)
        except ValueError as error:
            self._refuse_odd(name, str(error))
            raise

    def _refuse_odd(self, name: str, complaint: str) -> None:
        if complaint:
            raise RunError(
                f"{self.root / name} does not hold what mscon writes into it: {complaint}.\n  {_advice(name)}."
            )

    def _arrays(self, name: str) -> dict[str, np.ndarray]:
        from safetensors.numpy import load, load_file

        with self._reading_tensors(name):
            if self._memory is None:
                return load_file(self._need(name))  # large ones are not in memory twice
            return self._once(name, lambda: load(self._read(name)))

    @contextlib.contextmanager
    def _reading_tensors(self, name: str) -> Iterator[None]:
        """Around the reading of a file of tensors: what is wrong with the file becomes a RunError that names it."""
        from safetensors import SafetensorError

        try:
            yield
        except (SafetensorError, ValueError, TypeError, KeyError) as error:
            self._refuse_odd(name, str(error).splitlines()[0] or repr(error))

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
    """A float32 array of a safetensors file, read from the disk as it is used: several may be more than fits.

    Raises:
        ValueError, TypeError, KeyError: if the file holds no such array.
    """
    import numpy as np

    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > path.stat().st_size:
            raise ValueError("it is no safetensors file, or cut off")
        array = parse_json(file.read(length))[name]
        content = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    begin, end = array["data_offsets"]
    return np.frombuffer(content, np.float32, (end - begin) // 4, 8 + length + begin).reshape(array["shape"])
