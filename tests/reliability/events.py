"""Events: what a process does to the files under one folder, told just before it happens.

Python's own calls are told by its audit hook, writes and syncs of open files by wrappers around `os`. What libraries
write by themselves, as safetensors does, happens between two events.
"""

from __future__ import annotations

import os
import resource
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# Audit event -> its name here, the place of its path, and of the descriptor of the folder that a name is relative to.
_AUDITED = {
    "os.rename": ("rename", 0, 2),
    "os.remove": ("remove", 0, 1),
    "os.rmdir": ("remove", 0, 1),
    "os.mkdir": ("mkdir", 0, 2),
    "os.link": ("link", 1, 3),
    "os.symlink": ("link", 1, 2),
    "os.truncate": ("write", 0, None),
    "os.chmod": ("chmod", 0, 2),
}
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


@dataclass(frozen=True, slots=True)
class Event:
    """One call that changes files.

    Attributes:
        kind: "open" (for writing), "write", "sync", "rename", "rename folder", "link", "remove", "mkdir" or "chmod".
        path: absolute.
        to: where something is renamed, the new path.
    """

    kind: str
    path: str
    to: str = ""


Act = Callable[[int, Event], None]


def watch(folder: Path, act: Act) -> None:
    """Call `act` with number (from 0) and event before each change under `folder`, until this process ends."""
    root = str(folder.resolve())
    numbers = iter(range(sys.maxsize))
    busy, last = False, None

    def tell(kind: str, path: str, to: str = "") -> None:
        nonlocal busy, last
        event = Event("rename folder" if to and os.path.isdir(path) else kind, path, to)
        # Opening is told twice by Python, and folders that are there are made again by many.
        is_new = event != last if kind == "open" else not (kind == "mkdir" and os.path.isdir(path))
        if is_new and not busy and any(p == root or p.startswith(root + os.sep) for p in (path, to)):
            busy, last = True, event  # what `act` does is no event
            try:
                act(next(numbers), event)
            finally:
                busy = False

    def audit(name: str, arguments: tuple[Any, ...]) -> None:
        if name == "open":
            path, mode, flags = arguments
            if (isinstance(mode, str) and set(mode) & set("wax+")) or (mode is None and flags & _WRITES):
                tell("open", _path(path))
        elif name in _AUDITED:
            kind, place, at = _AUDITED[name]
            to = _path(arguments[1], arguments[3]) if kind == "rename" else ""
            tell(kind, _path(arguments[place], -1 if at is None else arguments[at]), to)

    def watched_call(kind: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(descriptor: Any, *arguments: Any) -> Any:
            tell(kind, _path(descriptor if isinstance(descriptor, int) else descriptor.fileno()))
            return call(descriptor, *arguments)

        return wrapped

    for name, kind in (("write", "write"), ("fsync", "sync"), ("fdatasync", "sync")):
        setattr(os, name, watched_call(kind, getattr(os, name)))
    sys.addaudithook(audit)


def _path(path: Any, folder: int = -1) -> str:
    """As an absolute path; of a descriptor, the file's."""
    if isinstance(path, int):
        try:
            return os.readlink(f"/proc/self/fd/{path}")
        except OSError:
            return ""
    within = os.getcwd() if folder == -1 else os.readlink(f"/proc/self/fd/{folder}")
    return os.path.normpath(os.path.join(within, os.fsdecode(path)))


# What may be done at an event ---------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class KillAt:
    """End this process as a power switch would, before the event of this number."""

    number: int

    def __call__(self, number: int, event: Event) -> None:
        if number == self.number:
            os.kill(os.getpid(), signal.SIGKILL)


@dataclass(frozen=True, slots=True)
class PauseAt:
    """At the event of this number make the file `here`, and go on once `on` is there."""

    number: int
    here: Path
    on: Path

    def __call__(self, number: int, event: Event) -> None:
        if number == self.number:
            self.here.touch()
            while not self.on.exists():
                time.sleep(0.01)


@dataclass(frozen=True, slots=True)
class WriteAt:
    """At the event of this number put `content` into a file, in place."""

    number: int
    path: Path
    content: bytes

    def __call__(self, number: int, event: Event) -> None:
        if number == self.number:
            self.path.write_bytes(self.content)


@dataclass(frozen=True, slots=True)
class FailAt:
    """Let the call at the event of this number fail with an error of the system."""

    number: int
    error: int

    def __call__(self, number: int, event: Event) -> None:
        if number == self.number:
            raise OSError(self.error, os.strerror(self.error), event.path)


@dataclass(frozen=True, slots=True)
class SignalAt:
    """Before the event of this number send this process a signal."""

    number: int
    signal: int

    def __call__(self, number: int, event: Event) -> None:
        if number == self.number:
            os.kill(os.getpid(), self.signal)


@dataclass(frozen=True, slots=True)
class LimitAt:
    """From the event of this number on no file may become larger than so many bytes, as with a quota."""

    number: int
    bytes: int

    def __call__(self, number: int, event: Event) -> None:
        if number == self.number:
            resource.setrlimit(resource.RLIMIT_FSIZE, (self.bytes, resource.RLIM_INFINITY))


# What is to be true of them -----------------------------------------------------------------------


def lost_in_a_power_cut(events: Sequence[Event]) -> Iterator[str]:
    """What could be empty, torn or gone if power failed after these events; nothing if all was synced in time.

    A file is synced before it is moved into place, its folder afterwards; and a log before the checkpoint that covers
    its records.
    """
    for number, event in enumerate(events):
        if not event.to:
            continue
        before, after = events[:number], events[number + 1 :]
        if event.kind == "rename" and not _synced_since_changed(before, event.path):
            yield f"{event.to}: moved into place before its content was synced"
        if not any(e.kind == "sync" and e.path == os.path.dirname(event.to) for e in after):
            yield f"{event.to}: its folder was not synced afterwards"
        folder, name = os.path.split(event.to)
        if name == "last.safetensors":
            log = os.path.join(os.path.dirname(folder), "log.jsonl")
            is_logged = any(e.path == log and e.kind in ("open", "write") for e in before)
            if is_logged and not _synced_since_changed(before, log):
                yield f"{log}: not synced before the checkpoint that covers it"


def _synced_since_changed(events: Sequence[Event], path: str) -> bool:
    for event in reversed(events):
        if event.to and (path == event.to or path.startswith(event.to + os.sep)):
            path = event.path + path[len(event.to) :]  # as it was called before
        elif event.path == path and event.kind in ("open", "write", "sync"):
            return event.kind == "sync"
    return False
