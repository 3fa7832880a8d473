"""Keep: what the section [keep] of a recipe does to checkpoints after the last epoch, and what it needs for it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import polars as pl
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mscon.data.batches.triplet_dataset import rows_of
from mscon.data.inputs.open import Inputs, Vectors, inputs_of
from mscon.data.inputs.views import plain
from mscon.errors import RecipeError, RunError, counted
from mscon.method.similarities.base import Similarity
from mscon.model.beside import build_beside, start_of, starts_from_weights
from mscon.model.encoder import Encoder
from mscon.model.interpolation import interpolated
from mscon.model.lora import merged_state
from mscon.model.model import CHECKPOINT_PREFIX, FINISHED, Model, finished_model, model_state
from mscon.model.vector_encoder import VectorEncoder
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train.checkpoint import TRAINING, apart
from mscon.train.loop import Training
from mscon.train.neighbour_score import neighbour_scores, scored_similarities

SHARES = tuple(round(0.1 * number, 1) for number in range(11))
"""Of the way from starting to trained weights, of which `interpolate = "auto"` chooses one."""

_BATCH = 512


def check_keep(
    recipe: Recipe,
    encoder: Encoder,
    rows: pl.DataFrame,
    similarities: Sequence[Similarity],
    inputs: Inputs | None,
    table_name: str,
) -> None:
    """That what [keep] and [encoder] lora ask for is possible, before a training begins.

    Args:
        encoder: that is to be trained.
        rows: of the run, all columns.
        similarities: of the recipe, fitted.
        inputs: None where they are images.
        table_name: for messages.

    Raises:
        RecipeError: for all settings that cannot be meant.
        TableError: if a column of [probe] that features are to be scored by cannot be read.
    """
    keep, complaints = recipe.keep, list[str]()
    settings = (("[keep] interpolate", "1", keep.interpolates), ("[encoder] lora", "0", recipe.encoder.lora > 0))
    for name, off, is_set in settings:
        if is_set and recipe.encoder.frozen:
            complaints.append(
                f"{name} is for an encoder that learns, but [encoder] frozen = true. Set frozen = false, or {name} = "
                f"{off}."
            )
        elif is_set and not starts_from_weights(recipe):
            complaints.append(
                f"{name} needs an encoder that starts from trained weights, but it starts from random ones. Set "
                f"[encoder] pretrained = true, or start_from = a run directory; or set {name} = {off}."
            )
    split = rows.get_column("split")
    train_rows = int((split == "train").sum())
    if keep.transforms:
        try:
            dim = inputs.width if isinstance(inputs, Vectors) else None
            beside = build_beside(keep, start_of(recipe), encoder, dim)
            for part, setting in ((beside.starting, "beside"), (beside.learned, "width")):
                if part is not None and part.axes is not None and part.components >= train_rows:
                    complaints.append(
                        f"[keep] {setting} asks for {part.components} principal components, but {table_name} has "
                        f"{counted(train_rows, 'train row')}, which give {train_rows - 1} at most."
                    )
        except RecipeError as error:
            complaints.append(str(error))
    if keep.interpolate == "auto":
        if not (split == "validation").any():
            complaints.append(
                f'[keep] interpolate = "auto" chooses on validation rows, but {table_name} has none. Give some rows '
                'the split "validation", or set interpolate = 0.5, say.'
            )
        if not scored_similarities(recipe, rows, similarities, table_name):
            complaints.append(
                '[keep] interpolate = "auto" needs a label column to score features by. Name one in [probe] columns, '
                "or set interpolate = 0.5, say."
            )
    if complaints:
        raise RecipeError("\n".join(complaints))


def need_start(recipe: Recipe) -> bool:
    """Whether a run has to hold the weights that its encoder starts from."""
    return recipe.keep.interpolates or (recipe.keep.transforms and start_of(recipe) == "encoder")


def write_start(run: Run, training: Training) -> None:
    """Write the weights that the encoder starts from to the run, where they are needed when training has ended."""
    if need_start(training.recipe):
        model = training.method.model
        state = merged_state(model) if training.recipe.encoder.lora else model.state_dict()
        start = {f"{CHECKPOINT_PREFIX}{name}": value for name, value in state.items() if name.startswith("encoder.")}
        run.write_checkpoint("start", start, {})


def is_finished(recipe: Recipe, state: Mapping[str, Any]) -> bool:
    """Whether [keep] has been applied to a checkpoint, or has nothing to apply."""
    return not recipe.keep.at_the_end or FINISHED in state


def finish(run: Run, training: Training) -> Iterator[str]:
    """Apply [keep] to the checkpoints of a run whose last epoch is over; those that have it already stay as they are.

    Stopped at any instant and called again it leaves the same. Only the first of several processes may call it.

    Yields:
        A sentence for each checkpoint whose weights are interpolated.

    Raises:
        RunError: if the starting weights in the run are not those of its encoder.
    """
    keep = training.recipe.keep
    # The last one at the end: it shows that all are finished.
    for name in ("best", "last") if keep.at_the_end else ():
        if run.has_checkpoint(name):
            tensors, state = run.read_checkpoint(name)
            if FINISHED not in state:
                model = finished_model(training.recipe, run.input_width)
                record = _finished(model, run, training, model_state(tensors))
                if keep.interpolates and name == "last" and not any(key.startswith(TRAINING) for key in tensors):
                    tensors = apart(tensors)
                results = {f"{CHECKPOINT_PREFIX}{key}": value for key, value in model.state_dict().items()}
                run.write_checkpoint(name, {**tensors, **results}, {**state, FINISHED: record})
                if keep.interpolates:
                    how = " (chosen on the validation rows)" if keep.interpolate == "auto" else ""
                    yield (
                        f"The encoder of checkpoint '{name}' is {record['interpolate']:g} of the way from its starting "
                        f"to its trained weights{how}."
                    )


def records(run: Run) -> dict[str, Any]:
    """For each checkpoint what [keep] did to it: the share of an interpolation, and the scores it was chosen by."""
    states = {name: run.read_checkpoint(name)[1] for name in ("last", "best") if run.has_checkpoint(name)}
    return {name: state[FINISHED] for name, state in states.items() if state.get(FINISHED)}


def _finished(model: Model, run: Run, training: Training, trained: Mapping[str, Tensor]) -> dict[str, Any]:
    """Give a model its weights, and say how they were interpolated."""
    recipe, device = training.recipe, training.fabric.device
    start = model_state(run.read_checkpoint("start")[0], "encoder") if need_start(recipe) else {}
    learned = {k.removeprefix("encoder."): v for k, v in trained.items() if k.startswith("encoder.")}
    model.heads.load_state_dict({k.removeprefix("heads."): v for k, v in trained.items() if k.startswith("heads.")})
    model.encoder.load_state_dict(learned)
    model.to(device).eval()
    # As the encoder gets images, where larger ones are stored.
    inputs = inputs_of(run) if recipe.data.store_size else rows_of(training.dataset).inputs
    record: dict[str, Any] = {}
    if recipe.keep.interpolates:
        fixed = recipe.keep.interpolate
        if fixed == "auto":
            rows = rows_of(training.dataset)
            columns = scored_similarities(recipe, rows.rows, rows.similarities, f"run '{run.root}'")
            scores = {one: _scores(model, training, inputs, start, learned, one, columns) for one in SHARES}
            means = {one: round(sum(of.values()) / max(1, len(of)), 6) for one, of in scores.items()}
            # Of equals the nearest to the start: it keeps more of what no column here tells of.
            share = max(SHARES, key=lambda one: (means[one], -one))
            record["scores"] = {str(one): {k: round(v, 6) for k, v in of.items()} for one, of in scores.items()}
        else:
            share = fixed
        model.encoder.load_state_dict(interpolated(start, learned, share))
        record["interpolate"] = share
    if model.beside is not None:
        _fit_beside(model, training, inputs, start)
    return record


def _scores(
    model: Model,
    training: Training,
    inputs: Inputs,
    start: Mapping[str, Tensor],
    learned: Mapping[str, Tensor],
    share: float,
    columns: Sequence[Similarity],
) -> Mapping[str, float]:
    """Of the interpolated encoder; none where its features are not finite, which some share between may bring about."""
    dataset = rows_of(training.dataset)
    model.encoder.load_state_dict(interpolated(start, learned, share))
    train, validation = dataset.indices("train"), dataset.indices("validation")
    features = torch.zeros(len(dataset), model.encoder.width)
    for rows in (train, validation):
        features[rows] = encoded(model.encoder, inputs, rows, training.fabric.device)
    if not features.isfinite().all():
        return {}
    return neighbour_scores(features, train, validation, columns, dataset.rows)


def _fit_beside(model: Model, training: Training, inputs: Inputs, start: Mapping[str, Tensor]) -> None:
    beside, dataset, device = model.beside, rows_of(training.dataset), training.fabric.device
    assert beside is not None
    rows = dataset.indices("train")
    if beside.start == "encoder":
        assert beside.encoder is not None
        beside.encoder.load_state_dict(start)
    elif isinstance(beside.encoder, VectorEncoder) and isinstance(dataset.inputs, Vectors):
        beside.encoder.mean.copy_(torch.from_numpy(dataset.inputs.mean))
        beside.encoder.std.copy_(torch.from_numpy(dataset.inputs.std))
    starting = beside.encoder or (model.encoder if beside.start == "features" else model.read)
    for network, components in ((model.encoder, beside.learned), (starting, beside.starting)):
        if components is not None:
            features = encoded(network, inputs, rows, device)
            if broken := int((~features.isfinite().all(dim=1)).sum()):
                raise RunError(
                    f"the features of {counted(broken, 'train row')} of {len(rows):,} are not finite, so [keep] cannot "
                    "be applied to them. Train again with a lower train.learning_rate."
                )
            components.fit(features.numpy())


@torch.no_grad()
def encoded(
    network: Callable[[Tensor], Tensor], inputs: Inputs, rows: Int64[Tensor, " rows"], device: torch.device
) -> Float[Tensor, "rows width"]:
    """What a network, which is in evaluation mode, gives for some rows, in float32, on the CPU."""
    blocks = [network(plain(torch.from_numpy(inputs[block.numpy()]).to(device))).cpu() for block in rows.split(_BATCH)]
    return torch.cat(blocks)
