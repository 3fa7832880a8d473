"""Pictures: images as a caller in Python has them, made what the encoder was trained on. Knows no model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike, fspath
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from mscon.data.inputs.image_files import decode_some, from_picture
from mscon.errors import TableError, counted, first_few


def listed(pictures: Any) -> Sequence[Any]:
    """One picture or many, as a sequence of pictures.

    A picture is a path; a Pillow image; or pixels of type uint8, which have the shape [height, width] or
    [height, width, channels] in a numpy array, as Pillow makes one, and [height, width] or [channels, height, width] in
    a tensor, as torchvision makes one.

    Raises:
        ValueError: for what is neither a picture nor a sequence.
    """
    if isinstance(pictures, str | PathLike | Image.Image):
        return [pictures]
    if isinstance(pictures, Tensor):
        return [pictures] if pictures.dim() in (2, 3) else list(pictures)
    if isinstance(pictures, np.ndarray) and pictures.dtype == np.uint8:
        return [pictures] if pictures.ndim in (2, 3) else list(pictures)
    if not isinstance(pictures, Iterable):
        raise ValueError(f"images are paths, Pillow images or uint8 pixels, not {type(pictures).__name__}.")
    return list(pictures)


def batches(
    pictures: Sequence[Any], size: int, channels: int, batch_size: int
) -> Iterator[UInt8[np.ndarray, "batch channels size size"]]:
    """The pictures as stored images: turned as EXIF says, cropped to a square, resized, grey or colour.

    Raises:
        TableError: if files of a batch cannot be read, naming them.
        ValueError: for what is no picture.
    """
    if batch_size < 1:
        raise ValueError(f"batch_size must be at least 1, got {batch_size}.")
    for start in range(0, len(pictures), batch_size):
        yield _batch(pictures[start : start + batch_size], start, size, channels)


def _batch(
    pictures: Sequence[Any], start: int, size: int, channels: int
) -> UInt8[np.ndarray, "batch channels size size"]:
    files = [k for k, picture in enumerate(pictures) if isinstance(picture, str | PathLike)]
    paths = [Path(fspath(pictures[k])) for k in files]
    pixels = np.zeros((len(pictures), channels, size, size), dtype=np.uint8)
    decoded, faults = decode_some(paths, size, channels)
    if faults:
        complaints = [f"'{paths[k]}' {fault}" for k, fault in sorted(faults.items())]
        raise TableError(f"{counted(len(faults), 'image')} cannot be used: {first_few(complaints)}.")
    pixels[files] = decoded
    for k, picture in enumerate(pictures):
        if not isinstance(picture, str | PathLike):
            pixels[k] = from_picture(_pillow(picture, start + k), size, channels)
    return pixels


def _pillow(picture: Any, number: int) -> Image.Image:
    if isinstance(picture, Image.Image):
        return picture
    is_tensor = isinstance(picture, Tensor)
    if not (is_tensor or isinstance(picture, np.ndarray)):
        raise ValueError(
            f"picture {number} is {type(picture).__name__}; a picture is a path, a Pillow image, or uint8 pixels."
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
        wanted = "[height, width] or [channels, height, width]" if is_tensor else "[height, width(, channels)]"
        raise ValueError(
            f"picture {number} has shape {list(picture.shape)}; {'a tensor' if is_tensor else 'an array'} must be "
            f"{wanted}, with 1, 3 or 4 channels."
        )
    return Image.fromarray(np.ascontiguousarray(pixels))
