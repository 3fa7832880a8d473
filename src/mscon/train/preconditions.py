"""What must hold before a training begins: said at once, not after the images are read."""

from __future__ import annotations

import polars as pl

from mscon.errors import RecipeError, TableError, counted, first_few
from mscon.run.recipe import Recipe
from mscon.train.gather import processes
from mscon.train.module import Method


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


def check_views(recipe: Recipe) -> None:
    for part in recipe.similarities:
        views, place = (recipe.views, "[views]") if part.views is None else (part.views, "its own views")
        if part.name != "same_row":
            continue
        if views.count < 2:
            raise RecipeError(
                f"similarity '{part.column}' compares the views of a row, but the count of {place} is {views.count}. "
                "Set count = 2 or more."
            )
        if recipe.data.input != "image" and not (views.corrupt or views.noise):
            raise RecipeError(
                f"similarity '{part.column}' compares the views of a row, but these are equal: in {place} corrupt and "
                "noise are both 0. Set corrupt = 0.3, say, or take that similarity out."
            )


def check_sampler(recipe: Recipe) -> None:
    if recipe.triplets.used and recipe.sampler.name == "balanced":
        raise RecipeError(
            "[sampler] name 'balanced' makes batches of rows, but [triplets] asks for triplets, which hold a near row "
            "each. Take one of them out."
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


def check_learns(method: Method) -> None:
    if not any(p.requires_grad for part in (method.model, method.objective) for p in part.parameters()):
        raise RecipeError(
            "[encoder] frozen = true, and heads and objective have no weights, so there is nothing to learn. Take "
            "heads 'mlp', or let the encoder learn."
        )


def check_weighting(recipe: Recipe, method: Method, rows: pl.DataFrame, table_name: str) -> None:
    """That there is something to look at for a weighting that looks at projections."""
    at, name, complaints = method.weighting.looks_at, recipe.weighting.name, []
    if at == "nothing":
        return
    if method.objective.temperature is None:
        objectives = sorted({part.name for part, _ in recipe.grouped("objective")})
        complaints.append(
            f"weighting '{name}' fits temperatures, but of objective {first_few(objectives)} there is none, or not one "
            "for all similarities. Use weighting 'equal', or objective 'supcon' with one temperature."
        )
    if any(part.views is not None for part in recipe.similarities):
        complaints.append(
            f"weighting '{name}' looks at all views alike, but some similarities have views of their own. Use "
            "weighting 'relative', which looks at none."
        )
    if graded := [s.column for s in method.similarities if not s.is_partition]:
        complaints.append(
            f"weighting '{name}' asks how well classes are told apart, but similarity '{graded[0]}' has no classes. "
            "Use weighting 'relative', which needs none."
        )
    if at == "validation" and not (rows.get_column("split") == "validation").any():
        complaints.append(
            f"weighting '{name}' is fitted on validation rows, but {table_name} has none. Set [weighting] "
            'fit_on = "training", or give some rows the split "validation".'
        )
    if complaints:
        raise RecipeError("\n".join(complaints))
