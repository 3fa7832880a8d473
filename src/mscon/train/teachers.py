"""Teachers of a run: the codes of its similarities of kind `teacher`, computed once before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from mscon.data.inputs import teachers
from mscon.data.inputs.open import Inputs, Vectors
from mscon.data.inputs.teachers import TeacherCodes
from mscon.data.inputs.views import plain
from mscon.data.table.table import Table
from mscon.errors import RecipeError
from mscon.model.beside import starts_from_weights
from mscon.model.encoder import Encoder
from mscon.model.vector_encoder import VectorEncoder
from mscon.run.parts import TEACHER
from mscon.run.recipe import Recipe

# Rows that go through the encoder at once.
_ROWS_AT_ONCE = 256


def check_teachers(recipe: Recipe) -> None:
    """That the encoder starts from something that can teach.

    Raises:
        RecipeError: if it starts from random weights, but a teacher is to be the features that it starts from.
    """
    has_weights = starts_from_weights(recipe)
    if recipe.data.input == "image" and not has_weights and (parts := teachers.starting(recipe.similarities)):
        raise RecipeError(
            f"similarity '{parts[0].column}' of kind '{TEACHER}' reads the features that training starts from, but the "
            "encoder starts from random weights. Set [encoder] pretrained = true or start_from, or name a column or a "
            'file of vectors: of = "clip.npy".'
        )


def teachers_of(
    recipe: Recipe,
    rows: pl.DataFrame,
    table: Table,
    root: Path,
    inputs: Inputs,
    encoder: nn.Module | None = None,
    device: str = "cpu",
) -> TeacherCodes:
    """The codes of all teachers of a recipe, by the name of their similarity.

    What training starts from is the features of the encoder, without views; of vectors, columns and texts the vectors
    themselves, unless the encoder starts from another run. It is computed for training and validation rows only.

    Args:
        recipe, rows, table, root, inputs: of the run.
        encoder: as training starts from it; it is moved to the device. Without one, teachers that are its features
            are left out.
        device: to compute features on.

    Raises:
        TableError: if nothing can be told apart by the vectors of a teacher.
    """
    codes = dict(teachers.stored_codes(rows, table, recipe.similarities, root))
    has_features = not isinstance(inputs, Vectors) or bool(recipe.encoder.start_from)
    parts = teachers.starting(recipe.similarities)
    if not parts or (has_features and encoder is None):
        return codes
    split = rows.get_column("split").to_numpy()
    numbers = np.flatnonzero(np.isin(split, ("train", "validation")))
    start = _start(recipe, inputs, numbers, encoder if has_features else None, device)
    for part in parts:
        what = f"{table.name}: the features that training starts from"
        codes[part.column] = teachers.centred_codes(part, start, split == "train", what)
    return codes


def _start(
    recipe: Recipe, inputs: Inputs, numbers: Int64[np.ndarray, " some"], encoder: nn.Module | None, device: str
) -> Float[np.ndarray, "rows width"]:
    """Features, or without an encoder the vectors, of the rows with these numbers; NaN for the others."""
    start: Float[np.ndarray, "rows width"] | None = None
    if encoder is not None:
        encoder.to(device).eval()
    for first in range(0, len(numbers), _ROWS_AT_ONCE):
        some = numbers[first : first + _ROWS_AT_ONCE]
        block = inputs[some]
        if encoder is not None:
            with torch.no_grad():
                block = _features(encoder, plain(torch.from_numpy(block).to(device))).float().cpu().numpy()
        elif isinstance(inputs, Vectors) and recipe.data.input == "columns":  # of different units
            block = (block - inputs.mean) / inputs.std
        if not np.isfinite(block).all():
            raise RecipeError(
                f"[encoder] '{recipe.encoder.name}' has features that are not finite before training begins, so they "
                f"cannot be a similarity of kind '{TEACHER}'."
            )
        if start is None:
            start = np.full((len(inputs), block.shape[1]), np.nan, dtype=np.float32)
        start[some] = block
    if encoder is not None:
        encoder.train()
    assert start is not None, "there are training rows"
    return start


def _features(encoder: nn.Module, inputs: Tensor) -> Tensor:
    if isinstance(encoder, Encoder) and isinstance(encoder.adapter, VectorEncoder):  # which has learnt nothing yet
        return encoder.encode(inputs)
    features: Tensor = encoder(inputs)
    return features
