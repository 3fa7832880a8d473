"""What a comparison needs to know before its first run: rows, label columns by kind, widths, the time of a step."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
from jaxtyping import UInt8

from mscon.comparison.assembler import Assembler, Times
from mscon.comparison.methods import Method, methods_of
from mscon.data.batches.dataset import fit_similarities
from mscon.data.inputs.encoded_columns import resolve_encoded
from mscon.data.inputs.open import fingerprints_of, images_root, open_inputs
from mscon.data.table import infer_kind
from mscon.data.table.rows import select_rows
from mscon.data.table.table import Table, unit
from mscon.errors import RecipeError, TableError, counted, first_few, nearest
from mscon.run.recipe import AUTO, Probe, Recipe, SimilarityPart

# Below this many test rows, or groups of them, an interval says next to nothing.
FEWEST_ROWS, FEWEST_GROUPS = 20, 10


@dataclass(frozen=True, eq=False)
class Prepared:
    """A table and recipes that were found to fit one another.

    Attributes:
        recipe: the user's, with its kinds inferred.
        methods: that are compared.
        labels: the label columns, as the recipes read them.
        held_out: those that are held out in turn.
        probe: [probe] of the recipe; nearest neighbours are sought among test rows where there are no unseen ones.
        fingerprints: of images or vectors that lie outside the table.
        times: of a training by the recipe.
        sentences: on what is left out, and on kinds that were inferred.
    """

    recipe: Recipe
    methods: tuple[Method, ...]
    labels: Mapping[str, SimilarityPart]
    held_out: tuple[str, ...]
    probe: Probe
    fingerprints: UInt8[np.ndarray, "rows bytes"] | None
    times: Times
    sentences: tuple[str, ...]


def prepare(
    recipe: Recipe,
    table: Table,
    *,
    also: Sequence[Recipe] = (),
    names: Sequence[str] = (),
    held_out: Sequence[str] | None = None,
    images: Path | None = None,
    files: Sequence[str] = (),
) -> Prepared:
    """Read and check everything; nothing is written but the cache of decoded images.

    Args:
        recipe: the user's.
        table: as `read_table` gives it.
        also: recipes that are compared besides.
        names: of `methods.NAMES`, those that are compared; all of them where empty.
        held_out: label columns to hold out; None for all where there are several.
        images: folder of the images, or of the file of vectors.
        files: of the recipes of `also`, which messages name; none where they are not of files.

    Raises:
        RecipeError: for recipes that cannot be compared, or a column to hold out that is no label column.
        TableError: for a table that does not fit the recipes, or is too small for intervals.
    """
    files = files or [""] * len(also)
    places = [f"'{one.title}' of --also{f' ({file})' * bool(file)}" for one, file in zip(also, files, strict=True)]
    _need_comparable(recipe, also, places)
    every = (recipe, *also)
    root = images_root(table, recipe.data, images)
    rows = select_rows(table, recipe.data, _parts(every), root, probe=recipe.probe, derived=recipe.derived)
    # All runs are probed alike, and by these columns some choose their weights.
    every = tuple(replace(one, probe=recipe.probe) for one in every)
    every = tuple(resolve_encoded(rows, one, where=f"{table.name}: ")[0] for one in every)
    recipe, *also = (_with_kinds(one, rows, table.name) for one in every)
    inferred = [
        f"Column '{part.column}' is taken as {part.name}."
        for part, before in zip(recipe.similarities, every[0].similarities, strict=True)
        if before.name == AUTO
    ]
    labels = _labels((recipe, *also), ["the recipe", *places])
    columns, sentences = _held_out(labels, held_out)
    _need_rows(rows, recipe, [*labels, *recipe.probe.columns], table.name)
    parts = _parts((recipe, *also))
    fitted = fit_similarities(rows, parts, where=f"{table.name}: ", unit=unit(table.name))
    inputs = open_inputs(rows, root, recipe.data, table.name, vectors=table.vectors.get(recipe.data.vectors))
    similarities = {part.column: similarity for part, similarity in zip(parts, fitted, strict=True)}
    assembler = Assembler(
        rows, similarities, inputs, root, table, {one.title: file for one, file in zip(also, files, strict=True)}
    )
    methods, left_out = methods_of(recipe, also, assembler.start_width(recipe), names)
    for method in methods:
        assembler.check(method)
    return Prepared(
        recipe,
        methods,
        labels,
        columns,
        recipe.probe if "unseen" in rows["split"] else replace(recipe.probe, neighbours_among="test"),
        fingerprints_of(inputs),
        assembler.time(recipe),
        (*inferred, *left_out, *sentences),
    )


def _need_comparable(recipe: Recipe, also: Sequence[Recipe], places: Sequence[str]) -> None:
    """Raise for recipes whose scores could not be set against each other row by row."""
    complaints = list(recipe.probe_complaints())
    if not any(part.reads for part in recipe.similarities):
        complaints.append("the recipe has no [[similarity]] that reads a label column, so there is nothing to compare.")
    if recipe.encoder.name == "identity":
        complaints.append(
            "[encoder] is 'identity': training does not change the features, so all methods would score alike. Take an "
            "encoder that learns, such as 'mlp'."
        )
    if recipe.train.epochs == 0:
        complaints.append("train.epochs is 0, so nothing is trained. The frozen start is compared anyway; set epochs.")
    for other, place in zip(also, places, strict=True):
        shared = ("input", "image", "vectors", "numbers", "categories", "text", "text_model")
        rows = ("split", "split_by", "split_shares", "split_seed", "missing_images", *shared)
        differing = [name for name in rows if getattr(other.data, name) != getattr(recipe.data, name)]
        differing += ["derived"] if other.derived != recipe.derived else []
        if differing:
            complaints.append(
                f"recipe {place} has other values of {first_few(differing)} under [data], so its "
                "scores could not be compared row by row. Set them as in the recipe."
            )
    if complaints:
        raise RecipeError(*complaints)


def _parts(recipes: Sequence[Recipe]) -> list[SimilarityPart]:
    """The similarities of all of them; of equal ones one."""
    parts: list[SimilarityPart] = []
    for part in (part for recipe in recipes for part in recipe.similarities):
        plain = replace(part, importance=1.0, objective=None, heads=None, views=None)
        if plain not in parts:
            parts.append(plain)
    return parts


def _with_kinds(recipe: Recipe, rows: pl.DataFrame, table_name: str) -> Recipe:
    if not any(part.name == AUTO for part in recipe.similarities):
        return recipe
    return replace(recipe, similarities=infer_kind.resolve(rows, recipe.similarities, where=f"{table_name}: ")[0])


def _labels(recipes: Sequence[Recipe], places: Sequence[str]) -> dict[str, SimilarityPart]:
    """The label columns of all recipes, with how they are read."""
    labels: dict[str, tuple[SimilarityPart, str]] = {}
    complaints = []
    for recipe, place in zip(recipes, places, strict=True):
        for part in (part for part in recipe.similarities if part.reads):
            first, of_first = labels.setdefault(part.column, (part, place))
            if (first.name, first.settings) != (part.name, part.settings):
                complaints.append(
                    f"column '{part.column}' is read as '{first.name}' by {of_first} and as '{part.name}', or with "
                    f"other settings, by {place}, so their scores could not be compared. Read it alike in both."
                )
    if complaints:
        raise RecipeError(*dict.fromkeys(complaints))
    return {column: part for column, (part, _) in labels.items()}


def _held_out(labels: Mapping[str, SimilarityPart], columns: Sequence[str] | None) -> tuple[tuple[str, ...], list[str]]:
    """The columns that are held out, and a sentence where there is none to be."""
    if columns is not None:
        unknown = [column for column in columns if column not in labels]
        if unknown:
            raise RecipeError(
                f"--held-out {unknown[0]}: no such label column in the recipe.{nearest(unknown[0], labels)}\n"
                f"  Its label columns: {', '.join(labels)}."
            )
        if columns and len(labels) == 1:
            raise RecipeError(
                f"--held-out {columns[0]}: it is the only label column, so nothing would be left to train on."
            )
        return tuple(dict.fromkeys(columns)), []
    if len(labels) > 1:
        return tuple(labels), []
    return (), [
        "There is one label column, so none is held out. To see what an unlabelled task gets, name columns under "
        "[probe] columns."
    ]


def _need_rows(rows: pl.DataFrame, recipe: Recipe, columns: Sequence[str], table_name: str) -> None:
    """Raise where a column has too few test rows for an interval, or one value among them."""
    test, unseen = (rows.filter(pl.col("split") == split) for split in ("test", "unseen"))
    groups = recipe.data.split_by
    complaints = []
    for column in dict.fromkeys(columns):
        cells = test.filter(pl.col(column).is_not_null())
        if not cells.height and unseen.get_column(column).count():
            continue  # it is asked of nearest neighbours only
        if cells.height < FEWEST_ROWS:
            complaints.append(
                f"{table_name}: column '{column}' has a label in {counted(cells.height, 'test row')}; an interval "
                f"needs {FEWEST_ROWS}. Take more test rows, or leave the column out."
            )
        elif cells.get_column(column).n_unique() < 2:
            complaints.append(
                f"{table_name}: column '{column}' has one value only, {cells.get_column(column)[0]!r}, in all test "
                "rows, so no score would mean anything. Take other test rows, or leave the column out."
            )
        elif groups and (count := cells.get_column(groups).n_unique()) < FEWEST_GROUPS:
            complaints.append(
                f"{table_name}: the test rows of column '{column}' are of {counted(count, 'group')} of '{groups}' "
                f"([data] split_by); an interval needs {FEWEST_GROUPS}. Set [data] "
                "split_shares with more test rows, such as [0.6, 0.1, 0.3], or another split_by."
            )
    if complaints:
        raise TableError("\n".join(complaints))
