"""MEDIC, 71,198 photographs of disasters: damage severity, disaster types, humanitarian, informative.

From https://crisisnlp.qcri.org/medic: unpack MEDIC.tar.gz. Licence: CC BY-NC-SA 4.0, and the terms of use that come
with it; cite Alam et al., "MEDIC: A Multi-Task Learning Dataset for Disaster Image Classification", Neural Computing
and Applications 2023, https://arxiv.org/abs/2108.12828.
"""

from __future__ import annotations

import os
import posixpath
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from mscon.data.table.table import Table, no_column, read_table
from mscon.errors import TableError, counted, first_few
from mscon_paper.prepared import Label, Prepared, faults, is_clutter, missing_data, read_label, table_path

CLASSES: Mapping[str, tuple[str, ...]] = {
    "damage_severity": ("little_or_none", "mild", "severe"),
    "disaster_types": (
        "earthquake",
        "fire",
        "flood",
        "hurricane",
        "landslide",
        "not_disaster",
        "other_disaster",
    ),
    "humanitarian": (
        "affected_injured_or_dead_people",
        "infrastructure_and_utility_damage",
        "not_humanitarian",
        "rescue_volunteering_or_donation_effort",
    ),
    "informative": ("informative", "not_informative"),
}
"""The four similarities and their classes, as they are written in the files and in the table."""

COLUMNS = ("image", "split", *CLASSES)

PUBLISHED_ROWS = {"train": 49_353, "validation": 6_157, "test": 15_688}

# Names of the files, as published first.
_FILES = {
    "train": ("MEDIC_train.tsv",),
    "validation": ("MEDIC_dev.tsv", "MEDIC_validation.tsv", "MEDIC_val.tsv"),
    "test": ("MEDIC_test.tsv",),
}
# An image with several rows keeps that of the split that is tested on, as published.
_PRECEDENCE = ("test", "validation", "train")
_OBTAIN = (
    "  MEDIC comes from https://crisisnlp.qcri.org/medic under CC BY-NC-SA 4.0 (not for commercial use).\n"
    "  Unpack MEDIC.tar.gz, and name the folder that holds MEDIC_train.tsv, MEDIC_dev.tsv, MEDIC_test.tsv and data."
)


def prepare(root: Path, *, table: str = "") -> Path:
    """Write the table of MEDIC, and say on standard error what became of its rows and cells.

    The table names images where they are; none is copied. Columns: `image`, `split` (as published; dev is
    validation) and the four label columns. Columns are read by name, since image_id and event_name are swapped in
    the rows of one of the data set's sources; these two are not used. An empty label is missing, and so is one that is
    not among CLASSES.

    Rows are left out whose image is not there, leads out of the folder or cannot be decoded, and of rows that
    name one image all but that of the split tested on. Images that are equal under several names stay, and are
    reported where they lie in several splits.

    Args:
        root: folder with the three TSV files and the folder `data`, or that folder, or the one around both.
        table: where the table is written, by default medic.csv beside the TSV files. Elsewhere the other verbs
            need --images.

    Raises:
        TableError: if files or columns are missing; nothing is then written.
        RunError: if a file that is no such table lies where it goes, or it cannot be written.
    """
    place = _find(root)
    path = table_path("medic", place.base, COLUMNS, table)
    prepared = _prepare(place)
    prepared.write(path)
    print(prepared.report(), file=sys.stderr)
    return path


@dataclass(frozen=True, slots=True)
class _Place:
    """The folder that image paths are relative to, and split -> its file."""

    base: Path
    files: Mapping[str, Path]


def _find(root: Path) -> _Place:
    named = Path(os.path.abspath(root.expanduser()))
    base = next((folder for folder in _candidates(named) if _tables(folder)), named)
    tables = _tables(base)
    missing = [f"the file '{names[0]}'" for split, names in _FILES.items() if split not in tables]
    if not (base / "data").is_dir():
        missing.append("the folder 'data' with the images")
    if missing:
        raise missing_data("medic", root if base == named else base, missing, _OBTAIN)
    if several := [files for files in tables.values() if len(files) > 1]:
        listed = first_few([repr(path.name) for path in several[0]])
        raise TableError(f"medic: '{base}' holds several files for one split: {listed}. Keep one of them there.")
    return _Place(base, {split: files[0] for split, files in tables.items()})


def _candidates(named: Path) -> list[Path]:
    """The folder named, the one around it if it is `data`, and those in it."""
    try:
        inner = sorted(child for child in named.iterdir() if child.is_dir() and not is_clutter(child.name))
    except OSError:
        inner = []
    return [named, *([named.parent] if named.name == "data" else []), *inner]


def _tables(folder: Path) -> dict[str, list[Path]]:
    """Split -> files that could be its table."""
    existing = {
        split: [folder / name for name in names if (folder / name).is_file()] for split, names in _FILES.items()
    }
    return {split: files for split, files in existing.items() if files}


@dataclass(frozen=True, slots=True)
class _Row:
    """A row of one of the three files."""

    split: str
    where: str
    image: str
    labels: Mapping[str, Label]


def _prepare(place: _Place) -> Prepared:
    tables = {split: read_table(path) for split, path in place.files.items()}
    _need_columns(list(tables.values()))
    prepared = Prepared("medic", place.base, COLUMNS)
    sizes = ", ".join(
        f"{len(table):,} in {table.name} (published: {PUBLISHED_ROWS[split]:,})" for split, table in tables.items()
    )
    prepared.sources.append(f"medic: {counted(sum(map(len, tables.values())), 'row')} in {place.base}: {sizes}")
    rows = []
    for split, table in tables.items():
        for row in _rows(split, table):
            if row.image:
                rows.append(row)
            else:
                prepared.leave_out("without an image path", row.where)
    at_fault = faults(place.base, [row.image for row in rows])
    for number, why in at_fault.items():
        prepared.leave_out(why, f"{rows[number].where} ({rows[number].image!r})")
    for row in _once(prepared, [row for number, row in enumerate(rows) if number not in at_fault]):
        prepared.add(row.where, (row.image, row.split), row.labels)
    return prepared


def _need_columns(tables: list[Table]) -> None:
    complaints = [
        f"{table.path}: {no_column(name, table.frame.columns)}"
        for table in tables
        for name in ("image_path", *CLASSES)
        if name not in table.frame.columns
    ]
    if complaints:
        raise TableError("\n".join(complaints))


def _rows(split: str, table: Table) -> list[_Row]:
    labels = {name: [read_label(cell, classes) for cell in table.cells(name)] for name, classes in CLASSES.items()}
    return [
        _Row(split, table.place(row), path or "", {name: column[row] for name, column in labels.items()})
        for row, path in enumerate(table.cells("image_path"))
    ]


def _once(prepared: Prepared, rows: list[_Row]) -> list[_Row]:
    """The rows in their order, each image in one of them only."""
    row_of: dict[str, _Row] = {}
    for split in _PRECEDENCE:
        for row in rows:
            if row.split == split and row_of.setdefault(posixpath.normpath(row.image), row) is not row:
                prepared.leave_out(
                    "whose image has another row",
                    f"{row.where} (as {row_of[posixpath.normpath(row.image)].where})",
                )
    return [row for row in rows if row_of[posixpath.normpath(row.image)] is row]
