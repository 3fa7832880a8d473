"""Terminal: what is printed there is shown, and does not steer it.

Names of columns, cells and files may hold control characters: they would clear the screen, set the clipboard, or show
another text than the one that is there.
"""

from __future__ import annotations

import re
from typing import Any, final

# All but tab and line feed, and those that turn the direction of writing.
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def visible(text: str) -> str:
    r"""Text with its control characters as Python writes them: "\x1b"."""
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


@final
class Terminal:
    """A stream that writes control characters as text.

    Attributes:
        stream: the one that it writes to, for those that steer the terminal on purpose, such as a progress bar.
    """

    def __init__(self, stream: Any) -> None:
        self.stream = stream

    def write(self, text: str) -> int:
        self.stream.write(visible(text))
        return len(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


def steered(stream: Any) -> Any:
    """A stream as it was before it became a `Terminal`."""
    return stream.stream if isinstance(stream, Terminal) else stream
