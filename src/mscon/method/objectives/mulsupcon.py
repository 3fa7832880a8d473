"""MulSupCon: a supervised contrastive loss for every label of a set, averaged over the labels of the anchor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from mscon.errors import need_one_of
from mscon.method.objectives.base import Block
from mscon.method.refusals import of_kind
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.multi_label import MultiLabel
from mscon.method.template import Logits, Template, Terms, known_weights, log_mask

LabelWeights = Literal["per_label", "similarity_dissimilarity"]


class MulSupCon(Template):
    r"""`supcon` on sets of labels with weights of the positives that look at single labels; on classes plain `supcon`.

    A positive p of anchor i shares a label with it, and all known candidates compete. With Y the sets of labels, P_l(i)
    the candidates that have label l, and s cosine similarities divided by the temperature,

        loss_i = sum_p omega_p ( log sum_a exp(s_a) - s_p ) / sum_p omega_p,
        per_label:                 omega_p = sum_{l in Y_i and Y_p} 1 / |P_l(i)|,
        similarity_dissimilarity:  omega_p = |Y_i and Y_p| / |Y_i| * 1 / (1 + |Y_p without Y_i|).

    The first is the mean over the anchor's labels of a SupCon for each label, so that rare labels count as much as
    frequent ones; labels that no candidate shares are left out. The second gives less to positives that
    have labels besides. The weights of the kind `multi_label` under `supcon` (labels shared over labels that either
    has) look at the pair alone, too, but are symmetric.

    What differs: MulSupCon's code averages by default over all pairs of an anchor and one of its labels: anchors with
    many labels count more; here anchors count alike, as with its setting `with_weight`. The similarity-dissimilarity
    loss divides by the number of positives, and in its printed form the weight stands inside the logarithm, where it
    would have no gradient (unconfirmed: neither code nor full text could be read); here it is the weight of the
    positive.

    Args:
        temperature: divides cosine similarities, > 0.
        weights: "per_label" or "similarity_dissimilarity".

    Source: Zhang and Wu 2024, "Multi-Label Supervised Contrastive Learning" (AAAI), and
        https://github.com/williamzhangsjtu/MulSupCon; Huang et al. 2024, "Similarity-Dissimilarity Loss",
        https://arxiv.org/abs/2410.13439.
    """

    reads_codes = True

    def __init__(self, temperature: float = 0.1, weights: LabelWeights = "per_label") -> None:
        super().__init__(temperature)
        need_one_of("weights", weights, LabelWeights)
        self.weights: LabelWeights = weights

    def refusals(self, similarities: Sequence[Similarity]) -> list[str]:
        messages = []
        for similarity in similarities:
            if isinstance(similarity, MultiLabel):
                if similarity.alike == "all":
                    messages.append(
                        "objective 'mulsupcon' needs positives that share a label, but similarity "
                        f'\'{similarity.column}\' has alike = "all". Set alike = "jaccard", or use objective '
                        "'supcon' for it."
                    )
            elif not similarity.is_partition:
                messages.append(
                    f"objective 'mulsupcon' needs sets of labels or classes, but {of_kind(similarity)}. Use objective "
                    "'supcon' for it."
                )
        return messages

    def terms(self, block: Block, logits: Logits) -> Terms:
        weights, known = known_weights(block, logits), block.pairs.known
        if block.anchor_codes.dim() == 2:
            of_anchor, of_candidate = (codes.to(weights.dtype) for codes in (block.anchor_codes, block.candidate_codes))
            if self.weights == "per_label":
                having = known.to(weights.dtype) @ of_candidate
                weights = (of_anchor / having.clamp_min(1)) @ of_candidate.T
            else:
                shared = of_anchor @ of_candidate.T
                weights = shared / (1 + of_candidate.sum(dim=1) - shared)
            weights = weights * known
        return Terms(weights, log_mask(known, weights))
