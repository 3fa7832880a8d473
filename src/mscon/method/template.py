"""The template of contrastive losses: one formula, and what a named loss chooses of it."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize, pad

from mscon.method.competition import NEVER, Competition
from mscon.method.kernels.lengths import lengths_of
from mscon.method.kernels.path import Positives
from mscon.method.kernels.precision import products
from mscon.method.objectives.base import (
    AnchorLosses,
    Block,
    Comparison,
    Losses,
    Objective,
    anchors_at_once,
    block_losses,
    positive,
)

PairLoss = Callable[[Float[Tensor, "anchors candidates"], Float[Tensor, "anchors candidates"]], Tensor]
"""Logit of a positive and log-sum of what it competes with -> loss of the pair."""


class Logits(NamedTuple):
    """How near candidates are to anchors, divided by a temperature.

    Attributes:
        values: a logit each pair.
        lowest, highest: least and greatest value that each logit can have; numbers, or of a shape that broadcasts.
            Embeddings that all coincide have the highest.
    """

    values: Float[Tensor, "anchors candidates"]
    lowest: Tensor
    highest: Tensor


def cosine_logits(
    anchors: Float[Tensor, "anchors dim"],
    candidates: Float[Tensor, "candidates dim"],
    temperature: float | Tensor,
) -> Logits:
    """Cosine similarities divided by a temperature: a number, or a tensor [anchors, 1] or [anchors, candidates]."""
    highest = 1 / torch.as_tensor(temperature, dtype=anchors.dtype, device=anchors.device)
    return Logits(products(normalize(anchors, dim=1), normalize(candidates, dim=1)) * highest, -highest, highest)


def distance_logits(
    anchors: Float[Tensor, "anchors dim"],
    candidates: Float[Tensor, "candidates dim"],
    temperature: float | Tensor,
) -> Logits:
    """Euclidean distances divided by a temperature, below 0; of vectors of any length."""
    # Not by the product of matrices: near distances are what counts, and it would lose their digits.
    distances = torch.cdist(anchors, candidates, compute_mode="donot_use_mm_for_euclid_dist")
    return Logits(-distances / temperature, distances.new_tensor(-torch.inf), distances.new_zeros(()))


def log_mask(mask: Bool[Tensor, "*any"], like: Tensor) -> Tensor:
    """0 where true and -inf where false: log-weights of what competes, in the type of a tensor."""
    return torch.where(mask, 0.0, -torch.inf).to(like.dtype)


@dataclass(frozen=True, slots=True)
class Terms:
    """What a loss chooses for some anchors and their candidates.

    Attributes:
        positives: how much each positive counts, omega; 0 for what is no positive. Only proportions matter.
        log_weights: log w, with what weight a candidate competes with the positives; -inf if it does not.
        itself: alpha, with what weight a positive competes with itself beyond `log_weights`: 1 if it is not among
            them but shall be in its own sum, 0 if it is, or in a decoupled loss.
        alikeness: how alike each candidate is, where a positive competes with the less alike only; None for all.
        ties: with `alikeness`, candidates that are as alike as the positive compete too, itself among them.
    """

    positives: Float[Tensor, "anchors candidates"]
    log_weights: Float[Tensor, "anchors candidates"]
    itself: float = 0.0
    alikeness: Float[Tensor, "anchors candidates"] | None = None
    ties: bool = False


def log_ratio(near: Tensor, log_sum: Tensor) -> Tensor:
    """-log of the share of the positive in what it competes with."""
    return log_sum - near


def log_sum(
    logits: Float[Tensor, "anchors candidates"], log_weights: Float[Tensor, "anchors candidates"]
) -> Float[Tensor, " anchors"]:
    """log sum_a w_a exp(s_a) of each anchor; finite, and below any such sum, where there is nothing to add up."""
    return (logits + log_weights.clamp_min(NEVER)).logsumexp(dim=1)


def shares(
    logits: Float[Tensor, "anchors candidates"], log_weights: Float[Tensor, "anchors candidates"]
) -> Float[Tensor, "anchors candidates"]:
    """w_a exp(s_a) as a share of the sum of each anchor; of equal size where there is nothing to add up."""
    return (logits + log_weights.clamp_min(NEVER)).softmax(dim=1)


def template_losses(
    logits: Logits, terms: Terms, *, logarithm: Positives = "outside", pair_loss: PairLoss = log_ratio
) -> AnchorLosses:
    r"""The template, for some anchors and all their candidates.

    With s the logits, omega, w and alpha as in `Terms` and N(i, p) the candidates that positive p of anchor i meets,

        D_ip = alpha exp(s_ip) + sum_{a in N(i, p)} w_ia exp(s_ia),
        loss_i = sum_p omega_ip (log D_ip - s_ip) / sum_p omega_ip,

    or with the sum inside the logarithm, loss_i = -log( sum_p omega_ip exp(s_ip) / D_ip / sum_p omega_ip ). Sums are
    over positives that meet any competitor besides themselves.

    The ceiling is the loss at the highest logits. The floor takes each pair by itself, at its highest logit and the
    lowest of its competitors; where all positives compete with one another it is the entropy of their shares, if that
    is more. Of losses that are not the plain logarithm, `pair_loss` must fall with s and grow with D.

    Args:
        logits: of cosines or distances.
        terms: positives and competitors.
        logarithm: "outside" (L_out) or "inside" (L_in), where the sum over positives stands.
        pair_loss: what stands in place of log D - s.

    Returns:
        Exactly 0, with a gradient of 0, for anchors of which no positive meets a competitor.
    """
    logits, terms, competition = _competition(logits, terms)
    share = _share(terms, competition)

    def mean(pairs: Float[Tensor, "anchors _"]) -> Float[Tensor, " anchors"]:
        if logarithm == "inside":
            each = torch.where(share > 0, share.clamp_min(torch.finfo(share.dtype).tiny).log() - pairs, NEVER)
            return -torch.where(counted[:, None], each, 0.0).logsumexp(dim=1)
        return torch.where(share > 0, share * pairs, 0.0).sum(dim=1)

    counted = (share > 0).any(dim=1)
    loss = mean(pair_loss(logits.values, competition.log_sums(logits.values, logits.values)))
    with torch.no_grad():
        highest, lowest = logits.highest, logits.lowest
        ceiling = mean(pair_loss(highest, competition.log_sums(highest, highest)))
        floor = mean(pair_loss(highest, competition.log_sums(highest, lowest)))
        if pair_loss is log_ratio and not terms.itself:
            floor = torch.maximum(floor, competition.entropy(share, inside=logarithm == "inside"))
    loss, floor, ceiling = (torch.where(counted, values, 0.0) for values in (loss, floor, ceiling))
    return AnchorLosses(loss, counted, floor, ceiling)


def greatest_losses(logits: Logits, terms: Terms, pair_loss: PairLoss = log_ratio) -> Float[Tensor, " anchors"]:
    """What no loss of the template exceeds: each pair at its lowest logit and its competitors at their highest.

    Of terms in which no positive is among its own competitors.
    """
    logits, terms, competition = _competition(logits, terms)
    share = _share(terms, competition)
    pairs = pair_loss(logits.lowest, competition.log_sums(logits.lowest, logits.highest))
    return torch.where(share > 0, share * pairs, 0.0).sum(dim=1)


def with_constant_positive(logits: Logits, terms: Terms) -> tuple[Logits, Terms]:
    """One more candidate for all anchors: a positive at the highest logit, that competes with nobody but itself.

    So an anchor without positives of its own is pushed away from its competitors until they are far: the contrastive
    term of cMIM, whose positive is the code itself.
    """
    column = logits.highest.expand_as(logits.values)[:, :1]
    of_column = replace(
        terms,
        positives=pad(terms.positives, (0, 1), value=1.0),
        log_weights=pad(terms.log_weights, (0, 1), value=-torch.inf),
        alikeness=None if terms.alikeness is None else pad(terms.alikeness, (0, 1), value=torch.inf),
    )
    lowest, highest = (
        torch.cat([bound.expand_as(logits.values), column], dim=1) for bound in (logits.lowest, logits.highest)
    )
    return Logits(torch.cat([logits.values, column], dim=1), lowest, highest), of_column


def _competition(logits: Logits, terms: Terms) -> tuple[Logits, Terms, Competition]:
    """Who meets whom; logits and terms in the order of how alike candidates are, where that matters."""
    if terms.alikeness is None:
        return logits, terms, Competition(terms.log_weights, terms.itself)
    matters = (terms.positives > 0) | (terms.log_weights > -torch.inf)
    alikeness, order = torch.where(matters, terms.alikeness, torch.inf).sort(dim=1)

    def in_order(values: Tensor) -> Tensor:
        is_one_for_all = values.dim() < 2 or values.shape[1] == 1
        return values if is_one_for_all else values.expand_as(order).gather(1, order)

    terms = replace(terms, positives=in_order(terms.positives), log_weights=in_order(terms.log_weights))
    competition = Competition.of_ranked(terms.log_weights, terms.itself, alikeness, ties=terms.ties)
    return Logits(*map(in_order, logits)), terms, competition


def _share(terms: Terms, competition: Competition) -> Float[Tensor, "anchors candidates"]:
    """Of each positive in the mean of its anchor; 0 for those that meet nobody."""
    weights = torch.where((terms.positives > 0) & competition.meets, terms.positives, 0.0)
    return weights / weights.sum(dim=1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)


class Template(Objective, ABC):
    """A loss that the template covers: it chooses `terms`. Subclasses are final.

    All pairs of some anchors are written out at a time, and backward computes blocks again, so memory stays bounded
    at any batch size. Time grows with anchors * candidates.

    Args:
        temperature: divides cosine similarities, > 0.
    """

    def __init__(self, temperature: float) -> None:
        super().__init__()
        self.temperature: float = positive("temperature", temperature)

    def logits(self, block: Block) -> Logits:
        """How near the candidates of a block are. By default cosines divided by the temperature."""
        assert self.temperature is not None
        return cosine_logits(block.anchors, block.candidates, self.temperature)

    @abstractmethod
    def terms(self, block: Block, logits: Logits) -> Terms:
        """Positives and competitors of the anchors of a block."""

    def losses_of(self, block: Block) -> AnchorLosses:
        """The losses of the anchors of a block."""
        logits = self.logits(block)
        return template_losses(logits, self.terms(block, logits))

    def anchors_at_once(self, candidates: int, dim: int) -> int:
        """For how many anchors pairs are written out at once."""
        return anchors_at_once(candidates, dim)

    def forward(self, comparison: Comparison) -> Losses:
        for vectors, name in ((comparison.anchors, "anchors"), (comparison.candidates, "candidates")):
            if vectors is not None:
                lengths_of(vectors, name)  # complains of what has no direction
        return block_losses(self.losses_of, comparison, anchors_at_once=self.anchors_at_once)


def known_weights(block: Block, logits: Logits) -> Float[Tensor, "anchors candidates"]:
    """How alike the candidates of a block are, in the type of its logits: 0 where unknown or below 0."""
    return block.pairs.weight.to(logits.values.dtype).masked_fill(~block.pairs.known, 0.0).clamp_min(0)


def against_negatives(block: Block, logits: Logits) -> Terms:
    """Each positive competes with itself and with the negatives, not with other positives."""
    weights = known_weights(block, logits)
    return Terms(weights, log_mask(block.pairs.negative, weights), itself=1.0)
