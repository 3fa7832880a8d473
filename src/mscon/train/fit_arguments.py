"""The recipe and the table that a call of `fit` means: either order, and a list of label columns for a recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence

from mscon.data.table.table import Table, read_table
from mscon.run.recipe import ALL, Recipe, of_columns


def recipe_and_table(
    one: object, other: object, numbers: Sequence[str], categories: Sequence[str]
) -> tuple[Recipe, Table]:
    """The two in order, the table read, and a recipe made of a list of label columns.

    Args:
        one, other: a table, or what `read_table` reads; and a recipe, or a list of label columns.
        numbers, categories: with a list, the columns that are encoded. Without them the encoder reads the column
            `image`, or if there is none the only column of vectors.

    Raises:
        ValueError: if these are not a table and a recipe or list.
    """
    recipe, source = (other, one) if isinstance(other, Recipe | list | tuple) else (one, other)
    if not isinstance(recipe, Recipe | list | tuple):
        raise ValueError(
            f"fit takes a table, and a recipe or a list of label columns, got {type(one).__name__} and "
            f"{type(other).__name__}."
        )
    table = source if isinstance(source, Table) else read_table(source)
    if any(isinstance(names, str) and names != ALL for names in (numbers, categories)):
        raise ValueError('numbers and categories are lists of names of columns, or "*" for all that are left.')
    if isinstance(recipe, Recipe):
        if numbers or categories:
            raise ValueError("numbers and categories go with a list of label columns; a recipe has them under [data].")
        return recipe, table
    overrides = []
    if numbers or categories:
        overrides = ["data.input=columns"]
        for setting, names in (("numbers", numbers), ("categories", categories)):
            overrides.append(f"data.{setting}={json.dumps(names if names == ALL else [*names])}")
    elif "image" not in table.frame.columns and len(table.vectors) == 1:
        overrides = ["data.input=vectors", f"data.vectors={json.dumps(next(iter(table.vectors)))}"]
    if overrides:
        overrides += ["encoder.name=mlp", "views.corrupt=0.3"]
    return of_columns(recipe, overrides), table
