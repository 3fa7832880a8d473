"""Anything at any batch size: pairs computed block by block, with a running maximum for each anchor."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from mscon.method.kernels.path import Competitors, Gradients, wide
from mscon.method.pairs import Exchange, LazyPairs, Pairs

# Rows and columns of a block: 256 x 2,048 float32 logits are 2 MB, a handful of which stay in the caches of a
# core; on a GPU the launches are what costs.
_BLOCK = {"cpu": (256, 2_048), "cuda": (4_096, 8_192)}


@dataclass(frozen=True, slots=True)
class Online:
    """Blocks of anchors against blocks of candidates; any weights, any temperature, any length of vectors.

    No exponential exceeds 1: `forward` rescales its sums whenever an anchor meets a nearer candidate,
    `backward` knows the sums. Nothing is symmetric in that, so it costs half as much again as `Tiles`,
    and as much as the similarity takes to compare a block.

    Attributes:
        pairs: one for each similarity.
        temperature: one for each similarity.
        inside: positives inside the logarithm (L_in).
        denominator: what positives compete with.
        block: rows and columns of a block; None for what suits the device.
    """

    pairs: tuple[Pairs | LazyPairs, ...]
    temperature: tuple[float, ...]
    inside: bool
    denominator: Competitors = "all"
    block: tuple[int, int] | None = None

    def forward(self, anchors: Tensor, candidates: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        losses = wide(anchors.new_zeros(anchors.shape[:2]))
        # Of each anchor: log of the sum over candidates; and over what is alike the sum of weights, or for
        # positives inside the log of the sum of weighted exponentials. Infinite without a positive.
        log_sums, alikes = torch.zeros_like(losses), torch.zeros_like(losses)
        is_coupled = self.denominator == "negatives_and_itself"
        shares = torch.zeros_like(losses)  # where it is, what the negatives have on average of what a positive meets
        height, width = self.block or _BLOCK.get(anchors.device.type, _BLOCK["cpu"])
        for h, (pairs, t) in enumerate(zip(self.pairs, self.temperature, strict=True)):
            a, c = anchors[h], (anchors if candidates is None else candidates)[h]
            for rows in _spans(a.shape[0], height):
                everyone, alike = _RunningLogSum(losses[h, rows]), _RunningLogSum(losses[h, rows])
                total, attraction = torch.zeros_like(losses[h, rows]), torch.zeros_like(losses[h, rows])
                for columns in _spans(c.shape[0], width):
                    logits, weight, known = _block(a, c, pairs, rows, columns, t)
                    total += weight.sum(dim=1)
                    if self.inside:
                        alike.add(logits + weight.log())
                    else:
                        attraction += (weight * logits).sum(dim=1)
                    everyone.add(logits.masked_fill_(~self._competing(weight, known), -torch.inf))
                counted = (total > 0) & ~everyone.highest.isinf()
                log_sums[h, rows] = everyone.value()
                alikes[h, rows] = torch.where(counted, alike.value() if self.inside else total, torch.inf)
                drawn = alike.value() - total.log() if self.inside else attraction / total
                losses[h, rows] = torch.where(counted, log_sums[h, rows] - drawn, 0.0)
                if is_coupled:  # whose sum of negatives must be known first
                    loss = torch.zeros_like(total)
                    for columns in _spans(c.shape[0], width):
                        logits, weight, _ = _block(a, c, pairs, rows, columns, t)
                        ahead = log_sums[h, rows, None] - logits
                        loss += (weight * softplus(ahead, threshold=40)).sum(dim=1)
                        shares[h, rows] += ahead.sigmoid_().mul_(weight).sum(dim=1)
                    losses[h, rows], shares[h, rows] = loss / alikes[h, rows], shares[h, rows] / alikes[h, rows]
        return losses, (log_sums, alikes, *([shares] if is_coupled else []))

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
        log_sums, alikes, *shares = saved
        scale = 1 / torch.tensor(self.temperature, dtype=torch.float64).to(grad)
        # Of each anchor: its pull per nat, and what its softmax and its share of positives are divided by.
        of_here = torch.stack([torch.where(alikes.isinf(), 0.0, grad) * scale[:, None], log_sums, alikes, *shares])
        everyone = None if exchange is None else exchange(of_here)
        if everyone is not None:  # 0 for what is no anchor
            everyone[2].masked_fill_(everyone[0] == 0, torch.inf)
        height, width = self.block or _BLOCK.get(anchors.device.type, _BLOCK["cpu"])
        of_anchors = wide(torch.zeros_like(anchors))
        of_candidates = (
            of_anchors if candidates is None else wide(torch.zeros_like(candidates)) if wants_candidates else None
        )
        for h, (pairs, t) in enumerate(zip(self.pairs, self.temperature, strict=True)):
            a, c = anchors[h], (anchors if candidates is None else candidates)[h]
            for rows in _spans(a.shape[0], height):
                for columns in _spans(c.shape[0], width):
                    logits, weight, known = _block(a, c, pairs, rows, columns, t)
                    pull = self._pull(logits, weight, known, of_here[:, h, rows, None])
                    if everyone is not None:
                        assert isinstance(pairs, LazyPairs)
                        back = _block(c, a, pairs.reversed(), columns, rows, t)
                        pull += self._pull(*back, everyone[:, h, columns, None]).T
                    of_anchors[h, rows].addmm_(pull, wide(c[columns]))
                    if of_candidates is not None:
                        of_candidates[h, columns].addmm_(pull.T, wide(a[rows]))
        return of_anchors, None if candidates is None else of_candidates

    def _pull(self, logits: Tensor, weight: Tensor, known: Tensor, of_rows: Tensor) -> Tensor:
        """d loss / d logit, in the memory of the arguments; `of_rows` as in `backward`."""
        pull_per_nat, log_sums, alike, *of_negatives = of_rows
        competing = self._competing(weight, known)
        if of_negatives:
            share = weight.div_(alike).mul_((log_sums - logits).sigmoid_())
        else:
            share = _exp(weight.log().add_(logits).sub_(alike)) if self.inside else weight.div_(alike)
        # What is in no sum may be nearer than all that was summed over: above 0 here.
        softmax = _exp(logits.sub_(log_sums).clamp_max_(0)).mul_(competing)
        if of_negatives:
            softmax.mul_(of_negatives[0])
        return softmax.sub_(share).mul_(pull_per_nat)

    def _competing(self, weight: Tensor, known: Tensor) -> Tensor:
        return known if self.denominator == "all" else known & (weight == 0)


class _RunningLogSum:
    """log of a sum of exponentials of which blocks arrive one by one."""

    def __init__(self, like: Float[Tensor, " rows"]) -> None:
        self.highest = torch.full_like(like, -torch.inf)
        self.sum = torch.zeros_like(like)

    def add(self, logits: Float[Tensor, "rows columns"]) -> None:
        highest = torch.maximum(self.highest, logits.amax(dim=1))
        # A row that has met nothing but -inf yet: 0 stands in, -inf - -inf would be NaN.
        finite = torch.where(highest.isinf(), 0.0, highest)
        self.sum = self.sum * (self.highest - finite).exp() + _exp(logits - finite.unsqueeze(1)).sum(dim=1)
        self.highest = highest

    def value(self) -> Float[Tensor, " rows"]:
        """0 for rows that met nothing."""
        return torch.where(self.highest.isinf(), 0.0, self.sum.log() + self.highest)


def _exp(exponents: Tensor) -> Tensor:
    """exp, in place, of numbers up to 0, next to 1 somewhere in their row.

    The least come out as 1e-26 instead of less, which is nothing beside 1 but no underflow: a CPU takes ten
    times as long for numbers that vanish.
    """
    return exponents.clamp_min_(-60).exp_()


def _spans(length: int, size: int) -> Iterator[slice]:
    return (slice(k, min(k + size, length)) for k in range(0, length, size))


def _block(
    a: Tensor, c: Tensor, pairs: Pairs | LazyPairs, rows: slice, columns: slice, temperature: float
) -> tuple[Tensor, Tensor, Tensor]:
    """Logits, weights (0 where unknown) and what is known of some anchors against some candidates."""
    logits = (wide(a[rows]) @ wide(c[columns]).T).div_(temperature)
    if isinstance(pairs, LazyPairs) and pairs.bias is not None:
        of_anchors, of_candidates = pairs.bias
        logits.add_(of_anchors[rows, None]).add_(of_candidates[columns])
    block = pairs.block(rows, columns)
    return logits, block.weight.to(logits.dtype).masked_fill(~block.known, 0.0).clamp_min_(0), block.known
