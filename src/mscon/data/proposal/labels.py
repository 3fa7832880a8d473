"""Labels: which columns of a table a recipe can learn from, of which kind, and why others are left out."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import polars as pl

from mscon.data.batches.dataset import fit_similarities
from mscon.data.check.batch_stats import alike_share, class_sizes
from mscon.data.check.dependence import Dependence, classes_of, dependences, tenths_of
from mscon.data.check.label_summary import LabelSummary, summarise
from mscon.data.proposal.contradictions import Contradiction, contradiction_of
from mscon.data.table.infer_kind import infer
from mscon.data.table.table import Table
from mscon.errors import TableError
from mscon.method.similarities.base import Similarity
from mscon.run.recipe import similarity_part

# Share of the labelled rows of a batch with another of their class, below which classes are put together in batches.
_LONELY = 0.5

# Share of a column's entropy that another one tells, from which on it says the same.
_SAME = 0.99

# Every column is compared with every other: 600 of them took two minutes.
_COLUMNS_COMPARED = 200
_ROWS_LOOKED_AT = 20_000

# Words that end the names of columns that tell things apart and describe nothing.
_GROUP_WORDS = {
    "id", "key", "code", "uuid", "product", "person", "patient", "subject", "user", "customer", "owner", "author",
    "speaker", "session", "site", "group", "item", "sku", "photo",
}  # fmt: skip
_MANY_GROUPS = 20


@dataclass(frozen=True, slots=True, eq=False)
class Label:
    """A label column that a similarity can be fitted to.

    Attributes:
        column: its name.
        kind: name of its similarity.
        similarity: fitted on the training rows.
        settings: of the similarity as the recipe names them.
        summary: of its training rows.
    """

    column: str
    kind: str
    settings: dict[str, Any]
    similarity: Similarity
    summary: LabelSummary

    @property
    def holds(self) -> str:
        """What its training rows hold, in words: "12 classes, 8% missing"."""
        missing = self.summary.missing_share
        share = f", {missing:.0%} missing" if missing >= 0.005 else ", some missing" if missing else ""
        return self.summary.words + share

    def contradiction(self, cells: Sequence[str | None], channels: int) -> Contradiction | None:
        """What the usual views of an image would change of it.

        Args:
            cells: of the training rows.
            channels: of the images.
        """
        if self.similarity.geometry not in ("class", "set", "path"):
            return None
        return contradiction_of(self.column, {cell for cell in cells if cell is not None}, channels)

    def is_lonely(self, cells: Sequence[str | None], batch_size: int) -> bool:
        """Whether fewer than half of its rows find another of their class in a batch, though there are such rows.

        Args:
            cells: of the training rows.
            batch_size: rows of a batch.
        """
        if not self.similarity.is_partition or batch_size < 3:
            return False
        sizes = class_sizes(self.similarity.encode(cells))
        known, rows = sum(sizes), len(cells)
        pairable = sum(size for size in sizes if size > 1)
        share = alike_share(sizes, rows, min(batch_size, rows)) * rows / max(known, 1)
        return share < _LONELY < pairable / max(known, 1)


@dataclass(frozen=True, slots=True)
class Columns:
    """The columns of a table by what they are good for.

    Attributes:
        labels: to train on.
        left_out: others, and why.
        groups: of the latter those whose groups of rows might have to stay in one split.
    """

    labels: tuple[Label, ...]
    left_out: dict[str, str]
    groups: tuple[str, ...]


def label_columns(table: Table, rows: pl.DataFrame, used: Sequence[str], named: Sequence[str]) -> Columns:
    """Label columns with their kinds.

    Args:
        table: for messages.
        rows: as `select_rows` gives them.
        used: columns that are no labels.
        named: labels that the user names; none to take all columns that look like labels.

    Raises:
        TableError: for all named columns that are not there, or that nothing can be learnt from.
    """
    train = rows.filter(split="train")
    labels: list[Label] = []
    left_out: dict[str, str] = {}
    groups: list[str] = []
    for name in named or rows.columns:
        if name in ("line", "split", "image", *used):
            continue
        cells = train.get_column(name).to_list()
        looks = infer(cells)
        kind = looks.kind or ("categorical" if name in named and len(set(cells) - {None}) > 1 else None)
        if kind is None:
            left_out[name] = looks.reason
            continue
        if not named and _is_group(name, cells):
            groups.append(name)
            left_out[name] = f"{len(set(cells) - {None}):,} groups of rows, by its name"
            continue
        settings = dict(looks.settings) if looks.kind else {}
        try:
            part = similarity_part(name, kind, settings)
            (similarity,) = fit_similarities(rows, [part], unit="line")
        except TableError as error:
            left_out[name] = str(error).partition("\n")[0]
            continue
        labels.append(Label(name, kind, settings, similarity, summarise(cells, similarity)))
    if wrong := [name for name in named if name in left_out]:
        raise TableError("\n".join(f"{table.name}: column '{name}' is no label: {left_out[name]}." for name in wrong))
    return Columns(tuple(labels), left_out, tuple(groups))


def pairs_of(rows: pl.DataFrame, labels: Sequence[Label], others: Sequence[str] = ()) -> tuple[Dependence, ...]:
    """Pairs of columns of which one says all that the other does, but for a hundredth.

    Args:
        rows: as `select_rows` gives them; the first training rows are looked at.
        labels: fitted.
        others: more columns, whose cells are classes, or numbers. Of all columns the first 200 are compared.
    """
    some = rows.filter(split="train").head(_ROWS_LOOKED_AT)
    is_number = {label.column: label.similarity.target_kind == "number" for label in labels}
    codes = {}
    for name in (*is_number, *others)[:_COLUMNS_COMPARED]:
        cells = some.get_column(name)
        numbers = cells.cast(pl.Float64, strict=False)
        as_number = is_number.get(name, numbers.null_count() == cells.null_count())
        codes[name] = (
            tenths_of(numbers.fill_null(float("nan")).to_numpy()) if as_number else classes_of(cells.to_list())
        )
    return dependences(codes, _SAME)


def tells(pair: Dependence) -> tuple[bool, bool]:
    """Of a pair whether the first says what the second does, and the other way round."""
    return pair.a_tells_b >= _SAME, pair.b_tells_a >= _SAME


def _is_group(name: str, cells: Sequence[str | None]) -> bool:
    words = re.findall(r"[a-z]+", re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name).casefold())
    return bool(words) and words[-1] in _GROUP_WORDS and len(set(cells) - {None}) > _MANY_GROUPS
