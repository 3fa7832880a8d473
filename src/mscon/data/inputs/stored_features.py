"""Stored features: what a frozen encoder makes of images and of their views, computed once, in files of the cache.

A file is named by a hash of all that its numbers depend on. It is computed in blocks of rows, and a process that is
killed loses the block it was at. Files that nobody opened for a month are removed when another one is computed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import time
from dataclasses import asdict, dataclass, replace
from hashlib import blake2b
from pathlib import Path
from typing import Protocol, runtime_checkable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from mscon.data.inputs.images import ImageStore
from mscon.data.inputs.views import augment, plain
from mscon.errors import RunError
from mscon.run import atomic
from mscon.run.cache import alone, cache_folder, need_room, new_array
from mscon.run.progress import ProgressBar
from mscon.run.recipe import Views

# Raised whenever the same images would give other numbers.
_FORMAT = 1

# Rows that are computed, and reach the disk, together; which views they get depends on it.
BLOCK_ROWS = 128

_IMAGES_AT_ONCE = 64
_DAYS_UNUSED = 30
_WHAT = "the features of the frozen encoder"


@runtime_checkable
class FrozenEncoder(Protocol):
    """The part of an encoder that is needed here."""

    @property
    def digest(self) -> str:
        """A hash of all that `encode` depends on."""
        ...

    def encode(self, images: Float[Tensor, "samples channels height width"]) -> Float[Tensor, "samples stored"]:
        """In single precision, on the CPU."""
        ...


@dataclass(frozen=True, slots=True, eq=False)
class FeatureFile:
    """Features of some images: of each as it is, or of several random views of each.

    Args:
        images: of a run, all of them.
        rows: numbers of those that are encoded.
        encoder: frozen, in evaluation mode.
        views: how views are drawn; None for the images as they are, in single instead of half precision.
        count: views of each image; 1 for the images as they are.
        size: side of the views in pixels.
        seed: of the views.
    """

    images: ImageStore
    rows: Int64[np.ndarray, " some"]
    encoder: FrozenEncoder
    views: Views | None = None
    count: int = 1
    size: int = 0
    seed: int = 0

    @property
    def path(self) -> Path:
        """Where it is, or will be."""
        if self.images.fingerprints is None:
            raise ValueError("images without fingerprints cannot be told from others.")
        drawn = None
        if self.views is not None:
            of_images = asdict(replace(self.views, count=1, corrupt=0.0, noise=0.0))
            drawn = [of_images, self.count, self.size, self.seed]
        key = [_FORMAT, self.encoder.digest, self.images.images.shape[1:], drawn]
        digest = hashlib.sha256(json.dumps(key, sort_keys=True).encode())
        digest.update(np.ascontiguousarray(self.images.fingerprints[self.rows]).tobytes())
        return cache_folder("features") / f"{digest.hexdigest()[:32]}.npy"

    @property
    def is_there(self) -> bool:
        """Whether it was computed before."""
        return self.path.exists()

    @property
    def encoded(self) -> int:
        """Images and views that are encoded for it."""
        return len(self.rows) * self.count

    def open(self, progress: bool = False) -> Float[np.ndarray, "some count stored"]:
        """The features, mapped from the file; computed first, if it is not there.

        Several processes may call this at once: one computes, the others wait.

        Args:
            progress: show a bar on standard error.

        Raises:
            RunError: if the cache folder cannot be written or has no room, or a feature is too large for the file.
        """
        path = self.path
        if (features := _mapped(path)) is not None:
            return features
        with alone(path, _WHAT):
            if (features := _mapped(path)) is None:
                _sweep(path.parent)
                self._compute(path, progress)
                features = _mapped(path)
        assert features is not None
        return features

    def _compute(self, path: Path, progress: bool) -> None:
        partial, position = path.with_suffix(".partial"), path.with_suffix(".json")
        first = self._block(range(min(1, len(self.rows))))
        shape = (len(self.rows), self.count, first.shape[-1])
        finished = _rows_finished(partial, position, shape, first.dtype)
        if not finished:
            need_room(path.parent, int(np.prod(shape)) * first.dtype.itemsize, _WHAT, "stored_views under [encoder]")
            new_array(partial, first.dtype, shape)
        features = np.lib.format.open_memmap(partial, mode="r+")
        with ProgressBar("encoding", self.encoded, shown=progress) as bar:
            bar.advance(finished * self.count)
            for start in range(finished, len(self.rows), BLOCK_ROWS):
                block = range(start, min(start + BLOCK_ROWS, len(self.rows)))
                features[block.start : block.stop] = self._block(block)
                features.flush()
                atomic.write_json(position, {"rows": block.stop})
                bar.advance(len(block) * self.count)
        atomic.sync(partial)
        partial.replace(path)
        atomic.sync(path.parent)
        position.unlink(missing_ok=True)

    def _block(self, block: range) -> Float[np.ndarray, "block count stored"]:
        """The features of some of the rows, the first of which is number 0, `BLOCK_ROWS`, 2 `BLOCK_ROWS`, ...."""
        images = torch.from_numpy(self.images[self.rows[block.start : block.stop]])
        features = torch.stack([self._encoded(images, block.start, number) for number in range(self.count)], dim=1)
        exact = features.numpy()
        with np.errstate(over="ignore"):  # what half precision cannot hold becomes infinite, and is refused below
            stored = exact if self.views is None else exact.astype(np.float16)
        if not np.isfinite(stored).all():
            raise RunError(
                f"the frozen encoder makes features of up to {np.abs(exact).max():.3g}, which cannot be stored: they "
                "must be finite, and below 65,504 in half precision. Set stored_views = 0 under [encoder]."
            )
        return stored

    def _encoded(self, images: Tensor, start: int, number: int) -> Float[Tensor, "block stored"]:
        if self.views is None:
            inputs = plain(images)
        else:
            # The draws of a block follow from its place, so that it does not matter where a stopped job goes on.
            mixed = blake2b(f"{self.seed}/{start}/{number}".encode(), digest_size=7).digest()
            generator = torch.Generator().manual_seed(int.from_bytes(mixed, "big"))
            inputs = augment(images, self.views, generator, size=self.size)
        return torch.cat([self.encoder.encode(some) for some in inputs.split(_IMAGES_AT_ONCE)])


def _mapped(path: Path) -> np.ndarray | None:
    """The features in a file; None if there is none."""
    try:
        features: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        os.utime(path)  # it is in use, see `_sweep`
    except (OSError, ValueError, EOFError):  # not there, or spoilt: it is computed again
        return None
    return features


def _rows_finished(partial: Path, position: Path, shape: tuple[int, ...], dtype: np.dtype) -> int:
    """How many rows of a file a killed process has computed."""
    with contextlib.suppress(OSError, ValueError, EOFError, KeyError, TypeError):
        features = np.load(partial, mmap_mode="r", allow_pickle=False)
        if features.shape == shape and features.dtype == dtype:
            return min(int(json.loads(position.read_text("utf-8"))["rows"]), shape[0])
    return 0


def _sweep(folder: Path) -> None:
    """Remove files, finished or not, that nobody has opened for long."""
    for path in folder.iterdir():
        with contextlib.suppress(OSError):
            if path.suffix != ".lock" and time.time() - path.stat().st_mtime > _DAYS_UNUSED * 86_400:
                path.unlink()
