"""Tables as Markdown, aligned so that they read well in a terminal too; that of the comparison among them."""

from __future__ import annotations

from collections.abc import Sequence

from mscon.evaluate.report.compare import MARKS, ColumnScores, Comparison, MethodScore


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


def comparison_text(comparison: Comparison) -> str:
    """The comparison as Markdown tables with aligned columns, for a terminal or a README."""
    tables = [(heading, rows) for heading, rows in (*comparison.parts, ("Other measures", comparison.further)) if rows]
    blocks = [
        f"{heading}\n\n{_table(comparison, rows, some)}" for heading, rows in tables for some in comparison.blocks
    ]
    lines = [
        f"Means with 95 % intervals over rows and seeds ({comparison.draws:,} bootstrap draws).",
        *(f"{sign}  {meaning}." for sign, meaning in comparison.legend),
        *filter(None, [comparison.few_seeds]),
        *(f"{about.title}: {about.explained}" for about in comparison.measures),
    ]
    return "\n\n".join([*blocks, "\n".join(lines)]) + "\n"


def _table(comparison: Comparison, rows: Sequence[ColumnScores], methods: Sequence[int]) -> str:
    header = ["column", "measure", *(plain(comparison.methods[i]) for i in methods), "guessing"]
    body = [
        [
            plain(row.name),
            row.about.title + " %" * row.about.in_percent,
            *(_cell_text(row.cells[i], row) for i in methods),
            "-" if row.baseline is None else row.about.shown(row.baseline),
        ]
        for row in rows
    ]
    return aligned(header, body, words=2)


def _cell_text(cell: MethodScore | None, row: ColumnScores) -> str:
    if cell is None:
        return "-"
    value, low, high = (row.about.shown(n) for n in (cell.score.value, cell.score.low, cell.score.high))
    sign = MARKS[mark][0] if (mark := row.mark(cell)) else " "
    text = f"{value} ({low} to {high}) {sign}" + "'" * (row.in_domain and not cell.trained)
    if (gap := cell.over_start) is None:
        return text
    value, low, high = (row.about.shown(n) for n in (gap.value, gap.low, gap.high))
    return f"{text} Δ {'+' * (gap.value >= 0)}{value} ({low} to {high})"
