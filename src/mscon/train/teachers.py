"""Teachers of a run: the codes of its similarities of kind `teacher`, computed once before training."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import torch
from jaxtyping import Float, Int64

from mscon.data.inputs import teachers
from mscon.data.inputs.open import Inputs, Vectors, open_inputs
from mscon.data.inputs.teachers import TeacherCodes
from mscon.data.table.table import Table
from mscon.errors import RecipeError
from mscon.model.beside import starts_from_weights
from mscon.model.encoder import Encoder
from mscon.model.vector_encoder import VectorEncoder
from mscon.run.parts import TEACHER
from mscon.run.recipe import Recipe
from mscon.train.keep import encoded


def check_teachers(recipe: Recipe) -> None:
    """That the encoder starts from something that can teach.

    Raises:
        RecipeError: if it starts from random weights, but a teacher is to be the features that it starts from.
    """
    parts = teachers.starting(recipe.similarities)
    if parts and recipe.data.input == "image" and not starts_from_weights(recipe):
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
    encoder: Encoder | None = None,
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
    codes = dict(teachers.stored_codes(rows, table, recipe.similarities, root, recipe.data))
    has_features = not isinstance(inputs, Vectors) or bool(recipe.encoder.start_from)
    parts = teachers.starting(recipe.similarities)
    if not parts or (has_features and encoder is None):
        return codes
    if recipe.data.input == "image" and recipe.data.store_size:  # larger than what the encoder gets
        inputs = open_inputs(rows, root, recipe.data, table.name)
    split = rows.get_column("split").to_numpy()
    numbers = np.flatnonzero(np.isin(split, ("train", "validation")))
    start = _start(recipe, inputs, numbers, encoder if has_features else None, device)
    for part in parts:
        what = f"{table.name}: the features that training starts from"
        codes[part.column] = teachers.centred_codes(part, start, split == "train", what)
    return codes


def _start(
    recipe: Recipe, inputs: Inputs, numbers: Int64[np.ndarray, " some"], encoder: Encoder | None, device: str
) -> Float[np.ndarray, "rows width"]:
    """Features, or without an encoder the vectors, of the rows with these numbers; NaN for the others."""
    if encoder is not None:
        # An adapter has learnt nothing yet.
        network = encoder.encode if isinstance(encoder.adapter, VectorEncoder) else encoder
        encoder.to(device).eval()
        of_rows = encoded(network, inputs, torch.from_numpy(numbers), torch.device(device)).float().numpy()
        encoder.train()
    else:
        of_rows = inputs[numbers]
    if not np.isfinite(of_rows).all():
        raise RecipeError(
            f"[encoder] '{recipe.encoder.name}' has features that are not finite before training begins, so they "
            f"cannot be a similarity of kind '{TEACHER}'."
        )
    start = np.full((len(inputs), of_rows.shape[1]), np.nan, dtype=np.float32)
    start[numbers] = of_rows
    return start
