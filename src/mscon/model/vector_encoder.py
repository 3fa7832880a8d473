"""Vector encoder: vectors -> features, standardised by what the training rows were like. Knows no labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from jaxtyping import Float, Float32
from numpy import ndarray
from torch import Tensor, nn

from mscon.errors import RecipeError, nearest
from mscon.model.backbone_output import features_of
from mscon.model.encoder import Encoder, custom_backbone, feature_width
from mscon.model.weights_file import load_weights, read_weights
from mscon.run import recipe, validate

NAMES = ("mlp", "linear", "identity")
ADAPTERS = ("mlp", "linear")


class VectorEncoder(Encoder):
    """A network behind (vector - mean) / std, each dimension by itself.

    Args:
        backbone: standardised vectors -> features.
        width: of the features.
        dim: of the vectors.
    """

    def __init__(self, backbone: nn.Module, width: int, dim: int) -> None:
        super().__init__(backbone, width, [], [])
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("std", torch.ones(dim))

    @property
    def is_standardised(self) -> bool:
        """Whether `standardise` has set a mean and a std, here or in the training that the weights come from."""
        return bool((self.mean != 0).any() or (self.std != 1).any())

    def standardise(self, mean: Float32[ndarray, " dim"], std: Float32[ndarray, " dim"]) -> None:
        """From now on take off this mean and divide by this std; they are kept in checkpoints.

        Nothing is done where the encoder is `identity`: its features are the vectors as they are.
        """
        if not isinstance(self.backbone, nn.Identity):
            self.mean.copy_(torch.from_numpy(mean))
            self.std.copy_(torch.from_numpy(std))

    def forward(self, vectors: Float[Tensor, "samples dim"]) -> Float[Tensor, "samples features"]:
        """Features, neither scaled to unit length nor bounded."""
        standardised = (vectors - self.mean) / self.std
        return features_of(self.backbone(standardised), standardised)


def build_vector_encoder(settings: recipe.Encoder, dim: int) -> VectorEncoder:
    """The encoder of vectors that a recipe names: "mlp", "linear", "identity", or "pkg.mod:Class".

    Args:
        settings: its `settings` are the arguments of `mlp` and `linear`, or of a class of the user's own.
        dim: of the vectors.

    Raises:
        RecipeError: for an encoder of images, an unknown name, or settings that it does not take.
    """
    if settings.pretrained:
        raise RecipeError("[encoder] pretrained = true is for images; no published weights are known for vectors.")
    if settings.weights and ":" not in settings.name:
        raise RecipeError("[encoder] weights is for encoders of images and for classes of your own.")
    if settings.mean or settings.std:
        raise RecipeError("[encoder] mean and std are for images; vectors are standardised by the training rows.")
    if ":" in settings.name:
        backbone = custom_backbone(settings)
        if settings.weights:
            load_weights(backbone, read_weights(settings.weights), settings.weights)
        width = feature_width(backbone, torch.zeros(2, dim), settings.name, f"vectors of {dim} numbers")
        return VectorEncoder(backbone, width, dim)
    if settings.name not in NAMES:
        raise RecipeError(
            f"[encoder] '{settings.name}' does not read vectors, which is what [data] input asks for."
            f'{nearest(settings.name, NAMES)}\n  Set name = "mlp". Known: {", ".join(NAMES)}, and a class of your own '
            "as 'pkg.mod:Class'."
        )
    return _network(settings.name, settings.settings, dim, "encoder.settings")


def build_adapter(settings: Mapping[str, Any], dim: int) -> VectorEncoder:
    """What learns behind a frozen backbone: "mlp" or "linear" over its standardised features.

    Args:
        settings: of the recipe, with at least one; "name", by default "mlp", and the arguments of `mlp` or `linear`.
        dim: of the backbone's features.

    Raises:
        RecipeError: for another name, or settings that it does not take.

    Source: an adapter beside or behind a frozen network is that of CLIP-Adapter, Gao et al. 2021,
        https://arxiv.org/abs/2110.04544; here without its residual connection.
    """
    others = dict(settings)
    if (name := others.pop("name", ADAPTERS[0])) not in ADAPTERS:
        raise RecipeError(
            f"[encoder.adapter] there is no adapter {name!r}.{nearest(str(name), ADAPTERS)}\n"
            f"  Known: {', '.join(ADAPTERS)}. Leave the section out for heads alone."
        )
    return _network(name, others, dim, "encoder.adapter")


def _network(name: str, settings: Mapping[str, Any], dim: int, section: str) -> VectorEncoder:
    make = {"mlp": mlp, "linear": linear, "identity": identity}[name]
    arguments = validate.filled(validate.parameters_of(make, ("dim",)), settings, section)
    try:
        backbone, width = make(dim, **arguments)
    except ValueError as error:
        raise RecipeError(f"[{section}] {name}: {error}") from None
    return VectorEncoder(backbone, width, dim)


def mlp(dim: int, units: int = 256, layers: int = 2) -> tuple[nn.Module, int]:
    """Layers of a matrix, layer norm and ReLU. No row depends on others of its batch, as with batch norm it would.

    Args:
        dim: of the vectors.
        units: of each layer, and of the features.
        layers: how many, at least 1.

    Returns:
        The network, and the width of its features.
    """
    if not 1 <= units <= 65_536:
        raise ValueError(f"units must be from 1 to 65536, got {units}.")
    if not 1 <= layers <= 64:
        raise ValueError(f"layers must be from 1 to 64, got {layers}.")
    parts: list[nn.Module] = []
    for layer in range(layers):
        parts += [nn.Linear(units if layer else dim, units, bias=False), nn.LayerNorm(units), nn.ReLU()]
    return nn.Sequential(*parts), units


def linear(dim: int, units: int = 256) -> tuple[nn.Module, int]:
    """One matrix: features are sums of what is given, so that whatever is in them was in the vectors."""
    if not 1 <= units <= 65_536:
        raise ValueError(f"units must be from 1 to 65536, got {units}.")
    return nn.Linear(dim, units), units


def identity(dim: int) -> tuple[nn.Module, int]:
    """The vectors as they are: what they are worth without training; or heads alone are trained."""
    return nn.Identity(), dim
