"""A loss that does not come with mscon, as a stranger writes one: "decoupled:DCL" in a recipe."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from mscon.method.objectives.base import AnchorLosses, Comparison, Losses, Objective, pair_losses, positive
from mscon.method.pairs import Pairs


class DCL(Objective):
    """Decoupled contrastive loss: positives are not among what they compete with.

    Source: Yeh et al. 2022, eq. 6, https://arxiv.org/abs/2110.06848.
    """

    def __init__(self, temperature: float = 0.1) -> None:
        super().__init__()
        self.temperature: float = positive("temperature", temperature)

    def forward(self, comparison: Comparison) -> Losses:
        return pair_losses(self.formula, comparison)

    def formula(self, anchors: Tensor, candidates: Tensor, pairs: Pairs) -> AnchorLosses:
        logits = normalize(anchors, dim=1) @ normalize(candidates, dim=1).T / self.temperature
        weight, negative = (pairs.weight * pairs.known).to(logits.dtype), pairs.known & (pairs.weight == 0)
        counted = pairs.has_positive & negative.any(dim=1)
        share = weight / weight.sum(dim=1, keepdim=True).clamp_min(torch.finfo(logits.dtype).tiny)
        against = torch.where(negative, logits, -torch.inf).masked_fill(~counted[:, None], 0.0).logsumexp(dim=1)
        chance = negative.sum(dim=1).clamp_min(1).to(logits.dtype).log()
        loss = torch.where(counted, against - (share * logits).sum(dim=1), 0.0)
        return AnchorLosses(loss, counted, chance - 2 / self.temperature, chance)
