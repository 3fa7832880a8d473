"""Verbs: each that writes files, on a tiny job; and what is wrong after a kill, a signal or a fault of the disk."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from process import Outcome, mscon, start
from reliability.content import changed, content, left_over
from reliability.events import Act, Event, KillAt
from reliability.jobs import EACH_STEP, IMAGES, MORE_VARIANTS, write_job

# That a process may take on a busy machine; those of some verbs train five runs.
_SECONDS = 600.0

_TINY = ("--set", "encoder.width=4", "--set", "data.image_size=16")
_COMPARE = ("compare", "r.toml", "--table", "half.csv", "--quick", "--jobs", "1", "--out", "new")


def _settings(settings: Sequence[str]) -> tuple[str, ...]:
    return tuple(part for setting in settings for part in ("--set", setting))


VERBS: Mapping[str, Sequence[str]] = {
    "prepare": ("prepare", "glyphs", "new", "--set", "per_family=1", "--set", 'characters="a"', "--set", "size=16"),
    "init": ("init", "t.csv", "--out", "init.toml"),
    "check images": ("check", "r.toml", "--table", "t.csv", *_settings(IMAGES)),
    "train": ("train", "r.toml", "--table", "t.csv", "--no-probe", "--out", "new"),
    "train images": ("train", "r.toml", "--table", "t.csv", "--no-probe", "--out", "new", *_settings(IMAGES)),
    "train stored": (
        *("train", "r.toml", "--table", "t.csv", "--no-probe", "--out", "new"),
        *_settings(MORE_VARIANTS["stored"]),
    ),
    "resume": ("resume", "run", "--set", "train.epochs=5", *_settings(EACH_STEP)),
    "probe": ("probe", "run"),
    "probe layer": ("probe", "pictures", "--layer", "stages.0"),
    "doubt": ("doubt", "run", "--corrected", "corrected.csv"),
    "affinity": ("affinity", "run"),
    "cluster": ("cluster", "run", "--clusters", "3", "--out", "clusters.csv"),
    "embed": ("embed", "run", "--table", "t.csv", "--out", "new.parquet"),
    "embed npz": ("embed", "run", "--table", "t.csv", "--out", "new.npz"),
    "embed shards": ("embed", "run", "--table", "t.csv", "--out", "new.parquet", "--shard-rows", "25"),
    "embed images": ("embed", "pictures", "--table", "t.csv", "--out", "new.parquet"),
    "predict": ("predict", "run", "--table", "t.csv", "--out", "new.csv"),
    "export": ("export", "run", "--to", "safetensors", "--out", "new/m.safetensors"),
    "export onnx": ("export", "pictures", "--to", "onnx", "--out", "new/m.onnx"),
    "export faiss": ("export", "run", "--to", "faiss", "--table", "t.csv", "--at", "new"),
    "report": ("report", "run", "--out", "new"),
    "card": ("card", "run", "--out", "card.md"),
    "explore": ("explore", "run", "--no-open"),
    "search": ("search", "run", "--query", "0", "--json"),
    "push": ("push", "run", "owner/name", "--dry-run", "upload"),
    "compare": (*_COMPARE, "--methods", "start", "mscon", "--held-out", "none"),
    "compare also": (*_COMPARE, "--methods", "start", "--also", "wide=wide.toml", "--held-out", "tone"),
    "reproduce": (
        "reproduce",
        "glyphs/ablation",
        "--quick",
        "--data",
        "g/glyphs.csv",
        "--jobs",
        "1",
        "--out",
        "new",
        *_TINY,
    ),
    "reproduce transfer": (
        *("reproduce", "glyphs/transfer", "--quick", "--data", "g/glyphs.csv", "--jobs", "1", "--out", "new", *_TINY),
    ),
}


def write_scene(folder: Path, *, with_all: bool) -> None:
    """A run of vectors, probed; with all also one of images, glyphs, and a table with more test rows than the job's."""
    job = write_job(folder)
    pictures = replace(job, settings=IMAGES)
    commands = [
        job.train("run"),
        ("probe", "run"),
        pictures.train("pictures"),
        ("probe", "pictures"),
        ("prepare", "glyphs", "g", "--set", "per_family=6", "--set", 'characters="abcd"', "--set", "size=16"),
    ]
    for arguments in commands if with_all else commands[:2]:
        outcome = mscon(*arguments, cwd=folder, env=_cache(folder))
        assert outcome.status == 0, outcome
    header, *lines = (folder / "t.csv").read_text().splitlines()
    splits = ("train", "test", "train", "test", "validation")
    halves = [",".join((line.split(",")[0], splits[n % 5], *line.split(",")[2:])) for n, line in enumerate(lines)]
    (folder / "half.csv").write_text("\n".join((header, *halves)) + "\n")
    wide = (folder / "r.toml").read_text().replace("units = 16", "units = 24")
    (folder / "wide.toml").write_text(wide)
    shutil.rmtree(folder / "cache", ignore_errors=True)


def _cache(folder: Path) -> dict[str, str]:
    return {"MSCON_CACHE": str(folder / "cache")}


@dataclass(frozen=True, slots=True)
class Whole:
    """A verb that nothing disturbs, in a copy of the scene.

    Attributes:
        arguments: of the command line.
        events: what it does to files.
        seconds: of the processor.
        content: of all files afterwards, but for those that differ from one time to the next.
        varying: those: files and folders.
    """

    arguments: Sequence[str]
    events: tuple[Event, ...]
    seconds: float
    content: Mapping[str, Any]
    varying: frozenset[str]


def whole(scene: Path, folder: Path, arguments: Sequence[str]) -> Whole:
    """Run a verb twice."""
    outcomes, contents = [], []
    for number in range(2):
        place = copied(scene, folder / str(number))
        outcomes.append(run(arguments, place))
        assert outcomes[-1].status == 0, outcomes[-1]
        contents.append(content(place))
    varying = {name for name in contents[0].keys() | contents[1] if contents[0].get(name) != contents[1].get(name)}
    same = {name: said for name, said in contents[0].items() if name not in varying}
    return Whole(arguments, outcomes[0].events, outcomes[0].seconds, same, frozenset(varying))


def copied(scene: Path, folder: Path) -> Path:
    """A copy of the scene, in a folder of the same name."""
    return Path(shutil.copytree(scene, folder / scene.name))


def run(arguments: Sequence[str], place: Path, act: Act | None = None, killed_after: float = 0.0) -> Outcome:
    """A verb in a copy of the scene, its cache within it."""
    process = start(*arguments, cwd=place, env=_cache(place), watched=place, act=act, killed_after=killed_after)
    return process.wait(_SECONDS)


def faults_after(place: Path, expected: Whole) -> Iterator[str]:
    """What is wrong when the same command is given again, after something went wrong; nothing if all is right."""
    again = start(*expected.arguments, cwd=place, env=_cache(place)).wait(_SECONDS)
    if again.is_one_message and "mscon resume new" in again.err:
        again = mscon("resume", "new", "--no-probe", cwd=place, env=_cache(place))
    # Killed once its last file is there, a verb that replaces no file says that it exists.
    if again.status and not (again.is_one_message and "exist" in again.err):
        yield f"the same command again: {again}"
        return
    now = content(place)
    yield from changed(now, expected.content)
    known = {**expected.content, **dict.fromkeys(expected.varying)}
    yield from (text for text in left_over(now, known) if not text.startswith("cache/"))
    yield from (f"{name} is left over" for name in now if "/." in f"/{name}" and not name.endswith("/.lock"))


def killed(scene: Path, folder: Path, expected: Whole, number: int | None, seconds: float) -> list[str]:
    """What is wrong after a verb was killed before an event, or after so many seconds, and started again."""
    place = copied(scene, folder)
    run(expected.arguments, place, None if number is None else KillAt(number), seconds)
    return list(faults_after(place, expected))


def disturbed(scene: Path, folder: Path, expected: Whole, act: Act, *, status: int) -> list[str]:
    """The same where it may notice: it says so in one message, or goes on to the same content.

    Args:
        act: what happens.
        status: with which it ends then.
    """
    place = copied(scene, folder)
    outcome = run(expected.arguments, place, act)
    if outcome.status not in (0, status) or "Traceback" in outcome.err:
        return [str(outcome)]
    if outcome.status == 2 and not outcome.is_one_message:
        return [f"no single message: {outcome}"]
    if outcome.status == 1 and outcome.err.count("mscon: stopped.") != 1:
        return [f"not said to be stopped: {outcome}"]
    return list(faults_after(place, expected))
