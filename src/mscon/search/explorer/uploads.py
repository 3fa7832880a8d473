"""Uploads: bytes from a browser, decoded in memory as an image or refused. They are never written anywhere."""

from __future__ import annotations

import io

import numpy as np
from jaxtyping import UInt8
from PIL import Image, UnidentifiedImageError

from mscon.data.inputs.decoding import from_picture
from mscon.errors import TableError

MOST_BYTES = 20_000_000
"""Of one upload."""

MOST_PIXELS = 50_000_000
"""Of one upload: 200 MB once it is decoded with transparency. Photos of a telephone have 12 to 50 million."""

# Fewer than a table's images may have: what photos, screenshots and pages come in. Never all that Pillow knows.
FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")


def read_upload(
    data: bytes, size: int, channels: int, look: int, white: float = 0.0
) -> tuple[UInt8[np.ndarray, "channels size size"], UInt8[np.ndarray, "channels side side"]]:
    """The image in some bytes, as the encoder takes it and to be looked at: centred squares.

    Args:
        data: of a file.
        size: side in pixels for the encoder.
        channels: 3 for colour, 1 for grey.
        look: side in pixels to look at; less where the image is smaller.
        white: the value of white in images of more than 8 bits, see `decode_one`.

    Raises:
        TableError: if they are no image of these formats, cut off or damaged, or of too many bytes or pixels.
    """
    if len(data) > MOST_BYTES:
        raise TableError(f"the picture has more than {MOST_BYTES / 1e6:g} MB.")
    too_many = TableError(f"the picture has more than {MOST_PIXELS:,} pixels.")
    try:
        # The size stands in the header: nothing is decoded before it is looked at.
        image = Image.open(io.BytesIO(data), formats=FORMATS)
        if image.width * image.height > MOST_PIXELS:
            raise too_many
        image.load()
        shown = from_picture(image, min(look, *image.size), channels, white)
        return from_picture(image, size, channels, white), shown
    except TableError:
        raise
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise too_many from None
    except UnidentifiedImageError:
        raise TableError(f"this is no picture of a kind that is read here ({', '.join(FORMATS)}).") from None
    except Exception as error:  # a damaged file makes decoders raise nearly anything, from EOFError to struct.error
        cut = "truncated" in str(error).lower() or isinstance(error, EOFError)
        raise TableError(f"the picture is {'cut off' if cut else 'damaged'}.") from None
