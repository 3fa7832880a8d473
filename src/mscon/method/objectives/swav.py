"""SwAV: each view predicts which prototypes its other views are assigned to."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.functional import normalize

from mscon.method.kernels.lengths import lengths_of
from mscon.method.kernels.precision import no_rounding
from mscon.method.objectives.base import AnchorLosses, Block, Comparison, Losses, Objective, block_losses, positive
from mscon.method.similarities.base import Similarity
from mscon.method.sinkhorn import sinkhorn
from mscon.method.template import cosine_logits, known_weights

# Directions of prototypes before training: the same in every process.
_SEED = 0


class SwAV(Objective):
    r"""Swapped assignments between views: clusters are learned with the embedding, and no pair of rows is compared.

    With prototypes C and embeddings v of unit length, p the positives of anchor i with weights w, and q_p the
    assignment of p to prototypes,

        loss_i = - sum_p w_p q_p^T log softmax(C v_i / temperature) / sum_p w_p,

    where q is `sinkhorn` of C v / epsilon over all candidates of one view, without a gradient, so that all prototypes
    are used. Under `same_row` that is the loss of the paper, each view predicting each other one. A memory
    (`[candidates] memory_size`) is its queue: past samples take part in the assignment. For labels a sample predicts
    the assignments of all samples of its class, beyond the paper. Each similarity has prototypes of its own.

    Training calls `after_step`, which counts the steps and keeps prototypes at unit length. In a loop of your own call
    `criterion.objective.after_step()` under `torch.no_grad()` after each step of the optimiser.

    Args:
        prototypes: how many, 2 or more; the paper has 3,000 for 1,000 classes.
        temperature: of the prediction, > 0.
        epsilon: weight of the entropy of assignments, > 0; the smaller, the nearer to one prototype each.
        iterations: of Sinkhorn, 1 or more.
        frozen_steps: steps at the beginning in which prototypes do not learn; 313 in the paper, 0 for none.

    Source: Caron et al. 2020, https://arxiv.org/abs/2006.09882, and https://github.com/facebookresearch/swav. Smaller
        crops, which predict and are not predicted (multi-crop), are not included: all views of a similarity are drawn
        alike.
    """

    reads_codes = True
    has_constant_targets = True
    learns_width = True
    steps: Tensor

    def __init__(
        self,
        prototypes: int = 300,
        temperature: float = 0.1,
        epsilon: float = 0.05,
        iterations: int = 3,
        frozen_steps: int = 313,
    ) -> None:
        super().__init__()
        for name, value, least in (
            ("prototypes", prototypes, 2),
            ("iterations", iterations, 1),
            ("frozen_steps", frozen_steps, 0),
        ):
            if value < least:
                raise ValueError(f"{name} must be {least} or more, got {value}.")
        self.temperature: float = positive("temperature", temperature)
        self.epsilon = positive("epsilon", epsilon)
        self.number, self.iterations, self.frozen_steps = prototypes, iterations, frozen_steps
        self.prototypes = nn.ParameterList()
        self.similarities: tuple[Similarity, ...] = ()
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        self.similarities = tuple(similarities)
        generator = torch.Generator().manual_seed(_SEED)
        for _ in similarities:
            directions = torch.randn(self.number, dim, generator=generator)
            self.prototypes.append(nn.Parameter(normalize(directions, dim=1)))

    def forward(self, comparison: Comparison) -> Losses:
        for vectors, name in ((comparison.anchors, "anchors"), (comparison.candidates, "candidates")):
            if vectors is not None:
                lengths_of(vectors, name)  # complains of what has no direction
        assignments = [self._assignments(i, comparison) for i in range(len(comparison.pairs))]
        is_frozen = int(self.steps) < self.frozen_steps

        def losses_of(block: Block) -> AnchorLosses:
            assert self.temperature is not None
            prototypes = self.prototypes[block.similarity].to(block.anchors.dtype)
            logits = cosine_logits(block.anchors, prototypes.detach() if is_frozen else prototypes, self.temperature)
            weights = known_weights(block, logits)
            total = weights.sum(dim=1, keepdim=True)
            target = weights @ assignments[block.similarity] / total.clamp_min(torch.finfo(total.dtype).tiny)
            counted = total.squeeze(1) > 0
            return AnchorLosses(-(target * logits.values.log_softmax(dim=1)).sum(dim=1), counted)

        floor = math.log1p((self.number - 1) * math.exp(-2 / self.temperature))
        return block_losses(losses_of, comparison, floor=floor, ceiling=math.log(self.number))

    def after_step(self) -> None:
        self.steps += 1
        for prototypes in self.prototypes:
            prototypes.copy_(normalize(prototypes, dim=1))

    @torch.no_grad()
    def _assignments(self, i: int, comparison: Comparison) -> Float[Tensor, "candidates prototypes"]:
        """Of all candidates, view by view; 0 for those that are missing in the similarity."""
        vectors = (comparison.anchors if comparison.candidates is None else comparison.candidates)[i]
        wide = vectors.to(torch.promote_types(vectors.dtype, torch.float32))
        with no_rounding(wide):
            cosines = cosine_logits(wide, self.prototypes[i].to(wide.dtype), 1.0).values
        known, views = ~self.similarities[i].missing(comparison.pairs[i].candidates), comparison.candidate_origin.views
        assignments = torch.zeros_like(cosines)
        for view in views[known].unique().tolist():
            of_view = known & (views == view)
            assignments[of_view] = sinkhorn(cosines[of_view], self.epsilon, self.iterations)
        return assignments
