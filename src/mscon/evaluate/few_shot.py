"""Few-shot classes: rows get the class whose few labelled rows are nearest, optionally after optimal transport."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float, Int

from mscon.evaluate.metrics.nearest import unit_length
from mscon.method.sinkhorn import sinkhorn


def few_shot_classes(
    support: Float[np.ndarray, "support width"],
    classes: Int[np.ndarray, " support"],
    queries: Float[np.ndarray, "queries width"],
    *,
    transports: int = 0,
    epsilon: float = 0.05,
    iterations: int = 100,
) -> Int[np.ndarray, " queries"]:
    """The class of each query: that of the prototype with the largest cosine.

    The prototype of a class is the mean of its labelled rows. With few of them it is off by chance; optimal transport
    moves all prototypes to the queries (OpTA): the plan between prototypes and queries, both of equal weights, is
    scaled so that each prototype has a mean of queries, which takes its place. It fits where
    queries of all classes are about equally many, as in the benchmarks of few-shot learning, and does harm where not.

    Args:
        support: features of the labelled rows.
        classes: their class numbers.
        queries: features of rows without labels; all of them are used at once.
        transports: how often prototypes are moved; 0 for never.
        epsilon: weight of the entropy of the plan, > 0; of cosines.
        iterations: of Sinkhorn.

    Source: Poulakakis-Daktylidis and Jamali-Rad 2024, "BECLR", https://arxiv.org/abs/2402.02444, and
        https://github.com/stypoumic/BECLR.
    """
    names, number = np.unique(classes, return_inverse=True)
    unit, of_queries = unit_length(support), unit_length(queries)
    prototypes = np.stack([unit[number == k].mean(axis=0) for k in range(len(names))])
    for _ in range(transports):
        cosines = torch.from_numpy(unit_length(prototypes) @ of_queries.T)
        prototypes = sinkhorn(cosines, epsilon, iterations).numpy() @ of_queries
    nearest: Int[np.ndarray, " queries"] = names[(of_queries @ unit_length(prototypes).T).argmax(axis=1)]
    return nearest
