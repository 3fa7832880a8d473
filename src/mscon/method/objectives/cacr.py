"""CACR: far positives are drawn more than near ones, and near negatives are pushed more than far ones."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.method.kernels.lengths import lengths_of
from mscon.method.objectives.base import AnchorLosses, Block, Comparison, Losses, Objective, block_losses, positive
from mscon.method.template import cosine_logits, known_weights, log_mask, shares


class CACR(Objective):
    r"""Contrastive attraction and contrastive repulsion.

    With d the squared distances of embeddings of unit length, p the positives of anchor i with weights w, and n its
    negatives, those of weight 0,

        a_ip = w_p exp(t_positive d_p) / sum_p' w_p' exp(t_positive d_p'),
        r_in = exp(-t_negative d_n) / sum_n' exp(-t_negative d_n'),
        loss_i = alpha sum_p a_ip d_p - beta sum_n r_in d_n.

    Positives compete with positives and negatives with negatives, so there is no denominator that couples them. With
    one positive per anchor, as with two views, its attraction is the plain squared distance; the paper has four views.
    Its values lie between -4 beta and 4 alpha, so weightings that take its logarithm do not suit it. In place of a
    temperature it has `t_positive` and `t_negative`.

    Args:
        t_positive, t_negative: how much more far positives, and near negatives, count; > 0. The authors take 0.9 to 3
            for negatives.
        alpha, beta: weights of attraction and repulsion, > 0.
        detach_weights: no gradient through the weights a and r, as in the authors' large-scale code; their code of
            small experiments, and the default here, has it.

    Source: Zheng et al. 2021, "Contrastive Attraction and Contrastive Repulsion for Representation Learning",
        https://arxiv.org/abs/2105.03746, and https://github.com/JegZheng/CACR-SSL. Its variants with other costs and
        with a correction for negatives that are none (debiased) are not included.
    """

    needs_negatives = True

    def __init__(
        self,
        t_positive: float = 1.0,
        t_negative: float = 2.0,
        alpha: float = 1.0,
        beta: float = 1.0,
        detach_weights: bool = False,
    ) -> None:
        super().__init__()
        self.t_positive, self.t_negative = positive("t_positive", t_positive), positive("t_negative", t_negative)
        self.alpha, self.beta = positive("alpha", alpha), positive("beta", beta)
        self.detach_weights = detach_weights

    def forward(self, comparison: Comparison) -> Losses:
        for vectors, name in ((comparison.anchors, "anchors"), (comparison.candidates, "candidates")):
            if vectors is not None:
                lengths_of(vectors, name)  # complains of what has no direction
        return block_losses(self._losses_of, comparison)

    def _losses_of(self, block: Block) -> AnchorLosses:
        logits = cosine_logits(block.anchors, block.candidates, 1.0)
        squared = 2 - 2 * logits.values
        weights, negative = known_weights(block, logits), block.pairs.negative
        attraction = self._mean(squared, self.t_positive, weights.log())
        repulsion = self._mean(squared, -self.t_negative, log_mask(negative, squared))
        counted = (weights > 0).any(dim=1) & negative.any(dim=1)
        loss = torch.where(counted, self.alpha * attraction - self.beta * repulsion, 0.0)
        return AnchorLosses(loss, counted, torch.where(counted, -4 * self.beta, 0.0), torch.zeros_like(loss))

    def _mean(
        self, squared: Float[Tensor, "anchors candidates"], t: float, log_weights: Float[Tensor, "anchors candidates"]
    ) -> Float[Tensor, " anchors"]:
        """Mean of squared distances with weights proportional to exp(t squared)."""
        share = shares(t * squared, log_weights)
        return ((share.detach() if self.detach_weights else share) * squared).sum(dim=1)
