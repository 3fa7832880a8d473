"""Recipes that are compared in tests."""

from __future__ import annotations

from collections.abc import Sequence

from mscon.run import recipe as recipes
from mscon.run.recipe import Recipe

TEXT = """
title = "mine"
[[similarity]]
column = "colour"
name = "categorical"
importance = 2.0
[[similarity]]
column = "price"
name = "continuous"
width = 5.0
objective = "rank_n_contrast"
[[similarity]]
column = "size"
name = "ordinal"
levels = ["small", "large"]
views = { corrupt = 0.1 }
[[similarity]]
name = "same_row"
temperature = 0.5
[data]
input = "vectors"
vectors = "vectors.npy"
[encoder]
name = "mlp"
[weighting]
name = "equal"
[probe]
columns = ["season", "weight"]
kinds = { weight = "continuous" }
"""


def recipe(*overrides: str, text: str = TEXT) -> Recipe:
    return recipes.parse(text, overrides)


def similarities(*columns: str) -> str:
    """An override for these label columns of classes."""
    entries: Sequence[str] = [
        f'{{column="{c}", name="categorical"}}' if c != "same_row" else '{name="same_row"}' for c in columns
    ]
    return f"similarity=[{', '.join(entries)}]"
