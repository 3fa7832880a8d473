"""Damage: files that are no longer what was written, and what the verbs make of them."""

from __future__ import annotations

import contextlib
import io
import json
import random
import re
import shutil
import traceback
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mscon.deploy.packed_judgement import PARTS
from process import mscon
from reliability.content import SUMS, content
from reliability.events import KillAt
from reliability.jobs import Job, write_job

# Verbs that read what stands first in a path of the scene.
VERBS: dict[str, Sequence[Sequence[str]]] = {
    "finished": (
        ("probe", "finished"),
        ("report", "finished"),
        ("embed", "finished", "--table", "t.csv", "--out", "new.parquet"),
        ("export", "finished", "--to", "safetensors", "--out", "new.safetensors"),
        ("card", "finished", "--out", "card.md"),
        ("search", "finished", "--query", "0", "--json"),
        ("explore", "finished", "--no-open"),
        ("resume", "finished", "--no-probe"),
        ("doubt", "finished"),
        ("affinity", "finished"),
        ("predict", "finished", "--table", "t.csv", "--out", "new.csv"),
    ),
    "stopped": (("resume", "stopped", "--no-probe"),),
    # A run of an mscon that kept no checksums: values may have changed in silence, but there is no traceback.
    "older": tuple(
        (verb, "older", *rest)
        for verb, *rest in (
            ("probe",),
            ("report",),
            ("embed", "--table", "t.csv", "--out", "new.parquet"),
            ("export", "--to", "safetensors", "--out", "new.safetensors"),
            ("card", "--out", "card.md"),
            ("search", "--query", "0", "--json"),
            ("explore", "--no-open"),
            ("resume", "--no-probe"),
            ("doubt",),
            ("affinity",),
            ("predict", "--table", "t.csv", "--out", "new.csv"),
        )
    ),
    "packed": (
        ("embed", "packed/m.safetensors", "--table", "t.csv", "--out", "new.parquet"),
        ("predict", "packed/m.safetensors", "--table", "t.csv", "--out", "new.csv"),
    ),
    "o.parquet.shards": (("embed", "finished", "--table", "t.csv", "--out", "o.parquet", "--shard-rows", "25"),),
}


@dataclass(frozen=True, slots=True)
class Damage:
    """What is done to one file.

    Attributes:
        file: path within the scene.
        kind: a name of `KINDS`.
        seed: of what is random in it.
        other: path of another file, for kinds that need one.
    """

    file: str
    kind: str
    seed: int
    other: str

    def apply(self, scene: Path) -> bool:
        """Do it; whether the file is another now."""
        path = scene / self.file
        before = path.read_bytes()
        KINDS[self.kind](path, random.Random(self.seed), scene / self.other)
        return not path.is_file() or path.read_bytes() != before


def _flip(path: Path, draw: random.Random, other: Path) -> None:
    raw = bytearray(path.read_bytes())
    raw[draw.randrange(len(raw))] ^= 1 << draw.randrange(8)
    path.write_bytes(raw)


def _cut(path: Path, draw: random.Random, other: Path) -> None:
    raw = path.read_bytes()
    path.write_bytes(raw[: draw.randrange(len(raw))])


def _zeros(path: Path, draw: random.Random, other: Path) -> None:
    raw = path.read_bytes()
    length = draw.randrange(len(raw))
    path.write_bytes(raw[:length] + bytes(len(raw) - length))


def _append(path: Path, draw: random.Random, other: Path) -> None:
    path.write_bytes(path.read_bytes() + draw.choice((b"\n", b"\0", b"x", b'{"a": 1}\n', draw.randbytes(100))))


def _directory(path: Path, draw: random.Random, other: Path) -> None:
    path.unlink()
    path.mkdir()


KINDS: dict[str, Callable[[Path, random.Random, Path], Any]] = {
    "flip": _flip,
    "cut": _cut,
    "zeros": _zeros,
    "append": _append,
    "empty": lambda path, draw, other: path.write_bytes(b""),
    "null": lambda path, draw, other: path.write_text(draw.choice(("null", "[]", "{}", "[null]", '"x"', "1e999"))),
    "random": lambda path, draw, other: path.write_bytes(draw.randbytes(path.stat().st_size)),
    "swapped": lambda path, draw, other: shutil.copyfile(other, path),
    "directory": _directory,
    "removed": lambda path, draw, other: path.unlink(),
}
# Of which there are more ways than one.
_FREQUENT = ("flip", "flip", "flip", "cut", "zeros", "append")


def write_scene(folder: Path) -> Job:
    """A finished run with all that verbs leave in one, one that was killed, a packed model, and vectors in shards."""
    job = write_job(folder)
    for arguments in (
        job.train("finished"),
        ("probe", "finished"),
        ("report", "finished"),
        ("explore", "finished", "--no-open"),
        ("card", "finished"),
        ("doubt", "finished"),
        ("affinity", "finished"),
        ("predict", "finished", "--table", "t.csv", "--out", "predicted.csv"),
        (*("export", "finished", "--to", "safetensors", "--out", "packed/m.safetensors", "--include"), *PARTS),
        VERBS["o.parquet.shards"][0],
    ):
        outcome = mscon(*arguments, cwd=folder)
        assert outcome.status == 0, outcome
    events = mscon(*job.train("whole"), cwd=folder, watched=folder / "whole").events
    second = [n for n, e in enumerate(events) if e.to.endswith("last.safetensors")][1]
    mscon(*job.train("stopped"), cwd=folder, watched=folder / "stopped", act=KillAt(second + 1))
    shutil.rmtree(folder / "whole")
    shutil.copytree(folder / "finished", folder / "older")
    (folder / "older" / SUMS).unlink()
    return job


def damages(scene: Path, count: int) -> list[Damage]:
    """So many damages, over all files that mscon wrote there."""
    paths = [path for top in VERBS for path in sorted((scene / top).rglob("*")) if path.is_file()]
    files = [str(path.relative_to(scene)) for path in paths if path.stat().st_size]
    kinds = [*KINDS, *_FREQUENT]
    draw = random.Random(0)
    drawn = []
    for number in range(count):
        file = files[number % len(files)]
        beside = [f for f in files if f != file and f.split("/")[0] == file.split("/")[0]]
        like = [f for f in beside if Path(f).suffix == Path(file).suffix] if draw.random() < 0.7 else beside
        kind = draw.choice(kinds)
        drawn.append(Damage(file, kind, number, draw.choice(like or beside)))
    return drawn


def try_all(task: tuple[Path, Sequence[Damage], int]) -> int:
    """Apply each damage to a scene anew and let some verbs read it; prints outcomes and faults as JSON.

    Args:
        given: the scene, the damages, and how many verbs read each. The process must have been started in a folder
            of the same name as the scene, and what it does is done to that.
    """
    scene, drawn, verbs = task
    work = Path.cwd()
    expected: dict[tuple[str, ...], Any] = {}
    counts: Counter[str] = Counter()
    faults = []
    for damage in drawn:
        ways = VERBS[damage.file.split("/")[0]]
        for arguments in map(tuple, random.Random(damage.seed).sample(ways, min(verbs, len(ways)))):
            if arguments not in expected:
                _restore(scene, work)
                expected[arguments] = _call(arguments, work)
            _restore(scene, work)
            if not damage.apply(work):
                continue
            status, out, err, files = _call(arguments, work)
            outcome, fault = _judged(damage, (status, out, err, files), expected[arguments])
            counts[outcome] += 1
            if fault:
                faults.append(f"{damage.file}, {damage.kind} ({damage.seed}): mscon {' '.join(arguments)}\n    {fault}")
    print(json.dumps({"counts": counts, "faults": faults}))
    return 0


def _restore(scene: Path, work: Path) -> None:
    for path in work.iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    shutil.copytree(scene, work, dirs_exist_ok=True)


def _call(arguments: Sequence[str], work: Path) -> tuple[int | None, str, str, dict[str, Any]]:
    """Status (None for a traceback), output, messages, and all files afterwards."""
    from mscon.cli import main

    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            status: int | None = main(arguments)
        except BaseException:
            status = None
            traceback.print_exc()
    return status, out.getvalue(), err.getvalue(), content(work)


def _judged(damage: Damage, now: Any, expected: Any) -> tuple[str, str]:
    """What came of it in a word, and what is wrong with it; nothing if it is right."""
    status, out, err, files = now
    if status is None:
        return "tracebacks", err.strip().splitlines()[-1]
    if status == 2:
        messages = re.findall(r"^mscon: .*", err, re.MULTILINE)
        file = Path(damage.file)
        named = file.name in err or file.name == SUMS or (damage.kind == "removed" and f"has no {file.stem}" in err)
        if len(messages) != 1:
            return "no single message", err
        return ("refused by name", "") if named else ("refused without its name", err)
    if status != 0:
        return "other statuses", f"status {status}: {err}"
    if damage.file.startswith("older/"):
        return "went on without checksums", ""
    if f"{Path(damage.file).name} has changed since" in err or (
        damage.file.endswith("log.jsonl") and "log.jsonl" in err
    ):
        return "went on and said so", ""
    # A damaged file that was not read may stay as it is; a part of an output may not.
    damaged_file = None if damage.file.startswith("o.parquet") else damage.file
    wrong = [
        name
        for name in files.keys() | expected[3].keys()
        if name != damaged_file and not name.startswith(f"{damaged_file}/") and files.get(name) != expected[3].get(name)
    ]
    if wrong or out != expected[1]:
        return "wrong in silence", f"status 0, but another {', '.join(sorted(wrong)) or 'output'}"
    return "same result", ""
