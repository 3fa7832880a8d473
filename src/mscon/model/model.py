"""Model: an encoder, then heads. Images -> features, which are kept -> a projection per similarity."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor, nn

from mscon.errors import MSConError, RecipeError, RunError, counted, first_few
from mscon.method import catalogue
from mscon.model.beside import Beside, build_beside, start_of
from mscon.model.encoder import Encoder, build_encoder
from mscon.model.heads.base import HeadGroups, Heads
from mscon.model.lora import add_adapters
from mscon.model.vector_encoder import build_adapter, build_vector_encoder
from mscon.model.weight_budget import WeightBudget
from mscon.run import recipe
from mscon.run.run import Run

# Under this name a checkpoint keeps the tensors of the model, beside those of the training.
CHECKPOINT_PREFIX = "model."

# And under this key, beside those tensors, what [keep] did to them when training had ended.
FINISHED = "keep"


class Model(nn.Module):
    """What is trained, and what a run hands on.

    Args:
        encoder: images -> features; the part that serves new tasks.
        heads: features -> one projection per similarity; kept for search.
        beside: what features become once training has ended; None where they stay as they are. Heads read the features
            as they were.
    """

    def __init__(self, encoder: Encoder, heads: Heads, beside: Beside | None = None) -> None:
        super().__init__()
        self.encoder, self.heads, self.beside = encoder, heads, beside

    @property
    def width(self) -> int:
        """Of the features that are kept."""
        return self.encoder.width if self.beside is None else self.beside.width

    def forward(
        self, inputs: Float[Tensor, "samples ..."]
    ) -> tuple[Float[Tensor, "samples features"], Float[Tensor, "similarities samples dim"]]:
        """Features and projections of images in [0, 1], or of vectors. Neither is scaled to unit length."""
        inputs = self.read(inputs)
        features = self.encoder(inputs)
        projections = self.heads(features)
        return self.transformed(inputs, features), projections

    def read(self, inputs: Float[Tensor, "samples ..."]) -> Float[Tensor, "samples ..."]:
        """What learned networks read: inputs; or, where there is an adapter, what the backbone makes of images."""
        has_adapter = not isinstance(self.encoder.adapter, nn.Identity)
        return self.encoder.encode(inputs) if has_adapter and inputs.dim() == 4 else inputs

    def transformed(
        self, inputs: Float[Tensor, "samples ..."], features: Float[Tensor, "samples learned"]
    ) -> Float[Tensor, "samples features"]:
        """The features that are kept, of inputs and the encoder's features of them."""
        return features if self.beside is None else self.beside(inputs, features)

    @torch.inference_mode()
    def embed(
        self, inputs: Float[Tensor, "samples ..."]
    ) -> tuple[Float[np.ndarray, "samples features"], Float[np.ndarray, "similarities samples dim"]]:
        """Features, and projections of unit length, in the precision of the weights. A projection of zeros stays zeros.

        In evaluation mode, to which `load_model` sets a model, they depend on no other sample.
        """
        with torch.autocast(inputs.device.type, enabled=False):
            features, projections = self(inputs)
            return features.cpu().numpy(), nn.functional.normalize(projections, dim=-1).cpu().numpy()


def build_model(recipe: recipe.Recipe, similarities: int | Sequence[object], dim: int | None = None) -> Model:
    """A new model, its weights drawn from torch's global generator.

    Args:
        recipe: names encoder and heads, and says what images are like.
        similarities: one head each, or how many.
        dim: of the vectors that are encoded; None for images.

    Raises:
        RecipeError: see `build_encoder` and `take_over`; and for settings that the heads refuse.
    """
    count = similarities if isinstance(similarities, int) else len(similarities)
    encoder = starting_encoder(recipe, dim)
    if recipe.encoder.lora:
        add_adapters(encoder, recipe.encoder.lora, recipe.encoder.name)
    if recipe.encoder.frozen:
        encoder.freeze()
    parts = recipe.grouped("heads") if count == len(recipe.similarities) else [(recipe.heads, tuple(range(count)))]
    groups = [
        (
            catalogue.build("heads", part.name, part.settings, similarities=len(numbers), input_dim=encoder.width),
            numbers,
        )
        for part, numbers in parts
    ]
    return Model(encoder, groups[0][0] if len(groups) == 1 else HeadGroups(groups))


def starting_encoder(recipe: recipe.Recipe, dim: int | None = None) -> Encoder:
    """The encoder that training begins with: of published weights, of another run's, or of weights drawn at random.

    Args:
        recipe: names the encoder, and says what images are like.
        dim: of the vectors that are encoded; None for images.

    Raises:
        RecipeError: see `build_encoder` and `take_over`; or if the recipe names two kinds of weights.
    """
    if dim is None:
        encoder = build_encoder(recipe.encoder, recipe.data.channels, recipe.data.image_size)
    else:
        encoder = build_vector_encoder(recipe.encoder, dim)
    if recipe.encoder.adapter and dim is None:
        encoder.adapter = build_adapter(recipe.encoder.adapter, encoder.width)
        encoder.width = encoder.adapter.width
    if recipe.encoder.start_from:
        if recipe.encoder.pretrained or recipe.encoder.weights:
            other = "pretrained" if recipe.encoder.pretrained else "weights"
            raise RecipeError(
                f"[encoder] start_from and {other} both say with which weights to begin. Take one of them out."
            )
        take_over(encoder, Path(recipe.encoder.start_from))
    return encoder


def take_over(encoder: Encoder, root: Path) -> None:
    """Give an encoder the weights, and the preprocessing, of the trained encoder of another run.

    An adapter that the other one does not have stays as it is.

    Args:
        encoder: of the same architecture.
        root: the other run; of its checkpoints the one that its recipe names.

    Raises:
        RecipeError: if there is no such run, or if its weights do not fit, and which.
    """
    try:
        run = Run.open(root)
        # Only weights are taken, so nothing that the other run names need be imported, or trusted.
        there = recipe.plain_sections(run.read_recipe_values(), f"{root}: ")
        tensors, _ = run.read_checkpoint(there["train"].checkpoint)
    except MSConError as error:
        raise RecipeError(f"[encoder] start_from: {error}") from None
    theirs = model_state(tensors, "encoder")
    mine = encoder.state_dict()
    if not any(key.startswith("adapter.") for key in theirs):
        theirs |= {key: value for key, value in mine.items() if key.startswith("adapter.")}
    faults = [
        f"'{k}' has shape {list(mine[k].shape)} here, {list(v.shape)} there"
        for k, v in theirs.items()
        if k in mine and mine[k].shape != v.shape
    ]
    faults += [f"'{k}' is not there" for k in mine if k not in theirs]
    faults += [f"'{k}' is there only" for k in theirs if k not in mine]
    if faults:
        raise RecipeError(
            f"[encoder] start_from: the encoder of run '{root}' does not fit this one, in "
            f"{counted(len(faults), 'tensor')}: {first_few(faults, 3)}.\n  It is '{there['encoder'].name}' for "
            f"{counted(there['data'].channels, 'channel')} and {there['data'].image_size} pixels; take the same "
            "[encoder] and [data] settings here."
        )
    encoder.load_state_dict(theirs)


def load_model(run: Run, checkpoint: str | None = None) -> Model:
    """The trained model of a run, on the CPU, in evaluation mode.

    Args:
        run: where it was trained.
        checkpoint: "last" or "best"; None for the one that the run's recipe names.

    Raises:
        RunError: if the run has no such checkpoint, or it is of another model than the recipe's.
    """
    settings = run.read_recipe()
    name = checkpoint or settings.train.checkpoint
    tensors, state = run.read_checkpoint(name)
    if settings.keep.at_the_end and FINISHED not in state:
        raise RunError(
            f"checkpoint '{name}' of run '{run.root}' is not finished: its recipe has [keep] settings that are applied "
            f"when training has ended.\n  `mscon resume {run.root}` goes on with the training, and applies them."
        )
    try:
        with WeightBudget(tensors):
            model = finished_model(settings, run.input_width)
        model.load_state_dict(model_state(tensors))
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise RunError(
            f"checkpoint '{name}' of run '{run.root}' is not of the model that its recipe describes: {first}\n"
            "  Was recipe.toml changed after training, or does it name an encoder of another version of timm?"
        ) from None
    return model.eval()


def finished_model(settings: recipe.Recipe, dim: int | None) -> Model:
    """A model as it is once training has ended, its weights still to be loaded: no adapters, and [keep] `beside`.

    Args:
        settings: of its run. Published weights, or those of another run, are not asked for.
        dim: of the vectors that are encoded; None for images.
    """
    encoder = dataclasses.replace(settings.encoder.bare, lora=0)
    model = build_model(dataclasses.replace(settings, encoder=encoder), settings.similarities, dim)
    if settings.keep.transforms:
        model.beside = build_beside(settings.keep, start_of(settings), model.encoder, dim)
    return model


def model_state(tensors: Mapping[str, Tensor], part: str = "") -> dict[str, Tensor]:
    """The tensors of a model, or of one part of it ("encoder"), among those of a checkpoint."""
    prefix = f"{CHECKPOINT_PREFIX}{part}." if part else CHECKPOINT_PREFIX
    return {k.removeprefix(prefix): v for k, v in tensors.items() if k.startswith(prefix)}
