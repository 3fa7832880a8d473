"""Beside: starting features stand beside learned ones, so that a model has what its encoder knew before training."""

from __future__ import annotations

import copy
from typing import Literal, get_args

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mscon.errors import RecipeError
from mscon.method import catalogue
from mscon.model.encoder import Encoder
from mscon.model.principal_components import PrincipalComponents
from mscon.model.vector_encoder import VectorEncoder
from mscon.run.recipe import Keep, Recipe

Start = Literal["nothing", "encoder", "features", "inputs", "standardised"]
"""What starting features are: none; those of the encoder with its starting weights; the features, where the encoder is
frozen; the input vectors, or what an adapter reads; or these, each dimension standardised."""

STARTS: tuple[Start, ...] = get_args(Start)


def starts_from_weights(recipe: Recipe) -> bool:
    """Whether the encoder begins with weights that know something: published ones, another run's, or a class's own."""
    encoder = recipe.encoder
    return encoder.pretrained or bool(encoder.start_from or encoder.weights) or catalogue.is_own(encoder.name)


def start_of(recipe: Recipe) -> Start:
    """What starting features are by a recipe whose [keep] `transforms`.

    Raises:
        RecipeError: if there are none.
    """
    data, encoder = recipe.data, recipe.encoder
    if recipe.keep.beside == 0:
        return "nothing"
    if data.input != "image" and not encoder.start_from:
        # Columns have units of their own; the dimensions of a vector are on one scale, which says how much they count.
        return "standardised" if data.input == "columns" else "inputs"
    if not starts_from_weights(recipe):
        raise RecipeError(
            "[keep] beside keeps the features that the encoder gives before training, but the encoder starts from "
            "random weights. Set [encoder] pretrained = true, or start_from = a run directory; or set beside = 0."
        )
    if encoder.adapter:
        return "inputs"  # of the adapter
    return "features" if encoder.frozen else "encoder"


class Beside(nn.Module):
    """Features -> [principal components of starting features, those of the features], each of total variance 1.

    So that neither part dominates distances, whatever the width and the scale of either.

    Args:
        start: what starting features are.
        encoder: that computes them, where it is neither the encoder of the features nor none at all.
        starting: of starting features; None where there are none.
        learned: of features.
    """

    def __init__(
        self,
        start: Start,
        encoder: Encoder | None,
        starting: PrincipalComponents | None,
        learned: PrincipalComponents,
    ) -> None:
        super().__init__()
        self.start: Start = start
        self.encoder, self.starting, self.learned = encoder, starting, learned

    @property
    def width(self) -> int:
        """Of the result."""
        return self.learned.components + (0 if self.starting is None else self.starting.components)

    def starting_features(
        self, inputs: Shaped[Tensor, "samples ..."], features: Float[Tensor, "samples features"]
    ) -> Float[Tensor, "samples starting"]:
        """Of inputs, as the model takes them, whose features are known already."""
        if self.encoder is not None:
            return self.encoder(inputs)
        return features if self.start == "features" else inputs

    def forward(
        self, inputs: Shaped[Tensor, "samples ..."], features: Float[Tensor, "samples features"]
    ) -> Float[Tensor, "samples width"]:
        learned = self.learned(features)
        if self.starting is None:
            return learned
        return torch.cat([self.starting(self.starting_features(inputs, features)), learned], dim=1)


def build_beside(keep: Keep, start: Start, encoder: Encoder, dim: int | None) -> Beside:
    """As [keep] asks, still to be fitted, and with an encoder of starting features still without its weights.

    Args:
        keep: with `transforms`.
        start: see `start_of`.
        encoder: of the features; of starting features a copy, if they need one.
        dim: of the input vectors, or of what an adapter reads; None for images.

    Raises:
        RecipeError: if there are fewer starting or learned features than are to remain of them.
    """
    starting_encoder: Encoder | None = None
    if isinstance(encoder.adapter, VectorEncoder):
        dim = encoder.adapter.mean.numel()
    if start == "encoder":
        starting_encoder = copy.deepcopy(encoder)
    elif start == "standardised":
        assert dim is not None
        starting_encoder = VectorEncoder(nn.Identity(), dim, dim)
    if starting_encoder is not None:
        starting_encoder.freeze()
    width = dim if start in ("inputs", "standardised") else encoder.width
    assert width is not None
    beside = 0 if start == "nothing" else width if keep.beside == "all" else keep.beside
    if beside > width:
        raise RecipeError(
            f"[keep] beside is {beside}, but there are {width} starting features. Set beside = {width} or less, or "
            '"all".'
        )
    learned = keep.width - beside if keep.width else encoder.width
    if not 1 <= learned <= encoder.width:
        least, most = beside + 1, beside + encoder.width
        raise RecipeError(
            f"[keep] width is {keep.width}, but with {beside} starting features and {encoder.width} learned ones it is "
            f"from {least} to {most}. Set width in that range, or 0 for all learned features."
        )
    starting = PrincipalComponents(width, beside) if beside else None
    return Beside(start, starting_encoder, starting, PrincipalComponents(encoder.width, learned))
