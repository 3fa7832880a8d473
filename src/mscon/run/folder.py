"""Run folder: who may write to the folder of a run, and how a new run takes the place of an old one.

A new run that replaces another is begun in a folder within it, and the old one stays as it is until the new one has a
checkpoint. Nothing is deleted but files that a run is known to consist of.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from mscon.errors import RunError, counted, first_few
from mscon.run import atomic, checksums
from mscon.run.layout import FACTS, FILES, LAST_CHECKPOINT, LOCK, LOGGERS, NEXT
from mscon.run.locks import lock
from mscon.run.parsing import parse_json


def is_run(root: Path) -> bool:
    """Whether a folder says itself that mscon made it a run."""
    try:
        facts = parse_json((root / FACTS).read_bytes())
        return "mscon" in facts["versions"]
    except (OSError, ValueError, KeyError, TypeError):
        return False


def readmit(root: Path) -> None:
    """Let a run be replaced whose run.json is gone or damaged, but which mscon wrote, as its checksums say."""
    finish_exchange(root)
    if not is_run(root) and FACTS in checksums.read(root):
        atomic.write_json(root / FACTS, {"versions": {"mscon": ""}})


def is_beginning(root: Path) -> bool:
    """Whether a folder holds nothing but what mscon wrote of a run that was stopped before its training began."""
    if any((root / name).exists() for name in (FACTS, LAST_CHECKPOINT)):  # or it was trained, and run.json is gone
        return False
    return all(_is_of_a_run(root, path) for path in root.iterdir())


def _is_of_a_run(root: Path, path: Path) -> bool:
    name = path.relative_to(root).as_posix()
    if name == checksums.NAME:  # a name that anybody may give a file; what mscon writes has lines of this form
        return path.is_file() and all(line.startswith(b'{"file": ') for line in path.read_bytes().splitlines())
    if name == LOCK or any(atomic.is_leftover(path.name, Path(of).name) for of in FILES):
        return True
    if path.is_dir():  # such as that of the starting weights, which are there before a run is one
        within = list(path.iterdir())
        return bool(within) and all(_is_of_a_run(root, one) for one in within)
    return name in FILES and path.is_file() and not checksums.fault(root, name)


def refuse_if_taken(root: Path, overwrite: bool = False, protected: Sequence[Path] = ()) -> None:
    """Raises if a new run must not be written to a folder. Changes nothing, so it can be called before a long job.

    Args:
        root: the folder; it need not exist. What a run that never began has left there is not in the way.
        overwrite: whether it may replace a run, which is a folder whose run.json says that mscon made it.
        protected: files and folders that the run is made from; a folder that holds one is not replaced.

    Raises:
        RunError: saying what is in the way.
    """
    if root.exists() and not root.is_dir():
        raise RunError(f"'{root}' is a file. Choose another --out.")
    finish_exchange(root)
    if not root.exists() or is_beginning(root):
        return
    if not is_run(root):
        why = f"no {FACTS} says that mscon made it, so it is not a run and is left alone"
        raise RunError(f"'{root}' exists and is not empty: {why}. Choose another --out.")
    if not overwrite:
        raise RunError(
            f"'{root}' exists and is not empty: it holds a run. Choose another --out.\n"
            f"  To continue that run: mscon resume {root}"
        )
    real = Path(os.path.realpath(root))
    for path in (*protected, Path.cwd()):
        if real in (other := Path(os.path.realpath(path)), *other.parents):
            what = "the current folder" if path == Path.cwd() else f"'{path}', which this training reads,"
            raise RunError(f"'{root}' is not overwritten: {what} lies in it. Choose another --out.")


@contextlib.contextmanager
def training_lock(root: Path) -> Iterator[None]:
    """Be the only process that trains the run in a folder. Removes what killed processes left of runs they began.

    Raises:
        RunError: if another process holds it, or the folder cannot be written.
    """
    with locked(root):
        finish_exchange(root, is_held=True)
        _clear(root / NEXT)
        _remove_leftovers(root)
        try:
            yield
        finally:
            finish_exchange(root, is_held=True)
            _clear(root / NEXT)


def begin(root: Path) -> Path:
    """The folder that a new run is to be written to; empty, but for files that no run consists of.

    Args:
        root: where the run belongs; see `refuse_if_taken`, which this does not repeat.

    Returns:
        `root`, or a folder within it where it holds a run already.
    """
    if is_run(root):
        _clear(root / NEXT)
        root = root / NEXT
    else:
        _clear(root, keeps_folder=True)
    atomic.make_folder(root)
    return root


def refuse_links_out(root: Path) -> None:
    """Raise if a file or folder of a run is a link that leads out of it, as in a run of a stranger it may.

    What is written there would change other files of the user; what is read could be one of them, and be uploaded.

    Raises:
        RunError: naming the links.
    """
    names = {*FILES, LOCK, *LOGGERS, *(parent.as_posix() for name in FILES for parent in Path(name).parents)} - {"."}
    names |= {NEXT, *(f"{NEXT}/{name}" for name in names)}
    links = [root / name for name in sorted(names) if os.path.islink(root / name)]
    if out := [p for p in links if Path(os.path.realpath(root)) not in Path(os.path.realpath(p)).parents]:
        listed = first_few([f"'{path}' to '{os.path.realpath(path)}'" for path in out])
        raise RunError(
            f"run '{root}': {counted(len(out), 'link')} out of its folder: {listed}. Files of a run are read and "
            "written in its own folder only.\n"
            "  Put the files themselves there, if you trust whoever made the links. The run as a whole may be a link."
        )


def finish_exchange(root: Path, is_held: bool = False) -> None:
    """Put the run that is to replace another in its place, if it has come as far as that and nobody trains it.

    However often it is stopped, the next call ends it: the old run's files go first, its run.json last of them, and
    then the new one's come, their run.json last.

    Args:
        is_held: whether the caller is the process that trains it.

    Raises:
        RunError: see `refuse_links_out`; before anything is moved.
    """
    refuse_links_out(root)
    new = root / NEXT
    if not (new / FACTS).is_file() or not ((new / LAST_CHECKPOINT).is_file() or not (root / FACTS).exists()):
        return
    if not is_held:
        with contextlib.suppress(RunError), locked(root):
            finish_exchange(root, is_held=True)
        return
    others = [name for name in FILES if name not in (FACTS, checksums.NAME)]
    if (root / FACTS).exists():
        for name in (*others, checksums.NAME, FACTS):
            if not _is_edited(root, name):
                (root / name).unlink(missing_ok=True)
        _remove_logs(root)
        atomic.sync(root)
    for name in (*others, checksums.NAME, FACTS):
        if (new / name).is_file():
            atomic.make_folder((root / name).parent)
            (new / name).replace(root / name)
            atomic.sync((root / name).parent)
    _clear(new)


def _is_edited(root: Path, name: str) -> bool:
    """Whether it is a model card that a person has worked on."""
    return name == "README.md" and (root / name).is_file() and bool(checksums.fault(root, name))


def _clear(root: Path, keeps_folder: bool = False) -> None:
    """Remove the files of a run, then the folders that are empty without them."""
    if not root.is_dir():
        return
    _remove_leftovers(root)
    for name in (*FILES, LOCK):
        if not (keeps_folder and name == LOCK):
            (root / name).unlink(missing_ok=True)
    folders = {(root / name).parent for name in FILES} - {root}
    for folder in (*folders, *(() if keeps_folder else (root,))):
        with contextlib.suppress(OSError):  # not there, or not empty: something of the user's is in it
            folder.rmdir()


def _remove_leftovers(root: Path) -> None:
    for name in FILES:
        folder, last = (root / name).parent, Path(name).name
        for path in folder.iterdir() if folder.is_dir() else ():
            if atomic.is_leftover(path.name, last):
                atomic.remove(path)


def _remove_logs(root: Path) -> None:
    for folder, patterns in LOGGERS.items():
        for path in [path for pattern in patterns for path in (root / folder).glob(pattern)]:
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink(missing_ok=True)
        with contextlib.suppress(OSError):
            (root / folder).rmdir()


@contextlib.contextmanager
def locked(root: Path, work: str = "trains run") -> Iterator[None]:
    """Be the only process that works in a folder.

    Args:
        root: the folder; it is made.
        work: what another process does with it, for the message.

    Raises:
        RunError: if another process holds it, or the folder cannot be written.
    """
    try:
        atomic.make_folder(root)
        handle = os.open(root / LOCK, os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0), 0o666)
    except OSError as error:
        raise RunError(f"'{root}' cannot be written: {error.strerror or error}.") from None
    try:
        if lock(handle) == "another's":
            raise RunError(f"another process {work} '{root}'. Wait until it has ended, or choose another --out.")
        yield
    finally:
        os.close(handle)
