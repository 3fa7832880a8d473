"""Linear map: features to the numbers that a linear model decides by, as a probe fitted it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Float


@dataclass(frozen=True, slots=True, eq=False)
class Standardisation:
    """Features in standard deviations of the training rows, none further than a bound from their mean.

    Attributes:
        centre, scale: mean and standard deviation of each feature; 1 for one that does not vary.
        farthest: the bound.
    """

    centre: Float[np.ndarray, " width"]
    scale: Float[np.ndarray, " width"]
    farthest: float

    def __call__(self, features: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, "rows width"]:
        standardised = (features.astype(np.float64) - self.centre) / self.scale
        return np.clip(standardised, -self.farthest, self.farthest, out=standardised)


@dataclass(frozen=True, slots=True, eq=False)
class LinearMap:
    """Standardised features times weights, plus an intercept."""

    standardised: Standardisation
    weights: Float[np.ndarray, "width outputs"]
    intercept: Float[np.ndarray, " outputs"]

    @property
    def width(self) -> int:
        """How many features it takes."""
        return len(self.weights)

    def __call__(self, features: Float[np.ndarray, "rows width"]) -> Float[np.ndarray, "rows outputs"]:
        outputs: np.ndarray = self.standardised(features) @ self.weights + self.intercept
        return outputs

    def as_stored(self) -> LinearMap:
        """With weights in float32, as a file holds them: what is measured is then what predicts later."""
        return replace(self, weights=self.weights.astype(np.float32), intercept=self.intercept.astype(np.float32))

    def to_arrays(self) -> dict[str, np.ndarray]:
        """What `from_arrays` takes."""
        standardised = self.standardised
        return {
            "centre": standardised.centre,
            "scale": standardised.scale,
            "farthest": np.array([standardised.farthest]),
            "weights": self.weights,
            "intercept": self.intercept,
        }

    @classmethod
    def from_arrays(cls, arrays: Mapping[str, np.ndarray]) -> LinearMap:
        """The inverse of `to_arrays`.

        Raises:
            ValueError: if an array has another shape, or a number is not finite.
            KeyError: if there is no such array.
        """
        centre, scale, farthest = arrays["centre"], arrays["scale"], arrays["farthest"]
        weights, intercept = arrays["weights"], arrays["intercept"]
        if weights.ndim != 2 or not centre.shape == scale.shape == weights.shape[:1] or farthest.shape != (1,):
            raise ValueError("the arrays of a linear map do not fit together")
        if intercept.shape != weights.shape[1:]:
            raise ValueError("the arrays of a linear map do not fit together")
        if not all(np.isfinite(array).all() for array in (centre, scale, farthest, weights, intercept)):
            raise ValueError("a number of a linear map is not finite")
        if not (scale > 0).all():
            raise ValueError("a standard deviation of a linear map is not positive")
        return cls(Standardisation(centre, scale, float(farthest[0])), weights, intercept)
