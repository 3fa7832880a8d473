"""Checkpoint: the state of a training as tensors by name and plain JSON values, and back.

Between epochs no random numbers are in it: they follow from the seed and the epoch.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mscon.errors import NotResumable
from mscon.model.lora import merged_state
from mscon.model.model import CHECKPOINT_PREFIX
from mscon.run.run import Run
from mscon.train.loop import Training
from mscon.train.within_epoch import PREFIX, need_same_batches

_OPTIMISER, _AVERAGE = "optimiser.", "average."

# Before the names of the model's tensors as they are trained, where those that are handed on differ from them.
TRAINING = "training."

# In the values of a checkpoint, where it lies within an epoch.
WITHIN = "within"


@dataclass(frozen=True, slots=True)
class Position:
    """How far a run has come.

    Attributes:
        epoch: epochs that are finished.
        step: steps taken in them, and in the one after them as far as it has come.
        best: greatest merit on validation rows so far, None before the first.
        best_epoch: after which epoch that was.
        seconds: time spent in training and validation.
    """

    epoch: int = 0
    step: int = 0
    best: float | None = None
    best_epoch: int | None = None
    seconds: float = 0.0

    @classmethod
    def of(cls, state: Mapping[str, Any]) -> Position:
        """That of a checkpoint."""
        return cls(**{key: state[key] for key in cls.__dataclass_fields__})


def within_epoch(training: Training) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """For `save_last`, where a training stands within an epoch. All processes call it together."""
    settings = training.recipe.train
    tensors, state = training.within.saved(_modules(training), training.fabric.device)
    return tensors, {**state, "batch_size": settings.batch_size, "seed": settings.seed}


def save_last(
    run: Run,
    training: Training,
    position: Position,
    within: tuple[Mapping[str, Tensor], Mapping[str, Any]] | None = None,
) -> None:
    """All that is needed to go on from here; `within` an epoch, or from its end."""
    tensors, groups = _optimiser_state(training.optimiser)
    schedule = {
        k: v for k, v in training.schedule.state_dict().items() if k in ("last_epoch", "_step_count", "_last_lr")
    }
    state = {**asdict(position), "optimiser": groups, "schedule": schedule}
    if within is not None:
        tensors, state = {**tensors, **within[0]}, {**state, WITHIN: within[1]}
    weights = training.method.state_dict()
    if training.average is not None or training.recipe.encoder.lora:
        weights = apart(weights) | _handed_on(training)
    if training.average is not None:
        tensors |= {f"{_AVERAGE}{name}": value for name, value in training.average.state_dict().items()}
    run.write_checkpoint("last", {**weights, **tensors}, state)


def save_best(run: Run, training: Training, position: Position) -> None:
    """The weights alone: nobody trains on from the best checkpoint."""
    weights = {k: v for k, v in training.method.state_dict().items() if not k.startswith(("candidates.", "model."))}
    run.write_checkpoint("best", {**_handed_on(training), **weights}, asdict(position))


def _handed_on(training: Training) -> dict[str, Tensor]:
    """The model's tensors as features are computed with them: averaged, and with what adapters have learnt in them."""
    model = training.method.model if training.average is None else training.average.model
    state = merged_state(model) if training.recipe.encoder.lora else model.state_dict()
    return {f"{CHECKPOINT_PREFIX}{name}": value for name, value in state.items()}


def apart(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors of a training, those of the model under names of their own, so that what is handed on may differ."""
    return {f"{TRAINING}{k}" if k.startswith(CHECKPOINT_PREFIX) else k: value for k, value in tensors.items()}


def _modules(training: Training) -> dict[str, nn.Module]:
    """Modules with running means, which differ between processes within an epoch."""
    modules: dict[str, nn.Module] = {"model": training.method.model, "weighting": training.method.weighting}
    return modules if training.average is None else {**modules, "average": training.average.model}


def restore_last(run: Run, training: Training) -> tuple[Position, str]:
    """Put a training in the state that `save_last` kept; as new if there is no checkpoint yet.

    Returns:
        How far it has come; and a sentence where what follows is not what an uninterrupted training would do, or "".

    Raises:
        NotResumable: if the checkpoint is of another model or optimiser than the run's recipe describes.
        RunError: if it lies within an epoch whose batches would be others now.
    """
    if not run.has_checkpoint("last"):
        return Position(), ""
    tensors, state = run.read_checkpoint("last")
    is_apart = any(name.startswith(TRAINING) for name in tensors)
    within, note = state.get(WITHIN), ""
    if within is not None:
        need_same_batches(within, asdict(training.recipe.train))
    others = (_OPTIMISER, _AVERAGE, PREFIX, CHECKPOINT_PREFIX if is_apart else f"{CHECKPOINT_PREFIX}beside.")
    try:
        names = training.method.state_dict().keys()
        weights = {
            name if name in names else _renamed(name): tensor
            for name, tensor in ((k.removeprefix(TRAINING), v) for k, v in tensors.items() if not k.startswith(others))
        }
        training.method.load_state_dict(weights)
        if training.average is not None:
            average = {k.removeprefix(_AVERAGE): v for k, v in tensors.items() if k.startswith(_AVERAGE)}
            training.average.load_state_dict(average)
        _load_optimiser(training.optimiser, tensors, state["optimiser"])
        training.schedule.load_state_dict(state["schedule"])
        if within is not None:
            origin = training.within.restore(tensors, within, _modules(training), training.fabric.device)
            if origin:
                note = (
                    f"note: the last checkpoint lies within an epoch, and {origin} wrote it. The rest of this epoch "
                    "draws other random numbers than an uninterrupted training would."
                )
        return Position.of(state), note
    except (RuntimeError, ValueError, KeyError) as error:
        last = str(error).strip().splitlines()[-1].strip()
        raise NotResumable(
            f"run '{run.root}' cannot go on: its last checkpoint does not fit its recipe ({last}).\n"
            "  Was recipe.toml changed, or does the run come from another version of mscon, torch or timm?"
        ) from None


def _renamed(name: str) -> str:
    """What a tensor of an older checkpoint is called now: the weighting that importances scale."""
    return re.sub(r"^weighting\.own\.", "weighting.weighting.", name)


def _optimiser_state(optimiser: torch.optim.Optimizer) -> tuple[dict[str, Tensor], list[dict[str, Any]]]:
    """Its tensors as "optimiser.<number of the parameter>.<name>", and the settings of its groups."""
    state = optimiser.state_dict()
    tensors = {
        f"{_OPTIMISER}{number}.{name}": value
        for number, values in state["state"].items()
        for name, value in values.items()
        if isinstance(value, Tensor)
    }
    return tensors, [{k: v for k, v in group.items() if k != "params"} for group in state["param_groups"]]


def _load_optimiser(optimiser: torch.optim.Optimizer, tensors: dict[str, Tensor], groups: list[dict[str, Any]]) -> None:
    fresh = optimiser.state_dict()
    parameters = [p for group in optimiser.param_groups for p in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        if key.startswith(_OPTIMISER):
            number, _, name = key.removeprefix(_OPTIMISER).partition(".")
            like = parameters[int(number)]
            # A fused optimiser walks parameter and state in the order of memory, which for a
            # channels-last filter is not the order that a file has.
            if value.shape == like.shape:
                value = torch.empty_like(like, dtype=value.dtype).copy_(value)
            state.setdefault(int(number), {})[name] = value
    merged = [
        # JSON has no tuples; betas are one.
        {**group, **{k: tuple(v) if isinstance(v, list) else v for k, v in saved.items()}}
        for group, saved in zip(fresh["param_groups"], groups, strict=True)
    ]
    optimiser.load_state_dict({"state": state, "param_groups": merged})
