"""Budget: batch size and epochs for a number of training rows."""

from __future__ import annotations

from dataclasses import dataclass

from mscon.data.batches.sampler import count_batches
from mscon.data.batches.training_length import FEW_STEPS

# Steps that are aimed at, and the fewest and most epochs: an image costs an encoder hundreds of times what a vector
# does. Why these, see docs/decisions/0036-init.md.
_VECTORS = (2_000, 5, 100)
_IMAGES = (1_000, 5, 20)

# From so many rows on, batches of 256 rows hold more positives, and epochs stay at some hundred steps.
_MANY_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class Budget:
    """How long to train.

    Attributes:
        batch_size: rows of a batch.
        epochs: passes over the training rows.
        steps_an_epoch: of shuffled batches.
    """

    batch_size: int
    epochs: int
    steps_an_epoch: int

    @property
    def steps(self) -> int:
        return self.epochs * self.steps_an_epoch


def budget_of(train_rows: int, *, images: bool) -> Budget:
    """A budget of at least `FEW_STEPS` steps for any table.

    Args:
        train_rows: at least 1.
        images: whether images are encoded in every step.
    """
    aim, least, most = _IMAGES if images else _VECTORS
    batch_size = 256 if train_rows >= _MANY_ROWS and not images else 64
    while batch_size > 16 and train_rows < 4 * batch_size:
        batch_size //= 2
    steps = count_batches(train_rows, batch_size)
    epochs = min(max(-(-aim // steps), least), most)
    return Budget(batch_size, max(epochs, -(-FEW_STEPS // steps)), steps)
