"""Verbs that take a trained model to where it is used."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from mscon.cli.arguments import (
    BATCH_SIZE,
    CHECKPOINT,
    DIMENSIONS,
    IMAGES,
    MODEL,
    OVERWRITE,
    RUN,
    TABLE,
    TRUST,
    VECTORS,
    argument,
    flag,
    open_run,
    positive,
    process_number,
    started_by_torchrun,
    verb,
)

if TYPE_CHECKING:
    from mscon.data.table.table import Table
    from mscon.deploy.embedder import Embedder

LINK_FOLDER = argument(
    "--link-folder",
    "a folder outside that of the images into which links in it may lead; may be repeated (default: [data] "
    "link_folders of the model)",
    metavar="DIR",
    action="append",
    default=[],
)
REMOTE = argument(
    "--remote",
    "what addresses of images may begin with, such as s3://bucket/; may be repeated (default: [data] remote of the "
    "model)",
    metavar="PREFIX",
    action="append",
    default=[],
)
MISSING_IMAGES = argument(
    "--missing-images",
    "drop: leave out rows whose image cannot be read, and name them (default: error)",
    choices=("error", "drop"),
    default="error",
)
INCLUDE = argument(
    "--include",
    "safetensors: also pack the predictors of mscon predict, which hold names of classes, or what says how uncertain "
    "rows are, which holds vectors and classes of training rows (default: neither)",
    choices=("predictors", "uncertainty"),
    nargs="+",
    default=[],
)


@verb(
    MODEL,
    TABLE,
    argument("--out", "output file, .parquet, .arrow or .npz", metavar="OUT", type=Path, required=True),
    argument("--similarity", "write the projections of this similarity (default: features)", metavar="NAME"),
    flag("--all", "write features, the projections of all similarities, and these side by side (mix), in one file"),
    DIMENSIONS.described(
        "keep the first N dimensions of each projection, scaled to unit length; for heads trained with matryoshka "
        "(default: all)"
    ),
    argument(
        "--precision",
        "how vectors are stored: int8 takes a quarter of the space of float32, and binary (one bit a number) a 32nd; "
        "mscon.deploy.vector_files.read_vectors decodes them (default: float32)",
        choices=("float32", "float16", "int8", "binary"),
        default="float32",
    ),
    flag(
        "--no-uncertainty", "leave out the column uncertainty, which takes longer than the vectors of a small encoder"
    ),
    IMAGES,
    LINK_FOLDER,
    REMOTE,
    VECTORS,
    MISSING_IMAGES,
    argument(
        "--shard-rows", "leave the output in files of N rows, in the folder OUT.shards", metavar="N", type=positive
    ),
    BATCH_SIZE,
    OVERWRITE.described("replace an existing OUT, unless it is a file that is read here"),
    TRUST,
    examples="""
    mscon embed runs/shoes --table new.csv --out new.parquet
    mscon embed runs/shoes --table new.csv --out new.npz --similarity closure
    mscon embed runs/shoes --table new.csv --out new.parquet --all --precision int8
    mscon embed hf:owner/shoes --table new.csv --out new.parquet --shard-rows 100000
    torchrun --nproc-per-node 2 -m mscon embed runs/shoes --table new.csv --out new.parquet
    """,
    fault="a mistake in the model, the table or an image (OUT was not written)",
    is_shared=True,
)
def embed(arguments: argparse.Namespace) -> None:
    """Write the vectors of each row of a table.

    Writes for each row its line, its image path and its features, or with --similarity its
    projection of that similarity, scaled to unit length. MODEL is a run directory, a packed model
    (`mscon export`) or hf:OWNER/NAME.

    --all writes the features, projection_NAME of every similarity and mix, all projections side by
    side. One inner product with mix scores a row under any mix of the similarities
    (docs/vectors.md).

    Of a run that `mscon probe` evaluated with validation rows, a column "uncertainty" says how far
    each vector can be trusted, from 0 to 1: 0.95 is more uncertain than 95 % of the validation rows.
    With --similarity it is how ambiguous that column is alone. Packed models have it if they were
    written with it (`mscon export --include uncertainty`).

    The same command continues a job that was killed: finished parts are in the folder OUT.shards.
    They are used again if weights, rows and image files (size, times, number on the disk) are the
    same, and computed again if they are damaged. Under torchrun each process computes its share.
    For the table that a run was trained on, a note names rows whose image or vector has changed.
    """
    from mscon.data.table.table import read_table
    from mscon.deploy.load import files_of, load
    from mscon.deploy.shards import embed_table
    from mscon.errors import RunError

    if arguments.dimensions is not None and arguments.similarity is None and not arguments.all:
        raise RunError("--dimensions shortens projections, not features: give --all, or --similarity NAME, with it.")
    model = load(arguments.model, trust=arguments.trust, truncate_dim=arguments.dimensions)
    table = read_table(arguments.table)
    if arguments.no_uncertainty:
        model.row_uncertainty = None
    output = embed_table(
        model,
        table,
        arguments.out,
        images=arguments.images,
        vectors=arguments.vectors,
        link_folders=[os.path.abspath(folder) for folder in arguments.link_folder],
        remote=arguments.remote,
        similarity=arguments.similarity,
        all_spaces=arguments.all,
        precision=arguments.precision,
        shard_rows=arguments.shard_rows,
        missing_images=arguments.missing_images,
        batch_size=arguments.batch_size,
        overwrite=arguments.overwrite,
        reads=files_of(arguments.model),
        process=(process_number(), int(os.environ["WORLD_SIZE"]) if started_by_torchrun() else 1),
    )
    if output is None:
        return
    note_changes(Path(arguments.model), model, table, arguments)
    print(output)


def note_changes(path: Path, model: Embedder, table: Table, arguments: argparse.Namespace) -> None:
    """A note on rows whose input has changed since training, where a run embeds the table it was trained on."""
    from mscon.deploy.inputs import changed_since_training

    if not (path / "recipe.toml").is_file():  # a packed model does not know the rows that it was trained on
        return
    data = model.recipe.data if arguments.vectors is None else replace(model.recipe.data, vectors=arguments.vectors)
    if changed := changed_since_training(open_run(path), data, table, arguments.images):
        print(f"note: {changed} They are embedded as they are now.", file=sys.stderr)


@verb(
    RUN,
    argument("repository", "repository on the hub; created if it does not exist", metavar="OWNER/NAME"),
    CHECKPOINT,
    INCLUDE,
    flag("--private", "create a private repository"),
    argument("--dry-run", "write what would be sent to DIR, and send nothing", metavar="DIR", type=Path),
    TRUST,
    examples="""
    mscon push runs/shoes owner/shoes --dry-run upload     # writes what would be sent to a folder
    mscon push runs/shoes owner/shoes --private
    """,
    fault="a mistake in the run, or the hub refused",
)
def push(arguments: argparse.Namespace) -> None:
    """Upload the model of a run to the Hugging Face hub.

    Uploads the weights (safetensors), how to build the model (JSON) and the model card: that of
    the run (`mscon card`), or a new one. Images, labels and paths of the table are not uploaded,
    except for values that the recipe contains (such as levels), where inputs are columns the names
    of their categories, and what --include adds. Log in first with `hf auth login`, or set HF_TOKEN.
    Then mscon.load("hf:OWNER/NAME") loads the model anywhere.
    """
    from mscon.deploy import hub
    from mscon.evaluate.report.card import model_card

    hub.need_name(arguments.repository, whole=True)
    run = open_run(arguments.run, arguments.trust)
    card = (run.read_card() or model_card(run)).replace("hf:owner/name", f"hf:{arguments.repository}")
    if arguments.dry_run is not None:
        print(hub.lay_out(run, card, arguments.dry_run, arguments.checkpoint, arguments.include))
        return
    settings = {"private": arguments.private, "checkpoint": arguments.checkpoint, "include": arguments.include}
    print(hub.push(run, arguments.repository, card, **settings))
