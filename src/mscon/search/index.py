"""Index: a trained run, searched by any mix of its similarities."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import polars as pl
from jaxtyping import Bool, Float

from mscon.data.table.label_columns import LabelColumns
from mscon.deploy.vectors import truncated
from mscon.errors import RunError, counted, shortened
from mscon.model.stored_uncertainty import read_uncertainty
from mscon.run.recipe import Train, data_of, names_of
from mscon.run.run import Run
from mscon.search.complaints import Complaints
from mscon.search.composition import Composition
from mscon.search.filters import conditions, rows_of
from mscon.search.hits import Hit, Hits
from mscon.search.mix import Mix
from mscon.search.moves import Moves, Towards
from mscon.search.names import name_column as choose_name_column
from mscon.search.new_rows import NewRows
from mscon.search.queries import Examples, agreement_with
from mscon.search.spaces import Neighbours, Spaces

# Text stands for alternatives, conditions and names alike.
Filters = Sequence[str] | Mapping[str, Any] | str | None


class Index:
    """All rows of a run, and what its similarities make of them. `open_index` makes one.

    Args:
        run: where they come from.
        spaces: their projections.
        name_column: the column that rows are called by; "" for none, None to guess it where rows are no images.
        truncate_dim: that `spaces` are of so many first dimensions, for new rows.

    Raises:
        RunError: if there is no such column.
    """

    def __init__(
        self, run: Run, spaces: Spaces, name_column: str | None = None, truncate_dim: int | None = None
    ) -> None:
        self.run, self.spaces = run, spaces
        self.recipe = run.read_recipe_values()
        self.similarities: tuple[str, ...] = tuple(part["column"] for part in self.recipe["similarity"])
        self.rows: pl.DataFrame = run.read_rows()
        self.labels = LabelColumns(self.rows, self.recipe, run.read_similarities(), run.may_import)
        self.name_column = choose_name_column(self.rows, data_of(self.recipe), name_column)
        self.new_rows = NewRows(run, truncate_dim)
        self._examples = Examples(self.rows, self.labels, spaces, self.new_rows, self.name)
        self.moves = Moves(self.labels, spaces)

    @property
    def name(self) -> str:
        """What messages call it."""
        return f"run '{self.run.root}'"

    def __len__(self) -> int:
        return self.spaces.rows

    def __repr__(self) -> str:
        return f"Index({self.name}, {counted(len(self), 'row')}, similarities={self.similarities})"

    def search(
        self,
        query: Any,
        *,
        unlike: Any = (),
        towards: Towards = None,
        mix: Mix | Mapping[str, Any] | str | None = None,
        k: int = 20,
        filters: Filters = None,
    ) -> Hits:
        """The rows that are most like some examples, and least like others.

        Args:
            query: an example, or a list of them; in a list a pair (example, weight) counts as often as its weight says,
                others once. An example is the number of a row; "line:18" for a line of the table; the path of an image
                as the table has it; {"kind": "boots"} or "kind=boots" for the mean of all rows that have a label; or
                a new row, as `encode` takes one. In runs on texts "text:..." is a new text, whatever it looks like; in
                runs on columns a dictionary with a column that the model encodes is a new row.
            unlike: counterexamples, likewise.
            towards: moves of the query along columns, each in the space of its own similarity, while the query stays
                as it is in all others: {"colour": "dark"} or "colour=dark", {"heel": "higher"}, {"heel": 3}. A pair
                ("dark", 0.5) says how far, above 0 and at most 1; by default 1, and 0.5 for "higher" and "lower". See
                `mscon.search.moves`.
            mix: how much each similarity counts: {"closure": 1, "category": 0.5}, or "closure=1,category=0.5". What is
                left out counts nothing; None for all alike.
            k: how many rows, at least 1. Fewer come back where fewer are left.
            filters: which rows may be found: ["gender=women", "heel>=3"], or {"gender": "women", "heel": (3, None)};
                see `mscon.search.filters`.

        Returns:
            The hits, best first; of equal scores the lower row first. Rows that served as examples are not among
            them, rows behind a label are.

        Raises:
            RunError: once for all that is wrong with mix, filters, examples and moves, before a new row is encoded.
            TableError: if that is one file, or cells, that cannot be used.
            ValueError: if k is below 1, or there is no example to be like.
        """
        if not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"k must be a whole number of at least 1, got {shortened(k)}.")
        complaints = Complaints()
        weights = complaints.of(self.mix, mix)
        parsed = complaints.of(conditions, filters, self.labels) or []
        keep = complaints.of(rows_of, parsed, self.labels)
        like = complaints.each(self._examples.read, self._examples.listed(query))
        away = complaints.each(self._examples.read, self._examples.listed(unlike))
        moves = complaints.each(self.moves.read, self.moves.listed(towards))
        if weights is not None:
            complaints.of(self.moves.check, moves, weights)
        complaints.raise_any()
        assert weights is not None
        keep = np.ones(len(self), dtype=bool) if keep is None else keep
        return self._nearest(Composition(like, away, moves), weights, k, tuple(map(str, parsed)), keep)

    def mix(self, weights: Mix | Mapping[str, Any] | str | None = None) -> Mix:
        """A mix of the similarities of this run.

        Raises:
            RunError: see `Mix.of`; and for unequal weights where no head tells the similarities apart.
        """
        mix = Mix.of(weights, self.similarities)
        if len(set(mix.weights)) > 1 and set(names_of(self.recipe, "heads")) == {"identity"}:
            raise RunError(
                f"{self.name} has no heads (heads.name = 'identity'), so all of its similarities share one space and "
                "every mix finds the same. Leave the mix out, or train with heads."
            )
        return mix

    def encode(self, row: Any) -> Float[np.ndarray, "spaces dim"]:
        """Unit vectors of a new row in every space, as `mscon probe` makes them of the run's own.

        Args:
            row: as `mscon.load(...).embed` takes one row of this run. An image: its path, the bytes of its file, a
                Pillow image or uint8 pixels. A vector: its numbers, or the path of a .npy or .safetensors file with
                one. A text. Cells of columns: a dictionary, or a table of one row.

        Raises:
            RunError: for what is no such row; if the run has no model.
            TableError: for a file that cannot be read, and cells that are at fault.
        """
        return self.new_rows.read(row, "the new row").vectors

    @cached_property
    def uncertainty(self) -> Float[np.ndarray, " rows"] | None:
        """How uncertain the vectors of each row are, see `mscon.model.row_uncertainty`; None where that is not known.

        Raises:
            RunError: if what the run has on it is damaged.
        """
        stored = read_uncertainty(self.run, _checkpoint(self.run))
        return None if stored is None else stored[1]

    def _nearest(
        self, composition: Composition, mix: Mix, k: int, filters: tuple[str, ...], keep: Bool[np.ndarray, " rows"]
    ) -> Hits:
        if not composition.like:
            raise ValueError("a search needs at least one example to be like.")
        query, shares = composition.query, mix.shares
        undirected = [
            name
            for name, share, vector in zip(self.similarities, shares, query, strict=True)
            if share and not vector.any()
        ]
        if len(undirected) == np.count_nonzero(shares):
            raise RunError(
                f"these examples have no direction in {' and '.join(map(repr, undirected))}: examples and "
                "counterexamples cancel out, or the vectors are zeros. Take other examples, or weight other "
                "similarities."
            )
        keep[composition.rows] = False
        if not keep.any():
            raise RunError(
                f"nothing is left of {counted(len(self), 'row')} to search in: the filters leave the examples only."
            )
        nearest = self.spaces.nearest(query, shares, k, keep)
        rows = np.array([e.row for e in composition.like if e.row is not None], dtype=np.int64)
        examples = Neighbours(rows, *self.spaces.score(rows, query, shares))
        return Hits(
            composition.wording,
            mix,
            filters,
            int(keep.sum()),
            self._hits(nearest, composition, shares),
            self._hits(examples, composition, shares),
            (*self.labels.notes, *composition.notes),
        )

    def _hits(
        self, nearest: Neighbours, composition: Composition, shares: Float[np.ndarray, " spaces"]
    ) -> tuple[Hit, ...]:
        rows = self.rows[nearest.rows.tolist()] if len(nearest) else self.rows.head(0)
        weights = {
            name: agreement_with(composition.compared(name), self.labels[name], nearest.rows)
            for name in self.labels.names
        }
        parts = {
            wording: shares * self.spaces.products(nearest.rows, part) for wording, part in composition.parts.items()
        }
        cells = {name: rows.get_column(name).cast(pl.String).to_list() for name in self.labels.names}
        nothing = [None] * len(nearest)
        images = rows.get_column("image").to_list() if "image" in rows.columns else nothing
        names = cells.get(self.name_column, nothing)

        def by_similarity(numbers: Float[np.ndarray, " spaces"]) -> dict[str, float]:
            return dict(zip(self.similarities, numbers.tolist(), strict=True))

        return tuple(
            Hit(
                row=int(nearest.rows[n]),
                line=int(rows["line"][n]),
                name=names[n],
                image=images[n] or None,
                split=rows["split"][n],
                score=float(nearest.scores[n]),
                scores=by_similarity(nearest.by_space[n]),
                contributions={wording: by_similarity(numbers[n]) for wording, numbers in parts.items()},
                labels={name: column[n] for name, column in cells.items()},
                weights={name: None if np.isnan(column[n]) else float(column[n]) for name, column in weights.items()},
                uncertainty=None if self.uncertainty is None else float(self.uncertainty[nearest.rows[n]]),
            )
            for n in range(len(nearest))
        )


def open_index(
    run: Run | str | Path,
    *,
    dtype: Literal["float16", "float32"] = "float16",
    name_column: str | None = None,
    trust: bool = False,
    truncate_dim: int | None = None,
) -> Index:
    """A trained and probed run, ready to be searched by any mix of its similarities.

        index = mscon.open_index("runs/shoes")
        for hit in index.search("photo.jpg", mix={"closure": 1, "category": 0.5}, filters={"gender": "women"}):
            print(hit.image, hit.score, hit.scores, hit.agreement)

    Args:
        run: its directory.
        dtype: how vectors are kept in memory. float16 halves memory and time, and changes scores by some 1e-4.
        name_column: the column that rows are called by; "" for none, None to guess it where rows are no images.
        trust: see `mscon.load`; it matters when a new row is encoded.
        truncate_dim: compare by so many first dimensions of each space, see `mscon.load`; None for all.

    Raises:
        RunError: if it is no run; if it was not probed, or trained on since; if its parts do not fit together; or
            there is no such column.
    """
    opened = Run.of(run)
    if trust:
        opened = replace(opened, trust=True)
    index = read_index(opened, dtype, name_column, truncate_dim)
    if not opened.has_checkpoint(checkpoint := _checkpoint(opened)):
        opened.features_are_current(checkpoint)  # complains that there is none
    return index


def read_index(
    run: Run,
    dtype: Literal["float16", "float32"] = "float16",
    name_column: str | None = None,
    truncate_dim: int | None = None,
) -> Index:
    """The same without its checkpoint, if that is gone: rows can be searched, new ones cannot be encoded.

    Raises:
        RunError: as `open_index`.
    """
    rows, similarities = run.read_rows().height, run.read_recipe_values()["similarity"]
    run.need_features(_checkpoint(run))
    projections = run.read_projections()
    if projections.ndim != 3 or projections.shape[:2] != (len(similarities), rows):
        raise RunError(
            f"run '{run.root}': projections have shape {list(projections.shape)}, but there are "
            f"{len(similarities)} similarities and {counted(rows, 'row')}.\n  Remove its folder features; "
            f"`mscon probe {run.root}` writes them anew."
        )
    if not rows:
        raise RunError(f"run '{run.root}' has no rows to search in.")
    shorter = truncated(f"run '{run.root}'", projections, truncate_dim)
    return Index(run, Spaces(shorter, dtype), name_column, truncate_dim)


def _checkpoint(run: Run) -> str:
    return str(run.read_recipe_values().get("train", {}).get("checkpoint", Train().checkpoint))
