"""Small batches: all similarities at once, every pair in memory."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

from mscon.method.kernels.masks import pair_masks
from mscon.method.kernels.path import Competitors, Gradients, wide
from mscon.method.kernels.shift import shift_for
from mscon.method.pairs import Exchange, LazyPairs, Pairs


@dataclass(frozen=True, slots=True)
class Dense:
    """The loss written out for all pairs, with one product for all similarities.

    With e_ij = exp(s_ij) over the known pairs, w_ij the weights of what is alike and n_i their sum,

        L_out = log sum_j e_ij - sum_j w_ij s_ij / n_i,    L_in = log sum_j e_ij - log(sum_j w_ij e_ij / n_i),

    where the first sum may be over the negatives alone. Or with N_i that sum, and each positive competing with itself,

        loss_i = sum_j w_ij log(1 + N_i / e_ij) / n_i.

    At the batch sizes of most people an operation costs more by being called than by its arithmetic, so
    there are as few as will do.

    Attributes:
        weight: w, 0 where nothing is known.
        known: 1, or 0 for pairs left out of every sum. Numbers rather than truth values, which
            torch combines ten times slower on a CPU.
        count: n; infinite, for nothing to come of it, where an anchor is lonely.
        is_lonely: anchors without a positive, or with nothing in the denominator.
        temperature: one for each similarity.
        largest_logit: bound on |s|, at most `LARGEST_LOGIT`.
        inside: L_in instead of L_out.
        negative: 1 where a pair is known and of weight 0, where only such are in the denominator; else None.
        with_itself: each positive competes with itself besides.
        bias: of each logit; None for none.
        reverse: w and what is in the denominator of the candidates as anchors, those here being theirs; only with an
            exchange.
    """

    weight: Float[Tensor, "similarities anchors candidates"]
    known: Float[Tensor, "similarities_or_1 anchors candidates"]
    count: Float[Tensor, "similarities anchors"]
    is_lonely: Bool[Tensor, "similarities anchors"]
    temperature: tuple[float, ...]
    largest_logit: float
    inside: bool
    negative: Float[Tensor, "similarities anchors candidates"] | None = None
    reverse: tuple[Tensor, Tensor] | None = None
    with_itself: bool = False
    bias: Float[Tensor, "similarities anchors candidates"] | None = None

    @classmethod
    def of(
        cls,
        pairs: Sequence[Pairs | LazyPairs],
        temperature: tuple[float, ...],
        largest_logit: float,
        dtype: torch.dtype,
        *,
        inside: bool,
        denominator: Competitors = "all",
    ) -> Dense:
        """Write the pairs out, in the type of the sums."""
        weight, known, positives, _ = pair_masks(pairs, dtype)
        negative = None if denominator == "all" else known * (weight == 0)
        exchanged = [p.reversed() for p in pairs if isinstance(p, LazyPairs) and p.exchange is not None]
        reverse = None
        if exchanged:
            w, k, *_ = pair_masks(exchanged, dtype)
            reverse = w.mT, (k if negative is None else k * (w == 0)).mT
        is_lonely = positives == 0
        if negative is not None:
            is_lonely |= negative.sum(dim=2) == 0
        return cls(
            weight,
            known,
            positives.masked_fill(is_lonely, math.inf),
            is_lonely,
            temperature,
            largest_logit,
            inside,
            negative,
            reverse,
            denominator == "negatives_and_itself",
            _bias(pairs, dtype),
        )

    def forward(self, anchors: Tensor, candidates: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        a, c = wide(anchors), wide(anchors if candidates is None else candidates)
        logits = self._logits(a, c)
        e = logits.exp().mul_(self.known)
        total = self._competing(e).sum(dim=2)
        if self.with_itself:
            total.masked_fill_(self.is_lonely, 1.0)
            ahead = total.log().unsqueeze(2) - logits  # of all negatives together
            share = ahead.sigmoid().mul_(self.weight)
            loss = softplus(ahead, threshold=40).mul_(self.weight).sum(dim=2).div_(self.count)
            return loss, (e, total, self.count, share.sum(dim=2).div_(self.count))
        total.masked_fill_(self.is_lonely, math.inf)
        if self.inside:
            alike = (e * self.weight).sum(dim=2).masked_fill_(self.is_lonely, math.inf)
            loss = (total * self.count).div_(alike).log_()
        else:
            alike = self.count
            loss = total.log().sub_(logits.mul_(self.weight).sum(dim=2).div_(alike))
        return loss.masked_fill_(self.is_lonely, 0.0), (e, total, alike)

    def backward(
        self,
        anchors: Tensor,
        candidates: Tensor | None,
        saved: tuple[Tensor, ...],
        grad: Tensor,
        *,
        wants_candidates: bool,
        exchange: Exchange | None = None,
    ) -> Gradients:
        e, total, alike, *share = saved
        # d loss_i / d s_ij = e_ij / total_i - [w_ij / n_i, or w_ij e_ij over its sum]; or, with the share that the
        # negatives have in D_ij = N_i + e_ij on average and of one j, share_i e_ij / N_i - w_ij / n_i N_i / D_ij.
        repel, attract = grad / total, grad / alike
        if share:
            repel = repel * share[0]
        pull = self._competing(e) * repel.unsqueeze(2)
        pull.addcmul_(self._attracting(e, self.weight, total.unsqueeze(2)), attract.unsqueeze(2), value=-1)
        a = wide(anchors)
        if exchange is not None and candidates is not None:
            everyone = exchange(torch.stack([repel, attract, total] if share else [repel, attract]))
            c = wide(candidates)
            return self._product(pull.add_(self._pull_of_candidates(a, c, everyone)), c), None
        if candidates is None:
            return self._product(pull + pull.mT, a), None
        return self._product(pull, wide(candidates)), self._product(pull.mT, a) if wants_candidates else None

    def _competing(self, e: Tensor) -> Tensor:
        """What of exp(s) is in the denominator."""
        return e if self.negative is None else e * self.negative

    def _attracting(self, e: Tensor, weight: Tensor, total: Tensor) -> Tensor:
        """How strongly a positive attracts, beside what all positives of the anchor are divided by."""
        if self.with_itself:
            return weight * (total / (e + total))
        return e * weight if self.inside else weight

    def _pull_of_candidates(self, a: Tensor, c: Tensor, everyone: Tensor) -> Tensor:
        """What the losses of the candidates, as anchors, add to d / d s_ij."""
        assert self.reverse is not None
        weight, competing = self.reverse
        repel, attract, *total = everyone.unsqueeze(3).mT
        e = self._logits(a, c).exp_()
        weight = self._attracting(e, weight, total[0] if total else repel)
        return e.mul_(competing).mul_(repel).addcmul_(weight, attract, value=-1)

    def _logits(self, a: Tensor, c: Tensor) -> Tensor:
        logits = self._product(a, c.mT)
        if shift := shift_for(self.largest_logit):
            logits.sub_(shift)
        return logits if self.bias is None else logits.add_(self.bias)

    def _product(self, left: Tensor, right: Tensor) -> Tensor:
        """left @ right / temperature, for every similarity."""
        if len(set(self.temperature)) == 1:
            return torch.baddbmm(left.new_empty(1), left, right, beta=0, alpha=1 / self.temperature[0])
        scale = torch.tensor(self.temperature, dtype=torch.float64).reciprocal().to(left)
        return torch.bmm(left, right).mul_(scale[:, None, None])


def _bias(
    pairs: Sequence[Pairs | LazyPairs], dtype: torch.dtype
) -> Float[Tensor, "similarities anchors candidates"] | None:
    biases = [p.bias for p in pairs if isinstance(p, LazyPairs) and p.bias is not None]
    return torch.stack([a[:, None] + c for a, c in biases]).to(dtype) if biases else None
