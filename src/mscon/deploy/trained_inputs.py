"""Trained inputs: whether rows that a run was trained on still have the images, or vectors, that they had then."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl

from mscon.data.inputs import fingerprints
from mscon.data.inputs.image_files import fingerprint_some, locate
from mscon.data.inputs.open import images_root, vectors_file
from mscon.data.inputs.vectors import checked, open_file
from mscon.data.table.table import Table
from mscon.run.recipe import Data
from mscon.run.run import Run


def changed_since_training(run: Run, data: Data, table: Table, images: Path | None = None) -> str:
    """What to say of rows whose input has changed; "" if none has, or the run was trained on another table.

    Reads all images, or vectors, of the run's rows.

    Args:
        run: whose model embeds the table.
        data: names the columns, or the file of vectors, in this table.
        table: it is known by its content, and its rows by their lines.
        images: folder that image paths, or the file of vectors, are relative to; by default the table's.
    """
    trained = run.read_fingerprints()
    if trained is None or data.vectors in table.vectors or run.read_facts()["table"].get("sha256") != table.sha256:
        return ""
    lines = run.read_rows().get_column("line").to_list()
    row_of = {line: row for row, line in enumerate(table.lines)}
    rows = [row_of[line] for line in lines]
    root = images_root(table, data, images)
    if data.input == "vectors":
        file = open_file(vectors_file(root, data, table.name), len(table), table.name)
        every = np.ones(len(table), dtype=bool)
        store = checked(file, every, pl.Series(table.lines), table.name, f"'{file.path.name}'", fingerprinted=True)
        assert store.fingerprints is not None
        now = store.fingerprints[rows]
    else:
        cells = table.cells(data.image)
        now, faults = fingerprint_some(locate(root, [cells[row] or "" for row in rows]), "comparing images")
        left_out = sorted(faults)  # embedding says so itself
        now[left_out] = trained[left_out]
    return fingerprints.changes(trained, now, lines, table.name, data, root)[1]
