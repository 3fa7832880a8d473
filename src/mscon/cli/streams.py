"""Streams: standard output and standard error, also where they are closed, nobody reads them, or they lack letters."""

from __future__ import annotations

import contextlib
import io
import os
import sys
from collections.abc import Iterator
from typing import Any, final

from mscon.run.terminal import Terminal


@contextlib.contextmanager
def open_streams() -> Iterator[None]:
    """Let any text be printed: to a closed stream, and to one whose encoding lacks letters, as on Windows.

    To a terminal control characters are printed as text. Pipes and files get every letter as it is. What standard error
    cannot take, since its reader has ended or its disk is full, is lost, and work goes on.
    """
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, for all of the process
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")  # "?" is the sign for unknown
    with contextlib.redirect_stdout(_shown(sys.stdout)), contextlib.redirect_stderr(_shown(_StandardError(sys.stderr))):
        yield


def _shown(stream: Any) -> Any:
    return Terminal(stream) if stream.isatty() else stream


@final
class _StandardError:
    """A stream that is replaced by nothing once it cannot be written."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with self._losing():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with self._losing():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _losing(self) -> Iterator[None]:
        try:
            yield
        except OSError:
            # What is in the buffer still would be tried again, and fail again when the process ends.
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
