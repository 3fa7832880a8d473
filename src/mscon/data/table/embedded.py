"""Unpacked: images that lie within a table, written once as files, so that all else finds them where images lie."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

import polars as pl

from mscon.data.inputs.images import cache_folder
from mscon.errors import RunError


def unpack(pictures: pl.Series, files: list[str | None], name: str) -> Path:
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
    folder = cache_folder().parent / "unpacked" / name
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        made = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
        try:
            for picture, file in zip(pictures, files, strict=True):
                if picture is not None and file is not None:
                    (made / file).parent.mkdir(exist_ok=True)
                    (made / file).write_bytes(picture)
            made.chmod(0o755)
            os.rename(made, folder)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            if not folder.is_dir():  # else another process was faster, and wrote the same
                raise
    except OSError as error:
        raise RunError(
            f"the images in the table cannot be written to '{folder.parent}': {error.strerror or error}. "
            "Set the environment variable MSCON_CACHE to a folder that can be."
        ) from None
    return folder
