"""Verbs that prepare and check tables."""

from __future__ import annotations

import argparse
import csv
import shlex
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mscon.cli.arguments import (
    IMAGES,
    MOVED,
    RECIPE,
    RUN,
    SET,
    TABLE,
    TRUST,
    argument,
    flag,
    open_run,
    positive,
    read_recipe,
    verb,
)
from mscon.errors import TableError, shortened

if TYPE_CHECKING:
    import polars as pl

    from mscon.method.similarities.base import Similarity
    from mscon.run.recipe import Recipe


@verb(
    argument("source", "name of the data set", metavar="SOURCE"),
    argument("root", "folder of the data, or where to make it", metavar="ROOT", type=Path),
    SET.described("a setting of the data set; may be repeated"),
    examples="""
    mscon prepare glyphs data/glyphs
    mscon prepare icons data/icons
    mscon prepare diamonds data/diamonds
    mscon prepare zappos50k data/zappos --set rule=strict --set split_by=product
    mscon prepare medic data/MEDIC --set table=medic.csv      # then --images data/MEDIC
    """,
    fault="the data is missing or not as expected (nothing was written)",
)
def prepare(arguments: argparse.Namespace) -> None:
    """Convert a public data set to a table.

    Writes a CSV table that `mscon train` reads like any other. Only icons downloads anything: where
    files are missing, the message says where to get them. `mscon list sources` shows the data sets
    and the defaults of their settings.

    diamonds   writes the table that the package plotnine carries into ROOT.
                 seed=0                      seed of the split
    glyphs     renders installed fonts into ROOT: size, characters, per_family, seed,
               families, unseen_families
    icons      downloads an icon set (1.4 MB, unless its archive is in ROOT) and draws it into ROOT.
                 size=64                     side of the images in pixels
                 unseen_share=0.15           share of the objects that are held out, by families
                 seed=0                      seed of the splits
    medic      reads the unpacked archive in ROOT; images stay where they are.
                 table=FILE.csv              the table to write (default: beside the data)
    zappos50k  reads the unpacked archives in ROOT; images stay where they are.
                 rule=mask | strict          a cell of category, closure or gender counts if it
                                             has one value, which is one of the paper's; else
                                             mask leaves the cell empty, strict leaves the row out
                 split_by=image | product    split 70, 10, 20 %: by images, as in the paper, or
                                             by products, so that no shoe is in two splits
                 split_seed=0                seed of that split
                 brands=20                   largest brands to keep; 0 keeps all
                 images=NAME                 which folder of images, where there are two
                 table=FILE.csv              as above

    How many rows and cells were used or left out is printed on standard error, the path of the
    table on standard output.
    """
    from mscon.run import validate
    from mscon_paper import sources

    prepare = sources.find(arguments.source)
    settings = dict(validate.assignment(text) for text in arguments.set)
    settings = validate.checked(validate.parameters_of(prepare, ("root",)), settings, arguments.source)
    try:
        print(prepare(arguments.root, **settings))
    except ValueError as error:  # a setting of the right type that makes no sense
        raise TableError(f"{arguments.source}: {error}") from None


@verb(
    argument(
        "table", "table: .csv, .tsv, .jsonl, .parquet or a folder, one row per example", metavar="TABLE", type=Path
    ),
    argument(
        "--labels",
        "label columns, such as make,price; a name that holds a comma in quotes: '\"a,b\",c'",
        metavar="COLUMNS",
    ),
    argument(
        "--input",
        "what is encoded of a row (default: the first of these that the table has)",
        choices=("image", "vectors", "text", "columns"),
    ),
    IMAGES,
    argument("--out", "recipe to write (default: print it)", metavar="RECIPE", type=Path),
    flag("--overwrite", "replace an existing file"),
    examples="""
    mscon init shoes.csv
    mscon init shoes.csv --out shoes.toml
    mscon init cars.csv --labels make,price --input columns --out cars.toml
    """,
    fault="a mistake in the table or the arguments (nothing was written)",
)
def init(arguments: argparse.Namespace) -> None:
    """Write a recipe that fits a table.

    Looks at the cells of the table, at some of its images and at files of vectors beside it.
    Guesses what is encoded, which columns are labels and of which kind, views, encoder, sampler,
    batch size and epochs. Each line of the recipe says why in a comment. Read it before you train,
    and change what you know better.
    """
    from mscon.data.proposal.proposal import init
    from mscon.data.table.table import read_table
    from mscon.run import atomic, outputs

    table, out = read_table(arguments.table), arguments.out
    if out is not None:
        outputs.need_free([out], reads=[arguments.table], overwrite=arguments.overwrite, option="pass --overwrite")
    text = init(table, _names(arguments.labels, table.frame.columns), arguments.input, arguments.images)
    if out is None:
        print(text, end="")
        return
    with outputs.writing(out):
        atomic.write_text(out, text)
    images = [] if arguments.images is None else ["--images", str(arguments.images)]
    command = shlex.join([str(out), "--table", str(arguments.table), *images])
    print(f"{out}\nnext: mscon check {command} && mscon train {command}")


def _names(text: str | None, columns: Sequence[str]) -> list[str]:
    """Names of columns with commas between them; all of it is one name where there is such a column."""
    if text is None or text in columns:
        return [] if text is None else [text]
    try:
        return [name.strip() for name in next(csv.reader([text], skipinitialspace=True), [])]
    except csv.Error as error:
        raise TableError(
            f"--labels {shortened(text)} cannot be read: {error}. A name that holds a comma, a quote or a line break "
            "stands in double quotes; a quote within is written twice."
        ) from None


@verb(
    RECIPE,
    TABLE,
    IMAGES,
    SET,
    flag("--json", "print JSON"),
    examples="""
    mscon check shoes.toml --table shoes.csv
    mscon check shoes.toml --table shoes.csv --json > shoes.json
    """,
    fault="a mistake in the recipe or the table",
)
def check(arguments: argparse.Namespace) -> None:
    """Check a table and a recipe before training.

    Reads everything and writes nothing. Reports the rows of each split; the kind, the values and
    the missing cells of each column, and values that look alike; columns that determine each
    other; unreadable, nearly black and flat images; equal inputs within and across splits; and
    what a batch will contain: how many of its rows find a similar one, and what would help. With
    [doubt], compares the judged labels of the other run with the table. Refuses what training
    would refuse: objectives that cannot use a kind of similarity, or that need more views, a
    column or classes. All problems are reported at once.
    """
    from mscon.data.check.check import describe
    from mscon.data.inputs.encoded_columns import resolve_encoded
    from mscon.data.inputs.open import encoded, images_root, open_inputs
    from mscon.data.table.rows import select_rows
    from mscon.data.table.table import read_table
    from mscon.run.parts import TEACHER
    from mscon.train.requirements import complaints

    recipe = read_recipe(arguments)
    has_teachers = any(part.name == TEACHER for part in recipe.similarities)
    if has_teachers:  # only they need encoders, and all that these import
        from mscon.train.teachers import check_teachers, teachers_of

        check_teachers(recipe)
    table = read_table(arguments.table)
    root, vectors = images_root(table, recipe.data, arguments.images), table.vectors.get(recipe.data.vectors)
    rows = select_rows(table, recipe.data, recipe.similarities, root, probe=recipe.probe, derived=recipe.derived)
    recipe, _ = resolve_encoded(rows, recipe, where=f"{table.name}: ")
    inputs = open_inputs(rows, root, recipe.data, table.name, vectors=vectors)
    teachers = teachers_of(recipe, rows, table, root, inputs) if has_teachers else {}
    in_words = encoded(inputs, recipe.data)
    judge = _judge(recipe, rows, table.name)
    description = describe(
        rows,
        recipe,
        table,
        inputs,
        root=root,
        encoded=in_words,
        teachers=teachers,
        judge=judge,
        complaints=complaints,
    )
    if arguments.json:
        import json

        print(json.dumps(description.to_json(), indent=2, ensure_ascii=False))
    else:
        print(description.to_text())


def _judge(recipe: Recipe, rows: pl.DataFrame, table_name: str) -> Callable[[Sequence[Similarity]], Mapping[str, Any]]:
    """What [doubt] takes of the labels of similarities."""
    if not recipe.doubt.run:
        return lambda similarities: {}
    from mscon.train.judged_labels import judged_labels

    return lambda similarities: judged_labels(recipe, rows, similarities, table_name).facts


@verb(
    RUN,
    argument("--out", "the CSV file to write; must not exist", metavar="FILE", type=Path, required=True),
    argument("--clusters", "how many (default: 10)", metavar="NUMBER", type=positive, default=10),
    argument("--column", "name of the column of clusters (default: cluster)", metavar="COLUMN", default="cluster"),
    argument("--seed", "of k-means (default: 0)", metavar="NUMBER", type=int, default=0),
    argument("--table", "the table of the run, if it is no longer where it was", metavar="TABLE", type=Path),
    MOVED,
    TRUST,
    examples="""
    mscon cluster runs/stage1 --out stage2.csv
    mscon cluster runs/stage2 --out stage3.csv --clusters 10     # clusters within those of stage2.csv
    """,
)
def cluster(arguments: argparse.Namespace) -> None:
    """Write a copy of a run's table with a column of clusters of its features.

    For multistage contrastive learning: train the next run on the copy, with objective l_spread,
    spread = 1, on the column of clusters. It then tells rows of one cluster apart, and so learns
    what the features of this run do not hold. A column of that name that the table has already is
    continued, so that rows share a cluster only if they do so in all stages.
    """
    from mscon.errors import RunError, counted
    from mscon.evaluate.clusters import cluster

    run = open_run(arguments.run, arguments.trust).moved(arguments.images)
    if arguments.clusters < 2:
        raise RunError("--clusters must be 2 or more: one cluster says nothing.")
    sizes = cluster(
        run,
        arguments.out,
        clusters=arguments.clusters,
        column=arguments.column,
        seed=arguments.seed,
        table=arguments.table,
    )
    print(
        f"{arguments.out}: {counted(len(sizes), 'cluster')}, of {min(sizes.values()):,} to {max(sizes.values()):,} rows"
    )
