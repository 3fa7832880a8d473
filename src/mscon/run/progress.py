"""Progress: a bar on standard error while a job runs; nothing where standard error is no terminal."""

from __future__ import annotations

import math
import sys
from types import TracebackType
from typing import TypeVar

from mscon.run.terminal import steered, visible

Bar = TypeVar("Bar", bound="ProgressBar")


def duration_text(seconds: float) -> str:
    """A length of time in words, in the unit that suits it: "40 seconds", "5 minutes", "2.5 hours", "3 days"."""
    for unit, length in (("day", 86_400), ("hour", 3_600), ("minute", 60)):
        if seconds >= 1.5 * length:
            number = f"{seconds / length:.2g}"
            return f"{number} {unit}s"
    return f"{max(round(seconds), 1)} second{'' if round(seconds) <= 1 else 's'}"


class ProgressBar:
    """A bar that is removed at the end, and lines above it that stay.

    Args:
        title: to the left of the bar.
        total: of the units that `advance` counts.
        shown: False shows neither bar nor lines.
    """

    def __init__(self, title: str, total: int, *, shown: bool = True) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self.shown, self.is_terminal = shown, sys.stderr.isatty()
        self._bar = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", markup=False),  # may hold names of columns, which are the user's
            console=Console(file=steered(sys.stderr)),
            disable=not (shown and self.is_terminal),
            transient=True,
            speed_estimate_period=math.inf,  # of half a minute, units that take longer would have no time left
        )
        self._task = self._bar.add_task(title, total=total, note="")

    def __enter__(self: Bar) -> Bar:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._bar.disable:  # rich before 15 would end a bar that was never shown with an empty line
            self._bar.stop()

    def advance(self, count: int = 1) -> None:
        """More units are done."""
        self._bar.advance(self._task, count)

    def update(self, completed: int, title: str, note: str) -> None:
        """So many units are done in all; with another title, and a note to the right of the bar."""
        self._bar.update(self._task, completed=completed, description=title, note=visible(note))

    def say(self, text: str) -> None:
        """A line that stays, also where there is no terminal."""
        if self.shown:
            self._bar.console.print(visible(text), markup=False, highlight=False, soft_wrap=True)
