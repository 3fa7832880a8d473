"""Assembly: a recipe's parts, each by its name, put together to what learns and to what a loop needs.

What must hold of them and of the rows before a training begins is said here too: at once, not after the images are
read. What a recipe and its similarities alone can show is in `mscon.train.requirements`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import polars as pl
import torch
from jaxtyping import Float32
from torch import Tensor

from mscon.data.batches.dataset import Dataset
from mscon.data.batches.sampler import check_left_over, sampler_of
from mscon.data.batches.triplet_dataset import TripletDataset, TripletRule, in_triplets, rows_of
from mscon.data.inputs.augment_vectors import Marginals
from mscon.data.inputs.open import Inputs, Vectors
from mscon.data.inputs.teachers import TeacherCodes
from mscon.errors import RecipeError, TableError, counted, first_few
from mscon.method import catalogue
from mscon.method.matryoshka import Matryoshka
from mscon.method.objective_groups import ObjectiveGroup, ObjectiveGroups, groups_of
from mscon.method.objectives.base import Objective
from mscon.method.regularisers import FeatureRegulariser
from mscon.method.similarities.base import Similarity
from mscon.method.weightings.base import ScaledWeighting
from mscon.model.model import build_model
from mscon.model.vector_encoder import VectorEncoder
from mscon.run.recipe import Recipe
from mscon.train import environment, optimiser
from mscon.train.average import MovingAverage
from mscon.train.gather import AcrossProcesses, CandidateSource, InBatch, processes
from mscon.train.loop import Training
from mscon.train.memory_bank import MemoryBank
from mscon.train.module import TrainingModule
from mscon.train.requirements import prefixes_of


def dataset_of(
    recipe: Recipe,
    rows: pl.DataFrame,
    similarities: Sequence[Similarity],
    inputs: Inputs,
    root: Path,
    table_name: str,
    teachers: TeacherCodes,
    label_weights: Float32[Tensor, "similarities rows"] | None = None,
) -> Dataset | TripletDataset:
    """What an epoch goes through: rows, or triplets of them."""
    dataset = Dataset.build(rows, similarities, inputs, teachers).weighed(label_weights)
    if not recipe.triplets.used:
        return dataset
    return in_triplets(dataset, recipe.triplets, recipe.train.seed, root, f"{table_name}: ", recipe.data.link_folders)


def method_of(recipe: Recipe, similarities: Sequence[Similarity], inputs: Inputs | None = None) -> TrainingModule:
    """Everything that learns, its weights drawn from torch's generator. Inputs are None where they are images."""
    count = len(similarities)
    vectors = inputs if isinstance(inputs, Vectors) else None
    model = build_model(recipe, count, None if vectors is None else vectors.width)
    if vectors is not None and isinstance(model.encoder, VectorEncoder) and not recipe.encoder.start_from:
        model.encoder.standardise(vectors.mean, vectors.std)
    objective = _objective(recipe, model.heads.widths or (model.heads.output_dim,) * count)
    objective.prepare(similarities, model.heads.output_dim)
    weighting = catalogue.build("weighting", recipe.weighting.name, recipe.weighting.settings, similarities=count)
    importance = [part.importance for part in recipe.similarities]
    if any(i != 1 for i in importance):
        weighting = ScaledWeighting(weighting, importance)
    rules = [TripletRule(s.column) for s in similarities] if recipe.triplets.used else similarities
    regulariser = None
    if recipe.train.vicreg or recipe.train.sigreg:
        regulariser = FeatureRegulariser(recipe.train.vicreg, recipe.train.sigreg)
        if not any(parameter.requires_grad for parameter in model.encoder.parameters()):
            raise RecipeError(
                "[train] vicreg and sigreg are terms of the features, but the encoder does not learn. Set both to 0, "
                "or let the encoder learn, or give it an adapter."
            )
    return TrainingModule(model, objective, weighting, _candidates(recipe), rules, regulariser)


def _objective(recipe: Recipe, widths: Sequence[int]) -> Objective:
    """One for all similarities; or groups of them, of those that have it, widths, views and prefixes in common."""
    groups = []
    for part, numbers in recipe.grouped("objective"):
        alike: dict[tuple[int, tuple[int, ...] | None, tuple[int, ...]], list[int]] = {}
        for number in numbers:
            key = widths[number], recipe.compared_views[number], prefixes_of(recipe, number)
            alike.setdefault(key, []).append(number)
        for (width, views, prefixes), members in alike.items():
            objective = catalogue.build("objective", part.name, part.settings)
            on_prefixes = Matryoshka(objective, prefixes) if prefixes else objective
            groups.append(ObjectiveGroup(on_prefixes, tuple(members), width, views))
    return groups[0].objective if len(groups) == 1 else ObjectiveGroups(groups)


def _candidates(recipe: Recipe) -> CandidateSource:
    settings = recipe.candidates
    now = AcrossProcesses() if settings.gather_across_devices else InBatch()
    return MemoryBank(settings.memory_size, now, settings.warm_up) if settings.memory_size else now


def training_of(recipe: Recipe, dataset: Dataset | TripletDataset, method: TrainingModule, device: str) -> Training:
    """On the device, in the precision and layout that suit it, with an optimiser."""
    settings = environment.resolve(recipe.train, method.model.encoder, device)
    recipe = replace(recipe, train=settings)
    fabric = environment.start(settings, device)
    if settings.channels_last == "yes":
        method.model.encoder.to(memory_format=torch.channels_last)
    method.to(fabric.device)
    of_rows = rows_of(dataset)
    sampler = sampler_of(
        recipe.sampler,
        of_rows.rows,
        of_rows.similarities,
        dataset.indices("train"),
        batch_size=settings.batch_size,
        seed=settings.seed,
        label_weights=of_rows.label_weights,
    )
    check_left_over(sampler)
    steps = max(1, settings.epochs * len(sampler))  # a schedule has at least one, also where no step is taken
    plain_optimiser, schedule = optimiser.build(method.model, method.objective, method.weighting, settings, steps)
    marginals = None
    if isinstance(dataset.inputs, Vectors):
        marginals = Marginals.of(dataset.inputs, rows_of(dataset).indices("train"), settings.seed).to(fabric.device)
    average = MovingAverage(method, recipe.keep.average) if recipe.keep.average else None
    return Training(recipe, dataset, method, plain_optimiser, schedule, fabric, sampler, marginals, average)


def check_processes(recipe: Recipe, rows: pl.DataFrame) -> None:
    world, in_batch = processes()[1], recipe.train.batch_size
    if not recipe.triplets.used:
        in_batch = min(in_batch, int((rows.get_column("split") == "train").sum()))
    if in_batch < world:
        raise RecipeError(
            f"a batch has {counted(in_batch, 'row')} but there are {world} processes, so some would have none. Start "
            "fewer, or set a larger train.batch_size."
        )
    if world > 1 and recipe.candidates.memory_size and not recipe.candidates.gather_across_devices:
        raise RecipeError(
            "[candidates] asks for a memory but not to gather_across_devices: each of the processes would remember "
            "something else, and no checkpoint could hold that. Set gather_across_devices = true, or memory_size = 0."
        )


def check_rows(recipe: Recipe, rows: pl.DataFrame, table_name: str) -> None:
    split = rows.get_column("split")
    if (count := int((split == "train").sum())) < 2:
        raise TableError(f"{table_name} has {counted(count, 'train row')}; a loss that compares rows needs 2 or more.")
    if recipe.train.checkpoint == "best" and not (split == "validation").any():
        raise TableError(
            f'{table_name} has no validation row, but [train] checkpoint is "best". Give some rows the split '
            '"validation", or set checkpoint = "last".'
        )


def check_learns(method: TrainingModule, epochs: int) -> None:
    learns = any(p.requires_grad for part in (method.model, method.objective) for p in part.parameters())
    if epochs and not learns:
        raise RecipeError(
            "[encoder] frozen = true, and heads and objective have no weights, so there is nothing to learn. Take "
            "heads 'mlp', let the encoder learn, or set train.epochs = 0 for a run of the starting weights."
        )


def check_weighting(recipe: Recipe, method: TrainingModule, rows: pl.DataFrame, table_name: str) -> None:
    """That a weighting which reads gradients, or is fitted on projections, has what it needs."""
    fit_on, name = method.weighting.fit_on, recipe.weighting.name
    complaints = _of_gradients(recipe, method) if method.weighting.reads_gradients and recipe.train.epochs else []
    if fit_on != "nothing":
        complaints += _of_projections(recipe, method, rows, table_name)
    if complaints:
        raise RecipeError("\n".join(f"weighting '{name}' {complaint}" for complaint in complaints))


def _of_gradients(recipe: Recipe, method: TrainingModule) -> list[str]:
    complaints = []
    if not any(p.requires_grad for p in method.model.encoder.parameters()):
        complaints.append(
            "compares gradients at the features, but the encoder does not learn, so similarities share nothing that "
            "does. Use weighting 'equal', or let the encoder learn, or give it an adapter."
        )
    if recipe.train.mini_batch_size:
        complaints.append(
            "needs the gradients of a whole batch at once. Set train.mini_batch_size = 0, or use weighting 'equal'."
        )
    return complaints


def _of_projections(recipe: Recipe, method: TrainingModule, rows: pl.DataFrame, table_name: str) -> list[str]:
    fit_on, complaints = method.weighting.fit_on, []
    groups = groups_of(method.objective, len(recipe.similarities))
    if numbers := sorted(i for g in groups if g.objective.temperature is None for i in g.similarities):
        objectives = sorted({(recipe.similarities[i].objective or recipe.objective).name for i in numbers})
        complaints.append(
            f"is fitted on projections at the temperature of their objective, but objective {first_few(objectives)} "
            "has none. Use weighting 'equal', or objective 'supcon'."
        )
    if graded := [s.column for s in method.similarities if not s.is_partition]:
        complaints.append(
            f"asks how well classes are told apart, but similarity '{graded[0]}' has no classes. Use weighting "
            "'relative', which needs none."
        )
    if fit_on == "validation" and not (rows.get_column("split") == "validation").any():
        way = 'Set [weighting] fit_on = "training", or give' if "fit_on" in recipe.weighting.settings else "Give"
        complaints.append(
            f'is fitted on validation rows, but {table_name} has none. {way} some rows the split "validation".'
        )
    return complaints
