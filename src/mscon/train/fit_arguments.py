"""The recipe and the table that a call of `fit` means: either order, and a list of label columns for a recipe."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from mscon.data.inputs.encoded_columns import is_numbers
from mscon.data.proposal.inputs import encoded_input
from mscon.data.table.table import Table, read_table
from mscon.run.recipe import ALL, Data, Recipe, of_columns


def recipe_and_table(
    one: object, other: object, numbers: Sequence[str], categories: Sequence[str]
) -> tuple[Recipe, Table]:
    """The two in order, the table read, and a recipe made of a list of label columns.

    Args:
        one, other: a table, or what `read_table` reads; and a recipe, or a list of label columns.
        numbers, categories: with a list, the columns that are encoded. Without them the encoder reads what
            `mscon.init` would choose: images, else vectors, else texts, else all columns of numbers that are left.

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
    data = {"input": "columns", "numbers": numbers, "categories": categories}
    data = data if numbers or categories else _inputs_of(table, recipe)
    overrides = [
        f"data.{name}={json.dumps(value if isinstance(value, str) else [*value])}" for name, value in data.items()
    ]
    if data.get("input", "image") != "image":
        overrides += ["encoder.name=mlp", "views.corrupt=0.3"]
    return of_columns(recipe, overrides), table


def _inputs_of(table: Table, labels: Sequence[str]) -> dict[str, Any]:
    """[data] of the inputs that a table has; empty, as for images, where nothing else fits either."""
    if Data().image in table.frame.columns:
        return {}
    encoded = encoded_input(table, None, table.folder)
    if encoded.input != "columns":
        return {"input": encoded.input, encoded.input: encoded.source}
    others = [column for column in table.frame.get_columns() if column.name not in (*labels, Data().split)]
    has_numbers = any(is_numbers(column) and column.null_count() < len(column) for column in others)
    return {"input": "columns", "numbers": ALL} if has_numbers else {}
