"""Encoded columns: which columns of a table `numbers = "*"` and `categories = "*"` under [data] stand for."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import polars as pl

from mscon.data.table.infer_kind import infer
from mscon.errors import TableError
from mscon.method.similarities.continuous import number_of
from mscon.run.recipe import ALL, Recipe


def resolve_encoded(rows: pl.DataFrame, recipe: Recipe, where: str = "") -> tuple[Recipe, tuple[str, ...]]:
    """The recipe with the names of the columns in place of "*", and a sentence on each "*".

    "*" stands for no column that the recipe uses otherwise (labels, derived columns, probes, split, split_by), nor for
    one that `infer` takes for no label: texts, row numbers, and columns of one value or none in the training rows.

    Args:
        rows: as `select_rows` gives them.
        recipe: without "*" it is returned as it is.
        where: begins every message, for example "shoes.csv: ".

    Raises:
        TableError: if no column is left to be encoded.
    """
    data = recipe.data
    if data.input != "columns" or ALL not in (data.numbers, data.categories):
        return recipe, ()
    used = {name for part in recipe.similarities for name in part.reads} | {part.column for part in recipe.derived}
    used |= {"line", "split", "image", data.split_by, *data.encoded}
    used |= {*recipe.probe.columns, *recipe.probe.neighbours, *recipe.probe.largest}
    columns: dict[bool, list[str]] = {True: [], False: []}
    train = rows.filter(split="train")
    for name in rows.columns:
        if name not in used and (looks := infer(train.get_column(name).to_list())).kind is not None:
            columns[looks.kind == "continuous" or is_numbers(rows.get_column(name))].append(name)
    numbers, categories = (tuple(columns[is_number]) for is_number in (True, False))
    resolved = replace(
        data,
        numbers=numbers if data.numbers == ALL else data.numbers,
        categories=categories if data.categories == ALL else data.categories,
    )
    if not resolved.encoded:
        raise TableError(
            f'{where}[data] "*" stands for no column: every column is a label, the split, a group or a probe of the '
            "recipe, or holds texts, row numbers or a single value. Name the columns that the encoder reads."
        )
    sentences = (
        f'{where}[data] {setting} = "*" stands for {", ".join(map(repr, names)) or "no column"}.'
        for setting, names, named in (
            ("numbers", numbers, data.numbers),
            ("categories", categories, data.categories),
        )
        if named == ALL
    )
    return replace(recipe, data=resolved), tuple(sentences)


def is_numbers(cells: pl.Series) -> bool:
    values: Sequence[str] = cells.drop_nulls().unique().to_list()
    return all(number_of(value) is not None for value in values)
