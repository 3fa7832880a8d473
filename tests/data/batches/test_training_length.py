"""How many steps a run takes in all, and advice where they are few."""

from __future__ import annotations

import pytest

from mscon.data.batches.training_length import training_length
from mscon.run.recipe import Sampler, Train


def test_steps_in_all_are_stated_and_enough_of_them_get_no_advice():
    assert training_length(Train(epochs=24), Sampler(), 1_000) == (
        "Training takes 24,000 steps: 24 epochs of 1,000 steps.",
    )
    assert len(training_length(Train(epochs=200), Sampler(), 1)) == 1


@pytest.mark.parametrize(
    ("train", "sampler", "steps", "advice"),
    [
        (
            Train(epochs=20, batch_size=256),
            Sampler(),
            1,
            "warning: 20 steps are few, so the encoder may learn little. Set train.epochs = 200 or more, or a "
            "train.batch_size below 256, which gives an epoch more steps.",
        ),
        (
            Train(epochs=1, batch_size=16),
            Sampler(),
            3,
            "warning: 3 steps are few, so the encoder may learn little. Set train.epochs = 67 or more.",
        ),
        (
            Train(epochs=20, batch_size=256),
            Sampler("balanced"),
            1,
            "warning: 20 steps are few, so the encoder may learn little. Set train.epochs = 200 or more.",
        ),
    ],
)
def test_few_steps_come_with_advice(train, sampler, steps, advice):
    assert training_length(train, sampler, steps)[1:] == (advice,)
