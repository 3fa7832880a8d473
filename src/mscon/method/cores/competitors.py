"""Which candidates are left out of a denominator: those of the same group, and those a teacher calls alike."""

from __future__ import annotations

from jaxtyping import Bool, Float, Int
from torch import Tensor

from mscon.method.cores.pair_logits import pair_logits


def outside_groups(
    groups: Int[Tensor, " anchors"],
    candidate_groups: Int[Tensor, " candidates"],
    positives: Bool[Tensor, "anchors candidates"],
) -> Bool[Tensor, "anchors candidates"]:
    """Candidates of other groups, and the positives: for `competing` of `info_nce`.

    What shares a group, such as the questions about one image, is neither positive nor negative.

    Args:
        groups, candidate_groups: number of the group of each; -1 is of no group.
        positives: candidates that stay whatever their group.

    Source: MuCo, 2026, https://arxiv.org/abs/2602.06393, and https://github.com/naver-ai/muco, which has groups of
        seven turns.
    """
    return (groups[:, None] != candidate_groups) | (groups[:, None] < 0) | positives


def without_false_negatives(
    teachers: Float[Tensor, "anchors dim"],
    candidate_teachers: Float[Tensor, "candidates dim"],
    positives: Bool[Tensor, "anchors candidates"],
    *,
    threshold: float = 0.9,
) -> Bool[Tensor, "anchors candidates"]:
    """Candidates that a teacher does not call alike, and the positives: for `competing` of `info_nce`.

    Args:
        teachers, candidate_teachers: vectors of another encoder, of any length; of hard negatives too.
        positives: candidates that stay whatever the teacher says.
        threshold: a cosine above it makes a candidate a false negative, which is left out.

    Source: MultiCSR, Wang et al. 2023, https://arxiv.org/abs/2310.10962. The authors' code multiplies logits of false
        negatives by 0, so that they stay as exp(0), and takes a binary cross-entropy of all cells; here they are left
        out.
    """
    return (pair_logits(teachers, candidate_teachers).values <= threshold) | positives
