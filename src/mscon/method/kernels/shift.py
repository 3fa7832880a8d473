"""When one number, subtracted from every logit, keeps all exponentials and their sums within float32."""

from __future__ import annotations

LARGEST_LOGIT = 72.0
"""Largest |s| = |<a, c>| / t for which it does: exp(s - shift) then lies between exp(-80) and exp(64).

For unit vectors that is a temperature of 0.0139 or more. Beyond, sums need a running maximum for each anchor.
"""


def shift_for(largest_logit: float) -> float:
    """The number to subtract: the same for all rows, so that exp(s_ij - shift) is symmetric in i and j. Mostly 0."""
    return max(0.0, largest_logit - 64.0)
