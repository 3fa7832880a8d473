"""BECLR's loss: views attract, other rows repel on average, and near rows of the same cluster attract too."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize, one_hot

from mscon.method.kernels.lengths import lengths_of
from mscon.method.kernels.precision import no_rounding
from mscon.method.objectives.base import AnchorLosses, Block, Comparison, Losses, Objective, block_losses, positive
from mscon.method.similarities.base import Similarity
from mscon.method.sinkhorn import sinkhorn
from mscon.method.template import cosine_logits, known_weights, log_mask, log_sum

# Share of a cluster's direction that a step of training leaves as it was.
_MOMENTUM = 0.9


class BECLR(Objective):
    r"""The loss of BECLR, and its clustered memory as far as a memory of projections has it.

    With c cosine similarities, p the positives of anchor i with weights w, n its negatives, and sg what carries no
    gradient,

        loss_i = - sum_p w_p c(i, sg p) / sum_p w_p + repulsion * log mean_n exp(c(i, n) / temperature).

    With `neighbours`, the nearest of the other candidates in the anchor's cluster are positives too, of weight 1, and
    no longer negatives: those of the batch and, with `[candidates] memory_size`, of past batches. Clusters are
    directions that follow balanced assignments of all candidates (`sinkhorn`) in each step of training; a sample is in
    the cluster of the nearest direction. Weightings that take the logarithm of a loss do not suit it: it is mostly
    negative. The gradient is not that of finite differences, since positives are taken as constant.

    Args:
        temperature: of the negatives, > 0.
        repulsion: weight of the second term, > 0.
        neighbours: nearest candidates that are positives too; 0 for none, 10 in the paper.
        clusters: how many, for neighbours.
        warm_up: steps before neighbours are used; 50 epochs in the paper.

    Source: Poulakakis-Daktylidis and Jamali-Rad 2024, "BECLR", https://arxiv.org/abs/2402.02444, and
        https://github.com/stypoumic/BECLR, which takes the logarithm after the mean over anchors. Not included: the
        teacher network, whose place the projections themselves take, and the prediction head. How the authors pair the
        neighbours of two views was not read: unconfirmed. The few-shot step is `mscon.evaluate.few_shot`.
    """

    needs_negatives = True
    reads_codes = True
    has_constant_targets = True
    steps: Tensor
    directions: Tensor

    def __init__(
        self,
        temperature: float = 2.0,
        repulsion: float = 0.1,
        neighbours: int = 0,
        clusters: int = 50,
        warm_up: int = 0,
    ) -> None:
        super().__init__()
        self.temperature: float = positive("temperature", temperature)
        self.repulsion = positive("repulsion", repulsion)
        for name, value, least in (("neighbours", neighbours, 0), ("clusters", clusters, 2), ("warm_up", warm_up, 0)):
            if value < least:
                raise ValueError(f"{name} must be {least} or more, got {value}.")
        self.neighbours, self.clusters, self.warm_up = neighbours, clusters, warm_up
        self.learns_width = neighbours > 0  # of clusters, whose directions are kept
        self.similarities: tuple[Similarity, ...] = ()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        super().prepare(similarities, dim)
        self.similarities = tuple(similarities)
        size = (len(similarities), self.clusters, dim) if self.neighbours else (0,)
        directions = torch.randn(size, generator=torch.Generator().manual_seed(0))  # the same in every process
        self.register_buffer("directions", normalize(directions, dim=-1))

    def forward(self, comparison: Comparison) -> Losses:
        for vectors, name in ((comparison.anchors, "anchors"), (comparison.candidates, "candidates")):
            if vectors is not None:
                lengths_of(vectors, name)  # complains of what has no direction
        uses_neighbours = self.neighbours > 0 and int(self.steps) >= self.warm_up
        if self.neighbours and self.training:
            for i in range(len(comparison.pairs)):
                self._follow(i, comparison)

        def losses_of(block: Block) -> AnchorLosses:
            assert self.temperature is not None
            logits = cosine_logits(block.anchors, block.candidates, 1.0)
            weights, negative = known_weights(block, logits), block.pairs.negative
            if uses_neighbours:
                near = self._neighbours(block, logits.values)
                weights, negative = weights + near.to(weights.dtype), negative & ~near
            total, number = weights.sum(dim=1), negative.sum(dim=1).to(weights.dtype)
            constant = cosine_logits(block.anchors, block.candidates.detach(), 1.0).values
            attraction = (weights * constant).sum(dim=1) / total.clamp_min(torch.finfo(total.dtype).tiny)
            apart = logits.values / self.temperature
            repulsion = log_sum(apart, log_mask(negative, apart)) - number.clamp_min(1).log()
            counted = (total > 0) & (number > 0)
            return AnchorLosses(torch.where(counted, self.repulsion * repulsion - attraction, 0.0), counted)

        most = self.repulsion / self.temperature
        return block_losses(losses_of, comparison, floor=-1 - most, ceiling=-1 + most)

    def after_step(self) -> None:
        self.steps += 1

    @torch.no_grad()
    def _follow(self, i: int, comparison: Comparison) -> None:
        """Move the directions of the clusters of a similarity towards the candidates that are assigned to them."""
        vectors = (comparison.anchors if comparison.candidates is None else comparison.candidates)[i]
        unit = normalize(vectors[~self.similarities[i].missing(comparison.pairs[i].candidates)].detach().float(), dim=1)
        with no_rounding(unit):
            share = sinkhorn(unit @ self.directions[i].float().T)
            members = one_hot(share.argmax(dim=1), self.clusters).to(unit)
            moved = _MOMENTUM * self.directions[i] + (1 - _MOMENTUM) * normalize(members.T @ unit, dim=1)
        self.directions[i] = normalize(moved, dim=1)

    @torch.no_grad()
    def _neighbours(
        self, block: Block, cosines: Float[Tensor, "anchors candidates"]
    ) -> Bool[Tensor, "anchors candidates"]:
        """The nearest candidates of other rows in the cluster of each anchor that are not alike by label."""

        def clusters(vectors: Float[Tensor, "samples dim"]) -> Int[Tensor, " samples"]:
            return (vectors @ self.directions[block.similarity].to(vectors.dtype).T).argmax(dim=1)

        is_near = clusters(block.anchors)[:, None] == clusters(block.candidates)[None, :]
        is_near &= block.pairs.negative & (block.anchor_origin.rows[:, None] != block.candidate_origin.rows[None, :])
        values, places = cosines.masked_fill(~is_near, -torch.inf).topk(min(self.neighbours, cosines.shape[1]), dim=1)
        return torch.zeros_like(is_near).scatter(1, places, values > -torch.inf)
