"""Assembler: puts any method together on rows and inputs that were read once, to check it, and to time its steps."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import torch

from mscon.comparison.methods import Method, start_encoder, starts_as_inputs
from mscon.data.inputs.open import Inputs, Vectors, open_inputs
from mscon.data.table.table import Table
from mscon.errors import MSConError
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.same_row import SameRow
from mscon.model.vector_encoder import VectorEncoder
from mscon.run.parts import TEACHER
from mscon.run.recipe import Recipe
from mscon.train import assembly, environment
from mscon.train.epochs import seconds_a_step
from mscon.train.frozen_features import frozen_features
from mscon.train.judged_labels import judged_labels
from mscon.train.keep import check_keep
from mscon.train.module import TrainingModule
from mscon.train.requirements import check_recipe
from mscon.train.sources import sources
from mscon.train.teachers import check_teachers, teachers_of


@dataclass(frozen=True, slots=True)
class Times:
    """How long a training takes, in seconds.

    Attributes:
        a_step: of training.
        steps: of all epochs.
        images: to encode all images once for stored views; 0 without them, or where that has been done.
        views: to encode the views of one seed once.
    """

    a_step: float
    steps: int
    images: float = 0.0
    views: float = 0.0


@dataclass(frozen=True, eq=False)
class Assembler:
    """Rows, similarities by name and inputs, of which any of the methods is put together; files by title, if of any."""

    rows: pl.DataFrame
    similarities: Mapping[str, Similarity]
    inputs: Inputs
    root: Path
    table: Table
    files: Mapping[str, str]

    def of(self, recipe: Recipe) -> list[Similarity]:
        """The similarities of a recipe, in its order."""
        return [self.similarities.get(part.column, SameRow()) for part in recipe.similarities]

    def module(self, recipe: Recipe) -> TrainingModule:
        """Everything of a method that learns, with random weights in place of published ones."""
        bare = replace(recipe, encoder=recipe.encoder.bare)
        return assembly.method_of(bare, self.of(recipe), self.inputs if isinstance(self.inputs, Vectors) else None)

    def start_width(self, recipe: Recipe) -> int:
        """To how many components the start is reduced to be as wide as the features; 0 where it is no wider."""
        with environment.repeatable(recipe.train.seed, "cpu"):
            encoder = self.module(recipe).model.encoder
        start = encoder.width
        if isinstance(encoder.adapter, VectorEncoder) and not start_encoder(recipe.encoder).adapter:
            start = encoder.adapter.mean.numel()
        if isinstance(self.inputs, Vectors) and starts_as_inputs(recipe):
            start = self.inputs.width
        width = recipe.keep.width or encoder.width
        train = int((self.rows.get_column("split") == "train").sum())
        return width if width < min(start, train) else 0

    def check(self, method: Method) -> None:
        """Raise for a method that cannot be trained on this table."""
        recipe = method.recipe
        check_teachers(recipe)
        sources(recipe, self.root, self.table.name)
        try:
            check_recipe(recipe, self.of(recipe))
            with environment.repeatable(recipe.train.seed, "cpu"):
                module = self.module(recipe)
            teachers_of(recipe, self.rows, self.table, self.root, self.inputs)
            check_keep(recipe, module.model.encoder, self.rows, self.of(recipe), self.inputs, self.table.name)
            assembly.check_rows(recipe, self.rows, self.table.name)
            judged_labels(recipe, self.rows, self.of(recipe), self.table.name)
            assembly.check_weighting(recipe, module, self.rows, self.table.name)
        except MSConError as error:
            file = self.files.get(method.title, "") if method.name == "also" else ""
            raise type(error)(f"method '{method.title}'{f' ({file})' * bool(file)}: {error}") from None

    def time(self, recipe: Recipe) -> Times:
        """How long a training takes with one thread, as a run has it; see `FrozenFeatures` for stored views.

        Without teachers, whose codes a run computes once: they take less time than the views of a batch.
        """
        cheap = tuple(part for part in recipe.similarities if part.name != TEACHER)
        recipe = replace(recipe, similarities=cheap)

        device, threads = environment.device_type(), torch.get_num_threads()
        torch.set_num_threads(1)  # as each run has
        try:
            with environment.repeatable(recipe.train.seed, device):
                stores = recipe.encoder.stored_views  # their files are known by the weights
                module = assembly.method_of(recipe, self.of(recipe), None) if stores else self.module(recipe)
                dataset = assembly.dataset_of(
                    recipe, self.rows, self.of(recipe), self._for_views(recipe), self.root, self.table.name, {}
                )
                training = assembly.training_of(recipe, dataset, module, device)
                frozen = frozen_features(training, self.rows, self.root, self.table.name) if stores else None
                seconds = seconds_a_step(training if frozen is None else frozen.rehearsal(training))
                encoding = (0.0, 0.0) if frozen is None else frozen.seconds()
        finally:
            torch.set_num_threads(threads)
        return Times(seconds, recipe.train.epochs * training.steps_an_epoch, *encoding)

    def _for_views(self, recipe: Recipe) -> Inputs:
        """Images in the size that views are cut from; other inputs as they are."""
        if not recipe.data.store_size or recipe.data.input != "image":
            return self.inputs
        return open_inputs(self.rows, self.root, recipe.data, self.table.name, for_views=True)
