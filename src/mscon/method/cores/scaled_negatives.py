"""Negatives that count by their category (DCAR), or by how far their subjects are (CustomContrast)."""

from __future__ import annotations

import torch
from jaxtyping import Int
from torch import Tensor

from mscon.method.cores.pair_weights import Mask, Weights


def category_weights(
    categories: Int[Tensor, " anchors"], candidate_categories: Int[Tensor, " candidates"], *, same: float = 2.0
) -> Weights:
    """Negatives of the anchor's category weigh `same`, others 1: weights for `with_mean_one`.

    Args:
        categories, candidate_categories: number of the category of each; -1 is missing, and alike to none.
        same: weight of the harder negatives, > 0.

    Source: DCAR, 2025, https://arxiv.org/abs/2508.04028. Unconfirmed: no code, and the formula is reconstructed from
        the abstract. Its weights of attribute descriptions are `importance` of columns here.
    """
    if not same > 0:
        raise ValueError(f"same must be positive, got {same}.")
    alike = (categories[:, None] == candidate_categories) & (categories[:, None] >= 0)
    return torch.where(alike, same, 1.0)


def subject_temperatures(distances: Weights, positives: Mask, *, temperature: float = 0.07) -> Weights:
    """Temperatures of pairs with which the cosine of a negative counts by how far the subjects are in reality.

    The logit of a negative is cosine * distance / temperature: subjects that are nearly one are pushed apart little.

    Args:
        distances: of the subjects of each pair, above 0 and at most 1. Of the same subject is better left out, by
            `competing`: a logit of 0 is still in the denominator.
        positives: have the plain temperature.
        temperature: divides cosines, > 0.

    Source: CustomContrast, Chen et al. 2024, https://arxiv.org/abs/2409.05606. Unconfirmed: no code, and the formula is
        reconstructed from a quoted section. Of several layers, add up the losses.
    """
    scales = torch.where(positives, 1.0, distances)
    return temperature / scales
