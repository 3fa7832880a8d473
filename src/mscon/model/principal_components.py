"""Principal components: vectors -> their first principal components, on a common scale. Knows no encoder."""

from __future__ import annotations

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn


class PrincipalComponents(nn.Module):
    """Vectors -> (vector - mean) @ axes * scale, where the scale makes the total variance of the result 1.

    Until `fit` is called, or a state is loaded, it computes nothing of use. Reduced to as many components as there are
    dimensions, vectors are centred and scaled but not rotated.

    Args:
        dim: of the vectors.
        components: of the result, from 1 to `dim`.

    Raises:
        ValueError: for another number of components.
    """

    mean: Tensor
    axes: Tensor | None
    scale: Tensor

    def __init__(self, dim: int, components: int) -> None:
        super().__init__()
        if not 1 <= components <= dim:
            raise ValueError(f"components must be from 1 to {dim}, got {components}.")
        self.components = components
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("axes", torch.zeros(dim, components) if components < dim else None)
        self.register_buffer("scale", torch.ones(()))

    def fit(self, vectors: Float[np.ndarray, "rows dim"]) -> PrincipalComponents:
        """Learn mean, axes and scale from some rows. Where nothing varies, results are zeros.

        Args:
            vectors: more rows than components, computed with in float64.

        Raises:
            ValueError: for fewer rows, if the result is reduced.

        Source: Hotelling 1933, "Analysis of a complex of statistical variables into principal components", by
            scikit-learn's PCA, whose signs are deterministic.
        """
        if self.axes is not None and len(vectors) <= self.components:
            raise ValueError(f"{self.components} components need more rows than that, got {len(vectors)}.")
        wide = vectors.astype(np.float64)
        mean, variance = wide.mean(axis=0), float(wide.var(axis=0).sum())
        self.mean.copy_(torch.from_numpy(mean))
        if variance <= 1e-12 * float((mean**2).sum()):  # within the rounding of float32
            self.scale.zero_()
            return self
        if self.axes is not None:
            from sklearn.decomposition import PCA  # a quarter of the time to load a model, which need not be fitted

            pca = PCA(self.components, svd_solver="covariance_eigh").fit(wide)
            self.axes.copy_(torch.from_numpy(pca.components_.T.copy()))
            variance = float(((wide - mean) @ pca.components_.T).var(axis=0).sum())
        self.scale.fill_(variance**-0.5)
        return self

    def forward(self, vectors: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples components"]:
        centred = vectors - self.mean
        return (centred if self.axes is None else centred @ self.axes) * self.scale
