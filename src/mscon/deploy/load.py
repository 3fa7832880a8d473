"""Load: a trained model from a run, from a packed file, or from the Hugging Face hub."""

from __future__ import annotations

import functools
from pathlib import Path

import torch

from mscon.deploy import packed
from mscon.deploy.embedder import Embedder
from mscon.errors import RunError
from mscon.model.model import load_model
from mscon.model.predictors.stored import current_predictors
from mscon.model.stored_uncertainty import read_uncertainty
from mscon.run.run import Run

# What load() takes from the hub begins with this: "hf:owner/name", or "hf:owner/name@revision".
HUB = "hf:"


def load(
    source: str | Path,
    *,
    checkpoint: str | None = None,
    trust: bool = False,
    device: torch.device | str | None = None,
    truncate_dim: int | None = None,
) -> Embedder:
    """A trained model, ready to embed images.

    Args:
        source: a run directory; a packed model (`mscon export --to safetensors`), or a folder with one as
            model.safetensors; or "hf:owner/name", optionally "@revision", for a repository of the Hugging Face hub.
        checkpoint: of a run, "last" or "best"; None for the one that its recipe names.
        trust: also import classes from outside mscon ("pkg.mod:Class") that a recipe or packed model names. Without
            it nothing but data is read, unless it is a run that you trained on this machine.
        device: where to compute; None for a GPU if there is one.
        truncate_dim: keep so many first dimensions of each projection, scaled to unit length again; None for all. They
            are meant for heads that were trained with [heads] matryoshka. Features stay as they are.

    Raises:
        RunError: if there is no model, it names code from outside mscon and is not trusted, or its projections do not
            have so many dimensions.
        RecipeError: if it names what this mscon does not know.
    """
    text, path = str(source), Path(source)
    if text.startswith(HUB):
        from mscon.deploy import hub

        return _packed(hub.download(text.removeprefix(HUB)), text, checkpoint, trust, device, truncate_dim)
    if is_packed(source):
        file = path if path.is_file() else path / packed.FILE_NAME
        return _packed(file, f"model '{path}'", checkpoint, trust, device, truncate_dim)
    run = Run.open(path, trust)
    recipe = run.read_recipe()
    name = checkpoint or recipe.train.checkpoint
    model, stored = load_model(run, name), read_uncertainty(run, name)
    if stored is not None and not stored[0].fits(model.width, model.heads.output_dim):
        raise RunError(f"run '{path}': uncertainty.safetensors is not of its model. Run `mscon probe` again.")
    rated = None if stored is None else stored[0]
    # Predictors are of features, and there are those of one checkpoint.
    read = functools.partial(current_predictors, run) if name == recipe.train.checkpoint else tuple
    return Embedder(model, recipe, f"run '{path}'", run.read_inputs(), name, device, rated, read, truncate_dim)


def is_packed(source: str | Path) -> bool:
    """Whether `load` reads a packed model from here, and not a run."""
    path = Path(source)
    is_run = (path / "recipe.toml").is_file()
    return str(source).startswith(HUB) or path.is_file() or (not is_run and (path / packed.FILE_NAME).is_file())


def files_of(source: str | Path) -> list[Path]:
    """Files on this machine that `load` of the same source reads, so that no output may replace them."""
    path = Path(source)
    if (path / "recipe.toml").is_file():
        return Run.open(path).files
    return [] if str(source).startswith(HUB) else [path, path / packed.FILE_NAME]


def _packed(
    path: Path,
    name: str,
    checkpoint: str | None,
    trust: bool,
    device: torch.device | str | None,
    truncate_dim: int | None,
) -> Embedder:
    if checkpoint is not None:
        raise RunError(f"{name} has one checkpoint only, so there is no '{checkpoint}'; a run has more.")
    contents = packed.load_packed(path, trust)
    judgement = contents.judgement
    return Embedder(
        contents.model,
        contents.recipe,
        name,
        contents.inputs,
        contents.checkpoint,
        device,
        judgement.row_uncertainty,
        lambda: judgement.predictors,
        truncate_dim,
    )
