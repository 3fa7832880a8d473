"""Collapse: features that tell no two rows apart, or tell them apart along one direction only."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

# More rows would not tell more of a rank near 1.
MOST_ROWS = 1_000

# Below the first, features of a row are those of any other up to a thousandth of their length; below the second,
# their dimensions all say the same.
_LEAST_SPREAD, _LEAST_RANK = 1e-3, 1.1


def spread(features: Float[np.ndarray, "rows width"]) -> float:
    """How far rows lie from their mean, as a share of their length: root mean squares, 0 for equal rows, 1 at most."""
    wide = np.asarray(features, dtype=np.float64)
    length = float(np.sqrt((wide**2).sum(axis=1).mean()))
    return float(np.sqrt(((wide - wide.mean(axis=0)) ** 2).sum(axis=1).mean())) / length if length else 0.0


def participation_ratio(features: Float[np.ndarray, "rows width"]) -> float:
    """About how many dimensions vary: (sum l)^2 / sum l^2 over the eigenvalues l of the correlations of features.

    1 if all dimensions rise and fall together, the number of dimensions if they are uncorrelated, 0 if none varies. Of
    correlations and not of covariances, so that one dimension of larger numbers is not mistaken for the only one.

    Source: the participation ratio of principal components, Gao et al. 2017, https://doi.org/10.1101/214262.
    """
    wide = np.asarray(features, dtype=np.float64)
    centred = wide - wide.mean(axis=0)
    std = centred.std(axis=0)
    varying = centred[:, std > 1e-9 * max(1e-300, float(np.abs(wide).max(initial=0.0)))]
    if not varying.size:
        return 0.0
    standard = varying / varying.std(axis=0)
    small = standard.T @ standard if standard.shape[1] <= len(standard) else standard @ standard.T
    return float(np.trace(small) ** 2 / (small**2).sum())


def collapse(features: Float[np.ndarray, "rows width"]) -> str:
    """One sentence on features that have collapsed, with what to try; "" where they have not.

    Args:
        features: of 3 rows or more, before they are scaled to unit length; of many, evenly spaced ones are looked at.
    """
    rows, width = features.shape
    if rows < 3:
        return ""
    features = features[:: -(-rows // MOST_ROWS)]
    share = spread(features)
    if share < _LEAST_SPREAD:
        return (
            f"The encoder has collapsed: the features of all rows are the same up to {100 * share:.2g} % of their "
            "length, so they tell no row from another; try a lower train.learning_rate, a higher objective.temperature "
            'or a similarity of name = "same_row".'
        )
    if width > 1 and (ratio := participation_ratio(features)) < _LEAST_RANK:
        return (
            f"The encoder has nearly collapsed: its {width} features vary in about {ratio:.1f} dimensions, so rows "
            "differ in one direction only; try more similarities, a lower train.learning_rate or a similarity "
            'of name = "same_row".'
        )
    return ""
