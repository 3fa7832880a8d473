"""Colours and shapes in a fixed order, told apart by people who see colours differently."""

from __future__ import annotations

# Okabe and Ito 2008, https://jfly.uni-koeln.de/color/, without its yellow, which white paper swallows.
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#4D4D4D")
OTHERS = "#C9CCD1"

# Seven colours do not name twenty classes or ten methods, so a second mark takes over where they repeat:
# in lines the dashes, in maps the shape of the point.
DASHES = ("solid", "dashed", "dotted")
MARKERS = ("o", "^", "s")
MOST = len(COLOURS) * len(MARKERS) - 1  # classes coloured in a map: 20


def colour(position: int) -> str:
    """Colour of the method, or class, at this position."""
    return COLOURS[position % len(COLOURS)]


def turn(position: int) -> int:
    """How often the colours were used up before this position: which dash or shape it gets."""
    return position // len(COLOURS) % len(MARKERS)
