"""Contradictions: label columns that a view of an image would make untrue, and the views that leave them true."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from PIL import ImageColor


@dataclass(frozen=True, slots=True)
class Contradiction:
    """What views change, by the words that tell of a column of it.

    Attributes:
        what: is changed, in words.
        names: words in the name of such a column.
        values: words in its values.
        views: settings of views that do not change it.
    """

    what: str
    names: frozenset[str]
    values: frozenset[str]
    views: Mapping[str, object]


_CONTRADICTIONS = (
    Contradiction(
        "colours",
        frozenset({"colour", "colours", "color", "colors", "hue", "tint", "shade"}),
        frozenset({*ImageColor.colormap, "multicolor", "multicolour", "colourful", "colorful"}),
        {"hue": 0.0, "grey": 0.0, "saturation": 0.1, "brightness": 0.1},
    ),
    Contradiction(
        "left and right",
        frozenset({"side", "direction", "facing", "handedness", "laterality"}),
        frozenset({"left", "right"}),
        {"flip": 0.0},
    ),
    Contradiction(
        "light", frozenset({"brightness", "exposure", "lighting"}), frozenset(), {"brightness": 0.0, "contrast": 0.0}
    ),
)

# Share of the different values that must hold such a word.
_MOSTLY = 0.6


def contradiction_of(name: str, values: Collection[str], channels: int) -> Contradiction | None:
    """What the usual views would change of what a column says, if they would.

    Args:
        name: of the column.
        values: its different values.
        channels: of the images: grey ones (1) have no colours to be changed.
    """
    for contradiction in _CONTRADICTIONS:
        if contradiction.what == "colours" and channels == 1:
            continue
        telling = sum(bool(_words(value) & contradiction.values) for value in values)
        if _words(name) & contradiction.names or telling >= max(_MOSTLY * len(values), 2):
            return contradiction
    return None


def _words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).casefold()))
