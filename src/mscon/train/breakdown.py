"""Breakdown: a training step with numbers that are not finite: what is captured of it, and which rows are at fault."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import torch
from jaxtyping import Bool, Int64, Shaped
from torch import Tensor, nn

from mscon.errors import RunError, counted, first_few, numbered
from mscon.method.comparison import Losses
from mscon.train.module import TrainingModule
from mscon.train.step import Measured

if TYPE_CHECKING:
    from mscon.train.loop import Training

CAPTURE = "breakdown"
"""Name of the checkpoint that holds a captured step."""

ON_GPU = "network on the GPU"
"""Name of the generator that a network on a GPU draws from."""

_ROWS, _GENERATOR = "rows", "generator."


class NotFinite(RunError):
    """A step of a training has a loss or a gradient that is not finite.

    Attributes:
        capture: all that repeats the step; None where the message says all there is.
    """

    def __init__(self, message: str, capture: Capture | None = None) -> None:
        super().__init__(message)
        self.capture = capture


@dataclass(frozen=True, slots=True, eq=False)
class Capture:
    """A step before any of it was applied.

    Attributes:
        epoch, step: its numbers, from 1.
        rows: numbers of the rows of its batch, or of its triplets, over all processes.
        generators: states of random number generators by name: of the "views", of the "network", and `ON_GPU` where
            there is one.
        weights: the state of the method, but for running means of batch norms, which a training step does not read.
    """

    epoch: int
    step: int
    rows: Int64[Tensor, " rows"]
    generators: Mapping[str, Tensor]
    weights: Mapping[str, Tensor]

    def to_checkpoint(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors by name and plain values, for `Run.write_checkpoint`."""
        generators = {f"{_GENERATOR}{name}": state for name, state in self.generators.items()}
        return {**self.weights, **generators, _ROWS: self.rows}, {"epoch": self.epoch, "step": self.step}

    @classmethod
    def of_checkpoint(cls, tensors: Mapping[str, Tensor], state: Mapping[str, Any]) -> Capture:
        generators = {k.removeprefix(_GENERATOR): v for k, v in tensors.items() if k.startswith(_GENERATOR)}
        weights = {k: v for k, v in tensors.items() if k != _ROWS and not k.startswith(_GENERATOR)}
        return cls(state["epoch"], state["step"], tensors[_ROWS], generators, weights)


@dataclass(frozen=True, slots=True, eq=False)
class Moment:
    """The instant before a step: what a forward pass draws from or changes."""

    generators: Mapping[str, Tensor]
    changed: dict[str, Tensor]

    @classmethod
    def of(cls, method: TrainingModule, views: torch.Generator) -> Moment:
        # A memory replaces its samples and never writes into them, so that only its counters are copied.
        memory = {
            f"candidates.{name}": value if value.dim() else value.clone()
            for name, value in method.candidates.state_dict().items()
        }
        weighting = {f"weighting.{name}": value.clone() for name, value in method.weighting.state_dict().items()}
        generators = {"views": views.get_state(), "network": torch.get_rng_state()}
        if views.device.type == "cuda":
            generators[ON_GPU] = torch.cuda.get_rng_state(views.device)
        return cls(generators, memory | weighting)

    def capture(self, method: TrainingModule, epoch: int, step: int, rows: Int64[Tensor, " rows"]) -> Capture:
        """The step that followed, while its gradient is not applied."""
        state = {k: v for k, v in method.state_dict().items() if not k.startswith("candidates.")} | self.changed
        return Capture(epoch, step, rows, self.generators, {name: value.clone() for name, value in state.items()})


def is_finite(measured: Measured, parameters: Iterable[nn.Parameter]) -> bool:
    """Whether the losses of a batch, and the gradients that parameters have of it, are finite numbers."""
    # Sums: a NaN or infinity never leaves one, and each number is read once, far faster than by its absolute value.
    sums = [gradient.sum() for gradient in gradients_of(parameters)]
    return math.isfinite(
        torch.stack([measured.total.detach(), *measured.loss.where(measured.present, 0.0), *sums]).sum()
    )


def need_finite(training: Training, measured: Sequence[Measured], epoch: int, step: int, what: str) -> None:
    """Raise for the first of some batches whose losses are not finite, naming the similarity."""
    for batch in measured:
        loss, total = batch.loss.where(batch.present, 0.0).cpu(), batch.total.cpu()
        if not (loss.isfinite().all() and total.isfinite()):
            raise broken_down(training, epoch, step, which_loss(training.recipe.columns, loss, total, what))


def which_loss(columns: Sequence[str], loss: Tensor, total: Tensor, what: str = "") -> str:
    """Which of some losses are not finite, in words."""
    at_fault = [f"'{name}'" for name, value in zip(columns, loss, strict=True) if not value.isfinite()]
    if len(at_fault) == len(columns) > 1:
        return f"the {what}losses of all similarities are not finite"
    if at_fault:
        return f"the {what}loss of similarity {', '.join(at_fault)} is not finite"
    return f"the {what}total is {total.item()}, though every loss is finite: the weighting is at fault"


def need_finite_state(training: Training, epoch: int, step: int) -> None:
    """Raise if a parameter or running mean is not finite, so that no such checkpoint is ever written."""
    if names := _not_finite(training.method.state_dict()):
        raise broken_down(training, epoch, step, f"{first_few(names)} is not finite")


def _not_finite(state: Mapping[str, Tensor]) -> list[str]:
    # Remembered labels are not learnt, and NaN is how a missing number is written.
    learned = {k: v for k, v in state.items() if not k.rpartition(".")[2].startswith("codes_")}
    return [f"'{k}'" for k, v in learned.items() if v.is_floating_point() and not v.isfinite().all()]


def broken_down(training: Training, epoch: int, step: int, what: str, capture: Capture | None = None) -> NotFinite:
    """The error for numbers that are not finite: where, what, and what to try."""
    settings = training.recipe.train
    advice = f"a lower train.learning_rate (it is {settings.learning_rate:g})"
    if settings.precision == "bfloat16":
        advice += ', or train.precision = "float32"'
    return NotFinite(
        f"epoch {epoch}, step {step}: training broke down: {what}.\n"
        f"  Similarities, in order: {', '.join(training.recipe.columns)}. Try {advice}.",
        capture,
    )


# What is at fault ---------------------------------------------------------------------------------


def diagnose(training: Training, capture: Capture, unit: str = "line") -> str:
    """Take a captured step again, without applying it, and say what of it is not finite first, and in which rows.

    The state of the method is that of the capture afterwards.

    Args:
        training: of the run that the step is from, in one process.
        capture: the step.
        unit: what the rows of the table are counted in.

    Returns:
        A sentence without its full stop; "" where every number is finite.
    """
    training = training.of_epoch(capture.epoch)
    method, columns = training.method, training.recipe.columns
    method.load_state_dict(dict(capture.weights))
    method.train().zero_grad()
    if names := _not_finite(dict(method.named_parameters())):
        return f"the weights were not finite before this step ({first_few(names)}), so no row of it is at fault"
    torch.set_rng_state(capture.generators["network"])
    draw_view = training.epoch_views(capture.epoch, views := torch.Generator(training.fabric.device))
    views.set_state(capture.generators["views"])
    if views.device.type == "cuda":
        torch.cuda.set_rng_state(capture.generators[ON_GPU], views.device)
    lines = training.lines_of(capture.rows)
    words, measured = "", None
    with _watched(method) as passed:
        try:
            measured = training.learn(capture.rows, draw_view)
        except ValueError as error:  # a loss that refuses vectors which are not finite, or zero
            words = str(error)

    def first_of(steps: Iterable[Step]) -> str:
        for what, wrong in steps:
            if wrong.any():
                at = sorted({lines[i % len(lines)] for i in wrong.nonzero().squeeze(1).tolist()})
                if len(at) == len({*lines}) > 1:
                    return f"the {what} is finite in no row, so the weights are at fault and not a row"
                return f"the {what} is not finite in {len(at)} of {counted(len(lines), 'row')} ({numbered(unit, at)})"
        return ""

    samples = len(lines) * len(training.recipe.drawn_views)
    if at_fault := first_of(passed.forward(samples, columns)):
        return at_fault
    if measured is None:
        return f"the loss could not be computed: {words}"
    if not is_finite(measured, []):
        return which_loss(columns, measured.loss.where(measured.present, 0.0), measured.total)
    if at_fault := first_of(passed.backward(samples, columns)):
        return at_fault
    if names := _not_finite({name: p.grad for name, p in method.named_parameters() if p.grad is not None}):
        return f"the gradient of {first_few(names)} is not finite, though that of every projection is"
    return ""


Step = tuple[str, Bool[Tensor, " samples"]]
"""A part of a step, and in which samples its numbers are not finite."""


@dataclass(slots=True)
class _Passed:
    """What went through a method, one tensor a call: a batch may be encoded in parts, and twice."""

    inputs: list[Tensor] = field(default_factory=list)
    features: list[Tensor] = field(default_factory=list)
    projections: list[Tensor] = field(default_factory=list)
    losses: list[Tensor] = field(default_factory=list)

    def forward(self, samples: int, columns: Sequence[str]) -> Iterator[Step]:
        """What is computed one after the other."""
        yield "input of the encoder", _wrong(_last(self.inputs, samples, 0))
        yield "feature vector", _wrong(_last(self.features, samples, 0))
        for what, spaces in (("projection", self.projections), ("loss", self.losses)):
            yield from _by_similarity(what, _last(spaces, samples, 1), columns)

    def backward(self, samples: int, columns: Sequence[str]) -> Iterator[Step]:
        """The gradients of it, the last first."""
        yield from _by_similarity("gradient", _last(gradients_of(self.projections), samples, 1), columns)
        yield "gradient of the features", _wrong(_last(gradients_of(self.features), samples, 0))


def _by_similarity(what: str, spaces: Tensor, columns: Sequence[str]) -> Iterator[Step]:
    for name, space in zip(columns, spaces, strict=False):
        yield f"{what} of similarity '{name}'", _wrong(space)


def gradients_of(tensors: Iterable[Tensor]) -> list[Tensor]:
    """Of those that have one."""
    return [tensor.grad for tensor in tensors if tensor.grad is not None]


def _wrong(samples: Shaped[Tensor, "samples ..."]) -> Bool[Tensor, " samples"]:
    finite = samples.isfinite()
    return ~(finite.flatten(1).all(dim=1) if finite.dim() > 1 else finite)


def _last(parts: Sequence[Tensor], samples: int, dim: int) -> Tensor:
    """The last so many samples of some tensors; no sample where there are not as many."""
    if sum(part.shape[dim] for part in parts) < samples:
        return torch.empty(0, 0)
    whole = torch.cat([part.detach() for part in parts], dim=dim)
    return whole.narrow(dim, whole.shape[dim] - samples, samples)


@contextlib.contextmanager
def _watched(method: TrainingModule) -> Iterator[_Passed]:
    passed = _Passed()

    def encoded(_: nn.Module, arguments: tuple[Tensor, ...], features: Tensor) -> None:
        passed.inputs.append(arguments[0])
        if features.requires_grad:
            features.retain_grad()
        passed.features.append(features)

    def projected(_: nn.Module, __: object, projections: Tensor) -> None:
        if projections.requires_grad:
            projections.retain_grad()
        passed.projections.append(projections)

    def compared(_: nn.Module, __: object, losses: Losses) -> None:
        passed.losses.append(losses.per_anchor)

    hooks = [
        method.model.encoder.register_forward_hook(encoded),
        method.model.heads.register_forward_hook(projected),
        method.objective.register_forward_hook(compared),
    ]
    try:
        yield passed
    finally:
        for hook in hooks:
            hook.remove()
