"""Regularisers: terms that keep the features of a batch from collapsing, without labels. Off by default."""

from __future__ import annotations

from collections.abc import Callable

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mscon.method.kernels.precision import no_rounding

Mean = Callable[[Float[Tensor, "samples ..."]], Tensor]
"""Of a number or an array for each sample, over the samples of all processes."""


def of_this_process(values: Float[Tensor, "samples ..."]) -> Tensor:
    """The mean where there are no other processes."""
    return values.mean(dim=0)


# Of the characteristic function: points from -5 to 5, and directions of a step.
_POINTS, _FARTHEST, _DIRECTIONS = 17, 5.0, 64


def vicreg(features: Float[Tensor, "samples features"], mean: Mean = of_this_process) -> Float[Tensor, ""]:
    r"""The variance and covariance terms of VICReg, at their proportion in the paper, 25 to 1.

    With F the number of features, s_f their standard deviations and C their covariances over the samples of the batch,

        mean_f max(0, 1 - sqrt(s_f^2 + 0.0001)) + sum_{f != g} C_fg^2 / (25 F).

    The first term keeps each feature at a standard deviation of 1 or more, the second makes features uncorrelated. The
    third of the paper, invariance, is left to the losses: a similarity `same_row` draws the views of a row together.
    Sums of squares are divided by the number of samples, not by one less.

    Args:
        features: of all views of the rows of a batch in this process, where the paper takes each view for itself.
        mean: over the samples of all processes.

    Source: Bardes et al. 2021, "VICReg", https://arxiv.org/abs/2105.04906, eq. 1 to 4.
    """
    centred = features - mean(features)
    covariance = _mean_of_sum(centred.T @ centred, features, mean)
    variance = covariance.diagonal()
    apart = covariance - torch.diag(variance)
    return (1 - (variance + 1e-4).sqrt()).clamp_min(0).mean() + apart.square().sum() / (25 * features.shape[1])


def sigreg(
    features: Float[Tensor, "samples features"],
    directions: Float[Tensor, "features directions"],
    mean: Mean = of_this_process,
) -> Float[Tensor, ""]:
    r"""Sketched isotropic Gaussian regularisation: the distance of features from a standard normal distribution.

    Along each direction a, with f(t) = mean_n exp(i t a^T x_n) over the samples of the batch and g(t) = exp(-t^2 / 2),
    the statistic of Epps and Pulley

        integral from -5 to 5 of |f(t) - g(t)|^2 g(t) dt,

    by the trapezoidal rule at 17 points; the mean over directions. The paper multiplies it by the number of samples:
    here the weight of the term stands for that too.

    Args:
        features: of all views of the rows of a batch in this process.
        directions: of unit length, the same in all processes.
        mean: as of `vicreg`.

    Source: Balestriero and LeCun 2025, "LeJEPA", https://arxiv.org/abs/2511.08544, algorithm 1, by public
        implementations of it: the text was not read.
    """
    points = torch.linspace(-_FARTHEST, _FARTHEST, _POINTS, dtype=features.dtype, device=features.device)
    normal = (-points.square() / 2).exp()
    angles = (features @ directions)[:, :, None] * points
    real, imaginary = (_mean_of_sum(wave.sum(dim=0), features, mean) for wave in (angles.cos(), angles.sin()))
    distance = ((real - normal).square() + imaginary.square()) * normal
    return torch.trapezoid(distance, points, dim=1).mean()


class FeatureRegulariser(nn.Module):
    """The weighted sum of both terms, of float32 features; directions are drawn anew in each step of training.

    Args:
        vicreg, sigreg: weights, 0 or more.
    """

    steps: Tensor

    def __init__(self, vicreg: float, sigreg: float) -> None:
        super().__init__()
        self.vicreg, self.sigreg = vicreg, sigreg
        self.register_buffer("steps", torch.zeros((), dtype=torch.int64))

    def forward(self, features: Float[Tensor, "samples features"], mean: Mean = of_this_process) -> Float[Tensor, ""]:
        """What is added to the total of a step; `mean` as of the function `vicreg`."""
        with no_rounding(features):
            wide = features.to(torch.promote_types(features.dtype, torch.float32))
            total = wide.new_zeros(())
            if self.vicreg:
                total = total + self.vicreg * vicreg(wide, mean)
            if self.sigreg:
                generator = torch.Generator().manual_seed(int(self.steps))
                directions = torch.randn(wide.shape[1], _DIRECTIONS, generator=generator)
                directions = (directions / directions.norm(dim=0)).to(wide)
                total = total + self.sigreg * sigreg(wide, directions, mean)
        if self.training:
            self.steps += 1
        return total


# Processes may hold unequal numbers of samples, so a mean over all is the sum over processes of sums, divided by that
# of counts; both as means over processes.


def _mean_of_sum(
    of_samples: Float[Tensor, "*any"], features: Float[Tensor, "samples features"], mean: Mean
) -> Float[Tensor, "*any"]:
    """Mean over the samples of all processes, from the sum over those of this process."""
    return mean(of_samples[None]) / mean(of_samples.new_tensor([float(len(features))]))
