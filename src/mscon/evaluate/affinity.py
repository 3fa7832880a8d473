"""Affinity: of every two label columns how far they say the same, help each other and pull features apart.

All of it comes from features and projections that a run has already: nothing is trained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from itertools import combinations
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import torch
from jaxtyping import Int

from mscon.data.check.dependence import classes_of, dependence, tenths_of
from mscon.data.table.label_columns import LabelColumn, LabelColumns
from mscon.errors import RunError, nearest
from mscon.evaluate.affinity_words import sentences
from mscon.evaluate.features import by_batches, extract
from mscon.evaluate.gradient_conflict import TrainedColumn, gradient_cosines, objective_of
from mscon.evaluate.neighbour_affinity import affinities
from mscon.evaluate.start import inputs_of_features
from mscon.model.cka import linear_cka
from mscon.model.model import Model, load_model
from mscon.run import outputs
from mscon.run.recipe import Recipe
from mscon.run.run import Run

# Batches in which gradients are compared, and rows whose spaces are.
_BATCHES, _MOST_ROWS = 16, 4_000


@dataclass(frozen=True, slots=True)
class Cosine:
    """The mean over batches, and the ends between which 95 % of the batches lie."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, slots=True)
class ColumnPair:
    """Two label columns that a run was trained on.

    Attributes:
        columns: their names.
        rows: training rows with a value in both.
        nmi: normalised mutual information of the labels, beyond chance: 0 unrelated, 1 one is a renaming of the other.
        cka: linear CKA of the projections of held-out rows; None where one space is a
            point, or both are the features.
        cosine: of the gradients of both losses at the features; None where no batch has something to compare by both.
    """

    columns: tuple[str, str]
    rows: int
    nmi: float
    cka: float | None
    cosine: Cosine | None


@dataclass(frozen=True, slots=True)
class Target:
    """A label column, and how far nearest rows in each space agree in it, see `neighbour_affinity.affinities`.

    Attributes:
        column: its name.
        trained: whether the run was trained on it.
        spaces: by similarity; None where nothing can be judged. Without those that have no head of their own
            (identity), whose space is the features.
        features: the same in the space of the features.
    """

    column: str
    trained: bool
    spaces: dict[str, float | None]
    features: float | None


@dataclass(frozen=True, slots=True)
class Affinity:
    """What `mscon affinity` finds out about a run.

    Attributes:
        split: whose rows are judged: validation, else test, else train.
        pairs: of the trained label columns.
        targets: trained columns first.
    """

    split: str
    pairs: tuple[ColumnPair, ...]
    targets: tuple[Target, ...]

    @property
    def sentences(self) -> list[str]:
        """Which columns help which, which say the same, and which to try to leave out."""
        return sentences(self)

    def to_json(self) -> dict[str, Any]:
        """Plain values, as affinity.json holds them."""
        return {**asdict(self), "sentences": self.sentences}


def affinity(
    run: Run | str | Path,
    columns: Sequence[str] = (),
    *,
    progress: bool = True,
    accept_changes: bool = False,
    images: str | Path | None = None,
) -> Affinity:
    """Compare the label columns of a trained run with each other, and write `affinity.json` into it.

        {"checkpoint", "checkpoint_sha256", "split", "pairs", "targets", "sentences"}

    with "pairs" and "targets" as `Affinity` has them. Features are extracted first where they are missing or older than
    the checkpoint. Nothing is trained.

    Args:
        run: a trained run, or its directory.
        columns: label columns to be judged beside those that it was trained on and those of [probe] columns.
        progress: show a bar on standard error.
        accept_changes, images: see `mscon.evaluate.probe.probe`.

    Raises:
        RunError: if nothing was trained, there is no such column, or one cannot be read; see also `probe`.
    """
    run = Run.of(run).moved(images)
    run.need_trust()
    recipe, rows = run.read_recipe(), run.read_rows()
    if not recipe.train.epochs:
        raise RunError(
            f"run '{run.root}' was not trained (train.epochs = 0), so its heads have learnt nothing that could be "
            "compared. Take a run that was."
        )
    names = [name for name in rows.columns if name not in ("line", "split", "image")]
    if unknown := [name for name in columns if name not in names]:
        raise RunError(
            "\n".join(f"run '{run.root}' has no label column '{name}'.{nearest(name, names)}" for name in unknown)
            + f"\n  Its columns: {', '.join(names)}."
        )
    outputs.need_place(run.root / "affinity.json", "Copy the run to a folder that you may write to.")
    extract(run, progress=progress, accept_changes=accept_changes)
    result = affinity_of(run, columns, progress=progress)
    run.write_affinity(result.to_json(), checkpoint=recipe.train.checkpoint)
    return result


def affinity_of(run: Run, columns: Sequence[str] = (), *, progress: bool = False) -> Affinity:
    """The same of a run whose features are current; nothing is written."""
    recipe, rows = run.read_recipe(), run.read_rows()
    labels = LabelColumns(rows, run.read_recipe_values(), run.read_similarities(), trust=True)
    known = [name for name in (*recipe.probe.columns, *columns) if name in labels.names]
    names = list(dict.fromkeys([*_in_order(labels), *known]))
    projections, shared = run.read_projections(), _without_heads(recipe)
    spaces = {column: projections[n] for n, column in enumerate(recipe.columns) if n not in shared}
    split = rows.get_column("split").to_numpy()
    judged = next((name for name in ("validation", "test") if (split == name).sum() >= 2), "train")
    places, train = np.flatnonzero(split == judged), np.flatnonzero(split == "train")
    targets = []
    for name in names:
        *of_heads, of_features = affinities([*spaces.values(), run.read_features()], labels[name], places, train)
        of_space = dict(zip(spaces, of_heads, strict=True))
        targets.append(Target(name, name in labels.trained, of_space, of_features))
    return Affinity(judged, _pairs(run, recipe, labels, places, progress), tuple(targets))


def _without_heads(recipe: Recipe) -> set[int]:
    """Similarities whose space is the features."""
    return {n for part, numbers in recipe.grouped("heads") if part.name == "identity" for n in numbers}


def _in_order(labels: LabelColumns) -> list[str]:
    """The trained columns in the order of their heads."""
    return sorted(labels.trained, key=lambda name: labels.trained[name])


def _pairs(
    run: Run, recipe: Recipe, labels: LabelColumns, judged: Int[np.ndarray, " judged"], progress: bool
) -> tuple[ColumnPair, ...]:
    columns = [labels[name] for name in _in_order(labels) if labels[name].similarity is not None]
    if len(columns) < 2:
        return ()
    model = load_model(run)
    trained = [_trained(column, recipe, model) for column in columns]
    draw = np.random.default_rng(0)
    # At most half of the rows: batches of all of them would be one batch, and their spread 0.
    size = min(recipe.train.batch_size, max(2, len(judged) // 2))
    batches = [np.sort(draw.choice(judged, size, replace=False)) for _ in range(_BATCHES)]
    features = _features(run, recipe, model, batches, progress)
    cosines = gradient_cosines(features, model.heads, trained, [torch.from_numpy(batch) for batch in batches])
    spaces = run.read_projections()[:, np.sort(draw.permutation(judged)[:_MOST_ROWS])]
    codes = [_classes(column, run.read_rows()) for column in columns]
    shared, pairs = _without_heads(recipe), []
    for i, j in combinations(range(len(columns)), 2):
        one, other = columns[i].name, columns[j].name
        labels_of_both = dependence(one, other, codes[i], codes[j])
        numbers = [trained[place].number for place in (i, j)]
        cka = None if {*numbers} <= shared else linear_cka(*(spaces[number] for number in numbers))
        pairs.append(ColumnPair((one, other), labels_of_both.rows, labels_of_both.nmi, cka, _cosine(cosines[i, j])))
    return tuple(pairs)


def _trained(column: LabelColumn, recipe: Recipe, model: Model) -> TrainedColumn:
    assert column.similarity is not None
    assert column.space is not None
    width = model.heads.widths[column.space] if model.heads.widths else model.heads.output_dim
    codes = column.similarity.encode(column.read())
    objective = objective_of(recipe, column.space, column.similarity, width)
    return TrainedColumn(column.space, column.similarity, codes, objective, width)


def _features(
    run: Run, recipe: Recipe, model: Model, batches: Sequence[Int[np.ndarray, " batch"]], progress: bool
) -> torch.Tensor:
    """What the heads read, of the rows of some batches. With [keep] beside it is not what the run keeps."""
    if not recipe.keep.transforms:
        return torch.from_numpy(np.array(run.read_features(), dtype=np.float32))
    rows, inputs = np.unique(np.concatenate(batches)), inputs_of_features(run)
    parts = by_batches(
        model, lambda batch: model.encoder(batch).cpu(), _Some(inputs, rows), progress=progress, title="features"
    )
    model.cpu()
    features = torch.zeros(len(inputs), model.encoder.width)
    features[torch.from_numpy(rows)] = torch.cat(parts).clone()
    return features


class _Some:
    """Some of the inputs of a run, numbered anew."""

    def __init__(self, inputs: Any, rows: Int[np.ndarray, " rows"]) -> None:
        self._inputs, self._rows = inputs, rows

    def __len__(self) -> int:
        return len(self._rows)

    def __getitem__(self, numbers: Any) -> Any:
        return self._inputs[self._rows[numbers]]


def _classes(column: LabelColumn, rows: pl.DataFrame) -> Int[np.ndarray, " rows"]:
    """Of the training rows; of numbers tenths."""
    train = np.flatnonzero(rows.get_column("split").to_numpy() == "train")
    cells, similarity = column.read(train.tolist()), column.similarity
    is_number = similarity is not None and similarity.target_kind == "number"
    return tenths_of(similarity.target(cells)) if is_number and similarity is not None else classes_of(cells)


def _cosine(values: Sequence[float]) -> Cosine | None:
    if not values:
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return Cosine(float(np.mean(values)), float(low), float(high))
