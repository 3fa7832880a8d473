"""Shards: the vectors of a whole table, written a part at a time, so that a stopped job goes on where it was.

A shard's name contains a hash of the weights, of the rows and of size, times and inode of their images, and its
checksum is written with it. So a file of that name whose checksum is right is finished, whoever wrote it and when.
Of several processes each embeds a part of the shards; the first waits for the others and joins the files.

This module does not know torch.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

from mscon.data.inputs.image_faults import missing_images_text
from mscon.data.table.table import Table, unit
from mscon.deploy.encodes import Encodes
from mscon.deploy.inputs import open_table
from mscon.deploy.shard_files import (
    INDEX,
    Shard,
    damaged_text,
    drop_damaged,
    is_done,
    mark_done,
    need_folder,
    note,
    remove_swept,
    sweep,
    write_checked,
)
from mscon.deploy.shard_job import Job, embed, shards_of, spaces_of
from mscon.deploy.vector_files import SUFFIXES, SUFFIXES_TEXT, join
from mscon.deploy.vectors import Precision
from mscon.errors import RunError, TableError, counted, numbered
from mscon.run import atomic, checksums, outputs
from mscon.run.progress import ProgressBar
from mscon.run.recipe import Data

# Rows of a shard of a job whose shards are put together in the end: what a killed job loses at most.
ROWS = 4_096

_SECONDS_BETWEEN_LOOKS = 0.1


def embed_table(
    embedder: Encodes,
    table: Table,
    out: str | Path,
    *,
    images: str | Path | None = None,
    vectors: str | None = None,
    link_folders: Sequence[str] = (),
    remote: Sequence[str] = (),
    similarity: str | None = None,
    all_spaces: bool = False,
    precision: Precision = "float32",
    shard_rows: int | None = None,
    missing_images: Literal["error", "drop"] = "error",
    batch_size: int = 256,
    overwrite: bool = False,
    reads: Sequence[Path] = (),
    progress: bool = True,
    process: tuple[int, int] = (0, 1),
) -> Path | None:
    """Write a vector for every row of a table, with the line and the image path that it belongs to.

    The output has columns (Parquet, Arrow) or arrays (npz) `line`, `image` (where rows are images), `features` or
    `projection`, and, where the model knows it, `uncertainty`, see `mscon.model.row_uncertainty`. With `all_spaces` it
    has the vectors of all spaces: `features`, `projection_NAME` of each similarity and `mix`, see
    `mscon.deploy.vectors`. Work goes to the
    folder OUT.shards; in the end it is put together to OUT, and the folder removed. With `shard_rows` the folder is the
    output, and index.json in it, written last, names its files with their checksums. A finished file in the folder that
    has changed since it was written is written again.

    Args:
        embedder: makes the vectors.
        table: must have the columns that the embedder's recipe reads its inputs from.
        out: a name that ends in .parquet, .arrow or .npz.
        images: folder that image paths, and a file of vectors, are relative to; by default the table's.
        vectors: of a model of vectors the file or column that holds them; by default called as in training.
        link_folders: folders into which links among the images may lead; by default those of the model's recipe.
        remote: what addresses of images may begin with; by default what the model's recipe allows.
        similarity: the projection of this one; None for features.
        all_spaces: write features, the projections of every similarity and mix.
        precision: in which vectors are stored, see `mscon.deploy.vectors.Quantisation`; `read_vectors` reads them.
            Integers are by the ranges of all rows of a file.
        shard_rows: rows of a file of the output; None for one file in all.
        missing_images: "error", or "drop" to leave out rows whose image cannot be read; a note names them.
        batch_size: images in memory at a time.
        overwrite: replace a file that is there; never the table, an image or another file that is read.
        reads: of what the embedder was loaded from the files.
        progress: show a bar on a terminal.
        process: number of this one, from 0, and how many there are.

    Returns:
        The output; None in all processes but the first.

    Raises:
        TableError: for all rows without a readable image, at once; finished shards are used by the next call.
        RunError: for an output of another kind or in the way, an unknown similarity, or a disk at fault.
    """
    first, world = process[0] == 0, process[1]
    out, images = Path(out), None if images is None else Path(images)
    if out.suffix not in SUFFIXES:
        raise RunError(f"--out '{out}': its name must end in {SUFFIXES_TEXT}.")
    if all_spaces and similarity is not None:
        raise RunError(f"--all writes every similarity: leave out --similarity '{similarity}'.")
    folder = out.with_name(f"{out.name}.shards")
    final = [out] if first and shard_rows is None else []
    joined = f"../{out.name}"  # as the folder's checksums call the output
    if final and out.is_file() and checksums.are_kept(folder) and not checksums.fault(folder, joined):
        remove_swept(folder)  # an earlier process was stopped between its last file and the sweeping
    outputs.need_free(final, reads=[table.path, *reads], overwrite=overwrite)
    if first:
        need_folder(folder, [table.path, *reads])
    spaces = spaces_of(embedder, similarity, all_spaces)
    drops = missing_images == "drop"
    inputs = open_table(table, table_data(embedder, vectors, link_folders, remote), images, embedder.known, drops)
    outputs.need_free(final, images=inputs.files, overwrite=overwrite)
    of_shards: Precision = "float32" if shard_rows is None else precision
    job = Job(embedder, table, similarity, inputs, spaces, out.suffix, drops, batch_size, all_spaces, of_shards)
    shards = list(shards_of(job, folder, shard_rows or ROWS))
    try:
        atomic.make_folder(folder)
        drop_damaged(folder, shards[process[0] :: world], drops)
        mine = [shard for shard in shards[process[0] :: world] if not shard.is_answered(drops)]
        with ProgressBar("embedding", sum(len(shard.rows) for shard in mine), shown=progress and first) as bar:
            for shard in mine:
                embed(job, shard, bar.advance)
        if not first:
            mark_done(folder, process[0])
            return None
        _wait(folder, shards, world, job.drops)
        left_out = _left_out(job, shards)
        parts = [path for shard in shards if (path := shard.finished(job.drops)) is not None]
        checked = checksums.check(folder, [path.name for path in parts])
        if damaged := {name: one.fault for name, one in checked.items() if one.fault}:
            raise RunError(
                f"{damaged_text(folder, damaged)}. Run the same command again: it writes only what is damaged."
            )
        if shard_rows is not None:
            sweep(folder, keep={*parts, *(s.faults for s in shards if job.drops), folder / checksums.NAME})
            _write_index(job, folder, checked, shards, left_out)
            return folder
        atomic.write_with(
            out,
            lambda path: join(parts, path, spaces, precision),
            before=lambda path: checksums.record(folder, joined, path),
        )
        remove_swept(folder)
        return out
    except OSError as error:
        raise RunError(
            f"'{out}' cannot be written: {error.strerror or error}. What is finished is in '{folder}'."
        ) from None


def table_data(
    embedder: Encodes, vectors: str | None, link_folders: Sequence[str] = (), remote: Sequence[str] = ()
) -> Data:
    """What is encoded, with the name that the vectors have in this table, and where links and addresses may lead."""
    data = embedder.recipe.data
    data = replace(data, link_folders=tuple(link_folders)) if link_folders else data
    try:
        data = replace(data, remote=tuple(remote)) if remote else data
    except ValueError as error:
        raise RunError(f"--remote: {error}") from None
    if vectors is None:
        return data
    if data.input != "vectors":
        raise RunError(f"{embedder.name} encodes {data.input}, not vectors. Leave out --vectors '{vectors}'.")
    return replace(data, vectors=vectors)


def _wait(folder: Path, shards: Sequence[Shard], world: int, drops: bool) -> None:
    """Until all processes have come to the end of their shards. If one breaks down, torchrun ends this one."""
    while not (
        all(is_done(folder, number) for number in range(1, world)) and all(shard.is_answered(drops) for shard in shards)
    ):
        time.sleep(_SECONDS_BETWEEN_LOOKS)


def _left_out(job: Job, shards: Sequence[Shard]) -> dict[int, str]:
    """Rows without a vector, and why; a note on standard error names them.

    Raises:
        TableError: where there may be none.
    """
    faults: dict[int, str] = {}
    for shard in shards:
        if shard.faults.is_file() and not shard.full.is_file():
            faults |= {int(row): str(fault) for row, fault in json.loads(shard.faults.read_text("utf-8"))}
    if faults and not job.drops:
        for shard in shards:
            shard.faults.unlink(missing_ok=True)
        raise TableError(missing_images_text(job.table, faults))
    note_left_out(job.table, faults)
    return faults


def note_left_out(table: Table, faults: Mapping[int, str]) -> None:
    """A note on standard error that names rows without a readable image, if there are some."""
    if faults:
        lines = numbered(unit(table.name), table.lines_at(sorted(faults)))
        rows = f"{counted(len(faults), 'row')} of {len(table):,}"
        note(f"{table.name}: {rows} left out, whose image cannot be read ({lines}).")


def _write_index(
    job: Job,
    folder: Path,
    parts: Mapping[str, checksums.Checked],
    shards: Sequence[Shard],
    left_out: dict[int, str],
) -> None:
    rows = [len(shard.rows) - sum(row in left_out for row in shard.rows) for shard in shards]
    text = atomic.json_text(
        {
            "model": job.embedder.name,
            "digest": job.embedder.digest,
            "table": job.table.name,
            "columns": {name: sum(widths) for name, widths in job.spaces.items()},
            "precision": job.precision,
            "similarity": job.similarity,
            "rows": sum(rows),
            "shards": [
                {"file": name, "rows": count, "bytes": part.bytes, "sha256": part.sha256}
                for (name, part), count in zip(parts.items(), rows, strict=True)
            ],
            "left_out": [{"line": job.table.lines[row], "why": left_out[row]} for row in sorted(left_out)],
        }
    )
    write_checked(folder / INDEX, lambda path: path.write_text(text, "utf-8"))
