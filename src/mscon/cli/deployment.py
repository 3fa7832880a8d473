"""Verbs that take a run to where it is used."""

from __future__ import annotations

import argparse
import os
import sys
from dataclasses import replace
from pathlib import Path

from mscon.cli.arguments import (
    Verbs,
    add_checkpoint,
    add_overwrite,
    add_trust,
    add_verb,
    open_run,
    positive,
    process_number,
    share,
    started_by_torchrun,
)


def embed(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "embed",
        _run_embed,
        "write the vectors of a new table",
        "Writes a row per image with its line, its path as written, and its features, or with\n"
        "--similarity its projection of that similarity, scaled to unit length. A killed job\n"
        "goes on where it was: finished parts lie in OUT.shards, and are known again by the\n"
        "weights, the rows, and size, times and number on the disk of the images; one that was\n"
        "damaged since is made anew. Under torchrun each process takes its part. MODEL is a run, a\n"
        "packed model (`mscon export`), or hf:owner/name. Of the table that a run was trained on,\n"
        "a note names rows whose image or vector has changed.",
        "  mscon embed runs/shoes --table new.csv --out new.parquet\n"
        "  mscon embed runs/shoes --table new.csv --out new.npz --similarity closure\n"
        "  mscon embed hf:owner/shoes --table new.csv --out new.parquet --shard-rows 100000\n"
        "  torchrun --nproc-per-node 2 -m mscon embed runs/shoes --table new.csv --out new.parquet",
        "exit status: 0 done, 1 stopped on the way, 2 the model, the table or an image is at fault\n"
        "(OUT was not written).",
    )
    parser.add_argument("model", metavar="MODEL", help="run directory, packed model, or hf:owner/name")
    parser.add_argument(
        "--table",
        metavar="TABLE",
        type=Path,
        required=True,
        help="file or folder, one row per thing; README: your own table",
    )
    parser.add_argument("--out", metavar="OUT", type=Path, required=True, help="a name that ends in .parquet or .npz")
    parser.add_argument("--similarity", metavar="NAME", help="its projection (default: features)")
    parser.add_argument(
        "--images",
        metavar="DIR",
        type=Path,
        help="folder that image paths, or a file of vectors, are relative to (default: the table's)",
    )
    parser.add_argument(
        "--vectors",
        metavar="NAME",
        help="of a model of vectors: file or column that has them here (default: called as in training)",
    )
    parser.add_argument(
        "--missing-images",
        choices=("error", "drop"),
        default="error",
        help="drop: leave out rows whose image cannot be read, and say which (default: error)",
    )
    parser.add_argument(
        "--shard-rows",
        type=positive,
        metavar="N",
        help="leave the output in files of N rows, in the folder OUT.shards",
    )
    parser.add_argument(
        "--batch-size", type=positive, default=256, metavar="N", help="images in memory at a time (default: 256)"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace OUT if it is there, unless it is read here")
    add_trust(parser)


def _run_embed(arguments: argparse.Namespace) -> None:
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


def export(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "export",
        _run_export,
        "write the model of a run as one file for elsewhere",
        "safetensors  encoder and heads, with JSON beside it that says how to build them;\n"
        "             mscon.load(FILE) reads it without the run.\n"
        "onnx         a graph from uint8 images to features, of any number of images at a time;\n"
        "             it is run beside torch, and not kept if the two differ. Needs the extra:\n"
        '             pip install "mscon[onnx]"',
        "  mscon export runs/shoes --to safetensors --out shoes.safetensors\n"
        "  mscon export runs/shoes --to onnx --out shoes.onnx --projections",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    parser.add_argument("--to", choices=("onnx", "safetensors"), required=True, help="which kind of file")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, required=True, help="where it goes; an earlier export there is replaced"
    )
    add_overwrite(parser)
    add_checkpoint(parser)
    parser.add_argument("--projections", action="store_true", help="onnx: also the projections, as a second output")
    parser.add_argument(
        "--tolerance",
        type=share,
        metavar="X",
        help="onnx: largest difference to torch that passes, as a share of the largest number (default: 1e-4)",
    )
    add_trust(parser)


def _run_export(arguments: argparse.Namespace) -> None:
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


def push(verbs: Verbs) -> None:
    parser = add_verb(
        verbs,
        "push",
        _run_push,
        "put the model of a run on the Hugging Face hub, with its card",
        "Uploads weights (safetensors), how to build them (JSON) and the model card: the one in\n"
        "the run (`mscon card`), else a new one. Neither images nor labels nor paths of the\n"
        "table go along, except what the recipe says (levels, say), and of inputs that are\n"
        "columns the names of their categories. Log in first with `hf auth login`, or set HF_TOKEN.\n"
        'Then mscon.load("hf:OWNER/NAME") loads it anywhere.',
        "  mscon push runs/shoes owner/shoes --dry-run upload     # what would be sent, in a folder\n"
        "  mscon push runs/shoes owner/shoes --private",
        "exit status: 0 done, 1 stopped on the way, 2 the run is at fault, or the hub refuses.",
    )
    parser.add_argument("run", metavar="RUN", type=Path, help="run directory")
    parser.add_argument("repository", metavar="OWNER/NAME", help="repository on the hub; made if it is not there")
    add_checkpoint(parser)
    parser.add_argument("--private", action="store_true", help="make a private repository")
    parser.add_argument("--dry-run", type=Path, metavar="DIR", help="write what would be sent to DIR; send nothing")
    add_trust(parser)


def _run_push(arguments: argparse.Namespace) -> None:
    from mscon.deploy import hub
    from mscon.evaluate.report.card import model_card

    hub.need_name(arguments.repository, whole=True)
    run = open_run(arguments.run, arguments.trust)
    card = (run.read_card() or model_card(run)).replace("hf:owner/name", f"hf:{arguments.repository}")
    if arguments.dry_run is not None:
        print(hub.lay_out(run, card, arguments.dry_run, arguments.checkpoint))
        return
    print(hub.push(run, arguments.repository, card, private=arguments.private, checkpoint=arguments.checkpoint))
