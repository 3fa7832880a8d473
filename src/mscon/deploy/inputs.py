"""Inputs of a trained model: images in memory, image files, tables in memory, table files. Knows no model.

`pictures` and `picture_batches` take images in memory or by path, `open_columns` a table in memory, `open_table` the
rows of a table that need no labels and no splits. `changed_since_training` compares such a table with that of a run,
`changed_rows` some rows of a run with what they were in training.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Shaped, UInt8
from PIL import Image
from torch import Tensor

from mscon.data.inputs import fingerprints, image_files
from mscon.data.inputs.decoding import from_picture
from mscon.data.inputs.image_faults import fault_message, missing_images_text
from mscon.data.inputs.open import Inputs, check_inputs, images_root, open_inputs, vectors_file
from mscon.data.inputs.remote_files import NO_ANSWER
from mscon.data.inputs.shards import ImageAt
from mscon.data.inputs.vectors import checked, open_file
from mscon.data.table.table import Table, read_table
from mscon.errors import TableError, counted, first_few
from mscon.run.recipe import Data, data_of
from mscon.run.run import Run

# Vectors that are read at once to be hashed one by one.
_HASHED = 4_096

# Pictures -----------------------------------------------------------------------------------------


def pictures(images: Any) -> Sequence[Any]:
    """One picture or many, as a sequence of pictures.

    A picture is a path; the bytes of an image file; a Pillow image; or pixels of type uint8, which have the shape
    [height, width] or [height, width, channels] in a numpy array, as Pillow makes one, and [height, width] or
    [channels, height, width] in a tensor, as torchvision makes one.

    Raises:
        ValueError: for what is neither a picture nor a sequence.
    """
    if isinstance(images, str | bytes | PathLike | Image.Image):
        return [images]
    if isinstance(images, Tensor):
        return [images] if images.dim() in (2, 3) else list(images)
    if isinstance(images, np.ndarray) and images.dtype == np.uint8:
        return [images] if images.ndim in (2, 3) else list(images)
    if not isinstance(images, Iterable):
        raise ValueError(f"images are paths, bytes, Pillow images or uint8 pixels, not {type(images).__name__}.")
    return list(images)


def picture_batches(
    images: Sequence[Any], data: Data, batch_size: int
) -> Iterator[UInt8[np.ndarray, "batch channels size size"]]:
    """The pictures as stored images: turned as EXIF says, cropped to a square, resized, grey or colour.

    Raises:
        TableError: if files of a batch cannot be read, naming them.
        ValueError: for what is no picture.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    for start in range(0, len(images), batch_size):
        batch = images[start : start + batch_size]
        files = [k for k, picture in enumerate(batch) if isinstance(picture, str | PathLike)]
        paths = [Path(fspath(batch[k])) for k in files]
        size, channels = data.image_size, data.channels
        pixels = np.zeros((len(batch), channels, size, size), dtype=np.uint8)
        decoded, faults = image_files.decode_some(paths, size, channels, data.white)
        if faults:
            complaints = [f"'{paths[k]}' {fault}" for k, fault in sorted(faults.items())]
            raise TableError(f"{counted(len(faults), 'image')} cannot be used: {first_few(complaints)}.")
        pixels[files] = decoded
        for k, picture in enumerate(batch):
            if not isinstance(picture, str | PathLike):
                pixels[k] = from_picture(_pillow(picture, start + k), size, channels, data.white)
        yield pixels


def _pillow(picture: Any, number: int) -> Image.Image | bytes:
    if isinstance(picture, Image.Image | bytes):
        return picture
    is_tensor = isinstance(picture, Tensor)
    if not (is_tensor or isinstance(picture, np.ndarray)):
        raise ValueError(
            f"picture {number} is {type(picture).__name__}; a picture is a path, the bytes of a file, a Pillow image, "
            "or uint8 pixels."
        )
    if picture.dtype not in (torch.uint8, np.uint8):
        raise ValueError(
            f"picture {number} has pixels of type {picture.dtype}; they must be uint8, from 0 to 255, so that black "
            "and white are what they were in training."
        )
    pixels = picture.detach().cpu().numpy() if is_tensor else picture
    if is_tensor and pixels.ndim == 3:
        pixels = pixels.transpose(1, 2, 0)
    if pixels.ndim == 3 and pixels.shape[2] == 1:
        pixels = pixels[:, :, 0]
    if not (pixels.ndim == 2 or (pixels.ndim == 3 and pixels.shape[2] in (3, 4))) or 0 in pixels.shape:
        shape = "[height, width] or [channels, height, width]" if is_tensor else "[height, width(, channels)]"
        raise ValueError(
            f"picture {number} has shape {list(picture.shape)}; {'a tensor' if is_tensor else 'an array'} must be "
            f"{shape}, with 1, 3 or 4 channels."
        )
    return Image.fromarray(np.ascontiguousarray(pixels))


# Tables -------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class TableInputs:
    """What is encoded of each row of a table.

    Attributes:
        names: the image paths as written; None where rows are not images.
        files: every file that is read.
        stamps: of the numbers of some rows, for each what changes when its input does.
        take: of numbers of rows: their inputs; and for rows without one, by their place among these, why.
    """

    names: list[str | None] | None
    files: Sequence[Path]
    stamps: Callable[[range], Iterator[Sequence[str | int | None]]]
    take: Callable[[Sequence[int]], tuple[Shaped[np.ndarray, "rows ..."], dict[int, str]]]


def open_table(
    table: Table, data: Data, images: Path | None, known: Mapping[str, Any] | None, drops: bool
) -> TableInputs:
    """The inputs of all rows of a table, as a trained model takes them.

    Args:
        table: the user's.
        data: of the model's recipe; names the columns.
        images: folder that image paths, or the file of vectors, are relative to; by default the table's.
        known: the statistics of the inputs that the run keeps, where they are not images.
        drops: whether rows without an image may be there.

    Raises:
        TableError: for columns, files or cells that are not there, at once; see `mscon.data.inputs.open.open_inputs`.
    """
    if data.input == "image":
        return _table_images(table, data, images_root(table, data, images), drops)
    root = table.folder if images is None else images
    inputs = _checked_inputs(table, data, root, known)
    is_file = data.input == "vectors" and data.vectors not in table.vectors
    return TableInputs(
        names=None,
        files=[vectors_file(root, data, table.name)] if is_file else [],
        stamps=lambda rows: _hashes(inputs, rows),
        take=lambda rows: (inputs[list(rows)], {}),
    )


def _hashes(inputs: Inputs, rows: range) -> Iterator[list[str]]:
    for start in range(rows.start, rows.stop, _HASHED):
        for vector in inputs[np.arange(start, min(start + _HASHED, rows.stop))]:
            yield [hashlib.sha256(vector.tobytes()).hexdigest()]


def open_columns(source: object, data: Data, known: Mapping[str, Any]) -> Inputs:
    """The rows of a table in memory, or of a file, as a model of columns takes them.

    Args:
        source: what `read_table` takes.
        data: of the model's recipe; names the columns.
        known: the statistics of the columns that the run keeps.

    Raises:
        TableError: for columns that are not there, and cells that are no numbers where numbers are needed.
        ValueError: if it is no table.
    """
    table = read_table(source, "table")
    return _checked_inputs(table, data, table.folder, known)


_OTHER_VECTORS = (
    "For other vectors pass --vectors new.npy, a path relative to the folder of the table, or to --images DIR."
)


def _checked_inputs(table: Table, data: Data, root: Path, known: Mapping[str, Any] | None) -> Inputs:
    if complaints := check_inputs(table, data, root, _OTHER_VECTORS):
        raise TableError("\n".join(complaints))
    columns = [table.frame.get_column(name) for name in table.frame.columns if name not in ("line", "split")]
    keys = {"line": pl.Series(table.lines, dtype=pl.Int64), "split": ["train"] * len(table)}
    rows = pl.DataFrame(keys).with_columns(columns)
    return open_inputs(rows, root, data, table.name, vectors=table.vectors.get(data.vectors), known=known)


def _table_images(table: Table, data: Data, root: Path, drops: bool) -> TableInputs:
    """Images, read when they are taken. Unless rows may be dropped, every row must name a file."""
    names = table.cells(data.image)
    image_of = {row: name for row, name in enumerate(names) if name is not None}
    located, stamps = image_files.stamped(root, list(image_of.values()), data)
    file_of, stamp_of = dict(zip(image_of, located, strict=True)), dict(zip(image_of, stamps, strict=True))
    files = [file_of.get(row) for row in range(len(table))]

    def fault_of(row: int, fault: str) -> str:
        if names[row] is None:
            return f"the cell of column {data.image!r} is empty"
        return f"image {names[row]!r} {fault}"

    def refuse(faults: dict[int, str]) -> None:
        if faults:
            raise TableError(fault_message(faults, [name or "" for name in names], table.lines, table.name, root))

    def take(rows: Sequence[int]) -> tuple[Shaped[np.ndarray, "rows ..."], dict[int, str]]:
        some = [files[row] for row in rows]
        pixels, faults = image_files.decode_some(some, data.image_size, data.channels, data.white)
        refuse({rows[k]: fault for k, fault in faults.items() if fault.startswith(NO_ANSWER)})
        named = [row for row in rows if row in stamp_of]
        if changed := image_files.changed_since([stamp_of[row] for row in named], root, data):
            what = f"image {names[named[changed[0]]]!r} has changed since this command began."
            raise TableError(table.complaint([named[n] for n in changed], what, image_files.WAIT))
        return pixels, {k: fault_of(rows[k], fault) for k, fault in faults.items()}

    faults = {row: fault for row, file in enumerate(files) if (fault := image_files.known_fault(file))}
    at = {row: file for row in faults if isinstance(file := files[row], ImageAt)}
    refuse({row: faults[row] for row, file in at.items() if not (drops and file.may_be_left_out)})
    if faults and not drops:
        raise TableError(
            missing_images_text(table, {row: fault_of(row, f"{faults[row]} (looked in {root})") for row in faults})
        )
    places = dict.fromkeys(file.place if isinstance(file, ImageAt) else file for file in files)
    paths = [place for place in places if isinstance(place, Path)]
    return TableInputs(names, paths, lambda rows: (stamp_of.get(row, (None, -1, -1, -1, -1)) for row in rows), take)


def changed_rows(run: Run, rows: Sequence[int]) -> list[int]:
    """Those of some rows of a run whose image, or vector, is not the one of training any more, or is gone.

    Only these rows are read. Of a run that keeps its inputs itself none has changed.
    """
    if (trained := run.read_fingerprints()) is None:
        return []
    data, root, table = data_of(run.read_recipe_values()), Path(run.read_facts()["images_root"]), run.read_rows()
    numbers = np.unique(np.asarray(rows, dtype=np.int64))
    if data.input == "vectors":
        try:
            current = fingerprints.of_vectors(
                open_file(vectors_file(root, data, run.name), len(table), run.name)[numbers]
            )
        except TableError:
            return numbers.tolist()
    else:
        images = table.get_column("image").gather(numbers).to_list()
        current, _ = image_files.fingerprint_some(image_files.find_images(root, images, data), "")
    return numbers[(trained[numbers] != current).any(axis=1)].tolist()


def changed_since_training(run: Run, data: Data, table: Table, images: Path | None = None) -> str:
    """A message on rows whose input has changed; "" if none has, or the run was trained on another table.

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
        current = store.fingerprints[rows]
    else:
        cells = table.cells(data.image)
        paths = image_files.find_images(root, [cells[row] or "" for row in rows], data)
        current, faults = image_files.fingerprint_some(paths, "comparing images")
        unreadable = sorted(faults)  # embedding itself reports these
        current[unreadable] = trained[unreadable]
    return fingerprints.changes(trained, current, lines, table.name, data, root)[1]
