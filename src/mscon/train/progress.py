"""Progress: what a person sees while it trains. A bar on a terminal, else a line an epoch, both on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn


class TrainingProgress:
    """Shows records of the log as they come.

    Args:
        epochs: of the whole run.
        steps: of the whole run.
        enabled: False shows nothing at all.
    """

    def __init__(self, epochs: int, steps: int, *, enabled: bool = True) -> None:
        self.epochs, self.enabled = epochs, enabled
        self._is_terminal = sys.stderr.isatty()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=20),
            MofNCompleteColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[said]}", markup=False),  # names of columns are the user's
            console=Console(stderr=True),
            disable=not (enabled and self._is_terminal),
            transient=True,
        )
        self._task = self._bar.add_task("epoch 1", total=steps, said="")
        self._last: Mapping[str, Any] = {}
        self._began = time.monotonic()

    def __enter__(self) -> TrainingProgress:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if not self._bar.disable:  # rich before 15 would end a bar that was never shown with an empty line
            self._bar.stop()

    def show(self, record: Mapping[str, Any]) -> None:
        """A record of some steps."""
        self._last = record
        self._bar.update(
            self._task,
            completed=record["step"],
            description=f"epoch {record['epoch']}/{self.epochs}",
            said=short(record),
        )

    def end_epoch(self, epoch: int, validation: Mapping[str, Any] | None) -> None:
        """All of an epoch is done."""
        if self.enabled and not self._is_terminal:
            seconds, self._began = time.monotonic() - self._began, time.monotonic()
            says = f"; validation {merit(validation)}" if validation else ""
            self.say(f"epoch {epoch}/{self.epochs}: {sentence(self._last)}{says}; {seconds:.1f} s")

    def say(self, text: str) -> None:
        """A line that stays."""
        if self.enabled:
            self._bar.console.print(text, markup=False, highlight=False, soft_wrap=True)


def sentence(record: Mapping[str, Any]) -> str:
    """Total, then for each similarity its loss, weight and share of anchors with a positive."""
    if not record:
        return ""
    parts = [f"total {record['total']:.3f}"]
    for name, loss in record["loss"].items():
        if loss is None:
            parts.append(f"{name} absent")
        else:
            share = record["positive_share"][name]
            parts.append(f"{name} {loss:.2f} x {record['weight'][name]:.2f} ({share:.0%} with a positive)")
    return ", ".join(parts)


def short(record: Mapping[str, Any]) -> str:
    """The same in the width that a terminal has: loss, weight, and the share where it is not all."""
    parts = []
    for name, loss in record["loss"].items():
        share = record["positive_share"][name]
        lonely = "" if share is None or share > 0.995 else f" ({share:.0%})"
        parts.append(f"{name} -" if loss is None else f"{name} {loss:.2f}x{record['weight'][name]:.2f}{lonely}")
    return " ".join(parts)


def merit(validation: Mapping[str, Any]) -> str:
    """How good the validation rows find it."""
    value = validation["merit"]
    if value is None:
        return "has no pair"
    return f"accuracy {value:.3f}" if is_by_accuracy(validation) else f"relative excess {-value:.3f}"


def is_by_accuracy(validation: Mapping[str, Any]) -> bool:
    """Whether a checkpoint is judged by accuracy: every similarity that is there has one."""
    return "accuracy" in validation and all(
        score is not None or validation["relative_excess"][column] is None
        for column, score in validation["accuracy"].items()
    )
