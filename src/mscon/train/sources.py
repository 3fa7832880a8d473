"""Sources: files besides the table and the inputs that a training reads, known by their content."""

from __future__ import annotations

import functools
import hashlib
from dataclasses import replace
from pathlib import Path

from mscon.data.inputs.open import vectors_file
from mscon.data.inputs.teachers import source_of, stored
from mscon.data.inputs.vectors import SUFFIXES
from mscon.errors import MSConError, RecipeError
from mscon.run import recipe as recipes
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train.judged_labels import JUDGEMENTS, judged_run


def sources(recipe: Recipe, root: Path, table_name: str = "the table") -> dict[str, str]:
    """SHA-256 of the checkpoint, or file of weights, that the encoder starts from, and of files of vectors of teachers.

    Args:
        recipe: of the training.
        root: folder that files of vectors are relative to.
        table_name: for messages.

    Raises:
        RecipeError: if the run to start from is not there.
        TableError: if a file of vectors is not there.
    """
    paths = {
        part.column: vectors_file(root, replace(recipe.data, vectors=source_of(part)), table_name)
        for part in stored(recipe.similarities)
        if Path(source_of(part)).suffix.lower() in SUFFIXES
    }
    if recipe.encoder.weights and Path(recipe.encoder.weights).is_file():  # else whoever reads it says so
        paths["weights"] = Path(recipe.encoder.weights)
    if recipe.encoder.start_from:
        try:
            run = Run.open(recipe.encoder.start_from)
            settings = recipes.plain_sections(run.read_recipe_values(), f"{run.root}: ")["train"]
        except MSConError as error:
            raise RecipeError(f"[encoder] start_from: {error}") from None
        paths["start_from"] = run.root / "checkpoints" / f"{settings.checkpoint}.safetensors"
        if not paths["start_from"].is_file():
            raise RecipeError(f"[encoder] start_from: run '{run.root}' has no checkpoint; `mscon train` writes it.")
    if recipe.doubt.run:
        paths |= {name: judged_run(recipe.doubt).root / name for name in JUDGEMENTS}
    return {name: _sha256(path, path.stat().st_size, path.stat().st_mtime_ns) for name, path in paths.items()}


@functools.lru_cache(maxsize=64)
def _sha256(path: Path, size: int, changed: int) -> str:
    """Read again only where size or time of change differ: many runs of a comparison share a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
