"""Numbers and cells of a table as short text."""

from __future__ import annotations

import re

_LONG_FRACTION = re.compile(r"-?(0|[1-9]\d*)\.\d{5,}")


def number_text(value: float, digits: int = 4) -> str:
    """A number with a few significant digits, and all digits before the point: 2.333, 18432, never 1.843e+04."""
    return f"{value:.0f}" if 10 ** (digits - 1) <= abs(value) < 1e15 else f"{value:.{digits}g}"


def cell_text(cell: str) -> str:
    """A cell for people: a number with a long fraction, such as 446.0300299212526, is rounded; all else is kept."""
    return number_text(float(cell), 6) if _LONG_FRACTION.fullmatch(cell) else cell
