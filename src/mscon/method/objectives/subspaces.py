"""Subspace learners: parts of the projection that learn from different rows, each by a margin loss."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from mscon.errors import RecipeError
from mscon.method.kernels.precision import products
from mscon.method.objectives.base import AnchorLosses, Block, Comparison, Losses, Objective, block_losses, positive
from mscon.method.similarities.base import Similarity


class Subspaces(Objective):
    r"""The projection is cut into parts, each a learner that compares the rows of one cluster by a margin loss.

    A row belongs to the learner whose centre is nearest to its projection at unit length. With D distances in the part
    of anchor i's learner, at unit length too, p its positives and n its negatives among the rows of that learner,

        loss_i = ( sum_p max(0, D_ip - b + margin) + sum_n max(0, b - D_in + margin) ) / number of terms above 0,

    n as many negatives as there are positives: the nearest of those at least `cutoff` away, then the nearest of the
    others. b is learned, one for each similarity. Centres follow their rows, as in k-means: each is drawn to the rows
    of its learner, and a little to all, so that none is left without rows. That adds nothing to the value of the loss.

    With one learner it is the margin loss of Wu et al. 2017 with these negatives. The floor is 0; if all embeddings
    coincide it is b + margin.

    With `grow_every` there is one learner at first, the whole projection, and their number doubles each so many steps:
    the rows of each learner are divided between two. Training calls `after_step`, which counts the steps; in a loop of
    your own call `criterion.objective.after_step()` under `torch.no_grad()` after each step of the optimiser.

    What differs from the authors' code: the number of learners is fixed or grows by a schedule, where theirs grows when
    validation stalls, and there is no last stage that trains the whole projection as one; centres move in every step,
    where theirs are found anew every second epoch; the number of terms is an anchor's, not a batch's; and b is given to
    the optimiser, which theirs forgets.

    Args:
        learners: how many parts of equal width, in the end; the dimensions that remain are left out.
        margin: between positives, negatives and b, > 0.
        boundary: what b begins at, > 0; the distance of unit vectors is at most 2.
        cutoff: distance up to which negatives are too hard, > 0.
        grow_every: steps after which the number of learners doubles, beginning with one; 0 for all from the start.

    Source: Adiga Vasudeva et al. 2022, "Dynamic Subspace Learners", https://arxiv.org/abs/2206.09068, and
        https://github.com/adigasu/Dynamic_subspace_learners; negatives after Wu et al. 2017, "Sampling Matters in Deep
        Embedding Learning", https://arxiv.org/abs/1706.07567.
    """

    needs_negatives = True
    learns_width = True
    steps: Tensor

    def __init__(
        self,
        learners: int = 4,
        margin: float = 0.2,
        boundary: float = 1.2,
        cutoff: float = 0.5,
        grow_every: int = 0,
    ) -> None:
        super().__init__()
        for name, value, least in (("learners", learners, 1), ("grow_every", grow_every, 0)):
            if value < least:
                raise ValueError(f"{name} must be at least {least}, got {value}.")
        self.grow_every = grow_every
        if grow_every:
            self.register_buffer("steps", torch.zeros((), dtype=torch.int64))
        self.learners, self.margin = learners, positive("margin", margin)
        self.boundary, self.cutoff = positive("boundary", boundary), positive("cutoff", cutoff)
        self.boundaries, self.centres = nn.ParameterList(), nn.ParameterList()

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        super().prepare(similarities, dim)
        if dim < self.learners:
            raise RecipeError(
                f"objective 'subspaces' cuts projections into {self.learners} parts, but they have {dim} dimensions. "
                "Set a larger output_dim of [heads], or fewer learners."
            )
        for _ in similarities:
            self.boundaries.append(nn.Parameter(torch.tensor(self.boundary)))
            self.centres.append(nn.Parameter(normalize(torch.randn(self.learners, dim), dim=1)))

    @property
    def active(self) -> int:
        """How many learners there are so far."""
        return min(self.learners, 2 ** (int(self.steps) // self.grow_every)) if self.grow_every else self.learners

    def after_step(self) -> None:
        if not self.grow_every:
            return
        before = self.active
        self.steps += 1
        for centres in self.centres if self.active > before else ():
            # Beside the centre that it divides, to a side that was drawn before training.
            new = centres[before : self.active]
            new.copy_(normalize(centres[: len(new)] + _APART * normalize(new, dim=1), dim=1))

    def forward(self, comparison: Comparison) -> Losses:
        return block_losses(self._losses_of, comparison)

    def _losses_of(self, block: Block) -> AnchorLosses:
        dtype = block.anchors.dtype
        boundary, centres = (values[block.similarity].to(dtype) for values in (self.boundaries, self.centres))
        centres = centres[: self.active]
        learner, of_candidates = (_nearest(vectors, centres) for vectors in (block.anchors, block.candidates))
        known = block.pairs.known & (learner[:, None] == of_candidates[None, :])
        distances = self._distances(block, learner)
        positives = known & (block.pairs.weight > 0)
        negatives = _first(distances, known & block.pairs.negative, positives.sum(dim=1), self.cutoff)
        counted = (positives | negatives).any(dim=1)

        def mean(distances: Tensor) -> Float[Tensor, " anchors"]:
            further = torch.where(positives, (distances - boundary + self.margin).clamp_min(0), 0.0)
            nearer = torch.where(negatives, (boundary - distances + self.margin).clamp_min(0), 0.0)
            number = ((further > 0) | (nearer > 0)).sum(dim=1).clamp_min(1)
            return (further + nearer).sum(dim=1) / number

        drawn = self._drawn_to_rows(block.anchors, centres, learner)
        loss = torch.where(counted, mean(distances) + drawn - drawn.detach(), 0.0)
        ceiling = torch.where(counted, self._ceiling(block, boundary), 0.0)
        return AnchorLosses(loss, counted, torch.zeros_like(ceiling), ceiling)

    @torch.no_grad()
    def _ceiling(self, block: Block, boundary: Float[Tensor, ""]) -> Float[Tensor, " anchors"]:
        """Of embeddings that coincide, and so are all of one learner."""
        of_positive, of_negative = (self.margin - boundary).clamp_min(0), self.margin + boundary
        positives = (block.pairs.known & (block.pairs.weight > 0)).sum(dim=1)
        negatives = torch.minimum(positives, block.pairs.negative.sum(dim=1))
        number = positives * (of_positive > 0) + negatives
        return (positives * of_positive + negatives * of_negative) / number.clamp_min(1)

    def _distances(self, block: Block, learner: Int[Tensor, " anchors"]) -> Float[Tensor, "anchors candidates"]:
        """Of each anchor from all candidates, in the part of its learner."""
        learners = self.active
        width = block.anchors.shape[1] // learners
        distances = block.anchors.new_zeros(len(block.anchors), len(block.candidates))
        for number in range(learners):
            part, rows = slice(number * width, (number + 1) * width), (learner == number).nonzero().squeeze(1)
            a, c = normalize(block.anchors[rows, part], dim=1), normalize(block.candidates[:, part], dim=1)
            # The root's slope at 0 is infinite; embeddings that coincide get none.
            distances = distances.index_copy(0, rows, (2 - 2 * products(a, c)).clamp_min(_LEAST).sqrt())
        return distances

    def _drawn_to_rows(
        self,
        anchors: Float[Tensor, "anchors dim"],
        centres: Float[Tensor, "learners dim"],
        learner: Int[Tensor, " anchors"],
    ) -> Float[Tensor, " anchors"]:
        """What centres go down on: how far they are from their rows, and a little how far from all."""
        unit = normalize(anchors.detach(), dim=1)
        squared = (unit[:, None, :] - centres[None]).square().sum(dim=2)
        return squared.gather(1, learner[:, None]).squeeze(1) + _TO_ALL * squared.mean(dim=1)


# Squares of distances below this count as this.
_LEAST = 1e-8

# How far a new centre is from the one that it divides.
_APART = 0.1

# How much centres are drawn to rows of other learners.
_TO_ALL = 0.01


def _nearest(vectors: Float[Tensor, "rows dim"], centres: Float[Tensor, "learners dim"]) -> Int[Tensor, " rows"]:
    with torch.no_grad():
        return torch.cdist(normalize(vectors, dim=1), centres).argmin(dim=1)


def _first(
    distances: Float[Tensor, "anchors candidates"],
    negatives: Bool[Tensor, "anchors candidates"],
    number: Int[Tensor, " anchors"],
    cutoff: float,
) -> Bool[Tensor, "anchors candidates"]:
    """So many negatives of each anchor: the nearest from the cutoff on, then the nearest below it."""
    with torch.no_grad():
        # Unit vectors are at most 2 apart.
        key = (distances + 4 * (distances < cutoff)).masked_fill(~negatives, torch.inf)
        order = key.argsort(dim=1).argsort(dim=1)
        return negatives & (order < number[:, None])
