from __future__ import annotations

import pytest
import torch

from mscon.errors import RunError
from mscon.model.interpolation import interpolated

START = {"w": torch.tensor([[0.1, 2.0]]), "steps": torch.tensor(3)}
TRAINED = {"w": torch.tensor([[0.3, -2.0]]), "steps": torch.tensor(7)}


def test_it_is_a_share_of_the_way():
    between = interpolated(START, TRAINED, 0.25)
    torch.testing.assert_close(between["w"], torch.tensor([[0.15, 1.0]]))
    assert between["steps"] == 7


@pytest.mark.parametrize(("share", "expected"), [(0.0, START), (1.0, TRAINED)])
def test_its_ends_are_the_start_and_the_trained_weights_to_the_bit(share, expected):
    assert all(torch.equal(value, expected[name]) for name, value in interpolated(START, TRAINED, share).items())


def test_models_of_different_shape_are_one_message():
    other = {"w": torch.zeros(1, 3), "more": torch.zeros(2)}
    with pytest.raises(RunError) as error:
        interpolated(START, other, 0.5)
    assert "'w' has shape [1, 2] before and [1, 3] after training" in str(error.value)
    assert "'more' is on one side only, 'steps' is on one side only" in str(error.value)


def test_another_share_is_refused():
    with pytest.raises(ValueError, match=r"share must be from 0 to 1, got 1\.5"):
        interpolated(START, TRAINED, 1.5)
