"""What every weighting of the catalogue keeps to, and that `check_weighting` notices one that does not."""

from __future__ import annotations

from functools import partial

import pytest
import torch

from mscon.method import catalogue
from mscon.method.weightings.base import Weighted, Weighting
from mscon.testing import check_weighting


@pytest.mark.parametrize("name", catalogue.names("weighting"))
def test_a_weighting_of_the_catalogue_keeps_the_contract(name):
    check_weighting(catalogue.find("weighting", name))


class StrangersWeighting(Weighting):
    """By a running mean of the losses, of a stranger; `mistake` takes a step of it wrong."""

    mean: torch.Tensor

    def __init__(self, similarities: int, mistake: str = "") -> None:
        super().__init__()
        self.mistake = mistake
        self.register_buffer("mean", torch.ones(similarities), persistent=mistake != "forgets")
        self.register_buffer("steps", torch.zeros(()))

    def forward(self, batch):
        losses = batch.loss
        present = torch.ones_like(losses, dtype=torch.bool) if self.mistake == "absent" else batch.present
        known = losses if self.mistake == "nan" else losses.where(present, 0.0)
        moved = torch.ones_like(present) if self.mistake == "moves" else present
        self.mean = torch.where(moved, 0.9 * self.mean + 0.1 * known.detach().nan_to_num(0, 0), self.mean)
        self.steps += 1
        weights = (1 / self.mean).where(present, 0.0)
        return Weighted((weights * known).sum(), weights * 2 if self.mistake == "reports" else weights)


def test_a_weighting_of_ones_own_that_is_right_passes():
    check_weighting(StrangersWeighting)


@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("absent", "The weight of a similarity that is absent, with loss 9.9, must be 0"),
        ("nan", "With a similarity that is absent, with loss nan, the total is nan"),
        ("moves", "with loss 9.9, its 'mean' must not move"),
        ("reports", "The `weights` reported are not the gradient"),
        ("forgets", "After load_state_dict it weighs otherwise"),
    ],
)
def test_a_mistake_in_a_weighting_is_told_in_a_sentence(mistake, words):
    with pytest.raises(AssertionError, match=words):
        check_weighting(partial(StrangersWeighting, mistake=mistake))
