"""Lookalikes: different values of a label column that people take for one, and words that often mean "missing"."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping

from mscon.errors import counted, first_few
from mscon.method.similarities.continuous import number_of

# As R, pandas, databases and people write that nothing is known; upper and lower case alike.
# fmt: off
_MISSING = frozenset((
    "na", "n/a", "n.a.", "#n/a", "nan", "none", "null", "nil", "<na>", "nat", "missing", "unknown", "?", "-", "--", ".",
))
# fmt: on

_SHOWN = 4


def lookalikes(counts: Mapping[str, int]) -> tuple[str, ...]:
    """Sentences on values that look alike, and on those that may mean "missing".

    Alike are values that differ in upper and lower case only, in spaces, in how letters are encoded (composed or not),
    in characters that are not shown, or in how one number is written (7, 007, 7.0).

    Args:
        counts: the different values of a column, with how often each occurs.
    """
    groups: dict[str, list[str]] = {}
    for value in counts:
        groups.setdefault(_plain(value), []).append(value)
    sentences = []
    if alike := [group for group in groups.values() if len(group) > 1]:
        listed = [" and ".join(f"{_shown(value, group)} {counts[value]:,}" for value in group) for group in alike]
        values = counted(sum(map(len, alike)), "value")
        sentences.append(
            f"{values} look like {counted(len(alike), 'value')} but count as different: "
            f"{first_few(listed, _SHOWN)}. If they mean the same, write them alike in the table."
        )
    if absent := [value for value in counts if value.lower() in _MISSING]:
        listed = [f"{value!r} {counts[value]:,}" for value in absent]
        sentences.append(
            f"{first_few(listed, _SHOWN)}: a value like any other here. If it means that the label is missing, empty "
            "these cells."
        )
    return tuple(sentences)


def _plain(value: str) -> str:
    """What of a value people see."""
    if (number := number_of(value)) is not None:
        return repr(number)
    letters = unicodedata.normalize("NFKC", value).lower()
    letters = "".join(letter for letter in letters if unicodedata.category(letter) not in ("Cf", "Cc"))
    return " ".join(letters.split())


def _shown(value: str, group: list[str]) -> str:
    """A value in quotes; with codes for what cannot be seen, if another of its group would be printed the same."""
    visible = {unicodedata.normalize("NFC", "".join(c for c in other if c.isprintable())) for other in group}
    return ascii(value) if len(visible) < len(group) else repr(value)
