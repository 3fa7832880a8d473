"""Faults of images in words: one message for all of a table. No torch here."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from mscon.data.inputs.addresses import NOT_ALLOWED
from mscon.data.inputs.boxes import image_path
from mscon.data.inputs.image_files import similar_name
from mscon.data.inputs.remote_files import NO_ANSWER, NO_RIGHTS
from mscon.data.table.table import Table, at_lines
from mscon.errors import shortened

_ADVICE = (
    "Replace or take out these rows;\n"
    '  to leave them out on purpose, set missing_images = "drop" under [data] in the recipe.'
)

# For images that are gone, before training and after it.
_MOVED = (
    "If the pictures moved, pass --images DIR, the folder that the paths are relative to;\n"
    '  to leave such rows out on purpose, set missing_images = "drop" under [data] in the recipe before training.'
)

_ON = {
    NO_ANSWER: "Run the command again once the host answers; parts that have arrived are in the cache.",
    NO_RIGHTS: "Log in as the programs of that host do (AWS_PROFILE for s3, `hf auth login`), then try again.",
}

_LONGEST_NAME = 200


def fault_message(
    faults: dict[int, str], images: Sequence[str], lines: Sequence[int], table_name: str, images_root: Path
) -> str:
    """One message for all faults, a paragraph for each kind of fault.

    Args:
        faults: by the number of the image, to follow its name.
        images: as the table names them.
        lines: where each stands in the table.
        table_name: how messages call the table.
        images_root: folder that was looked in.
    """
    kinds: dict[str, list[int]] = {}
    for number in sorted(faults):
        kinds.setdefault(faults[number].partition(" (")[0], []).append(number)
    messages = []
    for kind, numbers in kinds.items():
        image, fault, advice, similar = images[numbers[0]], faults[numbers[0]], _ADVICE, ""
        if kind == "does not exist":
            fault, advice, similar = (
                f"{kind} (looked in {images_root})",
                _MOVED,
                similar_name(image_path(images_root / image)),
            )
            if any("\\" in images[number] for number in numbers):
                advice += "\n  Some of these paths hold a backslash; folders are separated by '/' here."
        elif kind == NOT_ALLOWED:
            host = "/".join(image.rpartition("::")[2].split("/")[:3])
            advice = (
                f'If you trust that host, allow it: [data] remote = ["{host}/"] in the recipe, or --remote {host}/\n'
                "  for mscon embed. Else download the images, and name files relative to the table or to --images DIR."
            )
        advice = _ON.get(kind, advice)
        what = f"image {shortened(image, _LONGEST_NAME)} {fault}.{similar}"
        messages.append(at_lines(table_name, [lines[n] for n in numbers], len(images), what, advice))
    return "\n".join(messages)


def missing_images_text(table: Table, faults: Mapping[int, str]) -> str:
    """One message for all rows without an image."""
    rows = sorted(faults)
    return table.complaint(
        rows,
        f"{faults[rows[0]]}.",
        "Image paths are relative to the table, or to --images DIR. Links out of that folder are followed into those\n"
        "  that --link-folder DIR names. To leave such rows out on purpose, pass --missing-images drop.",
    )
