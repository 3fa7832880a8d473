"""Tables as Markdown, aligned so that they read well in a terminal too."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(header: Sequence[str], body: Sequence[Sequence[str]], words: int = 1) -> str:
    """A table whose first `words` columns are flush left and whose others, numbers, are flush right."""
    widths = [max(len(row[k]) for row in [header, *body]) for k in range(len(header))]
    rule = "|" + "|".join("-" * (w + 1) + ("-" if k < words else ":") for k, w in enumerate(widths)) + "|"
    rows = []
    for cells in (header, *body):
        padded = (
            cell.ljust(width) if k < words else cell.rjust(width)
            for k, (cell, width) in enumerate(zip(cells, widths, strict=True))
        )
        rows.append(f"| {' | '.join(padded)} |")
    return "\n".join([rows[0], rule, *rows[1:]])


def plain(text: str) -> str:
    """Text of a recipe or a table, made harmless for a terminal and for Markdown."""
    printable = "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)
    return printable.replace("|", "\\|")
