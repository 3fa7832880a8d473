"""Training length: how many steps a run takes in all, and advice where they are few."""

from __future__ import annotations

from mscon.errors import counted
from mscon.run.schema import Sampler, Train

# Fewer steps than this are few. A table of 178 to 600 rows that took 20 steps (20 epochs of one batch) was worse than
# its inputs with logistic regression; with some 900 steps it was better, see docs/decisions/0024-recipe-and-run.md.
FEW_STEPS = 200

_LEAST_BATCH = 16


def training_length(train: Train, sampler: Sampler, steps_an_epoch: int) -> list[str]:
    """Sentences: the steps of a run in all; and, where they are few, what to change in its recipe.

    Args:
        train: how many epochs, and how large a batch.
        sampler: whether a smaller batch gives more steps of an epoch, or would leave rows out.
        steps_an_epoch: steps of one epoch.
    """
    steps = train.epochs * steps_an_epoch
    sentences = [
        f"Training takes {counted(steps, 'step')}: {counted(train.epochs, 'epoch')} of "
        f"{counted(steps_an_epoch, 'step')}."
    ]
    if steps < FEW_STEPS:
        advice = f"train.epochs = {-(-FEW_STEPS // steps_an_epoch):,} or more" if steps_an_epoch else "more rows"
        if sampler.name == "shuffled" and train.batch_size > _LEAST_BATCH:
            advice += f", or a train.batch_size below {train.batch_size:,}, which gives an epoch more steps"
        sentences.append(f"warning: {counted(steps, 'step')} are few, so the encoder may learn little. Set {advice}.")
    return sentences
