"""File kinds: what a file is that is no image that can be read, known by its first bytes. Reads no file."""

from __future__ import annotations

# As many bytes of a file are looked at.
HEAD = 512

_SAVE = "save it as JPEG or PNG"

# Where in the file, what stands there, and what the file is then.
_MARKS = (
    (0, b"version https://git-lfs", "is a pointer of Git LFS, not the image; `git lfs pull` fetches the images"),
    (0, b"%PDF", f"is a PDF document; {_SAVE}"),
    (0, b"%!PS", f"is a PostScript file; {_SAVE}"),
    (0, b"8BPS", f"is a Photoshop file; {_SAVE}"),
    (0, b"\xff\x0a", f"is a JPEG XL image; {_SAVE}"),
    (0, b"\0\0\0\x0cJXL ", f"is a JPEG XL image; {_SAVE}"),
    (0, b"PK\3\4", "is a ZIP archive; unpack it"),
    (0, b"\x1f\x8b", "is compressed with gzip; unpack it"),
    (128, b"DICM", "is a DICOM file; save it as PNG with 16 bits"),
    (0, b"\x89HDF", "is an HDF5 file; save each image in a file of its own"),
    (0, b"\x93NUMPY", "is a NumPy array; save it as PNG"),
    (0, b"FUJIFILMCCD-RAW", f"is a raw photo of a camera; develop it and {_SAVE}"),
    (8, b"CR\2\0", f"is a raw photo of a camera; develop it and {_SAVE}"),
)
_HEIC = (b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1")

RAW_PHOTO = f"is a raw photo of a camera, of which only the preview would be read; develop it and {_SAVE}"


def kind_of(head: bytes) -> str:
    """What a file is that begins with these bytes, to follow its name: "is a PDF document; ..."; "" if unknown."""
    if not head:
        return "is empty"
    for offset, mark, what in _MARKS:
        if head[offset : offset + len(mark)] == mark:
            return what
    if head[4:8] == b"ftyp" and head[8:12] in _HEIC:
        return f"is a HEIC photo; {_SAVE}"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html")):
        return "is a web page (HTML), as failed downloads are; download the image again"
    return f"is an SVG drawing; {_SAVE}" if b"<svg" in text else ""
