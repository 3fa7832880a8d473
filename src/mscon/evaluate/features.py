"""Frozen features: what the encoder makes of every row, kept in the run so that all later questions are cheap."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from rich.console import Console
from torch import nn

from mscon.data.inputs import fingerprints
from mscon.data.inputs.open import Inputs, fingerprints_of, open_inputs
from mscon.data.inputs.views import plain
from mscon.data.table.table import unit
from mscon.errors import RunError, counted, numbered
from mscon.model.model import load_model
from mscon.run.progress import ProgressBar
from mscon.run.run import Run


def extract(
    run: Run, *, progress: bool = True, batch_size: int = 512, force: bool = False, accept_changes: bool = False
) -> None:
    """Write features and projections of all rows of a run, by the checkpoint that its recipe names.

    Does nothing where they are there already and were made by that checkpoint as it is now, of the images, or vectors,
    that were trained on.

    Args:
        run: a trained run; its images, or vectors, must still lie where they lay, and be the same.
        progress: show a bar on standard error.
        batch_size: rows encoded at a time; changes speed and memory only.
        force: write them in any case.
        accept_changes: write them in any case, also of images or vectors that are not those trained on; then the
            features say so.

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
    ):
        return
    rows, facts = run.read_rows(), run.read_facts()
    model = load_model(run, checkpoint)
    root, name = Path(facts["images_root"]), facts["table"]["name"]
    inputs = open_inputs(rows, root, recipe.data, name, vectors=run.vectors_file, known=run.read_inputs())
    current, lines = fingerprints_of(inputs), rows.get_column("line").to_list()
    changed, words = fingerprints.changes(run.read_fingerprints(), current, lines, name, recipe.data, root)
    if changed and not accept_changes:
        raise RunError(f"run '{run.root}': {words}\n  {fingerprints.ADVICE}")
    if changed:
        console = Console(stderr=True, quiet=not progress)
        console.print(
            f"note: {words} Features are of them as they are now.", markup=False, highlight=False, soft_wrap=True
        )
    features, projections = embed(model.encoder, model.heads, inputs, batch_size=batch_size, progress=progress)
    _need_finite(run, checkpoint, features, projections, lines, name)
    if (masks := model.heads.shown) is not None:
        run.write_masks(masks.detach().cpu().tolist())
    run.write_features(features, projections, checkpoint, inputs=current, changed_rows=changed)


def embed(
    encoder: nn.Module, heads: nn.Module, inputs: Inputs, *, batch_size: int = 512, progress: bool = False
) -> tuple[Float[np.ndarray, "rows width"], Float[np.ndarray, "similarities rows dim"]]:
    """Features, and projections of unit length, of all inputs.

    In evaluation mode, without augmentation and in float32, whatever precision the training ran in: batch
    normalisation then uses its running averages, so a row's features depend on no other row.

    Args:
        encoder: images in [0, 1], or vectors, to features; moved to the GPU if there is one, and left there.
        heads: features to projections [similarities, batch, dim].
        inputs: images or vectors, in the order of the rows.

    Returns:
        Float32 both. A projection of zeros stays zeros.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    encoder, heads = (part.to(device, torch.float32).eval() for part in (encoder, heads))
    starts = range(0, len(inputs), batch_size)
    features, projections = [], []
    bar = ProgressBar("features", len(inputs), shown=progress)
    with torch.inference_mode(), torch.autocast(device.type, enabled=False), bar:
        for start in starts:
            numbers = np.arange(start, min(start + batch_size, len(inputs)))
            batch = encoder(plain(torch.from_numpy(inputs[numbers]).to(device)))
            features.append(batch.cpu().numpy())
            projections.append(nn.functional.normalize(heads(batch), dim=-1).cpu().numpy())
            bar.advance(len(numbers))
    return np.concatenate(features), np.concatenate(projections, axis=1)


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
