"""ATPrompt's attribute search, over columns: which of them together answer a question best."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from jaxtyping import Float
from torch import Tensor, nn


class ColumnSearch(nn.Module):
    """Weights over subsets of columns, which learn on held-out rows while the model learns on training rows.

    Take steps in turn: one of the model on training rows, one of `parameters()` of the search on held-out rows, each
    by a loss of the scores that `forward` returns. `best` is then the subset to train on.

    Where the score of a subset is a mean over its columns, as of `subset_scores`, so is the mixture of several subsets:
    then read `column_weights` rather than `best`.

    Args:
        columns: names.
        most: columns in a subset, at most; None for all.

    Source: Li et al. 2024, "ATPrompt", https://arxiv.org/abs/2412.09442, and
        https://github.com/zhengli97/ATPrompt, where subsets of attribute words stand in a prompt and weights start at
        random; here they start equal.
    """

    def __init__(self, columns: Sequence[str], most: int | None = None) -> None:
        super().__init__()
        names = tuple(columns)
        if not names or len(set(names)) < len(names):
            raise ValueError(f"columns must be distinct names, at least one, got {list(columns)}.")
        sizes = range(1, (len(names) if most is None else most) + 1)
        if not 1 <= len(sizes) <= len(names):
            raise ValueError(f"most must be between 1 and the number of columns, {len(names)}, got {most}.")
        self.columns = names
        self.subsets = tuple(subset for size in sizes for subset in combinations(names, size))
        self.logits = nn.Parameter(torch.zeros(len(self.subsets)))
        members = [[float(name in subset) / len(subset) for name in names] for subset in self.subsets]
        self.register_buffer("shares", torch.tensor(members), persistent=False)

    def subset_scores(self, scores: Float[Tensor, "columns ..."]) -> Float[Tensor, "subsets ..."]:
        """The mean over the columns of each subset, of scores such as cosines in the space of each column."""
        return torch.einsum("sc,c...->s...", self.get_buffer("shares").to(scores.dtype), scores)

    def forward(self, scores: Float[Tensor, "subsets ..."]) -> Float[Tensor, "*rest"]:
        """The mean of the scores of all subsets, by their weights."""
        return torch.einsum("s,s...->...", self.logits.to(scores.dtype).softmax(dim=0), scores)

    @property
    def weights(self) -> dict[tuple[str, ...], float]:
        """The weight of each subset; they add up to 1."""
        return dict(zip(self.subsets, self.logits.detach().softmax(dim=0).tolist(), strict=True))

    @property
    def column_weights(self) -> dict[str, float]:
        """The weight of each column: those of the subsets that it is in, each divided among their columns."""
        shares = self.logits.detach().softmax(dim=0) @ self.get_buffer("shares")
        return dict(zip(self.columns, shares.tolist(), strict=True))

    @property
    def best(self) -> tuple[str, ...]:
        """The subset of the largest weight; of equal ones the first, with fewer columns."""
        return self.subsets[int(self.logits.argmax())]
