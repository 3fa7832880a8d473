"""[data] of a recipe: which columns are inputs, how images are read and stored, and how rows are split."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from msgspec import Meta

from mscon.run.ranges import ALL, ColumnNames, NotNegative

REMOTE_PROTOCOLS = ("s3", "gs", "gcs", "az", "abfs", "abfss", "hf", "http", "https", "memory")
"""Of fsspec, those that only read files; never all that it knows: some start programs, or read this machine's disk."""


@dataclass(frozen=True, slots=True)
class Data:
    """Which columns of the table are inputs, how images are stored, and how rows are split.

    Attributes:
        input: what the encoder reads: "image"; "vectors", computed elsewhere; "columns" of the table; or "text".
        image: the column with image paths, relative to the table (or to --images).
        box: a column with the part of each image that its row is of, "x,y,width,height" in pixels or a list of these
            numbers; "" for whole images, and for boxes in the image column, as in photo.jpg#xywh=10,20,30,40.
        vectors: a .npy or .safetensors file beside the table (or in --images) with one vector for each row, in the
            order of the rows; or a column of lists of numbers.
        numbers, categories: the columns that are encoded where `input` is "columns"; "*" for all columns of numbers,
            or all others, that are neither labels, probes, the split or split_by, nor texts or row numbers.
        text: the column that is encoded where `input` is "text", by a frozen sentence encoder.
        text_model: name or folder of a sentence-transformers model; "" for the one of the extra `text`.
        image_size: side in pixels of the square images that the encoder gets.
        store_size: side in pixels of the images that views are cut from: from image_size to twice that; 0: image_size.
        channels: 1 for grey, 3 for colour.
        white: the value that is white in images of one channel with more than 8 bits, such as 4095 for 12 bits in files
            of 16; 0 for what the file says, which is 65535 for 16 bits.
        link_folders: folders outside that of the images into which links in it may lead, relative to it:
            ["../../blobs"] for a snapshot of the Hugging Face cache. Links that lead elsewhere are refused.
        remote: what image addresses may begin with, such as ["s3://bucket/photos/"]; none are allowed by default.
        cache_bytes: how much of remote files the cache folder may hold; what was used least recently is removed.
        decode: when images are decoded: "once", into a store of uint8 pixels in the cache folder; or "always", whenever
            a batch needs them, for tables whose store does not fit the disk.
        split: column with the values train, validation, test or unseen. Without it, mscon splits the rows.
        split_by: column whose groups stay together when mscon splits the rows; "" to split row by row.
        split_shares: shares of train, validation and test rows when mscon splits the rows.
        split_seed: seed of that split. It is not train.seed, so that runs of several seeds are tested on the same rows
            and can be compared row by row.
        missing_images: "error", or "drop" to leave out rows whose image cannot be read.
    """

    input: Literal["image", "vectors", "columns", "text"] = "image"
    image: str = "image"
    box: str = ""
    vectors: str = ""
    numbers: ColumnNames = ()
    categories: ColumnNames = ()
    text: str = "text"
    text_model: str = ""
    image_size: Annotated[int, Meta(ge=8, le=2048, description="a whole number from 8 to 2048 (pixels)")] = 64
    store_size: Annotated[int, Meta(ge=0, le=4096)] = 0
    channels: Literal[1, 3] = 3
    white: NotNegative = 0.0
    link_folders: tuple[str, ...] = ()
    remote: tuple[str, ...] = ()
    cache_bytes: Annotated[int, Meta(ge=2**24, description="a whole number from 16777216 (bytes)")] = 10_000_000_000
    decode: Literal["once", "always"] = "once"
    split: str = "split"
    split_by: str = ""
    split_shares: tuple[float, float, float] = (0.7, 0.1, 0.2)
    split_seed: int = 0
    missing_images: Literal["error", "drop"] = "error"

    def __post_init__(self) -> None:
        if not (self.split_shares[0] > 0 <= min(self.split_shares) and abs(sum(self.split_shares) - 1) < 1e-6):
            must = "split_shares must be three shares (train, validation, test) that sum to 1, the first above 0"
            raise ValueError(f"{must}, got {[*self.split_shares]}.")
        for prefix in self.remote:
            scheme, separator, place = prefix.partition("://")
            if not (scheme in REMOTE_PROTOCOLS and separator and (place.strip("/") or scheme == "memory")):
                raise ValueError(
                    "remote must hold beginnings of addresses with a host or bucket, such as 's3://bucket/photos/'. "
                    f"Kinds are {', '.join(REMOTE_PROTOCOLS)}; got {prefix!r}."
                )
        if self.store_size and not self.image_size <= self.store_size <= 2 * self.image_size:
            raise ValueError(
                f"store_size must be 0, or {self.image_size} (image_size) to twice that, got {self.store_size}."
            )

    @property
    def encoded(self) -> tuple[str, ...]:
        """Columns of text or numbers that the encoder reads, as far as they are named."""
        named = tuple(name for names in (self.numbers, self.categories) if names != ALL for name in names)
        return {"columns": named, "text": (self.text,)}.get(self.input, ())
