"""Section [keep] of a recipe: how a trained model keeps what its encoder knew before."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta


@dataclass(frozen=True, slots=True)
class Keep:
    """How a trained model keeps what its encoder knew before training. All ways are off by default and can be combined.

    Attributes:
        beside: principal components of the starting features that stand beside the learned features; "all" for every
            starting feature, 0 for none. Starting features are those of the encoder before training (`pretrained`,
            `start_from`, or a class of your own); for vectors, columns and texts without such an encoder they are the
            input vectors themselves.
        width: width of the features in all, so that width - beside principal components of the learned features remain;
            0 for all learned features.
        interpolate: weights of the encoder after training, as a share of the way from the starting weights (0) to the
            trained ones (1, no interpolation); "auto" chooses the share on the validation rows.
        unscored: columns under [probe] by which interpolate = "auto" does not score features: the training then knows
            nothing of their labels.
        average: decay of an exponential moving average of the weights over the steps, such as 0.999; validation,
            features and exports then use the average. 0 for none.
    """

    beside: (
        Annotated[int, Meta(ge=0, description="0 (none) or a larger whole number (components)")] | Literal["all"]
    ) = 0
    width: Annotated[int, Meta(ge=0, description="0 (all learned features) or a larger whole number")] = 0
    interpolate: Annotated[float, Meta(ge=0, le=1, description="a share from 0 to 1")] | Literal["auto"] = 1.0
    unscored: tuple[str, ...] = ()
    average: Annotated[float, Meta(ge=0, lt=1, description="0 (none) or a decay below 1")] = 0.0

    def __post_init__(self) -> None:
        if self.beside != "all" and 0 < self.width <= self.beside:
            raise ValueError(
                f"width is {self.width}, which leaves no room for learned features beside {self.beside} starting ones. "
                f"Set width above {self.beside}, or 0 for all learned features."
            )

    @property
    def transforms(self) -> bool:
        """Whether features are transformed after training."""
        return self.beside != 0 or self.width > 0

    @property
    def interpolates(self) -> bool:
        """Whether the weights are interpolated after training."""
        return self.interpolate != 1

    @property
    def at_the_end(self) -> bool:
        """Whether something is left to do when the last epoch is over."""
        return self.transforms or self.interpolates
