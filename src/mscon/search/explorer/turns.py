"""Turns: one request at a time."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

# Seconds to wait for others' answers.
_PATIENCE = 10.0


class Busy(Exception):
    """Other requests are being answered; ask again."""


@contextmanager
def turn(lock: threading.Lock) -> Iterator[None]:
    """One at a time; who waits too long gets `Busy`."""
    if not lock.acquire(timeout=_PATIENCE):
        raise Busy
    try:
        yield
    finally:
        lock.release()
