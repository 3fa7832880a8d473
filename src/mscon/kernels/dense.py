"""Small batches: all similarities at once, every pair in memory."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from mscon.kernels.path import Gradients, wide
from mscon.kernels.shift import shift_for
from mscon.pairs import LazyPairs, Pairs


@dataclass(frozen=True, slots=True)
class Dense:
    """The loss written out for all pairs, with one product for all similarities.

    With e_ij = exp(s_ij) and q_ij the share of candidate j in what is alike to anchor i,

        L_out = log sum_j e_ij - sum_j q_ij s_ij,    L_in = log sum_j e_ij - log sum_j q_ij e_ij.

    The gradient to s_ij is the softmax minus q_ij, or minus q_ij e_ij over its sum. That difference is
    formed in `forward`, where both are at hand, and is all that `backward` needs.

    Attributes:
        share: q, whose rows sum to 1; 0 for anchors without a positive.
        known: 1, or 0 for pairs left out of every sum. Numbers rather than truth values, which
            torch combines ten times slower on a CPU.
        is_lonely: anchors without a positive.
        temperature: one for each similarity.
        largest_logit: bound on |s|, at most `LARGEST_LOGIT`.
        inside: L_in instead of L_out.
    """

    share: Float[Tensor, "similarities anchors candidates"]
    known: Float[Tensor, "similarities_or_1 anchors candidates"]
    is_lonely: Bool[Tensor, "similarities anchors"]
    temperature: tuple[float, ...]
    largest_logit: float
    inside: bool

    @classmethod
    def of(
        cls,
        pairs: Sequence[Pairs | LazyPairs],
        temperature: tuple[float, ...],
        largest_logit: float,
        dtype: torch.dtype,
        *,
        inside: bool,
    ) -> Dense:
        """Write the pairs out, in the type of the sums."""
        partitions = [p for p in pairs if isinstance(p, LazyPairs) and p.is_partition]
        weight, known = _classes(partitions, dtype) if len(partitions) == len(pairs) else _written_out(pairs, dtype)
        total = weight.sum(dim=2, keepdim=True)
        is_lonely = total.squeeze(2) == 0
        return cls(_divided(weight, total), known, is_lonely, temperature, largest_logit, inside)

    def forward(self, anchors: Tensor, candidates: Tensor | None) -> tuple[Tensor, tuple[Tensor, ...]]:
        a, c = wide(anchors), wide(anchors if candidates is None else candidates)
        logits = torch.bmm(a, c.mT).mul_(self._scale(a))
        if shift := shift_for(self.largest_logit):
            logits.sub_(shift)
        softmax = logits.exp().mul_(self.known)
        if self.inside:
            share = self.share * softmax
            total_share = share.sum(dim=2, keepdim=True)
            share = _divided(share, total_share)
            attraction = total_share.log_()
        else:
            share = self.share
            attraction = logits.mul_(share).sum(dim=2, keepdim=True)
        total = softmax.sum(dim=2, keepdim=True)
        pull = _divided(softmax, total).sub_(share)
        return total.log_().sub_(attraction).squeeze(2).masked_fill_(self.is_lonely, 0.0), (pull,)

    def backward(
        self,
        anchors: Tensor,
        candidates: Tensor | None,
        kept: tuple[Tensor, ...],
        grad: Tensor,
        *,
        wants_candidates: bool,
    ) -> Gradients:
        pull = kept[0] * grad.masked_fill(self.is_lonely, 0.0).unsqueeze(2).mul_(self._scale(grad))
        a = wide(anchors)
        if candidates is None:
            return torch.bmm(pull + pull.mT, a), None
        return torch.bmm(pull, wide(candidates)), torch.bmm(pull.mT, a) if wants_candidates else None

    def _scale(self, like: Tensor) -> Tensor | float:
        if len(set(self.temperature)) == 1:
            return 1 / self.temperature[0]
        return torch.tensor(self.temperature, dtype=torch.float64).reciprocal().to(like)[:, None, None]


def _divided(rows: Tensor, totals: Tensor) -> Tensor:
    """Rows divided, in place, by their totals; a total of 0 is made the least number there is, in place."""
    return rows.div_(totals.clamp_min_(torch.finfo(totals.dtype).tiny))


def _classes(pairs: Sequence[LazyPairs], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """Weight and known of partitions, all compared in one go."""
    a, c = _numbers([p.anchors for p in pairs], [p.candidates for p in pairs])
    other = _compared(torch.ne, *_numbers([p.anchor_ids for p in pairs], [p.candidate_ids for p in pairs]), dtype)
    if not (a < 0).any() and not (c is not a and (c < 0).any()):
        return _compared(torch.eq, a, c, dtype).mul_(other), other
    # Nothing is known of an anchor without a label either, but it has no positive, so its row does not count.
    weight = _compared(torch.eq, a.masked_fill(a < 0, torch.nan), c, dtype).mul_(other)
    return weight, other * (c >= 0).to(dtype)[:, None, :]


def _numbers(anchors: Sequence[Tensor], candidates: Sequence[Tensor]) -> tuple[Tensor, Tensor]:
    """Integers of all similarities as exact floats; the same tensor twice where both sides are the same."""
    a = _stacked(anchors)
    return a, a if all(x is y for x, y in zip(anchors, candidates, strict=True)) else _stacked(candidates)


def _stacked(rows: Sequence[Int[Tensor, " rows"]]) -> Float[Tensor, "similarities_or_1 rows"]:
    """A single row where one tensor serves all similarities, as ids do in a batch."""
    integers = rows[0][None] if all(r is rows[0] for r in rows) else torch.stack(list(rows))
    return integers.to(torch.float32 if integers.abs().max() <= 2**24 else torch.float64)


def _compared(
    relation: Callable[..., Tensor],
    a: Float[Tensor, "s anchors"],
    c: Float[Tensor, "s candidates"],
    dtype: torch.dtype,
) -> Float[Tensor, "s anchors candidates"]:
    """1 where the relation holds, else 0; as numbers at once, since truth values take a CPU ten times as long."""
    return relation(a[:, :, None], c[:, None, :], out=a.new_empty(a.shape[0], a.shape[1], c.shape[1], dtype=dtype))


def _written_out(pairs: Sequence[Pairs | LazyPairs], dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    written: list[Pairs] = [p.dense() if isinstance(p, LazyPairs) else p for p in pairs]
    known = torch.stack([p.known for p in written])
    return torch.stack([p.weight for p in written]).to(dtype).masked_fill_(~known, 0.0), known.to(dtype)
