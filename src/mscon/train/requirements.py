"""Requirements: what a recipe and its similarities must have for a training, said before anything is built.

`mscon check` and `mscon train` say the same. What only an encoder, its weights or the rows can show is checked by
`mscon.train.assembly`.
"""

from __future__ import annotations

from collections.abc import Sequence

from mscon.errors import RecipeError, counted
from mscon.method import catalogue
from mscon.method.matryoshka import Matryoshka
from mscon.method.objectives.base import Objective
from mscon.method.similarities.base import Similarity
from mscon.run.recipe import Recipe


def check_recipe(recipe: Recipe, similarities: Sequence[Similarity]) -> None:
    """That a recipe can be trained with its similarities.

    Raises:
        RecipeError: with all `complaints`.
    """
    if messages := complaints(recipe, similarities):
        raise RecipeError(*messages)


def complaints(recipe: Recipe, similarities: Sequence[Similarity]) -> list[str]:
    """What is missing or does not fit together, and what to do: a message for each.

    Args:
        similarities: those of the recipe, fitted.
    """
    return [
        *_of_views(recipe),
        *_of_frozen(recipe),
        *_of_sampler(recipe),
        *recipe.probe_complaints(),
        *_of_objectives(recipe, similarities),
        *_of_memory(recipe),
    ]


def _of_views(recipe: Recipe) -> list[str]:
    """Too few views, or equal ones, where a similarity or its objective compares them."""
    messages = []
    for part in recipe.similarities:
        views, place = (recipe.views, "[views]") if part.views is None else (part.views, "its own views")
        objective = (part.objective or recipe.objective).name
        what, least = f"similarity '{part.column}'", 2 if part.name == "same_row" else 1
        if (of_objective := catalogue.find("objective", objective).least_views) > least:
            what, least = f"objective '{objective}' of similarity '{part.column}'", of_objective
        if views.count < least:
            messages.append(
                f"{what} compares the views of a row, but the count of {place} is {views.count}. Set count = {least} "
                "or more."
            )
        elif least > 1 and recipe.data.input != "image" and not (views.corrupt or views.noise):
            messages.append(
                f"{what} compares the views of a row, but these are equal: in {place} corrupt and noise are both 0. "
                "Set corrupt = 0.3, say, or take that similarity out."
            )
    return messages


def _of_frozen(recipe: Recipe) -> list[str]:
    """What only a frozen encoder of images can have, where another one is asked for it."""
    settings, messages = recipe.encoder, []
    for name, value in (("stored_views", settings.stored_views), ("adapter", settings.adapter)):
        if value and not (settings.frozen and recipe.data.input == "image"):
            messages.append(
                f'[encoder] {name} is for a frozen encoder of images. Set frozen = true and [data] input = "image", or '
                f"leave {name} out."
            )
    most = max(views.count for views in recipe.drawn_views)
    if 0 < settings.stored_views < most:
        messages.append(
            f"[encoder] stored_views is {settings.stored_views}, but a batch has {counted(most, 'view')} of each row "
            f"([views] count). Set stored_views = {most} or more, or 0 to draw new views in every step."
        )
    return messages


def prefixes_of(recipe: Recipe, number: int) -> tuple[int, ...]:
    """The first dimensions that the loss of a similarity is also computed on, see [heads] matryoshka."""
    heads = recipe.similarities[number].heads or recipe.heads
    return tuple(heads.settings.get("matryoshka") or ())


def _of_sampler(recipe: Recipe) -> list[str]:
    if not (recipe.triplets.used and recipe.sampler.name == "balanced"):
        return []
    return [
        "[sampler] name 'balanced' makes batches of rows, but [triplets] asks for triplets, which hold a near row "
        "each. Take one of them out."
    ]


def _of_objectives(recipe: Recipe, similarities: Sequence[Similarity]) -> list[str]:
    """Kinds, classes and columns that the objectives do not find."""
    messages: list[str] = []
    for part, numbers in recipe.grouped("objective"):
        together: dict[tuple[int, ...] | None, list[int]] = {}
        for number in numbers:
            together.setdefault(recipe.compared_views[number], []).append(number)
        try:
            objective: Objective = catalogue.build("objective", part.name, part.settings)
        except RecipeError as error:
            messages += error.messages
            continue
        for prefixes in dict.fromkeys(filter(None, (prefixes_of(recipe, number) for number in numbers))):
            try:
                Matryoshka(objective, prefixes)
            except ValueError as error:
                messages.append(f"[heads] {error}")
        if recipe.triplets.used and objective.reads_codes:
            messages.append(
                f"[triplets] asks for triplets, but objective '{part.name}' reads labels, not what is nearer. Use "
                "objective 'triplet_margin', or take [triplets] out."
            )
        for members in together.values():
            messages += objective.refusals([similarities[number] for number in members])
    return messages


def _of_memory(recipe: Recipe) -> list[str]:
    settings = recipe.candidates
    if not settings.memory_size and settings.warm_up:
        return [
            f"[candidates] warm_up is {settings.warm_up} but there is no memory to fill. Set memory_size, or leave "
            "warm_up out."
        ]
    if not settings.memory_size:
        return []
    if recipe.triplets.used:
        return ["[candidates] asks for a memory, but a triplet is compared with nothing outside it."]
    parts = [part.name for part, _ in recipe.grouped("objective")]
    if any(catalogue.find("objective", name).compares for name in parts):
        return []
    return [
        f"[candidates] asks for a memory, but objective '{parts[0]}' compares no rows. Use objective 'supcon', or set "
        "memory_size = 0."
    ]
