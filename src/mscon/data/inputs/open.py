"""Inputs: what the encoder gets for each row, an image or a vector. No torch here."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

import numpy as np
import polars as pl
from jaxtyping import Float32, Int, Int64, Shaped, UInt8

from mscon.data.inputs.image_files import locate, ways_out
from mscon.data.inputs.images import ImageStore, open_store
from mscon.data.inputs.tabular import ColumnCoding
from mscon.data.inputs.vector_file import VectorFile
from mscon.data.inputs.vectors import SUFFIXES, VectorStore, checked, map_file, open_file
from mscon.data.table.table import Table, read_table
from mscon.errors import RecipeError, TableError, counted, nearest
from mscon.run import atomic
from mscon.run.cache import cache_folder, cache_writing
from mscon.run.recipe import Data, data_of
from mscon.run.run import Run

# The folder of the cache with images that lie within tables.
_UNPACKED = "unpacked"


@runtime_checkable
class Inputs(Protocol):
    """Inputs in the order of the rows: uint8 images [channels, size, size], or float32 vectors [dim]."""

    def __len__(self) -> int: ...

    def __getitem__(self, rows: Int[np.ndarray, " batch"] | Sequence[int]) -> Shaped[np.ndarray, "batch ..."]:
        """A copy of those of these rows; IndexError for a row that is not there."""
        ...


@runtime_checkable
class Vectors(Inputs, Protocol):
    """Inputs that are vectors.

    Attributes:
        width: numbers of a vector.
        columns: for each dimension the column that it is of, ascending from 0.
        mean, std: of each dimension over the training rows, for an encoder to take off.
    """

    @property
    def width(self) -> int: ...

    @property
    def columns(self) -> Int64[np.ndarray, " dim"]: ...

    @property
    def mean(self) -> Float32[np.ndarray, " dim"]: ...

    @property
    def std(self) -> Float32[np.ndarray, " dim"]: ...

    def to_json(self) -> dict[str, Any]:
        """What a run keeps, so that the same can be made of other rows."""
        ...


def open_inputs(
    rows: pl.DataFrame,
    root: Path,
    data: Data,
    table_name: str,
    *,
    vectors: Float32[np.ndarray, "rows dim"] | Path | None = None,
    known: Mapping[str, Any] | None = None,
    for_views: bool = False,
) -> Inputs:
    """The inputs of all rows, of the kind that a recipe names.

    Args:
        rows: as `select_rows` gives them.
        root: folder that images, and the file of vectors, are relative to.
        data: which kind, from which columns or file.
        table_name: how messages call the table.
        vectors: those of a list column (`Table.vectors`), or the file that a run keeps of them. Not read for others.
        known: what a run kept of its inputs; None to learn from the training rows of `rows`.
        for_views: images in the size from which views are cut, instead of that which the encoder gets.

    Raises:
        TableError: once for all images, vectors or cells that cannot be used; for vectors of another number than
            rows, or of another width than `known`.
        RecipeError: if a sentence encoder is not to be had.
        RunError: if the cache folder cannot be written.
    """
    if data.input == "image":
        is_larger = for_views and data.store_size
        return open_store(rows, root, replace(data, image_size=data.store_size) if is_larger else data, table_name)
    if data.input == "columns":
        coding = (
            ColumnCoding.fit(rows, data.numbers, data.categories, table_name)
            if known is None
            else ColumnCoding.from_json(known)
        )
        return coding.encode(rows, table_name)
    stored: Shaped[np.ndarray, "rows dim"] | VectorFile
    outside = data.input == "vectors" and vectors is None
    if data.input == "text":
        from mscon.data.inputs.text import embed

        source, stored = f"column {data.text!r}", embed(rows.get_column(data.text).to_list(), data.text_model)
    elif isinstance(vectors, np.ndarray):
        source, stored = f"column {data.vectors!r}", vectors
    else:
        path = vectors or vectors_file(root, data, table_name)
        source, stored = f"'{path.name}'", open_file(path, rows.height, table_name)
    if known is not None and known["width"] != stored.shape[1]:
        raise TableError(
            f"{table_name}: the vectors in {source} have {stored.shape[1]} numbers, but those that the encoder learnt "
            f"from had {known['width']}."
        )
    is_train = (rows.get_column("split") == "train").to_numpy()
    return checked(stored, is_train, rows.get_column("line"), table_name, source, fingerprinted=outside)


def images_root(table: Table, data: Data, images: Path | None = None) -> Path:
    """The folder that the cells of the image column are relative to.

    Args:
        table: as it was read.
        data: names the image column.
        images: the folder that the user names, if any; images within the table need none.

    Raises:
        RunError: if images within the table cannot be written to the cache folder.
    """
    if data.input == "image" and data.image in table.pictures:
        name = table.pictures_sha256(data.image).hex()[:32]
        return _unpack(table.pictures[data.image], table.cells(data.image), name)
    return table.folder if images is None else images


def _unpack(pictures: pl.Series, files: list[str | None], name: str) -> Path:
    """Write images to a folder of the cache, unless it is there already.

    Args:
        pictures: an encoded image a row; null where there is none.
        files: where in the folder each goes.
        name: of the folder, a digest of the images.

    Returns:
        The folder.

    Raises:
        RunError: if it cannot be written.
    """
    folder = cache_folder(_UNPACKED) / name
    if folder.is_dir():
        return folder
    with cache_writing(folder.parent, "the images in the table"):
        try:
            with atomic.new_folder(folder) as temporary:
                for picture, file in zip(pictures, files, strict=True):
                    if picture is not None and file is not None:
                        (temporary / file).parent.mkdir(exist_ok=True)
                        (temporary / file).write_bytes(picture)
        except OSError:
            if not folder.is_dir():  # else another process was faster, and wrote the same
                raise
    return folder


def fingerprints_of(inputs: Inputs) -> UInt8[np.ndarray, "rows bytes"] | None:
    """A fingerprint for each row of inputs in files outside the run; None where the run keeps the inputs itself."""
    return inputs.fingerprints if isinstance(inputs, ImageStore | VectorStore) else None


def inputs_of(run: Run) -> Inputs:
    """What the encoder of a run gets for each of its rows, as it is now.

    Raises:
        TableError: if an image or a vector cannot be read any more.
    """
    data, name = run.read_recipe().data, run.read_facts()["table"]["name"]
    return open_inputs(run.read_rows(), root_of(run), data, name, vectors=run.vectors_file, known=run.read_inputs())


def root_of(run: Run) -> Path:
    """The folder that the images, or the file of vectors, of a run are relative to.

    Images within a table that are no longer in the cache are taken out of the table again, if it is where it was.

    Raises:
        TableError: if the table cannot be read.
        RunError: if the cache folder cannot be written.
    """
    facts = run.read_facts()
    root, table = Path(facts["images_root"]), Path(facts["table"].get("path") or os.devnull)
    if root.parent.name == _UNPACKED and not root.is_dir() and (table.is_file() or table.is_dir()):
        return images_root(read_table(table), data_of(run.read_recipe_values()))
    return root


def encoded(inputs: Inputs, data: Data) -> str:
    """What is encoded of each row, in words: "images, RGB, 112 x 112 pixels"."""
    if isinstance(inputs, ImageStore):
        _, channels, height, width = inputs.images.shape
        return f"images, {'grey' if channels == 1 else 'RGB'}, {width} x {height} pixels"
    if not isinstance(inputs, Vectors):  # of a kind that nobody has described yet
        return ""
    width = counted(inputs.width, "number")
    if data.input == "columns":
        return f"{width} made of {', '.join(repr(name) for name in data.encoded)}"
    source = f"the texts of {data.text!r}" if data.input == "text" else repr(data.vectors)
    return f"vectors of {width} from {source}"


def vectors_file(root: Path, data: Data, table_name: str) -> Path:
    """The file that [data] vectors names.

    Raises:
        TableError: if it lies outside the root, and outside [data] link_folders.
    """
    (path,) = locate(root, [data.vectors], data.link_folders)
    if path is None:
        raise TableError(
            f"{table_name}: the file of vectors '{data.vectors}' lies outside the folder '{root}'.\n"
            f"  {ways_out(root, [data.vectors], data.link_folders)}"
        )
    return path


def check_inputs(table: Table, data: Data, root: Path, other_vectors: str = "") -> list[str]:
    """Complaints about the columns or the file of inputs other than images, from cheap checks only.

    Args:
        table: as it was read.
        data: names the columns or the file.
        root: folder that the file of vectors is relative to.
        other_vectors: how the user names another file of vectors, see `map_file`.

    Raises:
        RecipeError: if the recipe does not say where they come from.
    """
    columns = table.frame.columns
    if data.input == "text":
        if data.text not in columns:
            return [_no_input(table, data.text, "text")]
        empty = table.frame.get_column(data.text).is_null().arg_true().to_list()
        what, advice = f"the cell of column {data.text!r} is empty.", "Every row needs a text to be encoded."
        return [table.complaint(empty, what, advice)] if empty else []
    if data.input == "columns":
        named = data.encoded
        if not (data.numbers or data.categories):
            raise RecipeError(
                '[data] input = "columns" needs to know which: numbers = ["height", ...], categories = ["make", ...], '
                'or "*" for all that are left.'
            )
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise RecipeError(f"[data] column '{twice[0]}' stands twice in numbers and categories.")
        return [_no_input(table, name, "numbers or categories") for name in named if name not in columns]
    if not data.vectors:
        raise RecipeError(
            '[data] input = "vectors" needs to know which: vectors = "clip.npy", a .npy or .safetensors file beside '
            "the table with a vector for each row, or the name of a column of lists."
        )
    if Path(data.vectors).suffix.lower() in SUFFIXES:
        try:
            map_file(vectors_file(root, data, table.name), len(table), table.name, other_vectors)
        except TableError as error:
            return [str(error)]
        return []
    if data.vectors not in table.vectors:
        if Path(data.vectors).suffix.lower() == ".npz" or os.path.isfile(root / data.vectors):
            return [
                f"{table.name}: vectors are not read from '{data.vectors}', but from files whose names end in "
                f"{' or '.join(SUFFIXES)}.\n  Save one array with np.save, as .npy, with a vector for each row."
            ]
        of_lists = ", ".join(repr(name) for name in table.vectors) or "none"
        return [
            f"{table.name}: there is no column {data.vectors!r} of lists of numbers."
            f"{nearest(data.vectors, table.vectors)}\n"
            f"  Columns of lists: {of_lists}. A file of vectors has a name that ends in {' or '.join(SUFFIXES)}."
        ]
    return []


def _no_input(table: Table, column: str, setting: str) -> str:
    return f"{table.name}: {table.no_column(column)}\n  It is named by [data] {setting} of the recipe."
