"""Thumbnails: small pictures of rows as data URIs, and the folder that their images lie in."""

from __future__ import annotations

import base64
import io
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from PIL import Image

from mscon.errors import RunError
from mscon.run.run import Run

SIDE = 96
# Drawings of few pixels stay exact.
EXACT = 32


def data_uri(
    pixels: UInt8[np.ndarray, "channels height width"], side: int = SIDE, quality: int = 80, exact: bool = False
) -> str:
    """One image as a data URI (WEBP), scaled to `side` pixels where it is larger."""
    image = Image.fromarray(pixels[0] if len(pixels) == 1 else np.ascontiguousarray(pixels.transpose(1, 2, 0)))
    if image.width > side:
        image = image.resize((side, side), Image.Resampling.BICUBIC)
    buffer = io.BytesIO()
    how: dict[str, Any] = {"lossless": True, "quality": 100} if exact else {"quality": quality}
    image.convert("RGB").save(buffer, format="webp", method=4, **how)
    return as_data_uri(buffer.getvalue(), "image/webp")


def as_data_uri(content: bytes, media_type: str) -> str:
    """Bytes as an address that asks nobody."""
    return f"data:{media_type};base64,{base64.b64encode(content).decode('ascii')}"


def images_folder(run: Run, root: Path | None, without: str = "") -> Path:
    """The folder of a run's images: `root`, or where they lay when it was trained.

    Args:
        run: whose images.
        root: the folder that the user names; None for that of the training.
        without: how to go on without images, for the message, as in "to explore without them, pass --no-images".

    Raises:
        RunError: if it is not known, or not there.
    """
    recorded = run.read_facts().get("images_root")
    if root is None and recorded is None:
        raise RunError(
            f"run '{run.root}' does not say where its images are. Pass --images DIR{f', or {without}' * bool(without)}."
        )
    folder = Path(str(recorded)) if root is None else root
    if not folder.is_dir():
        raise RunError(
            f"run '{run.root}': the folder of its images, '{folder}', does not exist.\n"
            f"  If the pictures moved, pass --images DIR{f'; {without}' * bool(without)}."
        )
    return folder
