"""Start: the features that a run began from, which training is to improve on.

Of published weights, or of another run's, they are what that encoder computes for the same images; of vectors, columns
and texts the inputs as they are. An encoder that began with random weights has no start worth comparing with.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Float32
from torch import nn

from mscon.data.inputs.images import ImageStore
from mscon.data.inputs.open import Inputs, fingerprints_of, inputs_of
from mscon.data.inputs.stored_features import FeatureFile
from mscon.errors import RunError
from mscon.evaluate.features import by_batches
from mscon.model.encoder import Encoder
from mscon.model.frozen_backbone import FrozenBackbone
from mscon.model.model import starting_encoder
from mscon.model.vector_encoder import VectorEncoder
from mscon.run import atomic
from mscon.run.cache import cache_folder, cache_writing
from mscon.run.evaluation_files import inputs_digest
from mscon.run.recipe import Recipe
from mscon.run.run import Run

INPUTS = "inputs as they are"


@dataclass(frozen=True, slots=True, eq=False)
class Start:
    """What a run began from.

    Attributes:
        title: in a few words.
        digest: equal for runs that began from the same weights, or inputs, with the same [data] settings.
        features: one vector for each row of the run, in its order.
    """

    title: str
    digest: str
    features: Float32[np.ndarray, "rows width"]


def start_title(recipe: Recipe) -> str | None:
    """What a run of a recipe begins from; None for random weights, and for a run that is a start itself."""
    encoder = recipe.encoder
    if not recipe.train.epochs:
        return None
    if encoder.start_from:
        return f"start: run {Path(encoder.start_from).resolve().name}"
    if encoder.weights:
        return f"start: {encoder.name}, {Path(encoder.weights).name}"
    if encoder.pretrained:
        return f"start: {encoder.name}, pretrained"
    return INPUTS if recipe.data.input != "image" else None


def start_of(run: Run, *, progress: bool = False) -> Start | None:
    """The start of a run, of the same inputs as the features that the run has; None where `start_title` is.

    What an encoder computes is kept in the cache folder, for all runs that began from the same weights and inputs.

    Raises:
        RunError: if inputs have changed since the features were computed, or the cache folder cannot be written.
        RecipeError: if the weights are not to be had any more.
        TableError: if an image or a vector cannot be read any more.
    """
    recipe = run.read_recipe()
    title = start_title(recipe)
    if title is None:
        return None
    data = {
        name: value
        for name, value in asdict(recipe.data).items()
        if not name.startswith(("split", "link", "remote", "cache", "decode"))
    }
    if not recipe.data.white:  # which older versions did not know
        del data["white"]
    digest = hashlib.sha256(json.dumps([title == INPUTS, data], sort_keys=True).encode())
    if title == INPUTS:
        inputs = inputs_of_features(run)
        return Start(title, digest.hexdigest(), np.asarray(inputs[np.arange(len(inputs))], dtype=np.float32))
    _need_same_weights(run, recipe.encoder.weights)
    encoder = starting_encoder(recipe, run.input_width)
    if isinstance(encoder.adapter, VectorEncoder) and not encoder.adapter.is_standardised:
        encoder.adapter = nn.Identity()  # it has learnt nothing yet
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode())
        digest.update(tensor.contiguous().numpy().tobytes())
    if recipe.encoder.stored_views and isinstance(encoder.adapter, nn.Identity):
        images = inputs_of_features(run)
        if isinstance(images, ImageStore):  # training has stored the same features
            stored = FeatureFile(images, np.arange(len(images)), FrozenBackbone(encoder)).open(progress)
            return Start(title, digest.hexdigest(), stored[:, 0])
    return Start(title, digest.hexdigest(), _cached(run, encoder, digest.hexdigest(), progress))


def _need_same_weights(run: Run, file: str) -> None:
    """Raise RunError if the file of weights that a run began from is another one now."""
    known = run.read_facts().get("sources", {}).get("weights")
    if not file or known is None or not Path(file).is_file():  # whoever reads it says that it is gone
        return
    with Path(file).open("rb") as opened:
        if hashlib.file_digest(opened, "sha256").hexdigest() != known:
            raise RunError(f"the weights that run '{run.root}' began from, '{file}', have changed since")


def _cached(run: Run, encoder: Encoder, digest: str, progress: bool) -> Float32[np.ndarray, "rows width"]:
    """The features of a run's inputs, computed now or by an earlier probe."""
    if (of_inputs := run.features_inputs) is None:  # from an older mscon: it is not known which inputs they were
        return _encoded(run, encoder, progress)
    key = hashlib.sha256(f"{digest} {of_inputs}".encode()).hexdigest()
    path = cache_folder("starts") / f"{key[:32]}.npy"
    try:
        features: Float32[np.ndarray, "rows width"] = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError):  # not there, or damaged: it is computed again
        features = _encoded(run, encoder, progress)
        with cache_writing(path.parent, "the features of the start"):
            atomic.write_with(path, lambda temporary: np.save(temporary, features))
    return features


def _encoded(run: Run, encoder: Encoder, progress: bool) -> Float32[np.ndarray, "rows width"]:
    inputs = inputs_of_features(run)
    parts = by_batches(
        encoder, lambda batch: encoder(batch).cpu().numpy(), inputs, progress=progress, title="features of the start"
    )
    features = np.concatenate(parts)
    if not np.isfinite(features).all():
        raise RunError("features of the start are not all finite")
    return features


def inputs_of_features(run: Run) -> Inputs:
    """The inputs of a run, if they are those that its features were computed from."""
    inputs = inputs_of(run)
    if inputs_digest(fingerprints_of(inputs)) != run.features_inputs:
        raise RunError(
            f"run '{run.root}': images or vectors have changed since its features were computed. Run `mscon probe` "
            "with --accept-changes to compute both anew"
        )
    return inputs
