"""Logistic regression of many rows and classes, to the accuracy that a probe needs, in few passes over the rows.

What scikit-learn minimises is minimised here in other coordinates, in which the curvature is about the same everywhere,
so that L-BFGS takes fewer passes over the rows; and a fit ends when accuracy hardly changes any more. Products are in
float32.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
import torch
from jaxtyping import Float, Float32, Int64, Shaped
from torch import Tensor

# A fit ends where a step lowers the loss (in nats a row) by less than this for each output, at most by the second.
# Passes for few outputs cost little. With 10 and 2 classes accuracies were within 0.2 points of those at the optimum
# (benchmarks/probe.py --rows 20000 --exact); with 1,208 the difference has not been measured on many rows.
_TOLERANCE, _LARGEST_TOLERANCE, _LEAST_OUTPUTS = 1e-7, 1e-4, 10
_ITERATIONS = 200
# Rows whose logits are in memory at a time.
_ROWS = 8_192

# Features x max(outputs, _FEW) of a problem from which on it is fitted here. At the limit scikit-learn takes minutes.
LARGE, _FEW = 1e9, 50
# The same for problems of so many outputs, of which scikit-learn takes four times as long as is taken here.
LARGE_OF_MANY, MANY = 1e8, 100


def is_large(rows: int, width: int, outputs: int) -> bool:
    """Whether a logistic regression is to be fitted here rather than by scikit-learn."""
    return rows * width * max(outputs, _FEW) > (LARGE_OF_MANY if outputs >= MANY else LARGE)


def uncorrelated(features: Float[np.ndarray, "rows width"]) -> Float32[np.ndarray, "rows width"]:
    """Features that are centred, rotated to their principal axes: for several fits to some of the rows each."""
    x = torch.from_numpy(features).float()
    rotated: Float32[np.ndarray, "rows width"] = (x @ _principal_axes(x)[1]).numpy()
    return rotated


def _principal_axes(x: Float[Tensor, "rows width"]) -> tuple[Float[Tensor, " width"], Float[Tensor, "width width"]]:
    """Mean squares along the axes, and the axes as columns."""
    spread, directions = torch.linalg.eigh((x.T @ x / len(x)).double())
    return spread.clamp_min(0).float(), directions.float()


class LargeLogistic:
    """Logistic regression with a squared penalty, of one choice among classes, or of several yes or no.

    Minimises, like `sklearn.linear_model.LogisticRegression` with C = 1 / (strength * rows),

        mean over rows of the loss + strength / 2 * ||W||^2,

    the intercept free. With X^T X / rows = V diag(s) V^T and p_k the share of class k, the curvature of the loss along
    direction j of V for class k is about p_k (1 - p_k) s_j; so the weights are V U with U_jk divided by the root of
    that and the strength together. Several fits begin each where the one before ended.

    Args:
        link: "softmax", for one code a row; or "sigmoid", for a row of 0 and 1.
        rotate: False where features are nearly uncorrelated already, see `uncorrelated`.
        tolerance: a fit ends where a step lowers the loss, in nats a row, by less than this for each output (ten, if
            they are fewer), or by less than 0.0001.

    Source: L-BFGS with a diagonal preconditioner, Nocedal and Wright 2006, "Numerical Optimization", section 7.2; the
        curvature after Boehning 1992, "Multinomial logistic regression algorithm".
    """

    def __init__(self, link: Literal["softmax", "sigmoid"], rotate: bool = True, tolerance: float = _TOLERANCE) -> None:
        self.link, self.rotate, self.tolerance = link, rotate, tolerance
        self.has_converged = False
        self._source: np.ndarray | None = None
        self._weights: Tensor
        self._intercept: Tensor

    def fit(
        self, features: Float[np.ndarray, "rows width"], y: Shaped[np.ndarray, "rows ..."], strength: float
    ) -> None:
        """Fit to features that are centred, and to class codes from 0, or [rows, outputs] of bool.

        Features and targets must be the same in all fits of one object.
        """
        if self._source is not features:
            self._prepare(features, y)
        scale = torch.rsqrt(self._curvature * self._spread[:, None] + strength)
        intercept_scale = torch.rsqrt(self._curvature)
        place = torch.cat([self._weights / scale, (self._intercept / intercept_scale)[None]]).requires_grad_()
        optimiser = torch.optim.LBFGS(
            [place],
            max_iter=_ITERATIONS,
            tolerance_grad=0.0,
            tolerance_change=min(self.tolerance * max(len(self._intercept), _LEAST_OUTPUTS), _LARGEST_TOLERANCE),
            history_size=10,
            line_search_fn="strong_wolfe",
        )

        @torch.no_grad()
        def loss() -> Float[Tensor, ""]:
            weights, intercept = place[:-1] * scale, place[-1] * intercept_scale
            value, of_weights, of_intercept = self._loss(weights, intercept)
            of_weights += strength * weights
            place.grad = torch.cat([of_weights * scale, (of_intercept * intercept_scale)[None]])
            return value + strength / 2 * weights.double().square().sum()

        optimiser.step(loss)
        self.has_converged = optimiser.state[place]["n_iter"] < _ITERATIONS
        self._weights, self._intercept = place.detach()[:-1] * scale, place.detach()[-1] * intercept_scale

    def logits(self, features: Float[np.ndarray, "some width"]) -> Float[np.ndarray, "some outputs"]:
        """Of each class, or each yes; by the last fit."""
        weights, intercept = self.parameters()
        logits: np.ndarray = torch.addmm(
            torch.from_numpy(intercept), torch.from_numpy(features).float(), torch.from_numpy(weights)
        ).numpy()
        return logits

    def parameters(self) -> tuple[Float[np.ndarray, "width outputs"], Float[np.ndarray, " outputs"]]:
        """Weights and intercept of the last fit."""
        return (self._directions @ self._weights).numpy(), self._intercept.numpy()

    def probabilities(self, features: Float[np.ndarray, "some width"]) -> Float[np.ndarray, "some outputs"]:
        """Of each yes; by the last fit."""
        probabilities: np.ndarray = torch.from_numpy(self.logits(features)).sigmoid().numpy()
        return probabilities

    def _prepare(self, features: Float[np.ndarray, "rows width"], y: Shaped[np.ndarray, "rows ..."]) -> None:
        x = torch.from_numpy(features).float()
        self._y = torch.from_numpy(y.astype(np.int64 if self.link == "softmax" else np.float32))
        shares = (torch.bincount(self._y) / len(y)) if self.link == "softmax" else self._y.mean(dim=0)
        self._source = features
        if self.rotate:
            self._spread, self._directions = _principal_axes(x)
            self._rotated = x @ self._directions
        else:
            self._spread, self._directions, self._rotated = x.square().mean(dim=0), torch.eye(x.shape[1]), x
        self._curvature = (shares * (1 - shares)).float()
        self._weights = torch.zeros(x.shape[1], len(shares))
        self._intercept = shares.log() if self.link == "softmax" else shares.logit()

    def _loss(
        self, weights: Float[Tensor, "width outputs"], intercept: Float[Tensor, " outputs"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "width outputs"], Float[Tensor, " outputs"]]:
        """The mean loss over rows, and its gradients."""
        value = torch.zeros((), dtype=torch.float64)
        of_weights, of_intercept = torch.zeros_like(weights), torch.zeros_like(intercept)
        for x, y in zip(self._rotated.split(_ROWS), self._y.split(_ROWS), strict=True):
            logits = torch.addmm(intercept, x, weights)
            losses = self._softmax(logits, y) if self.link == "softmax" else self._sigmoid(logits, y)
            value += losses.double().sum()
            of_weights.addmm_(x.T, logits)
            of_intercept += logits.sum(dim=0)
        count = len(self._rotated)
        return value / count, of_weights / count, of_intercept / count

    @staticmethod
    def _softmax(logits: Float[Tensor, "some outputs"], y: Int64[Tensor, " some"]) -> Float[Tensor, " some"]:
        """The loss of each row; logits become its gradients."""
        codes = y[:, None]
        logits -= logits.amax(dim=1, keepdim=True)
        of_class = logits.gather(1, codes)[:, 0]
        total = logits.exp_().sum(dim=1)
        logits /= total[:, None]
        logits.scatter_add_(1, codes, torch.full_like(of_class, -1.0)[:, None])
        return total.log() - of_class

    @staticmethod
    def _sigmoid(
        logits: Float[Tensor, "some outputs"], y: Float[Tensor, "some outputs"]
    ) -> Float[Tensor, "some outputs"]:
        losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, y, reduction="none")
        logits.sigmoid_().sub_(y)
        return losses
