"""Tables of the comparison as they stand on the page: which columns beside each other, under which words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mscon.evaluate.report.compare import Cell, Column, Comparison
from mscon.evaluate.report.gather import Gathered, name_of

# More columns than this do not fit beside each other.
_MOST_BESIDE = 6


# Kinds of column that are no classes: title, in words, and measures. Of each the first speaks for it.
_KINDS = (
    (
        "Numbers",
        "Ridge regression on frozen features. R²: the share of the variance that it explains, 1 all, 0 no more "
        "than the mean of the training rows, which is what guessing is. Spearman: correlation between the ranks.",
        ("r2", "spearman"),
    ),
    (
        "Levels in order",
        "A linear classifier for each step between levels. Mean error: by how many levels it is off, lower is better. "
        "Guessing says the median of the training rows.",
        ("level_error", "within_one"),
    ),
    (
        "Sets of labels",
        "A linear classifier a label. mAP: average precision of each label, then the mean over labels; guessing is an "
        "order by chance. F1 over all labels together (micro), and the mean over labels (macro); guessing says every "
        "label.",
        ("mean_average_precision", "micro_f1", "macro_f1"),
    ),
    (
        "Numbers and levels of the nearest row",
        "Rows of unseen groups and the nearest of them by cosine of the features: how far its number, or level, is off "
        "(lower is better), and the rank correlation. Guessing takes rows in any order.",
        ("neighbour_difference", "neighbour_spearman"),
    ),
)


@dataclass(frozen=True, slots=True)
class Block:
    """Columns of one table that stand under one heading."""

    title: str
    columns: tuple[Column, ...]


@dataclass(frozen=True, slots=True)
class ScoreTable:
    """One table: what it is, what guessing gives there, and whether its blocks have headings of their own."""

    title: str
    explained: str
    guess: str
    blocks: tuple[Block, ...]
    headed: bool = True

    @property
    def columns(self) -> tuple[Column, ...]:
        return tuple(column for block in self.blocks for column in block.columns)


def tables(comparison: Comparison) -> list[ScoreTable]:
    """All that was asked, a table for each kind of question; none without columns, none that is too wide."""
    linear = ScoreTable(
        "Linear probes",
        "Accuracy of a linear classifier on frozen features. In domain: columns that at least one method trained on. "
        "Out of domain: columns that none did, tasks the encoder never saw.",
        "Guessing the largest class",
        (Block("In domain", comparison.of("in_domain")), Block("Out of domain", comparison.of("out_of_domain"))),
    )
    retrieval = ScoreTable(
        "Retrieval",
        "Rows of unseen groups search each other by cosine of the features. Precision@1: how often the nearest is of "
        "the same class. MAP@R: the same down to rank R, the number of others in the class, and their order counts.",
        "Chance",
        (Block("Precision@1", comparison.of("precision_at_1")), Block("MAP@R", comparison.of("map_at_r"))),
    )
    kinds = [
        ScoreTable(
            title,
            explained,
            "By guessing",
            tuple(Block(about.title, columns) for about, columns in comparison.further if about.name in names),
        )
        for title, explained, names in _KINDS
    ]
    *probes, near = kinds
    return [narrow for table in (linear, *probes, retrieval, near) for narrow in _narrowed(table)]


def _narrowed(table: ScoreTable) -> list[ScoreTable]:
    """The table as it is if it fits, else one for each block; and a block that is still too wide in parts."""
    blocks = tuple(block for block in table.blocks if block.columns)
    if sum(len(block.columns) for block in blocks) <= _MOST_BESIDE:
        return [replace(table, blocks=blocks)] if blocks else []
    narrowed: list[ScoreTable] = []
    for block in blocks:
        parts = -(-len(block.columns) // _MOST_BESIDE)
        each = -(-len(block.columns) // parts)
        for part in range(parts):
            some = Block(block.title, block.columns[part * each : (part + 1) * each])
            title = block.title if table.title == "Retrieval" else f"{table.title}: {block.title}"
            title += f" ({part + 1} of {parts})" if parts > 1 else ""
            # Explained once, above the first of them.
            words = "" if narrowed else table.explained
            narrowed.append(replace(table, title=title, explained=words, blocks=(some,), headed=False))
    return narrowed


def whisker(column: Column, cell: Cell) -> tuple[float, float, float]:
    """Low end, mean and high end on a bar of 112 units that spans all intervals of the column."""
    scores = [c.score for c in column.cells if c is not None]
    low, high = min(s.low for s in scores), max(s.high for s in scores)
    width = (high - low) or 1.0
    left, middle, right = (
        round(4 + 104 * (value - low) / width, 1) for value in (cell.score.low, cell.score.value, cell.score.high)
    )
    return left, middle, right


def skipped(gathered: Gathered) -> list[str]:
    """What the probes left out, and why, each once."""
    lines = [
        f"{record['column']} ({record['probe']}): {record['reason']}"
        for member in gathered.members
        for record in member.run.read_probe().get("skipped", [])
    ]
    return list(dict.fromkeys(lines))


def macro_f1(gathered: Gathered) -> Mapping[str, Any]:
    """Mean, lowest and highest seed, and how many, by method and column of classes."""
    probes = [[member.run.read_probe().get("linear", []) for member in method.members] for method in gathered.methods]
    columns = list(dict.fromkeys(q.column for q in gathered.questions if q.measure == "accuracy"))
    rows = []
    for method, group in zip(gathered.methods, probes, strict=True):
        cells = []
        for column in columns:
            values = [r["macro_f1"]["value"] for records in group for r in records if name_of(r) == column]
            cells.append((float(np.mean(values)), min(values), max(values), len(values)) if values else None)
        rows.append((method.title, cells))
    return {"columns": columns, "rows": rows}
