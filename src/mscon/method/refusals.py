"""Refusals: what objectives need of similarities, in words for those that do not have it."""

from __future__ import annotations

from collections.abc import Sequence

from mscon.method.similarities.base import Similarity
from mscon.method.similarities.categorical import Categorical


def of_kind(similarity: Similarity) -> str:
    """A similarity and its kind, as a clause of a message."""
    return f"similarity '{similarity.column}' is of kind {type(similarity).__name__}"


def unmet(objective: type[object], similarities: Sequence[Similarity], *, negatives: bool, classes: bool) -> list[str]:
    """Messages for similarities that lack what an objective needs.

    Args:
        objective: its class.
        negatives: whether it needs rows that are not alike in anything. Numbers, ordered levels and teachers have
            hardly any: nearly all rows are a little alike there.
        classes: whether it needs classes, and their number.
    """
    package, _, module = objective.__module__.rpartition(".")
    name = f"objective '{module if package == 'mscon.method.objectives' else objective.__name__}'"
    messages = []
    for similarity in similarities:
        column = f"similarity '{similarity.column}'"
        if negatives and (similarity.geometry == "line" or similarity.reads_vectors):
            messages.append(
                f"{name} compares with rows that are not alike in anything, of which {column} of kind "
                f"{type(similarity).__name__} has hardly any. Use objective 'sincere', whose positives compete with "
                "what is less alike, or 'supcon' for it."
            )
        if classes and not isinstance(similarity, Categorical):
            messages.append(f"{name} needs classes, but {of_kind(similarity)}. Use objective 'supcon' for it.")
        elif classes and not class_counts([similarity])[0]:
            messages.append(
                f'{name} needs to know how many classes {column} has: Categorical("{similarity.column}", classes=5), '
                "or their names."
            )
    return messages


def class_counts(similarities: Sequence[Similarity]) -> list[int]:
    """How many classes each similarity has, of those of kind `categorical`."""
    return [len(similarity.classes) for similarity in similarities if isinstance(similarity, Categorical)]
