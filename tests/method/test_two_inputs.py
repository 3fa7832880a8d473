"""Two inputs a row, such as an image and a text: all that an objective needs to tell them apart."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from mscon import MSConLoss
from mscon.method.objectives.base import Comparison, Losses, Objective

F64 = torch.float64
TEMPERATURE = 0.3


class ImageText(Objective):
    """InfoNCE of CLIP: each sample shall find the other input of its row among those inputs of all rows.

    Source: Radford et al. 2021, https://arxiv.org/abs/2103.00020.
    """

    temperature = TEMPERATURE

    def forward(self, comparison: Comparison) -> Losses:
        anchor, candidate = comparison.anchor_origin, comparison.candidate_origin
        others = comparison.anchors if comparison.candidates is None else comparison.candidates
        logits = normalize(comparison.anchors, dim=2) @ normalize(others, dim=2).mT / self.temperature
        is_other_input = anchor.inputs[:, None] != candidate.inputs[None, :]
        is_positive = is_other_input & (anchor.rows[:, None] == candidate.rows[None, :])
        loss = -logits.masked_fill(~is_other_input, -torch.inf).log_softmax(dim=2)
        loss = loss.masked_fill(~is_positive, 0.0).sum(dim=2)
        everywhere = torch.ones_like(loss, dtype=torch.bool)
        ceiling = is_other_input.sum(dim=1).log().mean().expand(len(loss))
        return Losses(loss, everywhere, everywhere, everywhere, torch.zeros_like(ceiling), ceiling)


class TwoTowers(nn.Module):
    """An encoder of images and one of texts, into one space."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.image, self.text = nn.Linear(5, 4, dtype=F64), nn.Linear(3, 4, dtype=F64)

    def forward(self, images: Tensor, texts: Tensor) -> Tensor:
        return torch.stack([self.image(images), self.text(texts)], dim=1)


def drawn(rows: int = 6, seed: int = 0) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(rows, 5, generator=generator, dtype=F64), torch.randn(rows, 3, generator=generator, dtype=F64)


def by_loops(images: Tensor, texts: Tensor, old_images: Tensor, old_texts: Tensor) -> Tensor:
    """Image to text and text to image, candidate by candidate; the old ones are candidates only."""
    losses = []
    for anchors, partners, old in ((images, texts, old_texts), (texts, images, old_images)):
        for i, anchor in enumerate(anchors):
            terms = []
            for candidate in [*partners, *old]:
                cosine = (anchor * candidate).sum() / (anchor.square().sum() * candidate.square().sum()).sqrt()
                terms.append((cosine / TEMPERATURE).exp())
            losses.append(torch.stack(terms).sum().log() - terms[i].log())
    return torch.stack(losses).mean()


@pytest.mark.parametrize("memory_size", [0, 50])
def test_image_text_loss_in_a_loop_of_ones_own_is_that_of_the_loops(memory_size):
    """With a memory past images meet present texts, and past texts present images."""
    criterion = MSConLoss(["same_row"], weighting="equal", objective=ImageText(), memory_size=memory_size)
    ours, theirs = TwoTowers(), TwoTowers()
    old = torch.zeros(0, 4, dtype=F64), torch.zeros(0, 4, dtype=F64)
    for step in range(2):
        images, texts = drawn(seed=step)
        projections = ours(images, texts)
        loss = criterion(projections[None], inputs=[0, 1])
        expected = by_loops(theirs.image(images), theirs.text(texts), *old)
        torch.testing.assert_close(loss, expected)
        gradients = [
            torch.autograd.grad(value, [*towers.parameters()]) for value, towers in ((loss, ours), (expected, theirs))
        ]
        for one, other in zip(*gradients, strict=True):
            torch.testing.assert_close(one, other)
        if memory_size:
            old = projections[:, 0].detach(), projections[:, 1].detach()


def test_pairs_of_labels_beside_image_and_text():
    """Each similarity compares what its objective does: the column every sample, whichever input it is of."""
    towers, (images, texts), labels = TwoTowers(), drawn(), torch.tensor([0, 0, 1, 1, 2, -1])
    projections = towers(images, texts).expand(2, -1, -1, -1)
    criterion = MSConLoss(["kind", "same_row"], weighting="equal", objective={"same_row": ImageText()})
    criterion(projections, {"kind": labels}, inputs=[0, 1])
    alone = MSConLoss(["kind"], weighting="equal")
    assert criterion.summary()[0].loss == pytest.approx(alone(projections[:1], {"kind": labels}).item())
    nothing = torch.zeros(0, 4, dtype=F64)
    expected = by_loops(projections[1, :, 0], projections[1, :, 1], nothing, nothing)
    assert criterion.summary()[1].loss == pytest.approx(expected.item())


def test_more_than_one_view_of_an_input():
    """Two images and a text a row: the objective sees which is which."""
    origins = []

    class Watched(ImageText):
        def forward(self, comparison: Comparison) -> Losses:
            origins.append(comparison.anchor_origin)
            return super().forward(comparison)

    criterion = MSConLoss(["same_row"], weighting="equal", objective=Watched())
    loss = criterion(torch.ones(1, 2, 3, 4), rows=[7, 9], inputs=[0, 0, 1])
    (origin,) = origins
    assert origin.rows.tolist() == [7, 7, 7, 9, 9, 9]
    assert origin.views.tolist() == [0, 1, 2, 0, 1, 2]
    assert origin.inputs.tolist() == [0, 0, 1, 0, 0, 1]
    # An image finds its text among 2; a text both images of its row among 4.
    assert loss.item() == pytest.approx((4 * math.log(2) + 2 * 2 * math.log(4)) / 6)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("inputs", [[0], [0, 1, 2], [0, -1], [0, 0.5], [0, 2**70], 5, ["image", "text"]])
def test_inputs_that_do_not_fit_the_views_are_refused(inputs):
    with pytest.raises(ValueError, match="inputs must be one integer >= 0 for each of 2 views"):
        MSConLoss(["same_row"])(torch.ones(1, 3, 2, 4), inputs=inputs)


@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("array_of", [np.array, torch.tensor])
def test_inputs_may_be_an_array(array_of):
    z = torch.randn(1, 3, 2, 4, generator=torch.Generator().manual_seed(0))
    criterion = MSConLoss(["same_row"], objective=ImageText())
    assert criterion(z, inputs=array_of([0, 1])) == criterion(z, inputs=[0, 1])
