"""Frozen features: what a frozen encoder makes of the images of a run, stored before training.

One file of all images as they are, by which an adapter standardises and which probes read; and, with stored views, one
for each way to draw views, of the rows that batches are made of. Training then reads no images.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Float16, Float32

from mscon.data.inputs.images import ImageStore, open_store
from mscon.data.inputs.stored_features import FeatureFile
from mscon.data.inputs.stored_views import StoredViews
from mscon.data.inputs.vectors import checked
from mscon.data.inputs.views import plain
from mscon.errors import counted
from mscon.model.frozen_backbone import FrozenBackbone
from mscon.model.vector_encoder import VectorEncoder
from mscon.run.recipe import Views
from mscon.train.gather import first_before_others, processes
from mscon.train.loop import Training

RANDOM_ADAPTER = (
    "The adapter has random weights, since train.epochs = 0; take [encoder] adapter out for what the encoder gives."
)

# Images by which the time is estimated.
_TIMED = 32


@dataclass(frozen=True, slots=True, eq=False)
class FrozenFeatures:
    """The files of a run.

    Attributes:
        as_they_are: of all images without augmentation.
        of_views: of random views, for each way to draw them; none where views are drawn in every step.
    """

    as_they_are: FeatureFile
    of_views: Mapping[Views, FeatureFile]

    @property
    def files(self) -> list[FeatureFile]:
        return [self.as_they_are, *self.of_views.values()]

    def sentence(self, training: Training) -> str:
        """How many images are to be encoded, and about how long that takes; and of an adapter that stays random."""
        adapter = training.method.model.encoder.adapter
        if not training.recipe.train.epochs and isinstance(adapter, VectorEncoder) and not adapter.is_standardised:
            return f"{self._sentence()} {RANDOM_ADAPTER}"
        return self._sentence()

    def _sentence(self) -> str:
        waiting = [file for file in self.files if not file.is_there]
        folder = self.as_they_are.path.parent
        if not waiting:
            return f"Features of the frozen encoder are in '{folder}' already."
        count, seconds = sum(file.encoded for file in waiting), sum(self.seconds())
        about = f"{seconds / 60:.0f} minutes" if seconds > 90 else f"{max(1, round(seconds))} s"
        return (
            f"The frozen encoder encodes {counted(count, 'image')} and views once, to '{folder}': about {about} here."
        )

    def seconds(self) -> tuple[float, float]:
        """About how long it takes here to encode the images as they are, and the views; 0 for files that are there."""
        if all(file.is_there for file in self.files):
            return 0.0, 0.0
        backbone, images = self.as_they_are.encoder, self.as_they_are.images
        inputs = plain(torch.from_numpy(images[np.arange(min(_TIMED, len(images)))]))
        backbone.encode(inputs[:1])  # the first call of a network takes longer
        began = time.monotonic()
        backbone.encode(inputs)
        an_image = (time.monotonic() - began) / len(inputs)
        as_they_are, *of_views = (0 if file.is_there else file.encoded for file in self.files)
        return an_image * as_they_are, an_image * sum(of_views)

    def facts(self) -> dict[str, Any]:
        """What a run records of them."""
        return {
            "folder": str(self.as_they_are.path.parent),
            "as_they_are": self.as_they_are.path.name,
            "of_views": [file.path.name for file in self.of_views.values()],
        }

    def training_on(self, training: Training, rows: pl.DataFrame, table_name: str, progress: bool) -> Training:
        """The training on the files, which are computed if they are not there.

        An adapter that has no weights of another training gets mean and std of the training rows.

        Raises:
            RunError: see `FeatureFile.open`.
        """
        adapter = training.method.model.encoder.adapter
        progress = progress and not processes()[0]
        with first_before_others():
            features = self.as_they_are.open(progress)[:, 0]
            of_views = {views: file.open(progress) for views, file in self.of_views.items()}
        if isinstance(adapter, VectorEncoder) and not adapter.is_standardised:
            is_train = (rows.get_column("split") == "train").to_numpy()
            vectors = checked(features, is_train, rows.get_column("line"), table_name, "the frozen encoder's features")
            adapter.standardise(vectors.mean, vectors.std)
        if not self.of_views:
            return training
        return self._with(training, features, of_views)

    def rehearsal(self, training: Training) -> Training:
        """The training on the features of one image in the place of all, by which the time of a step is measured."""
        if not self.of_views:
            return training
        image = plain(torch.from_numpy(self.as_they_are.images[[0]]))
        features = self.as_they_are.encoder.encode(image).numpy()
        shapes = {views: (len(file.rows), file.count, features.shape[1]) for views, file in self.of_views.items()}
        of_views = {v: np.broadcast_to(features.astype(np.float16), shape) for v, shape in shapes.items()}
        as_they_are = np.broadcast_to(features, (len(self.as_they_are.rows), features.shape[1]))
        return self._with(training, as_they_are, of_views)

    def _with(
        self,
        training: Training,
        features: Float32[np.ndarray, "rows dim"],
        of_views: Mapping[Views, Float16[np.ndarray, "placed stored dim"]],
    ) -> Training:
        place = np.full(len(features), -1)
        batched = next(iter(self.of_views.values())).rows
        place[batched] = np.arange(len(batched))
        return replace(training, dataset=training.dataset.with_inputs(StoredViews(features, place, of_views)))


def frozen_features(training: Training, rows: pl.DataFrame, root: Path, table_name: str) -> FrozenFeatures | None:
    """Those that a recipe asks for; None if it asks for none.

    Args:
        training: of images that are opened already, in the size that views are cut from; its encoder must have the
            weights that stay.
        rows: of the run.
        root: folder that image paths are relative to.
        table_name: how messages call the table.

    Raises:
        TableError: for images that cannot be read.
        RunError: if the cache folder cannot be written.
    """
    recipe, larger = training.recipe, training.dataset.inputs
    if not (isinstance(larger, ImageStore) and (recipe.encoder.stored_views or recipe.encoder.adapter)):
        return None
    with first_before_others():
        images = open_store(rows, root, recipe.data, table_name) if recipe.data.store_size else larger
    backbone = FrozenBackbone(training.method.model.encoder)
    batched = rows.get_column("split").is_in(["train", "validation"]).arg_true().to_numpy().astype(np.int64)
    settings = {"count": recipe.encoder.stored_views, "size": recipe.data.image_size, "seed": recipe.train.seed}
    kinds = dict.fromkeys(recipe.drawn_views) if recipe.encoder.stored_views else {}
    return FrozenFeatures(
        FeatureFile(images, np.arange(rows.height), backbone),
        {views: FeatureFile(larger, batched, backbone, views, **settings) for views in kinds},
    )
