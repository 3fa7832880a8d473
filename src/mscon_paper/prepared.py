"""Prepared: a public data set as rows of a table, and an account of what became of its rows and cells on the way.

What sources of unpacked archives share. It knows no data set.
"""

from __future__ import annotations

import csv
import io
import os
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import file_digest
from pathlib import Path

from mscon.data.inputs import image_files
from mscon.data.inputs.boxes import ImageSource
from mscon.data.inputs.decoding import decode_one
from mscon.data.table.split import SPLITS
from mscon.errors import TableError, counted, first_few
from mscon.run import atomic, outputs

# Entries of a folder that operating systems and archivers put there, and no data set.
_CLUTTER = ("thumbs.db", "desktop.ini", "__macosx")

# Damaged images are found by decoding all of them. JPEGs decode to a fraction of their size faster than whole,
# and are read to their end all the same.
_TRIED_AT = 32

_ELSEWHERE = "Name another place with --set table=FILE.csv."


@dataclass(frozen=True, slots=True)
class Label:
    """The class that a cell names, or why there is none.

    Attributes:
        text: the class, empty if missing.
        fault: why it is missing; empty if it is not.
        cell: the cell as it was written.
    """

    text: str
    fault: str = ""
    cell: str = ""


@dataclass(slots=True)
class Prepared:
    """Rows to be written, and the account of them.

    Attributes:
        source: name of the data set, and of its table.
        base: folder that the image paths are relative to.
        header: names of the columns; the first two are image and split.
        rows: a cell for each column.
        places: where each row stood in the data set's own files.
        labels: for each label column what its cells said, row by row.
        sources: the files that were read, a line each.
        left_out: reason -> places of the rows that are left out for it.
        notes: what else should be known, a line each.
    """

    source: str
    base: Path
    header: tuple[str, ...]
    sources: list[str] = field(default_factory=list)
    rows: list[tuple[str, ...]] = field(default_factory=list)
    places: list[str] = field(default_factory=list)
    labels: dict[str, list[Label]] = field(default_factory=dict)
    left_out: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    def leave_out(self, reason: str, place: str) -> None:
        """Note that a row is left out, and why."""
        self.left_out.setdefault(reason, []).append(place)

    def add(self, place: str, cells: Sequence[str], labels: Mapping[str, Label]) -> None:
        """Take a row; its cells are those before the label columns."""
        self.rows.append((*cells, *(labels[name].text for name in self.header[len(cells) :])))
        self.places.append(place)
        for name, label in labels.items():
            self.labels.setdefault(name, []).append(label)

    def report(self) -> str:
        """The account, for a terminal."""
        splits = Counter(row[1] for row in self.rows)
        split_sizes = ", ".join(f"{splits[name]:,} {name}" for name in SPLITS if splits[name])
        lines = [*self.sources, f"  {counted(len(self.rows), 'row')} in the table: {split_sizes}"]
        for reason, places in self.left_out.items():
            lines.append(f"  {counted(len(places), 'row')} left out {reason}: {first_few(places)}")
        width = max(map(len, self.labels), default=0)
        lines += [f"  {name:<{width}}  {_column_text(labels)}" for name, labels in self.labels.items()]
        lines += [f"  {note}" for note in [*self.notes, _duplicates_text(self)] if note]
        return "\n".join(lines)

    def write(self, path: Path) -> Path:
        """Write the table as CSV, whole or not at all.

        Args:
            path: as `table_path` gives it.

        Raises:
            TableError: if no row is left.
            RunError: if the file cannot be written.
        """
        if not self.rows:
            reasons = "\n".join(
                f"  {counted(len(places), 'row')} {reason}: {first_few(places)}"
                for reason, places in self.left_out.items()
            )
            raise TableError(f"{self.source}: no row of '{self.base}' can be used.\n{reasons}".rstrip())
        with outputs.writing(path, _ELSEWHERE):
            atomic.write_bytes(path, "".join(map(csv_line, (self.header, *self.rows))).encode("utf-8"))
        return path


def table_path(source: str, base: Path, header: Sequence[str], table: str) -> Path:
    """The path of the table of a data set, checked before the data set is read.

    A table with the same columns is one that was prepared before, and may be replaced.

    Args:
        source: name of the data set, and of its table.
        base: folder that the image paths are relative to.
        header: names of the columns.
        table: as the user named it; empty for `<source>.csv` in the base folder.

    Raises:
        TableError: for a name that does not end in .csv.
        RunError: if something else is there, or no file can be written there.
    """
    path = Path(table).expanduser() if table else base / f"{source}.csv"
    if path.suffix.lower() != ".csv":
        raise TableError(f"{source}: the table '{path}' must be a file whose name ends in .csv.")
    outputs.need_free([path], is_ours=lambda there: has_header(there, header), advice=_ELSEWHERE)
    return path


def has_header(path: Path, header: Sequence[str]) -> bool:
    """Whether a file begins with the line that begins a table of these columns."""
    line = csv_line(header).encode("utf-8")
    try:
        with path.open("rb") as file:
            return file.read(len(line)) == line
    except OSError:
        return False


def csv_line(cells: Sequence[object]) -> str:
    """A row of a table as CSV."""
    text = io.StringIO(newline="")
    csv.writer(text, lineterminator="\n").writerow(cells)
    return text.getvalue()


def shown(text: str) -> str:
    """A name from someone's file or disk as it may go to a terminal: quoted if it holds control characters."""
    return text if text.isprintable() else repr(text)


def plain(text: str) -> str:
    """A name without case, spaces and punctuation: "Hook and Loop", "Hook.and.Loop" and "hook-and-loop" are one."""
    return "".join(letter for letter in text.casefold() if letter.isalnum())


def read_label(cell: str | None, classes: Iterable[str], separator: str = "") -> Label:
    """The class that a cell names, if it names exactly one, and one of `classes`.

    Args:
        cell: None where empty.
        classes: as they are written in the table; compared by `plain`.
        separator: between the values of a cell that may have several; the same value twice is one.
    """
    parts = (cell or "").split(separator) if separator else [cell or ""]
    values = {plain(part): part.strip() for part in parts if part.strip()}
    if not values:
        return Label("", "empty")
    if len(values) > 1:
        return Label("", "with several values", cell or "")
    known = {plain(name): name for name in classes}
    (value,) = values
    return Label(known[value]) if value in known else Label("", "of another class", values[value])


def faults(base: Path, paths: Sequence[str]) -> dict[int, str]:
    """Numbers of the images that a run could not use, and why. Reads and decodes every file once.

    Args:
        base: folder that the paths are relative to.
        paths: as they are to stand in the table.
    """
    reasons: dict[int, str] = {}
    for number, path in enumerate(image_files.locate(base, paths)):
        if path is None:
            reasons[number] = "whose image path leads out of the folder"
        elif not os.path.isfile(path):  # Path.is_file raises for a name that is too long
            reasons[number] = "whose image is not there"
    tried = [number for number in range(len(paths)) if number not in reasons]

    def decode(number: int, image: ImageSource) -> None:
        decode_one(image, _TRIED_AT, 3)

    for number, fault in image_files.each_file([base / paths[n] for n in tried], decode, "checking images").items():
        # Kinds, not cases: what stands in brackets differs from file to file.
        reasons[tried[number]] = f"whose image {fault.partition(' (')[0]}"
    return reasons


def is_clutter(name: str) -> bool:
    """Whether a file or folder was left by a system or an archiver, such as ._shoe.jpg, .DS_Store, Thumbs.db."""
    return name.startswith(".") or name.lower() in _CLUTTER


def missing_data(source: str, root: Path, missing: Sequence[str], obtain: str) -> TableError:
    """What is missing under a root, what is there instead, and where the data comes from.

    Args:
        source: name of the data set.
        root: as the user named it.
        missing: each thing that is missing.
        obtain: where it is to be had, and under which licence.
    """
    return TableError(f"{source}: missing in '{root}': {'; '.join(missing)}.\n  {_existing_entries(root)}\n{obtain}")


def _existing_entries(root: Path) -> str:
    if not root.exists():
        return "There is no such folder."
    if not root.is_dir():
        return "That is a file, not a folder. Unpack it, and name the folder."
    try:
        entries = sorted(p.name + ("/" if p.is_dir() else "") for p in root.iterdir() if not is_clutter(p.name))
    except OSError as error:
        return f"The folder cannot be read: {error.strerror or error}."
    text = f"Found instead: {first_few([repr(entry) for entry in entries], 8)}." if entries else "The folder is empty."
    packed = [entry for entry in entries if entry.lower().endswith((".zip", ".tar", ".tar.gz", ".tgz"))]
    return text + (f" Unpack {first_few([repr(entry) for entry in packed])} first." if packed else "")


def _column_text(labels: Sequence[Label]) -> str:
    known = Counter(label.text for label in labels if not label.fault)
    text = f"{counted(sum(known.values()), 'label')} of {len(known):,} {'class' if len(known) == 1 else 'classes'}"
    missing: dict[str, Counter[str]] = {}
    for label in labels:
        if label.fault:
            missing.setdefault(label.fault, Counter())[label.cell] += 1
    reasons = []
    for fault, cells in missing.items():
        # Most frequent first; the name decides between equals, so that a report is the same every time.
        ordered = sorted((cell for cell in cells if cell), key=lambda cell: (-cells[cell], cell))
        listed = first_few([f"{cell!r} {cells[cell]:,}" for cell in ordered], 8)
        reasons.append(f"{sum(cells.values()):,} {fault}" + (f" ({listed})" if ordered else ""))
    return text + (
        f"; {sum(sum(c.values()) for c in missing.values()):,} missing: {', '.join(reasons)}" if reasons else ""
    )


def equal_files(base: Path, paths: Sequence[str]) -> list[list[int]]:
    """Groups of numbers of files that are equal byte for byte. Only files of equal size are read."""
    by_size: dict[int, list[int]] = {}
    for number, path in enumerate(paths):
        by_size.setdefault(os.path.getsize(base / path), []).append(number)
    by_digest: dict[bytes, list[int]] = {}
    for numbers in by_size.values():
        for number in numbers if len(numbers) > 1 else ():
            with (base / paths[number]).open("rb") as file:
                digest = file_digest(file, "blake2b").digest()
            by_digest.setdefault(digest, []).append(number)
    return [group for group in by_digest.values() if len(group) > 1]


def _duplicates_text(prepared: Prepared) -> str:
    groups = equal_files(prepared.base, [row[0] for row in prepared.rows])
    if not groups:
        return "no two images are equal byte for byte"
    across = [group for group in groups if len({prepared.rows[n][1] for n in group}) > 1]
    rows = counted(sum(map(len, groups)), "row")
    text = f"{rows} in {counted(len(groups), 'group')} of images equal byte for byte; "
    if not across:
        return text + "none across splits"
    examples = [" = ".join(f"{prepared.places[n]} {prepared.rows[n][1]}" for n in group[:4]) for group in across]
    return text + f"{counted(len(across), 'group')} across splits, which stay in the table: {'; '.join(examples[:3])}"
