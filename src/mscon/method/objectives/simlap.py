"""SimLAP (Hydra): a subspace for each pair of classes, in which rows of these two classes are alike."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn.functional import normalize

from mscon.errors import need_one_of
from mscon.method.kernels.precision import products
from mscon.method.objectives.base import AnchorLosses, Block, Comparison, Losses, Objective, block_losses, positive
from mscon.method.refusals import class_counts
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.categorical import Categorical
from mscon.method.template import Logits, Terms, log_mask, template_losses

Partners = Literal["arbitrary", "identical", "distinct"]


class SimLAP(Objective):
    r"""Each anchor is pulled towards a partner class, in dimensions that a gate of the two classes lets through.

    With y_i the class of anchor i, y'_i its partner class and e learned vectors of classes,

        g_i = sigmoid( MLP( (e_{y_i} + e_{y'_i}) / 2 ) ),        s_ia = cos( g_i z_i, g_i z_a ) / temperature,
        loss_i = mean_p log( exp(s_ip) + sum_n exp(s_in) ) - s_ip,

    p the candidates of class y'_i, n those of neither class. With "identical" partners, y' = y, it is `sincere` behind
    a gate for each class: a version of heads `masks` that depends on classes instead of columns. In training a partner
    is the class of a candidate drawn at random: of any ("arbitrary") or of another class ("distinct"). In evaluation
    mode it is the anchor's own class, or the next of the other classes.

    What differs: the MLP normalises over its width where the authors' does over the batch, so that a gate depends on
    its classes alone; anchors count alike, where the authors take the mean over all pairs; partners are drawn anchor by
    anchor, not as a permutation of the batch; there is no classifier beside it, which `mscon probe` stands for.
    Gates are needed in training only: search compares whole projections.

    Args:
        temperature: divides cosine similarities, > 0.
        partners: "arbitrary", "identical" or "distinct".
        embedding, hidden: widths of the vectors of classes and of the MLP's hidden layer; the authors' 512 and 1,024.

    Source: "Hydra", 2024, in version 2 "SimLAP", https://arxiv.org/abs/2410.18200, and its public code.
    """

    needs_classes = True
    reads_codes = True
    numbers_classes = True
    learns_width = True

    def __init__(
        self, temperature: float = 0.1, partners: Partners = "arbitrary", embedding: int = 512, hidden: int = 1024
    ) -> None:
        super().__init__()
        self.temperature: float = positive("temperature", temperature)
        need_one_of("partners", partners, Partners)
        if min(embedding, hidden) < 1:
            raise ValueError(f"embedding and hidden must be at least 1, got {embedding} and {hidden}.")
        self.partners: Partners = partners
        self.embedding, self.hidden = embedding, hidden
        self.gates = nn.ModuleList()

    def refusals(self, similarities: Sequence[Similarity]) -> list[str]:
        few = [s for s in similarities if isinstance(s, Categorical) and 0 < len(s.classes) < 3]
        return super().refusals(similarities) + [
            f"objective 'simlap' with partners = \"distinct\" needs a third class to compare with, but similarity "
            f"'{similarity.column}' has {len(similarity.classes)}. Set partners = \"arbitrary\"."
            for similarity in (few if self.partners == "distinct" else [])
        ]

    def prepare(self, similarities: Sequence[Similarity], dim: int) -> None:
        super().prepare(similarities, dim)
        self.gates.extend(Gate(count, self.embedding, self.hidden, dim) for count in class_counts(similarities))

    def forward(self, comparison: Comparison) -> Losses:
        return block_losses(self._losses_of, comparison)

    def _losses_of(self, block: Block) -> AnchorLosses:
        classes, partner = block.anchor_codes.long(), self._partners(block)
        gate = self.gates[block.similarity](classes.clamp_min(0), partner.clamp_min(0)).to(block.anchors.dtype)
        of_partner = block.pairs.known & (block.candidate_codes[None, :] == partner[:, None])
        terms = Terms(of_partner.to(gate.dtype), log_mask(block.pairs.negative & ~of_partner, gate), itself=1.0)
        highest = gate.new_tensor(1 / self.temperature)
        cosines = gated_cosines(block.anchors, block.candidates, gate)
        return template_losses(Logits(cosines / self.temperature, -highest, highest), terms)

    def _partners(self, block: Block) -> Int[Tensor, " anchors"]:
        """The partner class of each anchor; its own where there is no other."""
        classes, others = block.anchor_codes.long(), block.candidate_codes.long()
        eligible = block.pairs.negative if self.partners == "distinct" else block.pairs.known
        if self.partners == "identical" or not eligible.numel() or not (self.training or self.partners == "distinct"):
            return classes
        if self.training:
            chance = torch.where(eligible.any(dim=1, keepdim=True), eligible.float(), 1.0)
            partner = others[torch.multinomial(chance, 1).squeeze(1)]
        else:
            partner = _next_class(classes, others, eligible)
        return torch.where(eligible.any(dim=1), partner, classes)


class Gate(nn.Module):
    """Which dimensions count between two classes: numbers from 0 to 1, in either order of the two the same.

    Args:
        classes: how many there are.
        embedding, hidden: widths.
        dim: of the projections.
    """

    def __init__(self, classes: int, embedding: int, hidden: int, dim: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(classes, embedding)
        self.network = nn.Sequential(
            nn.ReLU(),
            nn.LayerNorm(embedding),
            nn.Linear(embedding, hidden),
            nn.ReLU(),
            nn.LayerNorm(hidden),
            nn.Linear(hidden, dim),
        )

    def forward(self, one: Int[Tensor, " pairs"], other: Int[Tensor, " pairs"]) -> Float[Tensor, "pairs dim"]:
        gate: Tensor = self.network((self.embedding(one) + self.embedding(other)) / 2)
        return gate.sigmoid()


def gated_cosines(
    anchors: Float[Tensor, "anchors dim"],
    candidates: Float[Tensor, "candidates dim"],
    gate: Float[Tensor, "anchors dim"],
) -> Float[Tensor, "anchors candidates"]:
    """Cosine of each anchor with each candidate, both times the gate of the anchor; in three products of matrices."""
    a, c, squared = normalize(anchors, dim=1), normalize(candidates, dim=1), gate.square()
    least = torch.finfo(a.dtype).tiny
    lengths = products(squared, c.square()).clamp_min(least) * (squared * a.square()).sum(1, keepdim=True).clamp_min(
        least
    )
    return products(squared * a, c) * lengths.rsqrt()


def _next_class(
    classes: Int[Tensor, " anchors"], others: Int[Tensor, " candidates"], eligible: Bool[Tensor, "anchors candidates"]
) -> Int[Tensor, " anchors"]:
    """The least class of an eligible candidate above the anchor's; after the greatest comes the least."""
    none = torch.iinfo(classes.dtype).max
    least, above = (
        torch.where(mask, others[None, :], none).amin(dim=1)
        for mask in (eligible, eligible & (others[None, :] > classes[:, None]))
    )
    return torch.where(above < none, above, least)
