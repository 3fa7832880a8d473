"""Competition: which candidates each positive meets in the template of contrastive losses, and log-sums over them."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import pad

NEVER = -1e30
"""Stands for the log of a weight of 0. Sums of nothing are then finite, so that backward meets no NaN; no exponential
is nearly as small, so nothing comes of it beside a competitor."""


@dataclass(frozen=True, slots=True)
class Competition:
    """Of some anchors. Where positives meet the less alike only, candidates stand in that order, the least alike first.

    Attributes:
        log_weights: of each candidate as a competitor; -inf if it does not compete.
        itself: weight with which a positive competes with itself beyond that.
        upto: of each candidate as a positive, how many of the first it meets; None for all.
        below: the same without those that are as alike as itself.
    """

    log_weights: Float[Tensor, "anchors candidates"]
    itself: float
    upto: Int[Tensor, "anchors candidates"] | None = None
    below: Int[Tensor, "anchors candidates"] | None = None

    @classmethod
    def of_ranked(
        cls,
        log_weights: Float[Tensor, "anchors candidates"],
        itself: float,
        alikeness: Float[Tensor, "anchors candidates"],
        *,
        ties: bool,
    ) -> Competition:
        """Of candidates in the order of how alike they are; `ties`: what is equally alike competes too."""
        alikeness = alikeness.contiguous()
        below = torch.searchsorted(alikeness, alikeness)
        return cls(log_weights, itself, torch.searchsorted(alikeness, alikeness, right=True) if ties else below, below)

    @property
    def competing(self) -> Bool[Tensor, "anchors candidates"]:
        return self.log_weights > -torch.inf

    @property
    def meets(self) -> Bool[Tensor, "anchors _"]:
        """Whether a candidate, as a positive, meets any competitor but itself; one column where that is the same."""
        if self.upto is None:
            return self.competing.any(dim=1, keepdim=True)
        return pad(self.competing.cumsum(dim=1), (1, 0)).gather(1, self.upto) > 0

    @property
    def among_own(self) -> Bool[Tensor, "anchors candidates"]:
        """Whether a candidate, as a positive, is among those that it meets."""
        only_less_alike = self.upto is not None and self.upto is self.below
        return torch.zeros_like(self.competing) if only_less_alike else self.competing

    def log_sums(self, near: Tensor, far: Tensor) -> Float[Tensor, "anchors _"]:
        """log D of each candidate as a positive of logit `near` whose competitors have logits `far`."""
        if far.dim() < 2 or far.shape[1] == 1:
            sums = self._log_totals() + far
        else:
            weighed = far + self.log_weights.clamp_min(NEVER)
            if self.upto is None:
                sums = weighed.logsumexp(dim=1, keepdim=True)
            else:
                sums = weighed.logcumsumexp(dim=1).gather(1, (self.upto - 1).clamp_min(0))
        if near is not far and (is_in := self.among_own).any():
            more = near + self.log_weights + torch.log1p(-(far - near).exp())
            sums = torch.logaddexp(sums, torch.where(is_in, more, NEVER))
        if self.itself:
            sums = torch.logaddexp(sums, near + torch.tensor(self.itself, dtype=sums.dtype).log())
        return sums

    def _log_totals(self) -> Float[Tensor, "anchors _"]:
        """log of the weights of all competitors that each candidate meets."""
        if self.upto is None:
            return self.log_weights.clamp_min(NEVER).logsumexp(dim=1, keepdim=True)
        totals = pad(self.log_weights.exp().cumsum(dim=1), (1, 0)).gather(1, self.upto)
        return totals.log().clamp_min(NEVER)

    def entropy(self, share: Float[Tensor, "anchors candidates"], *, inside: bool) -> Float[Tensor, " anchors"]:
        """Least loss of positives that compete with one another; -inf for anchors of which some do not.

        -sum_p v_p log q_p is least at q = v, for each group of positives that meet the same competitors.

        Args:
            share: v, of each positive.
            inside: the sum over positives stands inside the logarithm.
        """
        is_positive, group = share > 0, share.sum(dim=1, keepdim=True)
        if self.upto is not None and self.below is not None:
            total = pad(share.cumsum(dim=1), (1, 0))
            group = total.gather(1, self.upto) - total.gather(1, self.below)
        each = torch.where(is_positive, self.log_weights - (share / group).log(), 0.0)
        if inside:
            least = torch.where(is_positive, each, torch.inf).amin(dim=1)
        else:
            least = torch.where(is_positive, share * each, 0.0).sum(dim=1)
        return torch.where((self.among_own | ~is_positive).all(dim=1), least, -torch.inf)
