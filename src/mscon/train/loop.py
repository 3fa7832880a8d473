"""Loop: epochs of steps over the training rows, and what the validation rows say after each.

It yields records and moves parameters; it writes no file.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from hashlib import blake2b

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mscon.data.batches.sampler import epoch_batches
from mscon.errors import RunError
from mscon.method.weightings.base import relative_excess
from mscon.train.gather import average_running_means, processes
from mscon.train.log import Record, is_by_accuracy
from mscon.train.seen import look
from mscon.train.step import Measured
from mscon.train.training import Training

# Steps summed up in a record of the log. Reading a number back makes a GPU wait for it.
LOG_EVERY = 10


def derived_seed(seed: int, epoch: int, purpose: str) -> int:
    """A seed for one purpose in one epoch. Hashed: seed 0 in epoch 1 must not be seed 1 in epoch 0."""
    return int.from_bytes(blake2b(f"{seed}/{epoch}/{purpose}".encode(), digest_size=7).digest(), "big")


def train_epoch(training: Training, epoch: int, step: int) -> Iterator[Record]:
    """Train for one epoch.

    All that is random in it follows from the recipe's seed and the number of the epoch, so an epoch
    may begin anew, or in another process, and do the same.

    Args:
        training: is changed.
        epoch: its number, from 1.
        step: how many steps were taken before.

    Yields:
        A record for every `LOG_EVERY` steps, and for those left at the end. Before them, where batches are balanced,
        one of kind "sampler" with the number of rows that are left over.

    Raises:
        RunError: if a loss is not finite.
    """
    settings = training.recipe.train
    rank = processes()[0]  # no two processes must drop out the same units
    torch.manual_seed(derived_seed(settings.seed, epoch, f"network {rank}" if rank else "network"))
    make_view = training.view_maker(derived_seed(settings.seed, epoch, "views"))
    training.shell.train()
    window: list[Measured] = []
    rows = training.sampler.epoch(epoch)
    if training.sampler.floors is not None:
        yield {"kind": "sampler", "epoch": epoch, "step": step + 1, "left_over": rows.left_over.numel()}
    for batch in rows.batches:
        step += 1
        if not batch.numel():  # a balanced batch for which no rows were left: a step in which nothing is learnt
            training.schedule.step()
            continue
        rate = training.optimiser.param_groups[0]["lr"]
        try:
            measured = training.learn(batch, make_view)
        except ValueError as error:  # a loss that refuses vectors which are not finite
            _need_finite(training, window, epoch, range(step - len(window), step))  # an earlier step may be at fault
            raise broken_down(training, epoch, step, f"the loss could not be computed: {error}") from error
        training.optimiser.step()
        with torch.no_grad():
            training.method.objective.after_step()
        training.optimiser.zero_grad()
        training.schedule.step()
        window.append(replace(measured, total=measured.total.detach()))
        if len(window) == LOG_EVERY:
            yield _record(training, window, epoch, step, rate)
            window.clear()
    if window:
        yield _record(training, window, epoch, step, rate)
    average_running_means(training.method.model)
    average_running_means(training.method.weighting)


@torch.no_grad()
def validate(training: Training, epoch: int, step: int) -> Record | None:
    """What the validation rows say; None if there are none.

    Batches and views are the same in every epoch, so that differences come from the network. Nothing
    moves: neither running means of the network nor of the weighting; only a weighting that looks at
    validation rows learns from them, at the end.

    Returns:
        A record with means over the batches; "merit" in it says how good a checkpoint is, more is
        better: the mean accuracy where all objectives have one, else minus the mean relative
        excess. None where no similarity has a pair.
    """
    rows = training.dataset.indices("validation")
    if not rows.numel():
        return None
    settings = training.recipe.train
    make_view = training.view_maker(derived_seed(settings.seed, 0, "validation"))
    training.shell.eval()
    batches = list(epoch_batches(rows, settings.batch_size, settings.seed, 0, drop_last=False))
    measured = [training.measure(batch, make_view) for batch in batches]
    means = _means(measured, torch.tensor([float(len(batch)) for batch in batches]))
    names = training.recipe.columns
    _need_finite(training, measured, epoch, [step] * len(measured), "validation ")
    if samples := [m.seen for m in measured if m.seen is not None]:
        look(training.method.weighting, training.method.objective, samples)
    record = {
        "kind": "validation",
        "epoch": epoch,
        "step": step,
        **{key: dict(zip(names, values, strict=True)) for key, values in means.items() if key != "weight"},
    }
    by = "accuracy" if is_by_accuracy(record) else "relative_excess"
    present = [v for v in means[by] if v is not None]
    merit = sum(present) / len(present) if present else None
    return {**record, "merit": merit if merit is None or by == "accuracy" else -merit}


def _record(training: Training, window: Sequence[Measured], epoch: int, step: int, rate: float) -> Record:
    """Means over the last few steps, a value per similarity; null where it was absent from all of them."""
    _need_finite(training, window, epoch, range(step - len(window) + 1, step + 1))
    means = _means(window, torch.ones(len(window)))
    return {
        "kind": "step",
        "epoch": epoch,
        "step": step,
        "total": torch.stack([m.total for m in window]).mean().item(),
        "learning_rate": rate,
        **{key: dict(zip(training.recipe.columns, values, strict=True)) for key, values in means.items()},
    }


def _means(measured: Sequence[Measured], counts: Float[Tensor, " batches"]) -> Mapping[str, list[float | None]]:
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


def _need_finite(
    training: Training, measured: Sequence[Measured], epoch: int, steps: Sequence[int], what: str = ""
) -> None:
    """Raise for the first of some steps whose numbers are not finite, naming the similarity."""
    if not measured:
        return
    losses = torch.stack([m.loss.where(m.present, 0.0) for m in measured]).cpu()
    totals = torch.stack([m.total for m in measured]).cpu()
    fine = losses.isfinite().all(dim=1) & totals.isfinite()
    if fine.all():
        return
    first = int((~fine).nonzero()[0])
    columns = training.recipe.columns
    at_fault = [f"'{name}'" for name, loss in zip(columns, losses[first], strict=True) if not loss.isfinite()]
    if len(at_fault) == len(columns) > 1:
        which = f"the {what}losses of all similarities are not finite"
    elif at_fault:
        which = f"the {what}loss of similarity {', '.join(at_fault)} is not finite"
    else:
        which = f"the {what}total is {totals[first].item()}, though every loss is finite: the weights are at fault"
    raise broken_down(training, epoch, steps[first], which)


def need_finite_state(training: Training, epoch: int, step: int) -> None:
    """Raise if a parameter or running mean is not finite, so that no such checkpoint is ever written."""
    for name, tensor in training.method.state_dict().items():
        # Remembered labels are not learnt, and NaN is how a missing number is written.
        is_label = name.rpartition(".")[2].startswith("codes_")
        if tensor.is_floating_point() and not is_label and not tensor.isfinite().all():
            raise broken_down(training, epoch, step, f"'{name}' is not finite")


def broken_down(training: Training, epoch: int, step: int, what: str) -> RunError:
    """The error for numbers that are not finite: where, what, and what to try."""
    settings = training.recipe.train
    advice = f"a lower train.learning_rate (it is {settings.learning_rate:g})"
    if settings.precision == "bfloat16":
        advice += ', or train.precision = "float32"'
    return RunError(
        f"epoch {epoch}, step {step}: training broke down: {what}.\n"
        f"  Similarities, in order: {', '.join(training.recipe.columns)}. Try {advice}."
    )
