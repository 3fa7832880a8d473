"""Pauses: when a training stops between steps to write a checkpoint: every few minutes, and before a signal ends it.

Ctrl-C, and SIGTERM where the command line runs, let the step that is being taken end and its checkpoint be written.
"""

from __future__ import annotations

import signal
import threading
import time
from types import FrameType, TracebackType

import torch

from mscon.train.gather import AcrossProcesses, processes

# torchrun passes on what a terminal has sent to all processes already: within this time, in seconds, it is one request.
_SAME_REQUEST = 1.0


class Pauses:
    """While it is entered, the first signal waits for a pause; a later one ends the training at once.

    Only signals that raise KeyboardInterrupt otherwise are answered so, and only in the main thread.

    Args:
        minutes: between checkpoints within an epoch; 0 for none.
        device: on which processes agree.
    """

    def __init__(self, minutes: float, device: torch.device) -> None:
        self._seconds, self._device = 60 * minutes, device
        self._saved, self._requested = time.monotonic(), 0.0
        self._handlers: dict[signal.Signals, object] = {}
        self.ends = False

    def __enter__(self) -> Pauses:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGINT, signal.SIGTERM):
                if signal.getsignal(number) is signal.default_int_handler:
                    signal.signal(number, self._request)
                    self._handlers[number] = signal.default_int_handler
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number in self._handlers:
            signal.signal(number, signal.default_int_handler)

    def _request(self, number: int, frame: FrameType | None) -> None:
        now = time.monotonic()
        if self._requested and now - self._requested > _SAME_REQUEST:
            raise KeyboardInterrupt
        self._requested = self._requested or now

    def is_due(self, is_recorded: bool) -> bool:
        """Whether to pause between two steps. Several processes agree where all steps have a record in the log."""
        is_late = 0 < self._seconds <= time.monotonic() - self._saved
        if processes()[1] == 1:
            self.ends = self._requested > 0
        elif is_recorded:
            requests = torch.tensor([float(is_late), float(self._requested > 0)], device=self._device)
            late, requested = AcrossProcesses().total(requests).tolist()
            is_late, self.ends = late > 0, requested > 0
        else:
            is_late = False
        return is_late or self.ends

    def saved(self) -> None:
        """A checkpoint has been written."""
        self._saved = time.monotonic()

    def end_if_requested(self) -> None:
        """After a checkpoint: end the training where a signal has asked for it.

        Raises:
            KeyboardInterrupt: in all processes together.
        """
        self.is_due(is_recorded=True)
        if self.ends:
            raise KeyboardInterrupt
