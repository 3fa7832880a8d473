"""Frozen features: the output of the encoder for every row, written to the run for probes, report and search."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from torch import Tensor, nn

from mscon.data.inputs import fingerprints
from mscon.data.inputs.images import ImageStore
from mscon.data.inputs.open import Inputs, fingerprints_of, inputs_of
from mscon.data.inputs.stored_features import FeatureFile
from mscon.data.inputs.views import plain
from mscon.data.table.table import unit
from mscon.errors import NotResumable, RunError, counted, numbered
from mscon.model.frozen_backbone import FrozenBackbone
from mscon.model.model import Model, load_model
from mscon.run.progress import ProgressBar
from mscon.run.run import Run

Output = TypeVar("Output")


def extract(
    run: Run, *, progress: bool = True, batch_size: int = 512, force: bool = False, accept_changes: bool = False
) -> None:
    """Write features and projections of all rows of a run, by the checkpoint that its recipe names.

    Does nothing if the run has features of this checkpoint and of the images, or vectors, that it was trained on.

    Args:
        run: a trained run; its images, or vectors, must still lie where they lay, and be the same.
        progress: show a bar on standard error.
        batch_size: rows encoded at a time; changes speed and memory only.
        force: write them in any case.
        accept_changes: write them in any case, also of images or vectors that have changed since training; then
            this is recorded with the features.

    Raises:
        RunError: if there is no checkpoint, images or vectors have changed, or a feature is not finite; then nothing
            is written.
        TableError: if an image or a vector cannot be read any more.
    """
    recipe = run.read_recipe()
    checkpoint = recipe.train.checkpoint
    if (
        not (force or accept_changes)
        and run.has_whole_features
        and run.features_are_current(checkpoint, of_trained_inputs=True)
        and run.images_root is None  # else it is to be seen whether these are the same images
    ):
        return
    rows, facts = run.read_rows(), run.read_facts()
    model = load_model(run, checkpoint)
    root, name = Path(facts["images_root"]), facts["table"]["name"]
    inputs = inputs_of(run)
    current, lines = fingerprints_of(inputs), rows.get_column("line").to_list()
    changed, words = fingerprints.changes(run.read_fingerprints(), current, lines, name, recipe.data, root)
    if changed and not accept_changes:
        raise NotResumable(f"run '{run.root}': {words}\n  {fingerprints.ADVICE}")
    if changed:
        console = Console(stderr=True, quiet=not progress)
        console.print(
            f"note: {words} Features are of them as they are now.", markup=False, highlight=False, soft_wrap=True
        )
    if isinstance(inputs, ImageStore) and (recipe.encoder.stored_views or recipe.encoder.adapter):
        encoder = FrozenBackbone(model.to(_device()).encoder)
        inputs = FeatureFile(inputs, np.arange(len(inputs)), encoder).open(progress)[:, 0]
    features, projections = embed(model, inputs, batch_size=batch_size, progress=progress)
    _need_finite(run, checkpoint, features, projections, lines, name)
    run.record_move()
    if (masks := model.heads.shown) is not None:
        run.write_masks(masks.detach().cpu().tolist())
    run.write_features(features, projections, checkpoint, inputs=current, changed_rows=changed)


def read_features(run: Run) -> Float[np.ndarray, "rows width"]:
    """The features of all rows of a run.

    Raises:
        RunError: if there are none, or of another number of rows.
    """
    features, rows = run.read_features(), run.read_rows().height
    if len(features) != rows:
        raise RunError(
            f"run '{run.root}' has features of {counted(len(features), 'row')}, but {counted(rows, 'row')}. Delete its "
            "folder 'features', then run the command again."
        )
    return features


def embed(
    model: Model, inputs: Inputs, *, batch_size: int = 512, progress: bool = False
) -> tuple[Float[np.ndarray, "rows width"], Float[np.ndarray, "similarities rows dim"]]:
    """Features, and projections of unit length, of all inputs.

    In evaluation mode, without augmentation and in float32, whatever the precision of training: batch
    normalisation then uses its running averages, so a row's features depend on no other row.

    Args:
        model: moved to the GPU if there is one, and left there.
        inputs: images or vectors, in the order of the rows.
        batch_size: rows encoded at a time.
        progress: show a bar on standard error.
    """
    parts = by_batches(model, model.embed, inputs, batch_size=batch_size, progress=progress)
    return np.concatenate([features for features, _ in parts]), np.concatenate([p for _, p in parts], axis=1)


def by_batches(
    module: nn.Module,
    of_batch: Callable[[Float[Tensor, "batch ..."]], Output],
    inputs: Inputs,
    *,
    batch_size: int = 512,
    progress: bool = False,
    title: str = "features",
) -> list[Output]:
    """What a function of a module gives for all inputs, some rows at a time; see `embed` for mode and precision.

    Args:
        module: moved to the GPU if there is one, and left there.
        of_batch: called with images in [0, 1] or vectors, without gradients.
        inputs, batch_size, progress: see `embed`.
        title: of the bar.
    """
    device = _device()
    module.to(device, torch.float32).eval()
    outputs = []
    with ProgressBar(title, len(inputs), shown=progress) as bar, torch.inference_mode():
        for start in range(0, len(inputs), batch_size):
            numbers = np.arange(start, min(start + batch_size, len(inputs)))
            with torch.autocast(device.type, enabled=False):
                outputs.append(of_batch(plain(torch.from_numpy(inputs[numbers]).to(device))))
            bar.advance(len(numbers))
    return outputs


def _device() -> torch.device:
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def _need_finite(
    run: Run,
    checkpoint: str,
    features: Float[np.ndarray, "rows width"],
    projections: Float[np.ndarray, "similarities rows dim"],
    lines: list[int],
    table_name: str,
) -> None:
    broken = ~(np.isfinite(features).all(axis=1) & np.isfinite(projections).all(axis=(0, 2)))
    if broken.any():
        at = numbered(unit(table_name), [lines[i] for i in np.flatnonzero(broken)])
        raise RunError(
            f"run '{run.root}': the features of {counted(int(broken.sum()), 'row')} of {len(lines):,} are not finite "
            f"({at}), so they are not written.\n"
            f"  The weights of checkpoint '{checkpoint}' broke down while training. Train again with a lower "
            "train.learning_rate."
        )
