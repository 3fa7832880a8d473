"""How long a training is: its steps in all, and what to change where they are few."""

from __future__ import annotations

from mscon.errors import counted
from mscon.run.recipe import Sampler, Train

# Fewer steps than this are few. A table of 178 to 600 rows that took 20 steps (20 epochs of one batch) was worse than
# its inputs with logistic regression; with some 900 steps it was better, see docs/decisions/0024-recipe-and-run.md.
FEW_STEPS = 200

_LEAST_BATCH = 16


def training_length(settings: Train, sampler: Sampler, steps_an_epoch: int) -> tuple[str, ...]:
    """Sentences: the steps of a run in all; and, where they are few, what to change in its recipe.

    Args:
        settings: how many epochs, and how large a batch.
        sampler: whether a smaller batch gives more steps of an epoch, or would leave rows out.
        steps_an_epoch: steps of one epoch.
    """
    if not settings.epochs:
        return ("Nothing is trained (train.epochs = 0): the run holds the weights that training would start from.",)
    steps = settings.epochs * steps_an_epoch
    total = (
        f"Training takes {counted(steps, 'step')}: {counted(settings.epochs, 'epoch')} of "
        f"{counted(steps_an_epoch, 'step')}."
    )
    if steps >= FEW_STEPS:
        return (total,)
    advice = f"train.epochs = {-(-FEW_STEPS // steps_an_epoch):,} or more" if steps_an_epoch else "more rows"
    if sampler.name == "shuffled" and settings.batch_size > _LEAST_BATCH:
        advice += f", or a train.batch_size below {settings.batch_size:,}, which gives an epoch more steps"
    return total, f"warning: {counted(steps, 'step')} are few, so the encoder may learn little. Set {advice}."
