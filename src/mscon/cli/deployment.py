"""Verbs that take a trained model to where it is used."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from mscon.cli.arguments import (
    ACCEPT_CHANGES,
    CHECKPOINT,
    IMAGES,
    OVERWRITE,
    RUN,
    TABLE,
    TRUST,
    argument,
    flag,
    open_run,
    positive,
    probability,
    process_number,
    share,
    started_by_torchrun,
    verb,
)

VECTORS = argument(
    "--vectors",
    "for models of vectors: the file or column with the vectors (default: the name used in training)",
    metavar="NAME",
)
BATCH_SIZE = argument(
    "--batch-size", "rows in memory at a time (default: 256)", metavar="N", type=positive, default=256
)


@verb(
    argument("model", "run directory, packed model, or hf:OWNER/NAME", metavar="MODEL"),
    TABLE,
    argument("--out", "output file, .parquet or .npz", metavar="OUT", type=Path, required=True),
    argument("--similarity", "write the projections of this similarity (default: features)", metavar="NAME"),
    IMAGES,
    argument(
        "--link-folder",
        "a folder outside that of the images into which links in it may lead; may be repeated (default: [data] "
        "link_folders of the model)",
        metavar="DIR",
        action="append",
        default=[],
    ),
    VECTORS,
    argument(
        "--missing-images",
        "drop: leave out rows whose image cannot be read, and name them (default: error)",
        choices=("error", "drop"),
        default="error",
    ),
    argument(
        "--shard-rows", "leave the output in files of N rows, in the folder OUT.shards", metavar="N", type=positive
    ),
    BATCH_SIZE,
    OVERWRITE.described("replace an existing OUT, unless it is a file that is read here"),
    TRUST,
    examples="""
    mscon embed runs/shoes --table new.csv --out new.parquet
    mscon embed runs/shoes --table new.csv --out new.npz --similarity closure
    mscon embed hf:owner/shoes --table new.csv --out new.parquet --shard-rows 100000
    torchrun --nproc-per-node 2 -m mscon embed runs/shoes --table new.csv --out new.parquet
    """,
    fault="a mistake in the model, the table or an image (OUT was not written)",
    is_shared=True,
)
def embed(arguments: argparse.Namespace) -> None:
    """Write one vector per row of a table.

    Writes for each row its line, its image path and its features, or with --similarity its
    projection of that similarity, scaled to unit length. MODEL is a run directory, a packed model
    (`mscon export`) or hf:OWNER/NAME.

    Of a run that `mscon probe` evaluated with validation rows, a column "uncertainty" says how far
    each vector can be trusted, from 0 to 1: 0.95 is more uncertain than 95 % of the validation rows.
    With --similarity it is how ambiguous that column is alone. Other models do not have it.

    The same command continues a job that was killed: finished parts are in the folder OUT.shards.
    They are used again if weights, rows and image files (size, times, number on the disk) are the
    same, and computed again if they are damaged. Under torchrun each process computes its share.
    For the table that a run was trained on, a note names rows whose image or vector has changed.
    """
    from mscon.data.table.table import read_table
    from mscon.deploy.embedder import files_of, load
    from mscon.deploy.inputs import changed_since_training
    from mscon.deploy.shards import embed_table

    model, table = load(arguments.model, trust=arguments.trust), read_table(arguments.table)
    output = embed_table(
        model,
        table,
        arguments.out,
        images=arguments.images,
        vectors=arguments.vectors,
        link_folders=[os.path.abspath(folder) for folder in arguments.link_folder],
        similarity=arguments.similarity,
        shard_rows=arguments.shard_rows,
        missing_images=arguments.missing_images,
        batch_size=arguments.batch_size,
        overwrite=arguments.overwrite,
        reads=files_of(arguments.model),
        process=(process_number(), int(os.environ["WORLD_SIZE"]) if started_by_torchrun() else 1),
    )
    if output is None:
        return
    if (Path(arguments.model) / "recipe.toml").is_file():  # a run, which knows the rows that it was trained on
        data = model.recipe.data if arguments.vectors is None else replace(model.recipe.data, vectors=arguments.vectors)
        if changed := changed_since_training(open_run(Path(arguments.model)), data, table, arguments.images):
            print(f"note: {changed} They are embedded as they are now.", file=sys.stderr)
    print(output)


@verb(
    RUN,
    replace(TABLE, options={**TABLE.options, "required": False}),
    flag("--missing", "instead of --table: fill the empty cells of the rows that the run was trained on"),
    argument("--out", "output file, .csv or .parquet", metavar="OUT", type=Path, required=True),
    argument(
        "--columns",
        "label columns of the run to predict (default: those trained on, those of [probe] columns, and those predicted "
        "before)",
        metavar="NAME",
        nargs="+",
        default=[],
    ),
    argument(
        "--abstain",
        "leave cells empty whose confidence is below X, from 0 to 1 (default: 0, none)",
        metavar="X",
        type=probability,
        default=0.0,
    ),
    IMAGES,
    VECTORS,
    BATCH_SIZE,
    ACCEPT_CHANGES,
    OVERWRITE.described("replace an existing OUT, unless it is a file that is read here"),
    TRUST,
    examples="""
    mscon predict runs/shoes --table new.csv --out predictions.csv
    mscon predict runs/shoes --table new.csv --columns closure --abstain 0.8 --out new.parquet
    mscon predict runs/shoes --missing --abstain 0.9 --out filled.csv
    """,
    fault="a mistake in the run, the table or an image (OUT was not written)",
)
def predict(arguments: argparse.Namespace) -> None:
    """Predict label columns for the rows of a table, with calibrated confidences.

    Writes for each row its line, its image path, and for each column NAME and NAME_confidence:
    how likely the whole cell is right. Numbers have NAME_low and NAME_high instead, an interval
    that holds 90 % of new numbers. With --missing it writes the rows of the run with their empty
    cells filled; confidences stand beside these only. The table itself is never changed.

    The first use fits a linear model a column on the features of the training rows, as
    `mscon probe` does, calibrates it on the validation rows, measures it on the test rows, and
    writes all of it to the run. It is fitted again when the features have changed. The summary
    says for each column the accuracy on test rows and the expected calibration error.
    """
    from mscon.data.table.table import read_table
    from mscon.deploy.inputs import changed_since_training
    from mscon.errors import RunError
    from mscon.prediction import write_predictions

    if (arguments.table is None) == (not arguments.missing):
        raise RunError("name either --table TABLE, for new rows, or --missing, for the empty cells of the run's rows.")
    run = open_run(arguments.run, arguments.trust)
    sentences = write_predictions(
        run,
        arguments.table,
        arguments.out,
        columns=arguments.columns,
        abstain=arguments.abstain,
        images=arguments.images,
        vectors=arguments.vectors,
        batch_size=arguments.batch_size,
        accept_changes=arguments.accept_changes,
        overwrite=arguments.overwrite,
    )
    if arguments.table is not None:
        data = run.read_recipe().data
        data = data if arguments.vectors is None else replace(data, vectors=arguments.vectors)
        if changed := changed_since_training(run, data, read_table(arguments.table), arguments.images):
            print(f"note: {changed} They are predicted as they are now.", file=sys.stderr)
    print(sentences)


@verb(
    RUN,
    argument("--to", "format of the file", choices=("onnx", "safetensors"), required=True),
    argument(
        "--out", "the file to write; an earlier export there is replaced", metavar="FILE", type=Path, required=True
    ),
    OVERWRITE,
    CHECKPOINT,
    flag("--projections", "onnx: a second output with the projections"),
    argument(
        "--tolerance",
        "onnx: largest allowed difference to torch, as a share of the largest number (default: 1e-4)",
        metavar="X",
        type=share,
    ),
    TRUST,
    examples="""
    mscon export runs/shoes --to safetensors --out shoes.safetensors
    mscon export runs/shoes --to onnx --out shoes.onnx --projections
    """,
)
def export(arguments: argparse.Namespace) -> None:
    """Write the model of a run as one file.

    safetensors  encoder and heads, and a JSON file beside it that says how to build them;
                 mscon.load(FILE) reads it without the run.
    onnx         a graph from uint8 images to features, for any number of images at a time.
                 Its results are compared with those of torch, and it is not kept if they
                 differ. Needs: pip install "mscon[onnx]"
    """
    run = open_run(arguments.run, arguments.trust)
    if arguments.to == "safetensors":
        from mscon.deploy.packed import pack

        pack(run, arguments.out, arguments.checkpoint, arguments.overwrite)
        print(arguments.out)
        return
    from mscon.deploy.onnx import TOLERANCE, export_onnx

    tolerance = TOLERANCE if arguments.tolerance is None else arguments.tolerance
    exported = export_onnx(
        run,
        arguments.out,
        checkpoint=arguments.checkpoint,
        projections=arguments.projections,
        tolerance=tolerance,
        overwrite=arguments.overwrite,
    )
    print(
        f"{exported.path}\nlargest difference to torch: {exported.difference:.2g} (tolerance {tolerance:.2g}), on "
        f"{exported.images} {'images of the run' if exported.real else 'random inputs'}"
    )


@verb(
    RUN,
    argument("repository", "repository on the hub; created if it does not exist", metavar="OWNER/NAME"),
    CHECKPOINT,
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
    except for values that the recipe contains (such as levels) and, where inputs are columns,
    the names of their categories. Log in first with `hf auth login`, or set HF_TOKEN.
    Then mscon.load("hf:OWNER/NAME") loads the model anywhere.
    """
    from mscon.deploy import hub
    from mscon.evaluate.report.card import model_card

    hub.need_name(arguments.repository, whole=True)
    run = open_run(arguments.run, arguments.trust)
    card = (run.read_card() or model_card(run)).replace("hf:owner/name", f"hf:{arguments.repository}")
    if arguments.dry_run is not None:
        print(hub.lay_out(run, card, arguments.dry_run, arguments.checkpoint))
        return
    print(hub.push(run, arguments.repository, card, private=arguments.private, checkpoint=arguments.checkpoint))
