"""Remote files: read in blocks through fsspec, of which the cache folder holds those used most recently.

A block is written whole or not at all, under a name that says of which version of its file it is.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

from mscon.data.inputs.decoding import Refused
from mscon.run import atomic
from mscon.run.cache import cache_folder, cache_writing

NOTHING_THERE = "is at an address where there is no file"
NO_ANSWER = "cannot be fetched"
NO_RIGHTS = "may not be read with the credentials of this machine"

_BLOCK = 2**20

# A host is tried again after pauses of 0.5 and 1 s; then, for a minute, all its files are refused without trying.
_ATTEMPTS, _PAUSE, _SILENCE = 3, 0.5, 60.0
_TO_CONNECT, _TO_READ = 10.0, 60.0

# The cache is brought to so much of its limit whenever a process has written a sixteenth of it.
_AFTER_REMOVAL, _UNTIL_A_LOOK = 0.8, 1 / 16

_VERSIONS = ("ETag", "etag", "md5", "LastModified", "Last-Modified", "last_modified", "mtime", "updated", "created")

T = TypeVar("T")

_silent: dict[str, tuple[float, str]] = {}
_fetching = [threading.Lock() for _ in range(64)]
_removing = threading.Lock()
_new_bytes: dict[Path, int] = {}


def stamp(address: str) -> tuple[int, int]:
    """Size of a remote file in bytes, and a number that changes with its content, as far as its host says so.

    Raises:
        Refused: if it is not there, may not be read, or its host does not answer.
    """
    info = _answer(address, lambda files, path: files.info(path))
    size, version = info.get("size"), [str(info[name]) for name in _VERSIONS if info.get(name)]
    if info.get("type") == "directory":
        raise Refused(NOTHING_THERE)
    if size is None:
        raise Refused("has no length, by what its host says, so it cannot be read in parts")
    return int(size), int.from_bytes(hashlib.sha256(json.dumps(version).encode()).digest()[:7])


class RemoteFile(io.RawIOBase):
    """A remote file that can be read at any place.

    Args:
        address: as fsspec takes it.
        version: its `stamp`.
        most: bytes that blocks of all files may take in the cache folder.

    Raises:
        Refused: when it is read, and cannot be.
        RunError: when it is read, and the cache folder cannot be written.
    """

    def __init__(self, address: str, version: tuple[int, int], most: int) -> None:
        super().__init__()
        self._address, self._most, self._at = address, most, 0
        self._size, content = version
        self._last: tuple[int, bytes] = (-1, b"")  # readers ask for a few kilobytes at a time
        self._name = hashlib.sha256(json.dumps([address, self._size, content, _BLOCK]).encode()).hexdigest()[:32]

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._at = max(0, offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._size}[whence])
        return self._at

    def readinto(self, buffer: Any) -> int:
        if self._at >= self._size:
            return 0
        number, skipped = divmod(self._at, _BLOCK)
        if self._last[0] != number:
            self._last = (number, self._block(number))
        part = self._last[1][skipped : skipped + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    def _block(self, number: int) -> bytes:
        folder = cache_folder("remote")
        path = folder / self._name / str(number)
        start, end = number * _BLOCK, min((number + 1) * _BLOCK, self._size)
        with _fetching[hash(path) % len(_fetching)]:  # else two threads fetch the same
            if (block := _cached(path, end - start)) is not None:
                return block
            block = _answer(self._address, lambda files, name: bytes(files.cat_file(name, start=start, end=end)))
            if len(block) == self._size:  # a host that cannot read parts sends all
                block = block[start:end]
            if len(block) != end - start:
                raise Refused(f"{NO_ANSWER} (its host sent {len(block):,} bytes instead of {end - start:,})")
            with cache_writing(folder, "parts of remote files"):
                _make_room(folder, len(block), self._most)
                for _ in range(3):
                    # Another thread may just have removed the folder, since it was empty.
                    with contextlib.suppress(FileNotFoundError):
                        atomic.write_bytes(path, block)
                        break
        return block


def _cached(path: Path, size: int) -> bytes | None:
    try:
        block = path.read_bytes()
        path.touch()  # by its time it is known what was used last
    except OSError:
        return None
    return block if len(block) == size else None


def _make_room(folder: Path, size: int, most: int) -> None:
    """Remove the blocks used least recently, now and then, so that all of them stay below the limit."""
    with _removing:
        new = _new_bytes.get(folder)
        if new is not None and new + size <= most * _UNTIL_A_LOOK:
            _new_bytes[folder] = new + size
            return
        _new_bytes[folder] = size
        names = folder.glob("*/[0-9]*")  # not what is being written, whose names begin with a dot
        blocks = [(status.st_mtime_ns, status.st_size, path) for path in names if (status := _status(path))]
        used = size + sum(length for _, length, _ in blocks)
        for _, length, path in sorted(blocks):
            if used <= most * _AFTER_REMOVAL:
                break
            path.unlink(missing_ok=True)
            used -= length
            with contextlib.suppress(OSError):  # not empty
                path.parent.rmdir()


def _status(path: Path) -> Any:
    try:
        return path.stat()
    except OSError:  # another process has just removed it
        return None


def _answer(address: str, ask: Callable[[Any, str], T]) -> T:
    """What the file system of an address says; asked up to three times.

    Raises:
        Refused: if the file is not there, may not be read, or no answer came.
    """
    host = "{0.scheme}://{0.netloc}".format(urlsplit(address))
    until, fault = _silent.get(host, (0.0, ""))
    if time.monotonic() < until:
        raise Refused(fault)
    try:
        files = _file_system(urlsplit(address).scheme, os.getpid())
        path = files._strip_protocol(address)
    except ImportError as error:
        raise Refused(f'needs a package that is not installed (pip install "mscon[remote]"; {error})') from None
    for attempt in range(_ATTEMPTS):
        time.sleep(_PAUSE * attempt)
        try:
            return ask(files, path)
        except Exception as error:  # of any library behind fsspec
            cause = _cause(error)
            if isinstance(cause, FileNotFoundError) or _http_status(cause) in (404, 410):
                raise Refused(NOTHING_THERE) from None
            if (
                isinstance(cause, PermissionError)
                or _http_status(cause) in (401, 403)
                or "Credentials" in type(cause).__name__
            ):
                raise Refused(f"{NO_RIGHTS} ({_in_words(cause)})") from None
            fault = f"{NO_ANSWER} ({host}: {_in_words(cause)})"
            names = " ".join(kind.__name__ for kind in type(cause).__mro__)
            is_silent = any(word in names for word in ("Connect", "Timeout", "gaierror"))
    if is_silent:
        _silent[host] = (time.monotonic() + _SILENCE, fault)
    raise Refused(fault)


def _cause(error: BaseException) -> BaseException:
    """Of an error what is behind it: fsspec says of any fault of HTTP that there is no such file."""
    is_wrapped = isinstance(error, FileNotFoundError) and error.__cause__ is not None
    return error.__cause__ if is_wrapped and error.__cause__ is not None else error


def _http_status(error: BaseException) -> int:
    return getattr(error, "status", 0)


def _in_words(error: BaseException) -> str:
    text = str(error).strip().partition("\n")[0][:200]
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


@functools.cache
def _file_system(protocol: str, process: int) -> Any:
    """With credentials and hosts as fsspec, and the library of each protocol, take them from this machine.

    Of each process its own: connections do not survive a fork.
    """
    import fsspec

    del process

    options: dict[str, Any] = {}
    if protocol in ("http", "https"):
        from aiohttp import ClientTimeout

        limits = ClientTimeout(total=None, sock_connect=_TO_CONNECT, sock_read=_TO_READ)
        options = {"client_kwargs": {"timeout": limits}}
    elif protocol == "s3":
        once = {"connect_timeout": _TO_CONNECT, "read_timeout": _TO_READ, "retries": {"max_attempts": 0}}
        options = {"config_kwargs": once}
    files = fsspec.filesystem(protocol, use_listings_cache=False, **options)
    files.retries = 1  # of s3fs, which would multiply with those above
    return files
