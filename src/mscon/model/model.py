"""Model: an encoder, then heads. Images -> features, which are kept -> a projection per similarity."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from jaxtyping import Float
from torch import Tensor, nn

from mscon import catalogue, recipe
from mscon.errors import RunError
from mscon.model.encoder import Encoder, build_encoder
from mscon.model.heads.base import Heads
from mscon.run import Run

# Under this name a checkpoint keeps the tensors of the model, beside those of the training.
CHECKPOINT_PREFIX = "model."


class Model(nn.Module):
    """What is trained, and what a run hands on.

    Args:
        encoder: images -> features; the part that serves new tasks.
        heads: features -> one projection per similarity; kept for search.
    """

    def __init__(self, encoder: Encoder, heads: Heads) -> None:
        super().__init__()
        self.encoder, self.heads = encoder, heads

    def forward(
        self, images: Float[Tensor, "samples channels height width"]
    ) -> tuple[Float[Tensor, "samples features"], Float[Tensor, "similarities samples dim"]]:
        """Features and projections of images in [0, 1]. Neither is scaled to unit length."""
        features = self.encoder(images)
        return features, self.heads(features)


def build_model(recipe: recipe.Recipe, similarities: int | Sequence[object]) -> Model:
    """A new model, its weights drawn from torch's global generator.

    Args:
        recipe: names encoder and heads, and says what images are like.
        similarities: one head each, or how many.

    Raises:
        RecipeError: see `build_encoder`; and for settings that the heads refuse.
    """
    count = similarities if isinstance(similarities, int) else len(similarities)
    encoder = build_encoder(recipe.encoder, recipe.data.channels, recipe.data.image_size)
    part = recipe.heads
    heads: Heads = catalogue.build("heads", part.name, part.settings, similarities=count, input_dim=encoder.width)
    return Model(encoder, heads)


def load_model(run: Run, checkpoint: str | None = None) -> Model:
    """The trained model of a run, on the CPU, in evaluation mode.

    Args:
        run: where it was trained.
        checkpoint: "last" or "best"; None for the one that the run's recipe names.

    Raises:
        RunError: if the run has no such checkpoint, or it is of another model than the recipe's.
    """
    asked = run.recipe
    # The weights come from the checkpoint, so published ones need not be fetched again.
    bare = dataclasses.replace(asked, encoder=dataclasses.replace(asked.encoder, pretrained=False))
    model = build_model(bare, asked.similarities)
    name = checkpoint or asked.train.checkpoint
    tensors, _ = run.read_checkpoint(name)
    own = {k.removeprefix(CHECKPOINT_PREFIX): v for k, v in tensors.items() if k.startswith(CHECKPOINT_PREFIX)}
    try:
        model.load_state_dict(own)
    except RuntimeError as error:
        first = str(error).strip().splitlines()[-1].strip()
        raise RunError(
            f"checkpoint '{name}' of run '{run.root}' is not of the model that its recipe describes: {first}\n"
            "  Was recipe.toml changed after training, or does it name an encoder of another version of timm?"
        ) from None
    return model.eval()
