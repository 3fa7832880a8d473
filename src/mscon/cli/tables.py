"""Verbs that make and check tables."""

from __future__ import annotations

import argparse
from pathlib import Path

from mscon.cli.arguments import Verbs, add_recipe_and_table, add_verb, read_recipe


def prepare(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "prepare",
        _run_prepare,
        "turn a public data set into a table",
        "Writes a CSV table; `mscon train` takes it like any other. `mscon list sources` tells\n"
        "which data sets are known, with their settings.\n\n"
        "glyphs     renders installed fonts into ROOT: size, characters, per_family, seed,\n"
        "           families, unseen_families\n"
        "medic      reads the unpacked archive in ROOT; images stay where they are.\n"
        "             table=FILE.csv              where the table goes (default: beside the data)\n"
        "zappos50k  reads the unpacked archives in ROOT; images stay where they are.\n"
        "             rule=mask | strict          of category, closure and gender a cell counts if\n"
        "                                         it has one value, and one of the paper's; else the\n"
        "                                         cell is left empty, or the row left out\n"
        "             split_by=image | product    drawn for 70, 10, 20 %: images, as the paper, or\n"
        "                                         products, so that no shoe is in two splits\n"
        "             split_seed=0                of that draw\n"
        "             brands=20                   so many largest brands are kept; 0 keeps all\n"
        "             images=NAME                 which images' folder, where there are two\n"
        "             table=FILE.csv              as above\n\n"
        "What became of rows and cells goes to standard error, the table's path to standard\n"
        "output. Nothing is downloaded: where files are missing, it says where they come from.",
        "  mscon prepare glyphs data/glyphs\n"
        "  mscon prepare zappos50k data/zappos --set rule=strict --set split_by=product\n"
        "  mscon prepare medic data/MEDIC --set table=medic.csv      # then --images data/MEDIC",
        "exit status: 0 done, 2 the data is not there or not as it should be (nothing was written).",
    )
    parser.add_argument("source", metavar="SOURCE", help="name of the data set")
    parser.add_argument("root", metavar="ROOT", type=Path, help="folder with the data, or to make it in")
    parser.add_argument(
        "--set", metavar="KEY=VALUE", action="append", default=[], help="a setting of the data set; repeatable"
    )


def _run_prepare(arguments: argparse.Namespace) -> None:
    from mscon.errors import TableError
    from mscon.run import validate
    from mscon_paper import sources

    prepare = sources.find(arguments.source)
    settings = dict(validate.assignment(text) for text in arguments.set)
    settings = validate.checked(validate.parameters_of(prepare, ("root",)), settings, arguments.source)
    try:
        print(prepare(arguments.root, **settings))
    except ValueError as error:  # a setting of the right type that makes no sense
        raise TableError(f"{arguments.source}: {error}") from None


def check(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "check",
        _run_check,
        "say what a recipe will see in a table, and what is wrong with it",
        "Reads everything, writes nothing: rows per split, kind, values and missing cells of every\n"
        "column, columns that tell each other, images that cannot be read, duplicates and leaks\n"
        "across splits, and what a batch of the recipe's sampler will hold: how many rows find\n"
        "another that is alike, and what would help. All complaints come at once.",
        "  mscon check shoes.toml --table shoes.csv\n  mscon check shoes.toml --table shoes.csv --json > shoes.json",
        "exit status: 0 all right, 2 something is at fault.",
    )
    add_recipe_and_table(parser)
    parser.add_argument("--json", action="store_true", help="the same as JSON")


def _run_check(arguments: argparse.Namespace) -> None:
    from mscon.data.check.check import describe
    from mscon.data.inputs.images import ImageStore
    from mscon.data.inputs.open import encoded, images_root, open_inputs
    from mscon.data.table.rows import select_rows
    from mscon.data.table.table import read_table

    recipe = read_recipe(arguments)
    table = read_table(arguments.table)
    root, vectors = images_root(table, recipe.data, arguments.images), table.vectors.get(recipe.data.vectors)
    rows = select_rows(table, recipe.data, recipe.similarities, root, probe=recipe.probe, derived=recipe.derived)
    inputs = open_inputs(rows, root, recipe.data, table.name, vectors=vectors)
    store = inputs if isinstance(inputs, ImageStore) else None
    description = describe(rows, recipe, table, store, root=root, encoded=encoded(inputs, recipe.data))
    if arguments.json:
        import json

        print(json.dumps(description.to_json(), indent=2, ensure_ascii=False))
    else:
        print(description.to_text())
