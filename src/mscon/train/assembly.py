"""Assembly: a recipe's parts, each by its name, put together to what learns and to what a loop needs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from mscon.data.batches.dataset import Dataset
from mscon.data.batches.sampler import check_left_over, sampler_of
from mscon.data.batches.triplet_dataset import TripletDataset, TripletRule
from mscon.data.inputs.augment_vectors import Marginals
from mscon.data.inputs.open import Inputs, Vectors
from mscon.errors import RecipeError
from mscon.method import catalogue
from mscon.method.objective_groups import Group, ObjectiveGroups
from mscon.method.objectives.base import Objective
from mscon.method.similarities.base import Similarity
from mscon.method.weightings.base import Emphasised
from mscon.model.model import build_model
from mscon.model.vector_encoder import VectorEncoder
from mscon.run.recipe import Recipe
from mscon.train import hardware, optimiser
from mscon.train.gather import Candidates, Gathered, InBatch
from mscon.train.loop import Training
from mscon.train.memory_bank import Remembered
from mscon.train.module import Method


def method_of(recipe: Recipe, similarities: Sequence[Similarity], inputs: Inputs | None = None) -> Method:
    """Everything that learns, its weights drawn from torch's generator. Inputs are None where they are images."""
    count = len(similarities)
    vectors = inputs if isinstance(inputs, Vectors) else None
    model = build_model(recipe, count, None if vectors is None else vectors.width)
    if vectors is not None and isinstance(model.encoder, VectorEncoder) and not recipe.encoder.start_from:
        model.encoder.standardise(vectors.mean, vectors.std)
    objective = _objective(recipe, model.heads.widths(count))
    objective.prepare(similarities, model.heads.output_dim)
    weighting = catalogue.build("weighting", recipe.weighting.name, recipe.weighting.settings, similarities=count)
    importance = [part.importance for part in recipe.similarities]
    if any(i != 1 for i in importance):
        weighting = Emphasised(weighting, importance)
    rules = [TripletRule(s.column) for s in similarities] if recipe.triplets.used else similarities
    return Method(model, objective, weighting, _candidates(recipe, objective), rules)


def _objective(recipe: Recipe, widths: Sequence[int]) -> Objective:
    """One for all similarities; or groups of them, of those that have it, the width and the views in common."""
    groups = []
    for part, numbers in recipe.grouped("objective"):
        alike: dict[tuple[int, tuple[int, ...] | None], list[int]] = {}
        for number in numbers:
            alike.setdefault((widths[number], recipe.compared_views[number]), []).append(number)
        for (width, views), own in alike.items():
            objective = catalogue.build("objective", part.name, part.settings)
            if recipe.triplets.used and objective.reads_codes:
                raise RecipeError(
                    f"[triplets] asks for triplets, but objective '{part.name}' reads labels, not what is nearer. Use "
                    "objective 'triplet_margin', or take [triplets] out."
                )
            groups.append(Group(objective, tuple(own), width, views))
    return groups[0].objective if len(groups) == 1 else ObjectiveGroups(groups)


def _candidates(recipe: Recipe, objective: Objective) -> Candidates:
    asked = recipe.candidates
    now = Gathered() if asked.gather_across_devices else InBatch()
    if not asked.memory_size:
        if asked.warm_up:
            raise RecipeError(
                f"[candidates] warm_up is {asked.warm_up} but there is no memory to fill. Set memory_size, or leave "
                "warm_up out."
            )
        return now
    if not objective.compares:
        raise RecipeError(
            f"[candidates] asks for a memory, but objective '{recipe.objective.name}' compares no rows. Use objective "
            "'supcon', or set memory_size = 0."
        )
    if recipe.triplets.used:
        raise RecipeError("[candidates] asks for a memory, but a triplet is compared with nothing outside it.")
    return Remembered(asked.memory_size, now, asked.warm_up)


def training_of(recipe: Recipe, dataset: Dataset | TripletDataset, method: Method, device: str) -> Training:
    """On the device, in the precision and layout that suit it, with an optimiser."""
    settings = hardware.resolve(recipe.train, method.model.encoder, device)
    recipe = replace(recipe, train=settings)
    fabric = hardware.start(settings, device)
    if settings.channels_last == "yes":
        method.model.encoder.to(memory_format=torch.channels_last)
    method.to(fabric.device)
    of_rows = _rows(dataset)
    sampler = sampler_of(
        recipe.sampler,
        of_rows.rows,
        of_rows.similarities,
        dataset.indices("train"),
        batch_size=settings.batch_size,
        seed=settings.seed,
    )
    check_left_over(sampler)
    steps = settings.epochs * len(sampler)
    own, schedule = optimiser.build(method.model, method.objective, method.weighting, settings, steps)
    shell, _ = fabric.setup(method, own)
    marginals = None
    if isinstance(dataset.inputs, Vectors):
        marginals = Marginals.of(dataset.inputs, _rows(dataset).indices("train"), settings.seed).to(fabric.device)
    return Training(recipe, dataset, method, shell, own, schedule, fabric, sampler, marginals)


def _rows(dataset: Dataset | TripletDataset) -> Dataset:
    return dataset.dataset if isinstance(dataset, TripletDataset) else dataset
