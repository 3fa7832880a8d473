"""Pictures: images in memory or by path, as a trained model takes them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from os import PathLike
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt8
from PIL import Image
from torch import Tensor

from mscon.data.inputs import image_files
from mscon.data.inputs.boxes import image_path
from mscon.data.inputs.decoding import from_picture
from mscon.errors import TableError, counted, first_few
from mscon.run.recipe import Data


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
        paths = [image_path(batch[k]) for k in files]
        size, channels = data.image_size, data.channels
        pixels = np.zeros((len(batch), channels, size, size), dtype=np.uint8)
        decoded, faults = image_files.decode_some(paths, size, channels, data.white)
        if faults:
            complaints = [f"'{batch[files[k]]}' {fault}" for k, fault in sorted(faults.items())]
            raise TableError(f"{counted(len(faults), 'image')} cannot be used: {first_few(complaints)}.")
        pixels[files] = decoded
        for k, picture in enumerate(batch):
            if not isinstance(picture, str | PathLike):
                pixels[k] = from_picture(pillow_or_bytes(picture, start + k), size, channels, data.white)
        yield pixels


def pillow_or_bytes(picture: Any, number: int) -> Image.Image | bytes:
    """A picture in memory as Pillow has it, or the bytes of a file as they are.

    Args:
        picture: see `pictures`, but no path.
        number: of the picture, for messages.

    Raises:
        ValueError: for what is no picture.
    """
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
