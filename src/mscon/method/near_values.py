"""Runs of near values of a column of numbers, which a balanced sampler takes for classes."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float, Int


def near_values(values: Float[np.ndarray, " rows"], at_least: int, width: float) -> Int[np.ndarray, " rows"]:
    """Runs of values in their order, each as short as it can be of `at_least` rows, or else no wider than `width`.

    So rows of a run lie within `width` where the column has rows that near; in sparse regions they are the nearest
    there are. Equal values are in one run. NaN is -1.
    """
    classes = np.full(values.size, -1, dtype=np.int64)
    order = np.argsort(values, kind="stable")
    order = order[np.isfinite(values[order])]
    run, start = 0, 0
    for place, row in enumerate(order):
        apart, size = values[row] - values[order[start]], place - start
        if size >= at_least and apart > width and values[row] != values[order[place - 1]]:
            run, start = run + 1, place
        classes[row] = run
    if run and order.size - start < at_least:
        classes[order[start:]] = run - 1
    return classes
