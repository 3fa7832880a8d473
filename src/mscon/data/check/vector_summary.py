"""What the vectors of a similarity of kind `teacher` say of the training rows."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from jaxtyping import Float16
from torch import Tensor

from mscon.method.kernels.counts import count
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.teacher import Teacher

# Batches of rows that are looked at.
_BATCHES = 8


@dataclass(frozen=True, slots=True)
class VectorSummary:
    """Of the training rows that have a vector.

    Attributes:
        width: numbers of a vector.
        missing_share: training rows without one.
        cosines: of two rows, the mean of the training rows taken off: 5 % quantile, median and 95 % quantile.
        target_rows: over how many other rows of a batch the targets of a row are spread: exp of their mean entropy.
        target_temperature: of the similarity.
    """

    width: int
    missing_share: float
    cosines: tuple[float, float, float]
    target_rows: float
    target_temperature: float

    def to_text(self, batch_size: int) -> list[str]:
        """Lines for a terminal, the first to follow the name."""
        low, middle, high = self.cosines
        return [
            f"vectors of {self.width:,} numbers, {self.missing_share:.1%} missing among the training rows; cosines of "
            f"two rows: median {middle:.2f}, 90 % from {low:.2f} to {high:.2f}",
            f"    in a batch of {batch_size:,} rows, the targets of a row are spread over {self.target_rows:.1f} other "
            f"rows on average (target_temperature = {self.target_temperature:g})",
        ]


def summarise_vectors(teacher: Teacher, codes: Float16[Tensor, "rows numbers"], batch_size: int) -> VectorSummary:
    """Summarise the codes of the training rows, of which at least one is known.

    Some random batches of rows are looked at, always the same ones.

    Args:
        teacher: the similarity.
        codes: of the training rows.
        batch_size: rows of a batch.
    """
    known = codes[~teacher.missing(codes)]
    generator = torch.Generator().manual_seed(0)
    cosines, entropies = [], []
    for _ in range(_BATCHES):
        batch = known[torch.randperm(len(known), generator=generator)[:batch_size]]
        ids = torch.arange(len(batch))
        pairs = LazyPairs(teacher.compare, batch, batch, ids, ids, is_partition=False)
        entropies.append(count(pairs).floor)
        unit = torch.nn.functional.normalize(batch.double(), dim=1)
        cosines.append((unit @ unit.T)[~torch.eye(len(batch), dtype=torch.bool)])
    together = torch.cat(cosines)
    low, middle, high = (
        (float(together.kthvalue(1 + round(share * (len(together) - 1))).values) for share in (0.05, 0.5, 0.95))
        if len(together)
        else (math.nan,) * 3
    )
    return VectorSummary(
        width=codes.shape[1],
        missing_share=1 - len(known) / len(codes),
        cosines=(low, middle, high),
        target_rows=float(torch.cat(entropies).mean().exp()),
        target_temperature=float(teacher.target_temperature),
    )
