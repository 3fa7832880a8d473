"""Log: where records of a training go: to the run's log.jsonl, to loggers that the recipe names, and to the terminal.

A logger that fails is closed and named once: what is lost is a curve elsewhere, not the training.
"""

from __future__ import annotations

import importlib.util
import math
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mscon.data.table.cell_text import number_text
from mscon.errors import RecipeError, counted
from mscon.method.weightings.base import relative_excess
from mscon.run.progress import ProgressBar, duration_text
from mscon.run.run import Run
from mscon.train.step import Measured

Record = Mapping[str, Any]

# Name in a recipe -> the package that it needs.
_PACKAGES = {"tensorboard": "tensorboard", "wandb": "wandb"}


@runtime_checkable
class Logger(Protocol):
    """Somewhere else that numbers go to."""

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        """Numbers by name, as of a step."""

    def close(self) -> None:
        """There will be no more."""


def check(to: Sequence[str]) -> None:
    """That the loggers of a recipe can be had.

    Raises:
        RecipeError: if the package of one is not installed.
    """
    if missing := [name for name in to if importlib.util.find_spec(_PACKAGES[name]) is None]:
        raise RecipeError(
            f"[log] to: '{missing[0]}' needs a package that is not installed.\n"
            '  Install it with `pip install "mscon[tracking]"`, or leave it out; log.jsonl is written in any case.'
        )


class Log:
    """The log of a run, and its copies.

    Args:
        run: gets every record.
        to: names of other loggers.
        say: tells a person, once, that one of them failed.
        step: that the run has come to; other loggers forget what they knew of later ones.
    """

    def __init__(self, run: Run, to: Sequence[str], say: Callable[[str], None], step: int = 0) -> None:
        self._run, self._say = run, say
        self._loggers: dict[str, Logger] = {}
        for name in dict.fromkeys(to):
            self._attempt(name, partial(self._open, name, step))

    def append(self, record: Record) -> None:
        """A record of some steps, or of a validation."""
        self._run.append_log(record)
        self.copy(record)

    def copy(self, record: Record) -> None:
        """A record that log.jsonl has already, for the other loggers. Signs of failure are words, and not for them."""
        if record["kind"] == "sign":
            return
        numbers = dict(_flat(record))
        for name, logger in list(self._loggers.items()):
            self._attempt(name, partial(logger.write, numbers, record["step"]))

    def close(self) -> None:
        """Hand over what loggers still hold back."""
        for name, logger in list(self._loggers.items()):
            self._attempt(name, logger.close)

    def _open(self, name: str, step: int) -> None:
        self._loggers[name] = _OPEN[name](self._run, step)

    def _attempt(self, name: str, do: Callable[[], None]) -> None:
        try:
            do()
        except Exception as error:  # whatever it is: these are programs that reach for disks and networks
            self._loggers.pop(name, None)
            reason = str(error).strip().partition("\n")[0] or type(error).__name__
            self._say(f"note: logger '{name}' failed and gets no more ({reason}); log.jsonl goes on.")


def _flat(record: Record) -> Iterator[tuple[str, float]]:
    """Numbers of a record as "column/quantity", those of validation rows as "validation/column/quantity"."""
    kind = record.get("kind")
    prefix = "" if kind == "step" else f"{kind}/"
    for key, value in record.items():
        if isinstance(value, Mapping):
            yield from ((f"{prefix}{column}/{key}", float(v)) for column, v in value.items() if _is_number(v))
        elif _is_number(value) and key != "step":
            yield f"{prefix}{key}", float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def step_record(measured: Sequence[Measured], columns: Sequence[str], epoch: int, step: int, rate: float) -> Record:
    """Means over some steps that end with `step`, by similarity; None where it was absent from all of them."""
    means = means_of(measured, torch.ones(len(measured)))
    return {
        "kind": "step",
        "epoch": epoch,
        "step": step,
        "total": torch.stack([m.total for m in measured]).mean().item(),
        "learning_rate": rate,
        **{key: dict(zip(columns, values, strict=True)) for key, values in means.items()},
    }


def means_of(measured: Sequence[Measured], counts: Float[Tensor, " batches"]) -> Mapping[str, list[float | None]]:
    """The mean of each quantity over the batches that a similarity is present in, weighted by `counts`."""

    def stacked(name: str) -> Float[Tensor, "batches similarities"]:
        return torch.stack([getattr(m, name) for m in measured]).to("cpu", torch.float64)

    present: Bool[Tensor, "batches similarities"] = torch.stack([m.present for m in measured]).cpu()
    share = present * counts[:, None].double()
    share = share / share.sum(dim=0).clamp_min(1e-12)
    names = ["loss", "floor", "ceiling", "weight", "positive_share"]
    if measured[0].accuracy is not None:
        names.append("accuracy")
    means = {name: (share * stacked(name).where(present, 0.0)).sum(dim=0) for name in names}
    means["relative_excess"] = relative_excess(means["loss"], means["floor"], means["ceiling"])
    known = present.any(dim=0).tolist()
    return {
        # Of objectives that put nothing in order the accuracy is NaN.
        name: [
            value if k and not (name == "accuracy" and math.isnan(value)) else None
            for value, k in zip(values.tolist(), known, strict=True)
        ]
        for name, values in means.items()
    }


LEGEND = (
    "Shown: the total loss; loss x weight of each similarity (share of samples with a positive); and the score of "
    "validation rows. A positive is another sample of the batch with the same label, or with a near number. "
    "Relative excess: 0 = the lowest loss that the labels allow, 1 = chance."
)


class TrainingProgress(ProgressBar):
    """What a person sees of a training: a bar on a terminal, else one line an epoch.

    Args:
        epochs: of the whole run.
        steps: of the whole run.
        shown: False shows nothing at all.
    """

    def __init__(self, epochs: int, steps: int, *, shown: bool = True) -> None:
        super().__init__("epoch 1", steps, shown=shown)
        self.epochs = epochs
        self._last: Record = {}
        self._start = time.monotonic()
        self._steps = steps
        self._shown: list[tuple[int, float]] = []  # the first two records: their steps, and when they came

    def show(self, record: Record) -> None:
        """A record of some steps."""
        self._last = record
        self.update(record["step"], f"epoch {record['epoch']}/{self.epochs}", short(record))
        if len(self._shown) < 2:
            self._shown.append((record["step"], time.monotonic()))
            if len(self._shown) == 2:
                # The steps before the first record also load libraries and kernels.
                (before, start), (step, end) = self._shown
                seconds, left = (end - start) / (step - before), self._steps - step
                if seconds * left >= _SOON:
                    self.say(time_needed(seconds, left))

    def end_epoch(self, epoch: int, validation: Record | None) -> None:
        """An epoch is finished."""
        if not self.is_terminal:
            seconds, self._start = time.monotonic() - self._start, time.monotonic()
            result = f"; validation {merit(validation)}" if validation else ""
            self.say(f"epoch {epoch}/{self.epochs}: {sentence(self._last)}{result}; {seconds:.1f} s")


def time_needed(seconds_a_step: float, steps: int) -> str:
    """A sentence on how long so many steps take at this speed."""
    return (
        f"About {duration_text(seconds_a_step * steps)} on this machine for {counted(steps, 'step')}, at "
        f"{number_text(seconds_a_step, 2)} s a step; validation comes on top."
    )


# Less time than this, in seconds, is not worth a sentence while a training runs.
_SOON = 10.0


def sentence(record: Record) -> str:
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


def short(record: Record) -> str:
    """The same in the width that a terminal has: loss, weight, and the share where it is not all."""
    parts = []
    for name, loss in record["loss"].items():
        share = record["positive_share"][name]
        lonely = "" if share is None or share > 0.995 else f" ({share:.0%})"
        parts.append(f"{name} -" if loss is None else f"{name} {loss:.2f}x{record['weight'][name]:.2f}{lonely}")
    return " ".join(parts)


def merit(validation: Record) -> str:
    """How good the validation rows find it."""
    value = validation["merit"]
    if value is None:
        return "has no pair"
    return f"accuracy {value:.3f}" if is_by_accuracy(validation) else f"relative excess {-value:.3f}"


def is_by_accuracy(validation: Record) -> bool:
    """Whether a checkpoint is judged by accuracy: every similarity that is there has one."""
    return "accuracy" in validation and all(
        score is not None or validation["relative_excess"][column] is None
        for column, score in validation["accuracy"].items()
    )


class _TensorBoard:
    """Event files in the run directory, folder "tensorboard"."""

    def __init__(self, run: Run, step: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(run.tracking("tensorboard")), purge_step=step + 1 if step else None)

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class _WeightsAndBiases:
    """A run of project "mscon" in the run directory, folder "wandb"; `wandb sync` takes it online later."""

    def __init__(self, run: Run, step: int) -> None:
        mode = os.environ.get("WANDB_MODE", "offline")
        if mode == "offline":
            # Offline too it looks up its server, to report errors of its own; what it finds set at import counts.
            os.environ.setdefault("WANDB_ERROR_REPORTING", "false")
        import wandb

        del step  # what goes on is another run of the same group there
        self._run = wandb.init(
            project="mscon",
            group=run.name,
            name=run.name,
            dir=str(run.root),  # it makes a folder of its name there
            settings={"silent": True, "console": "off"},
            mode=mode,
            config=run.read_recipe_values(),
        )

    def write(self, numbers: Mapping[str, float], step: int) -> None:
        self._run.log(dict(numbers), step=step)

    def close(self) -> None:
        self._run.finish()


_OPEN: Mapping[str, Callable[[Run, int], Logger]] = {"tensorboard": _TensorBoard, "wandb": _WeightsAndBiases}
