"""Probes of intermediate layers: does a layer before the last predict columns better? Kept beside the usual probe."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from mscon.errors import RunError, nearest
from mscon.evaluate.column_probes import FrozenFeatures
from mscon.evaluate.features import by_batches, extract
from mscon.evaluate.space_scores import score_space
from mscon.evaluate.start import inputs_of_features
from mscon.evaluate.targets import probe_columns
from mscon.model.layers import layer_features, layer_widths
from mscon.model.model import load_model
from mscon.run.run import Run


def layers_of(run: Run | str | Path) -> dict[str, int]:
    """Names of the layers of a run's encoder, first to last, and the width of each.

    Raises:
        RunError: if the run does not encode images, or has no checkpoint.
    """
    run = Run.of(run)
    data = run.read_recipe().data
    if data.input != "image":
        raise RunError(
            f"run '{run.root}' encodes {data.input}, but intermediate layers are probed of encoders of images only."
        )
    return layer_widths(load_model(run).encoder, data.channels, data.image_size)


def probe_layer(run: Run | str | Path, layer: str, *, progress: bool = True, accept_changes: bool = False) -> str:
    """Probe an intermediate layer as `mscon.evaluate.probe.probe` does the features, on the same rows and columns.

    Writes `layers.json`:

        {"checkpoint", "checkpoint_sha256", "draws",
         "layers": {name: {"width", "linear", "neighbours", "skipped"}}}

    with records as in probe.json, and layer_predictions.safetensors, where the arrays of a layer begin with "NAME/".
    Layers of the same checkpoint that were probed before stay; probe.json is not touched.

    Args:
        run: a trained run on images, or its directory.
        layer: its name, or its number from 0; negative ones count from the last.
        progress: show a bar, and the columns that are skipped, on standard error.
        accept_changes: see `probe`.

    Returns:
        The name of the layer.

    Raises:
        RunError: if there is no such layer; see `layers_of` and `probe`.
        TableError: if an image cannot be read any more.
    """
    run = Run.of(run)
    widths = layers_of(run)
    name = _named(layer, list(widths))
    recipe, rows = run.read_recipe(), run.read_rows()
    columns = probe_columns(run, recipe, rows)
    extract(run, progress=progress, accept_changes=accept_changes)
    encoder = load_model(run).encoder
    parts = by_batches(
        encoder,
        lambda batch: layer_features(encoder, batch)[name].cpu().numpy(),
        inputs_of_features(run),
        progress=progress,
        title=f"layer {name}",
    )
    scores = score_space(FrozenFeatures.of(np.concatenate(parts), rows, recipe), columns)
    run.write_layer(
        name,
        {"width": widths[name], **scores.records, "skipped": scores.skipped},
        scores.arrays,
        checkpoint=recipe.train.checkpoint,
        draws=recipe.probe.draws,
    )
    return name


def _named(layer: str, names: list[str]) -> str:
    if layer in names:
        return layer
    try:
        return names[int(layer)]
    except (ValueError, IndexError):
        raise RunError(
            f"the encoder has no layer '{layer}'.{nearest(layer, names)}\n"
            f"  It has {len(names)}, first to last: {', '.join(names)}. Name one, or give its number from 0."
        ) from None
