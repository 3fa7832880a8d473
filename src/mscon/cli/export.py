"""The verb that exports: the model of a run as a file, or the vectors of a table into a database."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from mscon.cli.arguments import (
    BATCH_SIZE,
    CHECKPOINT,
    IMAGES,
    OVERWRITE,
    RUN,
    TRUST,
    VECTORS,
    argument,
    flag,
    open_run,
    share,
    verb,
)
from mscon.cli.deployment import INCLUDE, LINK_FOLDER, MISSING_IMAGES, REMOTE, note_changes
from mscon.deploy.databases import ENGINES
from mscon.errors import RunError

_FORMATS = ("onnx", "safetensors")

# Options that go with some values of --to, and those that are needed there.
_GOES_WITH = {
    "out": _FORMATS,
    "projections": ("onnx",),
    "tolerance": ("onnx",),
    "include": ("safetensors",),
    **dict.fromkeys(
        ("table", "at", "name", "spaces", "columns", "images", "link_folder", "remote", "vectors"), tuple(ENGINES)
    ),
}
_NEEDED = ("out", "table", "at")


@verb(
    RUN.described("run directory; for databases also a packed model or hf:OWNER/NAME"),
    argument("--to", "format of the file, or the database", choices=(*_FORMATS, *ENGINES), required=True),
    argument("--out", "files: the file to write; an earlier export there is replaced", metavar="FILE", type=Path),
    OVERWRITE.described(
        "files: also replace one that this command did not write; databases: replace what an earlier export wrote "
        "under this name, and nothing else"
    ),
    CHECKPOINT,
    INCLUDE,
    flag("--projections", "onnx: a second output with the projections"),
    argument(
        "--tolerance",
        "onnx: largest allowed difference to torch, as a share of the largest number (default: 1e-4)",
        metavar="X",
        type=share,
    ),
    argument("--table", "databases: the table whose rows are embedded", metavar="TABLE", type=Path),
    argument("--at", "databases: a folder, a URL, or a connection string of PostgreSQL", metavar="ADDRESS"),
    argument("--name", "databases: the table, collection or folder there (default: vectors)", metavar="NAME"),
    argument(
        "--spaces",
        "databases: vectors to store: features, projection_NAME of a similarity, mix (default: all)",
        metavar="SPACE",
        nargs="+",
        default=[],
    ),
    argument("--columns", "databases: columns of the table to store (default: all)", metavar="COLUMN", nargs="*"),
    IMAGES,
    LINK_FOLDER,
    REMOTE,
    VECTORS,
    MISSING_IMAGES,
    BATCH_SIZE,
    TRUST,
    examples="""
    mscon export runs/shoes --to safetensors --out shoes.safetensors
    mscon export runs/shoes --to safetensors --include predictors --out shoes.safetensors
    mscon export runs/shoes --to onnx --out shoes.onnx --projections
    mscon export runs/shoes --to lancedb --table shoes.csv --at vectors --name shoes
    mscon export runs/shoes --to qdrant --table shoes.csv --at http://localhost:6333 --name shoes
    mscon export runs/shoes --to pgvector --table shoes.csv --at postgresql:///shop
    """,
    fault="a mistake in the run, the table or an option (nothing was written), or a disk or database that refused "
    "(run the same command again, and it goes on)",
)
def export(arguments: argparse.Namespace) -> None:
    """Write the model of a run as one file, or the vectors of a table into a database.

    safetensors  encoder and heads, and a JSON file beside it that says how to build them;
                 mscon.load(FILE) reads it without the run. With --include predictors
                 `mscon predict FILE` predicts label columns, and mscon.load(FILE).predict.
    onnx         a graph from uint8 images to features, for any number of images at a time.
                 Its results are compared with those of torch, and it is not kept if they
                 differ. Needs: pip install "mscon[onnx]"

    lancedb, qdrant, pgvector, faiss, usearch
                 the vectors of every row of --table in all spaces, with its line, its image
                 and its cells. A search by any mix of similarities is then one inner product
                 in that database (docs/databases.md). The same command continues an export
                 that was stopped. Needs: pip install "mscon[lancedb]", and so on.
    """
    _need_options(arguments)
    if arguments.to in ENGINES:
        _export_vectors(arguments)
        return
    run = open_run(arguments.run, arguments.trust)
    if arguments.to == "safetensors":
        from mscon.deploy.packed import pack

        pack(run, arguments.out, arguments.checkpoint, arguments.overwrite, arguments.include)
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


def _need_options(arguments: argparse.Namespace) -> None:
    """Raise RunError for options that do not go with --to, and for those that it needs."""
    to, complaints = arguments.to, []
    for option, targets in _GOES_WITH.items():
        value, text = getattr(arguments, option), f"--{option.replace('_', '-')}"
        if value not in (None, False, []) and to not in targets:
            complaints.append(f"{text} goes with --to {' or '.join(targets)}, not with --to {to}.")
        elif value is None and to in targets and option in _NEEDED:
            complaints.append(f"--to {to} needs {text}.")
    if complaints:
        raise RunError("\n".join(complaints))


def _export_vectors(arguments: argparse.Namespace) -> None:
    from mscon.data.table.table import read_table
    from mscon.deploy.databases.export import export_vectors
    from mscon.deploy.load import files_of, load

    source, name = str(arguments.run), arguments.name or "vectors"
    model = load(source, checkpoint=arguments.checkpoint, trust=arguments.trust)
    table = read_table(arguments.table)
    exported = export_vectors(
        model,
        table,
        arguments.to,
        arguments.at,
        name,
        spaces=arguments.spaces,
        columns=arguments.columns,
        images=arguments.images,
        vectors=arguments.vectors,
        link_folders=[os.path.abspath(folder) for folder in arguments.link_folder],
        remote=arguments.remote,
        missing_images=arguments.missing_images,
        batch_size=arguments.batch_size,
        overwrite=arguments.overwrite,
        reads=[table.path, *files_of(source)],
    )
    note_changes(arguments.run, model, table, arguments)
    print(f"{name}: {', '.join(exported.spaces)}")
