"""DCL: the decoupled contrastive loss, and DCLW, which pulls far positives more."""

from __future__ import annotations

from dataclasses import replace

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.method.objectives.base import AnchorLosses, Block, Comparison, Losses, Objective, block_losses, positive
from mscon.method.objectives.supcon import supcon_losses
from mscon.method.template import Logits, cosine_logits, known_weights


class DCL(Objective):
    r"""Decoupled contrastive loss: positives compete with negatives alone, not with themselves.

    With s cosine similarities, p the positives of anchor i and n its negatives, those of weight 0,

        loss_i = log sum_n exp(s_n / temperature) - mean_p omega_p s_p / temperature,
        DCL:   omega = 1,
        DCLW:  omega_p = 2 - exp(s_p / sigma) / mean of that over all positives of the batch, without a gradient.

    DCL is `supcon` with denominator "negatives"; under `same_row` it is the loss of the paper: the other view attracts,
    and all samples of other rows repel. DCLW gives positives that are far more weight than near ones. The mean over
    the batch counts each anchor with a positive and a negative once. The loss may be of any sign, so weightings that
    take its logarithm do not suit it.

    Args:
        temperature: divides cosine similarities, > 0.
        sigma: of DCLW, > 0; its paper uses 0.5. None for DCL.

    Source: Yeh et al. 2022, "Decoupled Contrastive Learning", eq. 6 and 7, https://arxiv.org/abs/2110.06848. Of the
        codes about, one lets the gradient through the weights, lightly's does not, and neither does this.
    """

    needs_negatives = True

    def __init__(self, temperature: float = 0.1, sigma: float | None = None) -> None:
        super().__init__()
        self.temperature: float = positive("temperature", temperature)
        self.sigma = None if sigma is None else positive("sigma", sigma)

    def forward(self, comparison: Comparison) -> Losses:
        assert self.temperature is not None
        losses = supcon_losses(comparison, self.temperature, denominator="negatives")
        return losses if self.sigma is None else self._weighted(losses, comparison, self.sigma, self.temperature)

    def _weighted(self, losses: Losses, comparison: Comparison, sigma: float, temperature: float) -> Losses:
        """With what the weights of DCLW change: mean_p (1 - omega_p) s_p / temperature, for each anchor."""

        def nearness(block: Block) -> AnchorLosses:
            logits, share = _positives(block)
            return _of_counted((share * (logits.values / sigma).exp()).sum(dim=1), share)

        with torch.no_grad():
            near = block_losses(nearness, comparison).per_anchor
            counted = losses.counted.to(near.dtype)
            sums = torch.stack([near * counted, counted])
            exchange = comparison.pairs[0].exchange
            total, count = (sums if exchange is None else exchange(sums)).sum(dim=2)
            mean = total / count.clamp_min(1)

        def correction(block: Block) -> AnchorLosses:
            logits, share = _positives(block)
            omega = 2 - (logits.values.detach() / sigma).exp() / mean[block.similarity]
            return _of_counted((share * (1 - omega) * logits.values).sum(dim=1) / temperature, share)

        more = block_losses(correction, comparison).per_anchor
        return replace(losses, per_anchor=losses.per_anchor + torch.where(losses.counted, more, 0.0))


def _positives(block: Block) -> tuple[Logits, Float[Tensor, "anchors candidates"]]:
    """Cosines, and the share of each positive."""
    logits = cosine_logits(block.anchors, block.candidates, 1.0)
    weights = known_weights(block, logits)
    return logits, weights / weights.sum(dim=1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


def _of_counted(values: Float[Tensor, " anchors"], share: Float[Tensor, "anchors candidates"]) -> AnchorLosses:
    return AnchorLosses(values, (share > 0).any(dim=1))
