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
from mscon.errors import RunError, counted, shortened
from mscon.model.stored_uncertainty import read_uncertainty
from mscon.run.recipe import Train, data_of, names_of
from mscon.run.run import Run
from mscon.search.complaints import Complaints
from mscon.search.filters import conditions, rows_of
from mscon.search.hits import Hit, Hits
from mscon.search.mix import Mix
from mscon.search.names import name_column as choose_name_column
from mscon.search.queries import Example, Examples, agreement_with, together
from mscon.search.spaces import Neighbours, Spaces

# Text stands for alternatives, conditions and names alike.
Filters = Sequence[str] | Mapping[str, Any] | str | None


class Index:
    """All rows of a run, and what its similarities make of them. `open_index` makes one.

    Args:
        run: where they come from.
        spaces: their projections.
        name_column: the column that rows are called by; "" for none, None to guess it where rows are no images.

    Raises:
        RunError: if there is no such column.
    """

    def __init__(self, run: Run, spaces: Spaces, name_column: str | None = None) -> None:
        self.run, self.spaces = run, spaces
        self.recipe = run.read_recipe_values()
        self.similarities: tuple[str, ...] = tuple(part["column"] for part in self.recipe["similarity"])
        self.rows: pl.DataFrame = run.read_rows()
        self.labels = LabelColumns(self.rows, self.recipe, run.read_similarities(), run.may_import)
        self.name_column = choose_name_column(self.rows, data_of(self.recipe), name_column)
        self._examples = Examples(self.rows, self.labels, spaces, self.encode, self.name)

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
        mix: Mix | Mapping[str, Any] | str | None = None,
        k: int = 20,
        filters: Filters = None,
    ) -> Hits:
        """The rows that are most like some examples, and least like others.

        Args:
            query: an example, or a list of them. The number of a row; the path of a new image, or an image as
                `mscon.load(...).embed` takes one; the path of an image as the table has it; {"kind": "boots"} or
                "kind=boots" for the mean of all rows that have a label; "line:18" for a line of the table.
            unlike: counterexamples, likewise.
            mix: how much each similarity counts: {"closure": 1, "category": 0.5}, or "closure=1,category=0.5". What is
                left out counts nothing; None for all alike.
            k: how many rows, at least 1. Fewer come back where fewer are left.
            filters: which rows may be found: ["gender=women", "heel>=3"], or {"gender": "women", "heel": (3, None)};
                see `mscon.search.filters`.

        Returns:
            The hits, best first; of equal scores the lower row first. Rows that served as examples are not among
            them, rows behind a label are.

        Raises:
            RunError: once for all that is wrong with mix, filters and examples; see there.
            TableError: if a file is no image.
            ValueError: if k is below 1.
        """
        if not isinstance(k, int | np.integer) or k < 1:
            raise ValueError(f"k must be a whole number of at least 1, got {shortened(k)}.")
        complaints = Complaints()
        weights = complaints.of(self.mix, mix)
        parsed = complaints.of(conditions, filters, self.labels) or []
        keep = complaints.of(rows_of, parsed, self.labels)
        like = complaints.each(self._examples.read, _listed(query))
        away = complaints.each(self._examples.read, _listed(unlike))
        complaints.raise_any()
        assert weights is not None
        keep = np.ones(len(self), dtype=bool) if keep is None else keep
        return self._nearest(like, away, weights, k, tuple(map(str, parsed)), keep)

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

    def encode(self, image: Any) -> Float[np.ndarray, "spaces dim"]:
        """Unit vectors of a new image in every space, as `mscon probe` makes them of the run's own.

        Args:
            image: as `mscon.load(...).embed` takes one.

        Raises:
            RunError: if rows of this run are no images, or it has no model.
            TableError: if a file is no image.
        """
        if (kind := self.recipe.get("data", {}).get("input", "image")) != "image":
            raise RunError(
                f"{self.name}: its rows are {'made from ' if kind in ('text', 'columns') else ''}{kind}, not images, "
                "so a new image cannot be a query. Ask by a row or a label."
            )
        projections = self._embedder.embed_all(image).projections
        if projections.shape[1] != 1:
            raise ValueError(f"an example is one image, got {projections.shape[1]}.")
        vectors: Float[np.ndarray, "spaces dim"] = projections[:, 0].astype(np.float64)
        return vectors

    @cached_property
    def uncertainty(self) -> Float[np.ndarray, " rows"] | None:
        """How uncertain the vectors of each row are, see `mscon.model.row_uncertainty`; None where that is not known.

        Raises:
            RunError: if what the run has on it is damaged.
        """
        stored = read_uncertainty(self.run, _checkpoint(self.run))
        return None if stored is None else stored[1]

    @cached_property
    def _embedder(self) -> Any:
        from mscon.deploy.load import load

        return load(self.run.root, trust=self.run.trust)

    def _nearest(
        self,
        like: Sequence[Example],
        unlike: Sequence[Example],
        mix: Mix,
        k: int,
        filters: tuple[str, ...],
        keep: Bool[np.ndarray, " rows"],
    ) -> Hits:
        if not like:
            raise ValueError("a search needs at least one example to be like.")
        query, shares = together(like, unlike), mix.shares
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
        keep[[e.row for e in (*like, *unlike) if e.row is not None]] = False
        if not keep.any():
            raise RunError(
                f"nothing is left of {counted(len(self), 'row')} to search in: the filters leave the examples only."
            )
        wording = " and ".join(e.wording for e in like)
        if unlike:
            wording += f", unlike {' and '.join(e.wording for e in unlike)}"
        nearest = self.spaces.nearest(query, shares, k, keep)
        rows = np.array([e.row for e in like if e.row is not None], dtype=np.int64)
        examples = Neighbours(rows, *self.spaces.score(rows, query, shares))
        return Hits(
            wording,
            mix,
            filters,
            int(keep.sum()),
            self._hits(nearest, like),
            self._hits(examples, like),
            self.labels.notes,
        )

    def _hits(self, nearest: Neighbours, like: Sequence[Example]) -> tuple[Hit, ...]:
        rows = self.rows[nearest.rows.tolist()] if len(nearest) else self.rows.head(0)
        weights = {name: agreement_with(like, self.labels[name], nearest.rows) for name in self.labels.names}
        cells = {name: rows.get_column(name).cast(pl.String).to_list() for name in self.labels.names}
        nothing = [None] * len(nearest)
        images = rows.get_column("image").to_list() if "image" in rows.columns else nothing
        names = cells.get(self.name_column, nothing)
        return tuple(
            Hit(
                row=int(nearest.rows[n]),
                line=int(rows["line"][n]),
                name=names[n],
                image=images[n] or None,
                split=rows["split"][n],
                score=float(nearest.scores[n]),
                scores={name: float(s) for name, s in zip(self.similarities, nearest.by_space[n], strict=True)},
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
) -> Index:
    """A trained and probed run, ready to be searched by any mix of its similarities.

        index = mscon.open_index("runs/shoes")
        for hit in index.search("photo.jpg", mix={"closure": 1, "category": 0.5}, filters={"gender": "women"}):
            print(hit.image, hit.score, hit.scores, hit.agreement)

    Args:
        run: its directory.
        dtype: how vectors are kept in memory. float16 halves memory and time, and changes scores by some 1e-4.
        name_column: the column that rows are called by; "" for none, None to guess it where rows are no images.
        trust: see `mscon.load`; it matters when a new image is encoded.

    Raises:
        RunError: if it is no run; if it was not probed, or trained on since; if its parts do not fit together; or
            there is no such column.
    """
    opened = Run.of(run)
    if trust:
        opened = replace(opened, trust=True)
    index = read_index(opened, dtype, name_column)
    if not opened.has_checkpoint(checkpoint := _checkpoint(opened)):
        opened.features_are_current(checkpoint)  # complains that there is none
    return index


def read_index(run: Run, dtype: Literal["float16", "float32"] = "float16", name_column: str | None = None) -> Index:
    """The same without its checkpoint, if that is gone: rows can be searched, new images cannot be encoded.

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
    return Index(run, Spaces(projections, dtype), name_column)


def _checkpoint(run: Run) -> str:
    return str(run.read_recipe_values().get("train", {}).get("checkpoint", Train().checkpoint))


def _listed(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple) else [value]
