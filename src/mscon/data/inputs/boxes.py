"""Boxes: a part of an image as a row of its own, named as in "photo.jpg#xywh=10,20,30,40". No torch here.

Source: Media Fragments URI 1.0, https://www.w3.org/TR/media-frags/#naming-space.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from os import PathLike, fspath
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

# What begins a box, after the name of the image.
MARK = "#xywh="

_FORM = f"is no box: it must end in {MARK}x,y,width,height, in pixels, with a width and a height above 0"


@dataclass(frozen=True, slots=True)
class Box:
    """A part of an image, in pixels of the image as it is shown, after its EXIF orientation.

    Attributes:
        left, top: of its upper left corner, from that of the image; may lie outside.
        width, height: of the box.
    """

    left: float
    top: float
    width: float
    height: float

    @classmethod
    def parse(cls, text: str) -> Box:
        """The box in "x,y,width,height". What is no box has sides that are NaN, and `fault` says so."""
        try:
            left, top, width, height = (float(number) for number in text.removeprefix("pixel:").split(","))
        except ValueError:
            left = top = width = height = math.nan
        return cls(left, top, width, height)

    def __str__(self) -> str:
        return MARK + ",".join(f"{number:.8g}" for number in (self.left, self.top, self.width, self.height))

    def within(self, size: tuple[float | int, float | int]) -> Box:
        """The part that lies in an image of a width and height; without area if none does."""
        left, top = max(self.left, 0.0), max(self.top, 0.0)
        right, bottom = (
            min(start + length, float(whole))
            for start, length, whole in zip((self.left, self.top), (self.width, self.height), size, strict=True)
        )
        return Box(left, top, max(right - left, 0.0), max(bottom - top, 0.0))

    def fault(self, size: tuple[int, int]) -> str:
        """Why it cannot be cut out of an image of a width and height, to follow the image's name; "" if it can."""
        numbers = (self.left, self.top, self.width, self.height)
        if not (all(map(math.isfinite, numbers)) and min(self.width, self.height) > 0):
            return _FORM
        part = self.within(size)
        return "" if part.width and part.height else f"lies outside of its image (of {size[0]:,} x {size[1]:,} pixels)"

    def square(self, size: tuple[int, int]) -> tuple[int, int, int, int]:
        """Left, top, right and bottom of the square that is cut out.

        As large as the longer side of the box and centred on it, then moved into the image. Where the image is too
        small for that, it is as large as the image allows.

        Args:
            size: width and height of the image.
        """
        part = self.within(size)
        side = max(1, min(round(max(part.width, part.height)), *size))
        left, top = (
            min(max(round(start + (length - side) / 2), 0), whole - side)
            for start, length, whole in zip((part.left, part.top), (part.width, part.height), size, strict=True)
        )
        return left, top, left + side, top + side


class BoxedPath(type(Path())):  # type: ignore[misc]
    """The path of an image file of which a box is taken. It compares as its file does."""

    box: Box | None = None


@runtime_checkable
class Readable(Protocol):
    """An image that is no file of its own on this machine.

    Attributes:
        box: what is taken of it; None for the whole.
    """

    box: Box | None

    def read(self) -> bytes:
        """Its bytes; `Refused` of decoding if they cannot be read."""
        ...


ImageSource: TypeAlias = Path | Readable


def box_of(source: ImageSource | bytes) -> Box | None:
    """What is taken of an image; None for the whole."""
    return source.box if isinstance(source, BoxedPath | Readable) else None


def name_and_box(cell: str) -> tuple[str, Box | None]:
    """The name of an image, and the box that a cell takes of it; None for the whole."""
    name, mark, box = cell.rpartition(MARK)
    return (name, Box.parse(box)) if mark else (cell, None)


def with_box(path: Path, box: Box | None) -> Path:
    """The path, from which `box_of` tells the box."""
    if box is None:
        return path
    boxed = BoxedPath(path)
    boxed.box = box
    return boxed


def image_path(cell: str | PathLike[str]) -> Path:
    """The path that a cell names, with its box."""
    name, box = name_and_box(fspath(cell))
    return with_box(Path(name), box)
