"""Class counts: how many classes a similarity has, for losses that learn something for each class."""

from __future__ import annotations

from mscon.errors import RecipeError
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.categorical import Categorical


def class_count(objective: str, similarity: Similarity) -> int:
    """Classes of a similarity.

    Args:
        objective: its name, for the message.

    Raises:
        RecipeError: for kinds without classes, or if it is not known how many there are.
    """
    if not isinstance(similarity, Categorical):
        raise RecipeError(
            f"objective '{objective}' needs classes, but similarity '{similarity.column}' is of kind "
            f"{type(similarity).__name__}. Use objective 'supcon' for it."
        )
    if not similarity.classes:
        raise RecipeError(
            f"objective '{objective}' needs to know how many classes similarity '{similarity.column}' has: "
            f'Categorical("{similarity.column}", classes=5), or their names.'
        )
    return len(similarity.classes)
