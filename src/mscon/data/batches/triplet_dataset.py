"""Triplet dataset: batches of triplets where training expects batches of rows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import ClassVar

import torch
from jaxtyping import Int64
from torch import Tensor

from mscon.data.batches.dataset import Batch, Dataset
from mscon.data.batches.triplets import Triplets, draw, files_of, generator_of, joined, read_triplets
from mscon.data.inputs.image_files import locate, ways_out
from mscon.data.inputs.open import Inputs
from mscon.errors import RecipeError, TableError, nearest
from mscon.method.pairs import Pairs
from mscon.run import recipe as recipes

_ANCHOR, _NEAR, _FAR = range(3)

# What the lists of CSN's authors call our splits.
_THEIR_NAMES = {"train": "train", "validation": "val"}


def in_triplets(
    dataset: Dataset,
    settings: recipes.Triplets,
    seed: int,
    images_root: Path,
    where: str = "",
    link_folders: Sequence[str] = (),
) -> TripletDataset:
    """The triplets of training and validation rows that [triplets] of a recipe describes.

    Args:
        dataset: all rows of the run.
        settings: how many, or where they lie.
        seed: draws them.
        images_root: folder that the folder of lists is relative to.
        where: begins every message on the table.
        link_folders: folders, relative to that of the images, into which links to the lists may lead.

    Raises:
        RecipeError: if [triplets] lists names no column of a similarity, or a file lies outside these folders.
        TableError: if there is no triplet for a similarity among the training rows; see also `read_triplets`.
    """
    by_split = {}
    for split, count in (("train", settings.count), ("validation", settings.validation)):
        rows = dataset.indices(split)
        if split != "train" and not (count and rows.numel()):
            continue
        if settings.folder:
            listed = _listed(dataset, settings, images_root, split, rows, link_folders)
            order = torch.randperm(len(listed), generator=generator_of(seed, f"order {split}"))
            by_split[split] = listed.take(order[: count or None])
        else:
            split_seed = generator_of(seed, split).initial_seed()
            try:
                drawn = draw(dataset.similarities, dataset.codes, rows, count, split_seed, needed=split == "train")
            except TableError as error:
                raise TableError("\n".join(f"{where}{line}" for line in str(error).splitlines())) from None
            by_split[split] = drawn
    return TripletDataset.build(dataset, by_split)


def _listed(
    dataset: Dataset,
    settings: recipes.Triplets,
    images_root: Path,
    split: str,
    rows: Int64[Tensor, " rows"],
    link_folders: Sequence[str],
) -> Triplets:
    columns = [similarity.column for similarity in dataset.similarities]
    for column, name in settings.lists.items():
        if column not in columns:
            raise RecipeError(
                f"[triplets] lists names '{column}', which is no [[similarity]] of the recipe."
                f"{nearest(column, columns)}"
            )
        if not name or Path(name).name != name:
            raise RecipeError(f"[triplets] lists: '{name}' is a part of a file's name, without folders.")
    conditions = [settings.lists.get(column, column) for column in columns]
    files = [str(file) for file in files_of(Path(settings.folder), _THEIR_NAMES[split], conditions)]
    located = zip(files, locate(images_root, files, link_folders), strict=True)
    if outside := [file for file, path in located if path is None]:
        raise RecipeError(
            f"[triplets] folder '{settings.folder}': '{outside[0]}' lies outside the folder of the images "
            f"({images_root}).\n  {ways_out(images_root, outside, link_folders)}"
        )
    images = dataset.rows.get_column("image").to_list()
    return read_triplets(images_root / settings.folder, _THEIR_NAMES[split], conditions, images, rows)


@dataclass(frozen=True, slots=True)
class TripletRule:
    """The rule by which samples of a batch of triplets compare: an anchor with its own near and far, and nothing else.

    A code is (number of the triplet, part): -1 for the number where the triplet is of another similarity; the parts
    are 0 anchor, 1 near, 2 far.
    """

    column: str

    is_partition: ClassVar[bool] = False

    def compare(self, anchors: Int64[Tensor, "anchors 2"], candidates: Int64[Tensor, "candidates 2"]) -> Pairs:
        """Weight 1 for the near sample and 0 for the far one of the anchor's triplet; all else is unknown."""
        asks = (anchors[:, 0] >= 0) & (anchors[:, 1] == _ANCHOR)
        same_triplet = (anchors[:, None, 0] == candidates[None, :, 0]) & (candidates[:, 1] != _ANCHOR)
        is_near = (candidates[:, 1] == _NEAR).to(torch.get_default_dtype())
        return Pairs(is_near.expand(len(anchors), -1), same_triplet & asks[:, None])


@dataclass(frozen=True, slots=True, eq=False)
class TripletDataset:
    """Triplets of a dataset's rows, with the interface of a `Dataset`.

    Attributes:
        dataset: the rows.
        triplets: of all splits, those of a split together.
        splits: for each split that has triplets, the number of its first, and how many.
    """

    dataset: Dataset
    triplets: Triplets
    splits: Mapping[str, tuple[int, int]]

    # As of a Dataset: rows of a batch for each number asked for.
    rows_each: ClassVar[int] = 3

    @classmethod
    def build(cls, dataset: Dataset, by_split: Mapping[str, Triplets]) -> TripletDataset:
        splits, first = {}, 0
        for name, part in by_split.items():
            splits[name] = (first, len(part))
            first += len(part)
        return cls(dataset, joined(list(by_split.values())), splits)

    def __len__(self) -> int:
        return len(self.triplets)

    @property
    def inputs(self) -> Inputs:
        """Of the rows."""
        return self.dataset.inputs

    def indices(self, split: str) -> Int64[Tensor, " triplets"]:
        """Numbers of the triplets of a split; maybe none."""
        first, count = self.splits.get(split, (0, 0))
        return torch.arange(first, first + count)

    def batch(self, indices: Int64[Tensor, " triplets"]) -> Batch:
        """All anchors, then all near rows, then all far rows of these triplets.

        Raises:
            IndexError: for a triplet that is not there.
        """
        triplets = self.triplets.take(indices)
        rows = self.dataset.batch(torch.cat([triplets.anchor, triplets.near, triplets.far]))
        part = torch.arange(3).repeat_interleave(len(indices))
        codes = [
            torch.stack([indices.where(triplets.condition == number, -1).repeat(3), part], dim=1)
            for number in range(len(self.dataset.similarities))
        ]
        return replace(rows, codes=tuple(codes))

    def with_inputs(self, inputs: Inputs) -> TripletDataset:
        """The same triplets of rows with other inputs."""
        return replace(self, dataset=self.dataset.with_inputs(inputs))


def rows_of(dataset: Dataset | TripletDataset) -> Dataset:
    """The rows that a dataset goes through, or that its triplets are of."""
    return dataset.dataset if isinstance(dataset, TripletDataset) else dataset
