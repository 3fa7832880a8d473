r"""Risk and coverage: what the scores of rows are once the most uncertain ones are left out.

Coverage is the share of rows that are left, risk their mean loss. All functions but `curve` return influence values,
see influence.py: a number a row, whose mean is the score.
"""

from __future__ import annotations

import numpy as np
from jaxtyping import Bool, Float


def curve(
    uncertainty: Float[np.ndarray, " rows"], score: Float[np.ndarray, " rows"], coverages: Float[np.ndarray, " points"]
) -> Float[np.ndarray, " points"]:
    """The mean score of the most certain rows, for each share of rows; rows of equal uncertainty in their order.

    Args:
        uncertainty: of at least one row.
        score: of the same rows, higher is better.
        coverages: above 0, up to 1; at least one row counts.
    """
    ordered = score[np.argsort(uncertainty, kind="stable")]
    means = np.cumsum(ordered) / np.arange(1, len(ordered) + 1)
    places = np.clip(np.rint(coverages * len(ordered)).astype(np.int64), 1, len(ordered)) - 1
    return means[places]


def area_under_risk(
    uncertainty: Float[np.ndarray, " rows"], loss: Float[np.ndarray, " rows"]
) -> Float[np.ndarray, " rows"]:
    r"""The mean over rows i of the mean loss of all rows that are at most as uncertain as i; lower is better.

    With G(i) the share of rows that are at most as uncertain as i and L(i) their mean loss, the area is the mean of
    L(i), and the influence of a row its own L(i) plus sum_{k: u_k >= u_i} (l_i - L(k)) / (n G(k)).

    Source: Geifman et al. 2019, https://arxiv.org/abs/1805.08206 (AURC).
    """
    _, place, counts = np.unique(uncertainty, return_inverse=True, return_counts=True)
    at_most = np.cumsum(counts)
    mean_loss = np.cumsum(np.bincount(place, weights=loss)) / at_most
    # Sums over all uncertainties from one's own up.
    shares = np.cumsum((counts / at_most)[::-1])[::-1]
    losses = np.cumsum((counts * mean_loss / at_most)[::-1])[::-1]
    return mean_loss[place] + loss * shares[place] - losses[place]


def gain(
    uncertainty: Float[np.ndarray, " rows"], score: Float[np.ndarray, " rows"], threshold: float
) -> Float[np.ndarray, " rows"]:
    """By how much the mean score of rows whose uncertainty is at most `threshold` is above that of all rows.

    Raises:
        ValueError: if no row is below the threshold.
    """
    is_left: Bool[np.ndarray, " rows"] = uncertainty <= threshold
    if not is_left.any():
        raise ValueError(f"no row has an uncertainty of {threshold} or less.")
    share, mean = is_left.mean(), score[is_left].mean()
    return mean + is_left * (score - mean) / share - score


def new_above_known(
    known: Float[np.ndarray, " known"], new: Float[np.ndarray, " new"]
) -> Float[np.ndarray, " known_and_new"]:
    """How often a new row is more uncertain than a known one, equal ones counted half: the area under the ROC curve.

    Returns:
        Values of the known rows, then of the new ones.

    Source: DeLong et al. 1988, "Comparing the areas under two or more correlated receiver operating characteristic
        curves", for the influence of each row.
    """
    among_new, among_known = np.sort(new), np.sort(known)
    above = 1 - (np.searchsorted(among_new, known, "left") + np.searchsorted(among_new, known, "right")) / 2 / len(new)
    below = (np.searchsorted(among_known, new, "left") + np.searchsorted(among_known, new, "right")) / 2 / len(known)
    area, rows = float(below.mean()), len(known) + len(new)
    return area + np.concatenate([(above - area) * rows / len(known), (below - area) * rows / len(new)])
