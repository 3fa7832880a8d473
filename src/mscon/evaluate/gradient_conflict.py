"""Gradient conflict: whether two label columns pull features in opposite directions.

The gradient of each column's loss in the features of a batch needs heads and losses only, not the encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from mscon.method import catalogue
from mscon.method.comparison import Comparison
from mscon.method.objectives.base import Objective
from mscon.method.pairs import LazyPairs
from mscon.method.similarities.base import Similarity
from mscon.model.heads.base import Heads
from mscon.run.recipe import Recipe

# Of a loss that learns weights of its own, which a run keeps for training only.
STAND_IN = "supcon"


@dataclass(frozen=True, slots=True, eq=False)
class TrainedColumn:
    """A label column that a run was trained on.

    Attributes:
        number: of its similarity, and so of its head.
        similarity: fitted.
        codes: of all rows.
        objective: its loss.
        width: of its projections; those of others may be wider.
    """

    number: int
    similarity: Similarity
    codes: Shaped[Tensor, "rows ..."]
    objective: Objective
    width: int


def objective_of(recipe: Recipe, number: int, similarity: Similarity, width: int) -> Objective:
    """The objective of one similarity of a recipe; `STAND_IN` for one that compares no rows, has learned weights, or
    serves several similarities together only."""
    part = recipe.similarities[number].objective or recipe.objective
    objective: Objective = catalogue.build("objective", part.name, part.settings)
    if not objective.refusals([similarity]):
        objective.prepare([similarity], width)
        if objective.compares and not [*objective.parameters()]:
            return objective
    stand_in: Objective = catalogue.build("objective", STAND_IN, {})
    return stand_in


def gradient_cosines(
    features: Float[Tensor, "rows width"],
    heads: Heads,
    columns: Sequence[TrainedColumn],
    batches: Sequence[Int64[Tensor, " batch"]],
) -> Mapping[tuple[int, int], list[float]]:
    """Of each two columns the cosine of the gradients of their mean losses at the features, one number a batch.

    1 where both losses ask for the same change of the features, 0 where one does not touch what the other does, below 0
    where a step that lowers the one raises the other. Batches in which a column has nothing to compare are left out.

    Args:
        features: that the heads read, of all rows.
        heads: in evaluation mode.
        columns: which, two or more.
        batches: numbers of rows.

    Source: the cosine of the gradients of tasks, Yu et al. 2020, "Gradient Surgery for Multi-Task Learning",
        https://arxiv.org/abs/2001.06782; here at the features and not at the weights.
    """
    cosines: dict[tuple[int, int], list[float]] = {pair: [] for pair in combinations(range(len(columns)), 2)}
    for batch in batches:
        gradients = _gradients(features[batch], heads, columns, batch)
        for i, j in cosines:
            one, other = gradients[i], gradients[j]
            if one is not None and other is not None:
                cosines[i, j].append(float(torch.nn.functional.cosine_similarity(one, other, dim=0)))
    return cosines


def _gradients(
    features: Float[Tensor, "batch width"],
    heads: Heads,
    columns: Sequence[TrainedColumn],
    batch: Int64[Tensor, " batch"],
) -> list[Float[Tensor, " numbers"] | None]:
    """Of each column, flat, in double precision; None where it has nothing to compare, or nothing left to change."""
    features = features.detach().clone().requires_grad_()
    projections = heads(features)
    ids = torch.arange(len(batch))
    gradients: list[Tensor | None] = []
    for column in columns:
        codes = column.codes[batch]
        pairs = LazyPairs(column.similarity.compare, codes, codes, ids, ids, column.similarity.is_partition)
        space = projections[column.number : column.number + 1, :, : column.width]
        losses = column.objective(Comparison.of(space, None, [pairs]))
        if not losses.counted.any():
            gradients.append(None)
            continue
        loss = losses.per_anchor.sum() / losses.counted.sum()
        (gradient,) = torch.autograd.grad(loss, features, retain_graph=True)
        flat = gradient.flatten().double()
        gradients.append(flat if flat.any() else None)
    return gradients
