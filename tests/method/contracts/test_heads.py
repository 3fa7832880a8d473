"""What all heads of the catalogue keep to, and that `check_heads` notices some that do not."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from torch import nn

from mscon.method import catalogue
from mscon.model.heads.base import Heads
from mscon.testing import check_heads


@pytest.mark.parametrize("name", catalogue.names("heads"))
def test_heads_of_the_catalogue_keep_the_contract(name):
    torch.manual_seed(0)
    check_heads(catalogue.find("heads", name))


class StrangersHeads(Heads):
    """A matrix a similarity, of a stranger; `mistake` takes a step of it wrong."""

    def __init__(self, similarities: int, input_dim: int, mistake: str = "") -> None:
        super().__init__()
        self.mistake, self.output_dim = mistake, 5 if mistake == "width" else 4
        weight = torch.randn(similarities, input_dim, 4)
        self.weight = weight if mistake == "kept elsewhere" else nn.Parameter(weight)

    def forward(self, features):
        if self.mistake == "batch":
            features = features - features.mean(dim=0)
        projections = features @ self.weight
        if self.mistake == "detached":
            projections = torch.cat([projections[:1].detach() + 0 * projections[:1], projections[1:]])
        return projections.transpose(0, 1) if self.mistake == "transposed" else projections

    def penalty(self, features, mean=torch.mean):
        return self.weight.square().sum(dim=(1, 2)) if self.mistake == "penalty" else super().penalty(features, mean)


def test_heads_of_ones_own_that_are_right_pass():
    check_heads(StrangersHeads)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize(
    ("mistake", "words"),
    [
        ("width", r"Projections must be .* = \(3, 10, 5\), got \(3, 10, 4\)"),
        ("transposed", r"got \(10, 3, 4\)"),
        ("detached", "no finite gradient from similarity 0"),
        ("batch", "a row's projection depends on other rows"),
        ("kept elsewhere", "After load_state_dict projections differ"),
        ("penalty", "`penalty` must be one finite number"),
    ],
)
def test_a_mistake_in_heads_is_told_in_a_sentence(mistake, words):
    with pytest.raises(AssertionError, match=words):
        check_heads(partial(StrangersHeads, mistake=mistake))
