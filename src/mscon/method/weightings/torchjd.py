"""Weights by an aggregator of the package torchjd, from how the gradients of the similarities agree."""

from __future__ import annotations

import importlib.util
from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.errors import need_one_of
from mscon.method.weightings.base import BatchLosses, Weighted, Weighting, scaled_where

Aggregator = Literal["UPGrad", "DualProj", "MGDA"]

# Added to the diagonal of a Gramian whose mean is 1: gradients that are multiples of one another make it singular.
_REGULARISATION = 1e-4


class TorchJD(Weighting):
    r"""Weights of a Jacobian descent: the weighted sum of the losses has the aggregated gradient.

    The Jacobian holds the gradient of each loss at the features. An aggregator combines its rows with weights that
    follow from the dot products of the rows, the Gramian, so these weights are all that training needs. They are
    scaled to a mean of 1 over the similarities that are present. Where no two gradients point in opposite directions,
    "UPGrad" and "DualProj" are the weighting "equal".

    Needs the extra `torchjd`. Outside training, weights are 1.

    Args:
        similarities: how many there are.
        aggregator: "UPGrad" (each gradient projected to where no loss rises, then their mean), "DualProj" (their mean
            projected so) or "MGDA" (the shortest vector of their convex hull). Others of torchjd need more settings or
            packages, give weights below 0, or draw at random.

    Raises:
        ValueError: if torchjd is not installed.

    Source: Quinton and Rey 2024, "Jacobian Descent for Multi-Objective Optimization",
        https://arxiv.org/abs/2406.16232; Désidéri 2012 for MGDA; by https://torchjd.org.
    """

    reads_gradients = True

    def __init__(self, similarities: int, aggregator: Aggregator = "UPGrad") -> None:
        super().__init__()
        del similarities
        need_one_of("aggregator", aggregator, Aggregator)
        if importlib.util.find_spec("torchjd") is None:
            raise ValueError(
                "this weighting needs a package that is not installed: torchjd.\n"
                '  Install it with `pip install "mscon[torchjd]"`, or use weighting "equal".'
            )
        from torchjd import aggregation

        settings = {} if aggregator == "MGDA" else {"projector": _DualCone()}
        self.aggregator = getattr(aggregation, f"{aggregator}Weighting")(**settings)

    def forward(self, batch: BatchLosses) -> Weighted:
        weights = torch.ones_like(batch.loss)
        if batch.gradients is not None:
            norms = batch.gradients.gramian.diagonal().to(weights.dtype)
            # What is at rest has no direction, and counts 1.
            moves = (norms > 0) & batch.present
            gramian = batch.gradients.gramian[moves][:, moves]
            if len(gramian):
                weights = weights.masked_scatter(moves, self.aggregator(gramian / norms[moves].mean()).to(weights))
                weights = scaled_where(weights, moves)
        return Weighted.sum(weights, batch)


class _DualCone:
    """Projects onto the vectors along which no loss rises; in place of torchjd's, whose solver is under the GPL.

    The weights are the v >= u that minimise v' G v. With v = u + x and G = R' R that is the least |R x + R u| over
    x >= 0.
    """

    def __call__(
        self, directions: Float[Tensor, "*any similarities"], gramian: Float[Tensor, "similarities similarities"]
    ) -> Float[Tensor, "*any similarities"]:
        import numpy as np
        from scipy.optimize import nnls

        regularised = gramian.double().cpu().numpy() + _REGULARISATION * np.eye(len(gramian))
        root = np.linalg.cholesky(regularised).T
        starts = directions.double().cpu().numpy().reshape(-1, len(gramian))
        weights = np.stack([u + nnls(root, -root @ u)[0] for u in starts])
        return torch.from_numpy(weights).reshape(directions.shape).to(directions)
