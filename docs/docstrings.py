"""Docstrings as the site shows them: "Source: ..." is a paragraph, which griffe would take for a box with a title."""

from __future__ import annotations

import re
from typing import Any

from griffe import Extension, Object

_SOURCE = re.compile(r"^(\s*)Source: (.*(?:\n\1\s+\S.*)*)", re.MULTILINE)


class Sources(Extension):
    """Makes the paragraph bold at its beginning, and one line."""

    def on_instance(self, *, obj: Object, **_: Any) -> None:
        if obj.docstring is not None:
            obj.docstring.value = _SOURCE.sub(self._paragraph, obj.docstring.value)

    @staticmethod
    def _paragraph(source: re.Match[str]) -> str:
        return f"{source[1]}**Source:** {' '.join(source[2].split())}"
