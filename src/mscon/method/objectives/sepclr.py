"""SepCLR: what all rows have in common, and what only target rows have, in two spaces that share little."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize, pad

from mscon.method.kernels.precision import products
from mscon.method.objectives.base import AnchorLosses, Block, Comparison, Losses, Objective, block_losses, positive
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.same_row import SameRow


class SepCLR(Objective):
    r"""A common space of all rows, and a salient space in which rows of a background class are at the origin.

    It serves two similarities together: `same_row`, whose space is the common one, and a `categorical` column that says
    which rows are background, whose space is the salient one. With c the common projections at unit length, s the
    salient ones at any length, s' = s for target rows and 0 for background, k(x, y) = exp(-|x - y|^2 / (2 spread)), p
    the other views of anchor i's row, and M_j the mean over candidates j of other rows and i itself,

        common_i  = common * ( mean_p |c_i - c_p|^2 / (2 spread) + 2 log M_j k(c_i, c_j) ),
        salient_i = salient * ( [i target] mean_p |s_i - s_p|^2 / (2 spread) + 2 log M_j k(s'_i, s'_j) )
                    + null * [i background] |s_i|^2 / (2 spread) + joint * log M_j k(c_i, c_j) k(s'_i, s'_j).

    Views of a row are pulled together and rows apart in both spaces; `null` keeps background rows at the origin, so
    that the salient space tells nothing of them; and the last term spreads both spaces jointly, so that they share
    little information. The losses are 0 if all embeddings coincide at the origin of the salient space, and otherwise
    may be of any sign: weightings that take their logarithm do not suit them.

    What differs from the authors' code: its total is 1,000 times this one, which changes nothing under Adam; terms are
    averaged over all anchors with a flag, where the code averages those of targets, and of background, over these
    alone; the code compares within each view, and its M leaves out i itself but in the last term: with it the loss has
    a lower bound.

    Args:
        background: the class of the column that marks background rows; it must be given.
        common, salient, null, joint: weights of the terms, > 0; the authors' are 1, 1000, 1000 and 10.
        spread: of the kernel, > 0.

    Source: Louiset et al. 2024, "SepCLR: separating common from salient patterns with contrastive representation
        learning" (ICLR), and https://github.com/neurospin-projects/2024_rlouiset_sep_clr (k-JEM).
    """

    reads_codes = True
    numbers_classes = True

    def __init__(
        self,
        background: str = "",
        common: float = 0.001,
        salient: float = 1.0,
        null: float = 1.0,
        joint: float = 0.01,
        spread: float = 0.5,
    ) -> None:
        super().__init__()
        self.background = background
        self.common, self.salient = positive("common", common), positive("salient", salient)
        self.null, self.joint = positive("null", null), positive("joint", joint)
        self.spread = positive("spread", spread)
        self._common_first, self._background_code = True, 0

    def refusals(self, similarities: Sequence[Similarity]) -> list[str]:
        flags = [s for s in similarities if isinstance(s, Categorical)]
        if len(similarities) != 2 or len(flags) != 1 or not any(isinstance(s, SameRow) for s in similarities):
            names = ", ".join(f"'{s.column}' ({type(s).__name__})" for s in similarities)
            return [
                "objective 'sepclr' serves two similarities together: one of kind same_row, for what all rows have in "
                f"common, and one column of kind categorical that marks background rows. Here it serves {names}. Give "
                "these two, with equal widths of heads and equal views, and other objectives to further similarities."
            ]
        (flag,) = flags
        if self.background not in flag.classes:
            return [
                f"objective 'sepclr': background is '{self.background}', but the classes of column '{flag.column}' are "
                f"{', '.join(flag.classes) or 'not known'}. Name the class of background rows."
            ]
        return []

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        super().prepare(similarities, dim)
        (flag,) = (s for s in similarities if isinstance(s, Categorical))
        self._common_first, self._background_code = similarities[1] is flag, flag.classes.index(self.background)

    def forward(self, comparison: Comparison) -> Losses:
        place = [0, 1] if self._common_first else [1, 0]
        of_views, of_flags = (comparison.pairs[i] for i in place)
        common, salient = self._only(comparison, place[:1]), self._only(comparison, place)
        each = [
            block_losses(self._common, replace(common, pairs=[of_views])),
            block_losses(self._salient, replace(salient, pairs=[of_flags])),
        ]
        return Losses.joined(each, [place[:1], place[1:]])

    def _only(self, comparison: Comparison, spaces: Sequence[int]) -> Comparison:
        """Projections of some spaces, side by side as one."""

        def beside(vectors: Float[Tensor, "similarities rows dim"]) -> Float[Tensor, "1 rows wide"]:
            return torch.cat([vectors[i] for i in spaces], dim=1)[None]

        candidates = comparison.candidates
        return replace(
            comparison,
            anchors=beside(comparison.anchors),
            candidates=None if candidates is None else beside(candidates),
        )

    def _common(self, block: Block) -> AnchorLosses:
        nearness = self._nearness(normalize(block.anchors, dim=1), normalize(block.candidates, dim=1))
        views, others = block.pairs.known & (block.pairs.weight > 0), block.pairs.negative
        counted = views.any(dim=1) & others.any(dim=1)
        loss = self.common * (_pull(nearness, views) + 2 * log_mean(nearness, others))
        furthest = log_mean(torch.full_like(nearness, -2 / self.spread), others)  # unit vectors are at most 2 apart
        return _where(counted, loss, 2 * self.common * furthest)

    def _salient(self, block: Block) -> AnchorLosses:
        common, salient = block.anchors.chunk(2, dim=1)
        others_common, others_salient = block.candidates.chunk(2, dim=1)
        is_target, others_are_targets = (
            (codes != self._background_code)[:, None] for codes in (block.anchor_codes, block.candidate_codes)
        )
        nearness = self._nearness(
            torch.where(is_target, salient, 0.0), torch.where(others_are_targets, others_salient, 0.0)
        )
        both = nearness + self._nearness(normalize(common, dim=1), normalize(others_common, dim=1))
        is_view = block.anchor_origin.rows[:, None] == block.candidate_origin.rows[None, :]
        others = block.pairs.known & ~is_view
        # Between views of a background row there is nothing: both are at the origin.
        apart = _pull(nearness, block.pairs.known & is_view) + 2 * log_mean(nearness, others)
        length = torch.where(is_target, 0.0, salient).square().sum(dim=1) / (2 * self.spread)
        loss = self.salient * apart + self.null * length + self.joint * log_mean(both, others)
        furthest = log_mean(torch.full_like(nearness, -torch.inf), others)
        return _where(others.any(dim=1), loss, (2 * self.salient + self.joint) * furthest)

    def _nearness(
        self, anchors: Float[Tensor, "anchors dim"], candidates: Float[Tensor, "candidates dim"]
    ) -> Float[Tensor, "anchors candidates"]:
        """log k of each pair."""
        squared = anchors.square().sum(1, keepdim=True) + candidates.square().sum(1) - 2 * products(anchors, candidates)
        return -squared.clamp_min(0) / (2 * self.spread)


def log_mean(
    nearness: Float[Tensor, "anchors candidates"], others: Bool[Tensor, "anchors candidates"]
) -> Float[Tensor, " anchors"]:
    """Log of the mean of exp(nearness) over the others and the anchor itself, whose nearness is 0."""
    with_itself = pad(nearness.masked_fill(~others, -torch.inf), (0, 1))
    return with_itself.logsumexp(dim=1) - (1 + others.sum(dim=1)).to(nearness.dtype).log()


def _pull(
    nearness: Float[Tensor, "anchors candidates"], views: Bool[Tensor, "anchors candidates"]
) -> Float[Tensor, " anchors"]:
    """How far the other views of a row are, on average; 0 where there are none."""
    return -torch.where(views, nearness, 0.0).sum(dim=1) / views.sum(dim=1).clamp_min(1)


def _where(counted: Bool[Tensor, " anchors"], loss: Tensor, floor: Tensor) -> AnchorLosses:
    return AnchorLosses(torch.where(counted, loss, 0.0), counted, torch.where(counted, floor, 0.0))
