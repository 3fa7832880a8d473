"""Infer the kind of a label column from its cells, with the reason in words.

A recipe overrides the result by naming a kind. The first rule that fits decides:

1. no value, or one value only, or mostly lists as Python writes them (['a', 'b']): no label;
2. numbers (19 of 20 cells or more): `categorical` if there are at most 20 different ones, each on two cells or more
   on average; no label if they are whole, all different and without wide gaps, as row numbers are; else
   `continuous`;
3. paths such as boots/ankle, in half of the cells or more, with fewer first parts than paths, and most of them on
   several rows: `hierarchical`;
4. a separator (; | ,) in a tenth of the cells or more, between labels that occur four times or more on average and
   combine freely: `multi_label`;
5. most values on one row only: free text, no label;
6. else `categorical`.

No rule gives `ordinal`: cells do not show that names have an order.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import polars as pl

from mscon.data.batches.dataset import cells_of
from mscon.errors import TableError, counted
from mscon.method.similarities.base import Cell
from mscon.method.similarities.continuous import number_of
from mscon.method.similarities.multi_label import is_list, labels_of
from mscon.run.recipe import AUTO, Data, Probe, SimilarityPart, similarity_part

_NEARLY_ALL = 0.95
_FEW_NUMBERS = 20
_SHARE_OF_PATHS = 0.5
_SHARE_OF_LISTS = 0.1
_EACH_LABEL = 4
_WORDS_OF_A_LABEL = 3
_SEPARATORS = (";", "|", ",")
_DECIMAL_COMMA = re.compile(r"[+-]?\d+,\d+")
_FILE_OR_ADDRESS = re.compile(r".*(://|\.[A-Za-z]\w{1,4}$)")


@dataclass(frozen=True, slots=True)
class Inferred:
    """What a column looks like.

    Attributes:
        kind: name of a similarity; None for what is no label.
        reason: in words, a phrase.
        settings: of that similarity, as in a recipe.
    """

    kind: str | None
    reason: str
    settings: Mapping[str, Any] = field(default_factory=dict)

    def __str__(self) -> str:
        set_so = "".join(f', {name} = "{value}"' for name, value in self.settings.items())
        return f"{self.kind or 'no label'}{set_so}: {self.reason}"


def infer(cells: Sequence[Cell]) -> Inferred:
    """The kind of a column by the rules above.

    Args:
        cells: of the training rows, None where missing.
    """
    values = [cell for cell in cells if cell is not None]
    counts = Counter(values)
    if not values:
        return Inferred(None, "every cell is empty")
    if len(counts) == 1:
        return Inferred(None, f"one value only, {values[0]!r}")
    if 2 * len(lists := [value for value in values if is_list(value)]) > len(values):
        return Inferred(
            None,
            f"{counted(len(lists), 'cell')} of {len(values):,} with a list as Python writes it, such as {lists[0]}; "
            "written as a;b, or saved as lists in Parquet or JSON Lines, it is multi_label",
        )
    return _numbers(values) or _paths(values, counts) or _lists(values, counts) or _names(values, counts)


def _numbers(values: Sequence[str]) -> Inferred | None:
    numbers = [number for value in values if (number := number_of(value)) is not None]
    with_comma = sum(_DECIMAL_COMMA.fullmatch(value) is not None for value in values)
    if with_comma and len(numbers) + with_comma >= _NEARLY_ALL * len(values):
        return Inferred(
            None, f"{counted(with_comma, 'number')} with a decimal comma; written with a point it is continuous"
        )
    if len(numbers) < _NEARLY_ALL * len(values):
        return None
    different, least, most = len(set(numbers)), min(numbers), max(numbers)
    others, ways = len(values) - len(numbers), len(set(values))
    but = f" (but {counted(others, 'cell')} of {len(values):,} with something else)" if others else ""
    if different <= _FEW_NUMBERS and len(numbers) >= 2 * different and not others:
        return Inferred(
            "categorical",
            f"{different} different numbers"
            + (f", written in {ways} ways of which each is a class" if ways > different else "")
            + f", each on {len(numbers) / different:.3g} cells on average; where their "
            'order counts take "ordinal", where their differences do "continuous"',
        )
    is_whole = all(number.is_integer() for number in numbers)
    if is_whole and different == len(numbers) > _FEW_NUMBERS and most - least < 2 * different:
        return Inferred(None, f"whole numbers from {least:.0f} to {most:.0f}, none of them twice, as row numbers are")
    return Inferred("continuous", f"{different:,} different numbers from {least:g} to {most:g}{but}")


def _paths(values: Sequence[str], counts: Counter[str]) -> Inferred | None:
    with_parts = [value for value in values if "/" in value and not _FILE_OR_ADDRESS.match(value)]
    first = {value.split("/")[0].strip() for value in counts}
    if len(with_parts) < _SHARE_OF_PATHS * len(values) or len(first) >= len(counts) or _is_text(values, counts):
        return None
    depth = max(value.count("/") + 1 for value in counts)
    return Inferred(
        "hierarchical",
        f"{len(with_parts) / len(values):.0%} of the cells are paths, of {depth} levels at most, "
        f"with {len(first)} different beginnings",
        {"separator": "/"},
    )


def _lists(values: Sequence[str], counts: Counter[str]) -> Inferred | None:
    for separator in _SEPARATORS:
        several = sum(separator in value for value in values)
        if several < _SHARE_OF_LISTS * len(values):
            continue
        labels = Counter(label for value in values for label in labels_of(value, separator))
        short = separator != "," or all(len(label.split()) <= _WORDS_OF_A_LABEL for label in labels)
        # "Boston, MA" is one label: its parts do not meet others, and hardly stand alone.
        free = len(labels) < len(counts) or 2 * sum(label in counts for label in labels) >= len(labels)
        if short and free and sum(labels.values()) >= _EACH_LABEL * len(labels) > 0:
            return Inferred(
                "multi_label",
                f"{several / len(values):.0%} of the cells hold several of {len(labels)} labels, with {separator!r} "
                "between them",
                {"separator": separator},
            )
    return None


def _names(values: Sequence[str], counts: Counter[str]) -> Inferred:
    if _is_text(values, counts):
        alone = sum(count == 1 for count in counts.values())
        return Inferred(None, f"{alone:,} of {counted(len(values), 'cell')} with a value that no other row has: text")
    return Inferred(
        "categorical",
        f"{len(counts):,} different values, each on {len(values) / len(counts):.3g} cells on average",
    )


def _is_text(values: Sequence[str], counts: Counter[str]) -> bool:
    return 2 * sum(count == 1 for count in counts.values()) > len(values)


def resolve(
    rows: pl.DataFrame, parts: Sequence[SimilarityPart], where: str = ""
) -> tuple[tuple[SimilarityPart, ...], tuple[str, ...]]:
    """The similarities with a kind for each that is to be inferred, and a sentence on each of these.

    Args:
        rows: as `select_rows` gives them; training rows are looked at.
        parts: may have the name "auto".
        where: begins every message, for example "shoes.csv: ".

    Raises:
        TableError: once, for all columns that look like no label.
    """
    train = rows.filter(pl.col("split") == "train")
    resolved, sentences, complaints = [], [], []
    for part in parts:
        if part.name == AUTO:
            inferred = infer(cells_of(train, part.reads))
            if inferred.kind is None:
                complaints.append(
                    f"{where}column '{part.column}' looks like no label: {inferred.reason}.\n"
                    '  Leave it out of the recipe, or name its kind yourself, such as name = "categorical".'
                )
                continue
            sentences.append(f"{where}column '{part.column}' is taken as {inferred}.")
            kind = similarity_part(part.column, inferred.kind, inferred.settings, part.importance)
            part = replace(part, name=kind.name, settings=kind.settings)
        resolved.append(part)
    if complaints:
        raise TableError("\n".join(complaints))
    return tuple(resolved), tuple(sentences)


def unnamed(rows: pl.DataFrame, data: Data, parts: Sequence[SimilarityPart], probe: Probe) -> dict[str, Inferred]:
    """What the columns look like that are neither encoded, nor trained on, nor probed, by name."""
    named = {column for part in parts for column in part.reads}
    named |= {"line", "split", "image", *probe.columns, *probe.neighbours, *data.encoded}
    train = rows.filter(pl.col("split") == "train")
    return {name: infer(train.get_column(name).to_list()) for name in rows.columns if name not in named}
