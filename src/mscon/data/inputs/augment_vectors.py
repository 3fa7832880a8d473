"""Random views of vectors: values replaced by those of other rows, and noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mscon.data.inputs.open import Vectors
from mscon.data.inputs.views import Part

# Training rows that stand for all of them. A column drawn from so many differs from the column of all rows at
# most 0.022 in any share of it (Dvoretzky, Kiefer and Wolfowitz, at 95 %).
MOST_DONORS = 4_096


@dataclass(frozen=True, slots=True, eq=False)
class Marginals:
    """How each column is distributed among the training rows, whatever the others are.

    Attributes:
        donors: vectors of training rows drawn by chance, or of all of them if they are few.
        columns: for each dimension the column that it is of; those of one column go together.
        std: of each dimension among the donors.
    """

    donors: Float[Tensor, "donors dim"]
    columns: Int64[Tensor, " dim"]
    std: Float[Tensor, " dim"]

    @classmethod
    def of(cls, inputs: Vectors, train: Int64[Tensor, " train"], seed: int) -> Marginals:
        """Those of some rows, which follow from the seed."""
        generator = torch.Generator().manual_seed(seed)
        sample = train[torch.randperm(len(train), generator=generator)[:MOST_DONORS]]
        donors = torch.from_numpy(inputs[sample.sort().values.numpy()])
        return cls(donors, torch.from_numpy(inputs.columns), donors.std(dim=0, correction=0))

    def to(self, device: torch.device | str) -> Marginals:
        """The same on another device."""
        return Marginals(self.donors.to(device), self.columns.to(device), self.std.to(device))


@torch.no_grad()
def corrupt(
    vectors: Float[Tensor, "batch dim"],
    marginals: Marginals,
    *,
    share: float,
    noise: float,
    generator: torch.Generator,
    part: Part | None = None,
) -> Float[Tensor, "batch dim"]:
    """One random view of each vector.

    Each column of each row is, with probability `share`, exchanged for that of a training row drawn for it; then
    Gaussian noise is added. With 0 for both a view is the vector itself.

    Args:
        vectors: a batch.
        marginals: of the training rows, on the device of the vectors.
        share: of the columns, from 0 to 1.
        noise: its standard deviation, in standard deviations of each dimension.
        generator: all draws come from it; see `views.augment`.
        part: which rows of a larger batch these are, to draw what they would there; None for all of it.

    Source: SCARF, Bahri et al. 2022, https://arxiv.org/abs/2106.15147, which exchanges a fixed number of columns, 60 %
        of them, in one of two views; here each column draws for itself, in every view.
    """
    count, places = (len(vectors), None) if part is None else (part.count, part.places.to(generator.device))
    columns = int(marginals.columns[-1]) + 1

    def of_part(drawn: Tensor) -> Tensor:
        return (drawn if places is None else drawn[places]).to(vectors.device)

    views = vectors
    if share:
        exchanged = of_part(torch.rand(count, columns, generator=generator, device=generator.device)) < share
        donor = of_part(
            torch.randint(len(marginals.donors), (count, columns), generator=generator, device=generator.device)
        )
        theirs = marginals.donors.gather(0, donor[:, marginals.columns])
        views = torch.where(exchanged[:, marginals.columns], theirs, views)
    if noise:
        drawn = torch.randn(count, vectors.shape[1], generator=generator, device=generator.device)
        views = views + noise * marginals.std * of_part(drawn)
    return views
