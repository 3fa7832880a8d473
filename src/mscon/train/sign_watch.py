"""Sign watch: looks for signs of failure after each epoch of a training, and reports each of them once."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from itertools import combinations

from mscon.data.batches.dataset import Dataset, cells_of
from mscon.data.check.batch_stats import has_alike
from mscon.model.cka import label_cka, linear_cka
from mscon.train.failure_signs import (
    FailureSign,
    HeadPair,
    epochs_of,
    sign_of_batches,
    signs_of_epochs,
    signs_of_heads,
)
from mscon.train.log import Record
from mscon.train.loop import Training

# Rows whose projections are compared; more would not move the second decimal of a CKA near 1.
_ROWS = 256
# Heads of one network, as they begin, have similar spaces, so they are compared from this epoch on.
_FIRST_OF_HEADS = 4
# Batches that are searched for two alike rows; where there are some, one batch is enough.
_BATCHES = 100


class SignWatch:
    """The signs of one training.

    Args:
        log: the records of its run so far.
        epoch: the last one that is over; 0 where none is.
    """

    def __init__(self, log: Sequence[Record], epoch: int) -> None:
        self._epochs = epochs_of([record for record in log if record.get("epoch", 0) <= epoch])
        self._records = [record for record in log if record.get("epoch", 0) > epoch]
        self._reported = {
            _key(record.get("sign", ""), record.get("columns", ())) for record in log if record.get("kind") == "sign"
        }

    def add(self, record: Record) -> None:
        """A record of the epoch in progress."""
        self._records.append(record)

    def look(self, training: Training, epoch: int, step: int, compared: Collection[str]) -> Iterator[Record]:
        """Records, of kind "sign", of what is new after an epoch. Leaves the method in evaluation mode.

        Args:
            training: as it stands; nothing that it learns from is changed.
            epoch: that has ended.
            step: the last one.
            compared: similarities that a batch of the epoch has compared rows by.
        """
        self._epochs += epochs_of(self._records)
        self._records.clear()
        for sign in self._signs(training, epoch, compared):
            key = _key(sign.name, sign.columns)
            if key not in self._reported:
                self._reported.add(key)
                yield {
                    "kind": "sign",
                    "epoch": epoch,
                    "step": step,
                    "sign": sign.name,
                    "columns": [*sign.columns],
                    "sentence": sign.sentence,
                }

    def _signs(self, training: Training, epoch: int, compared: Collection[str]) -> Iterator[FailureSign]:
        if epoch == 1:
            yield from _signs_of_batches(training, compared)
        importance = {part.column: part.importance for part in training.recipe.similarities}
        yield from signs_of_epochs(self._epochs, importance)
        is_power_of_two = epoch & (epoch - 1) == 0
        if epoch >= _FIRST_OF_HEADS and (is_power_of_two or epoch == training.recipe.train.epochs):
            yield from signs_of_heads(_head_pairs(training))


def _key(name: str, columns: Sequence[str]) -> tuple[str, ...]:
    return (name, *columns)


def _signs_of_batches(training: Training, compared: Collection[str]) -> Iterator[FailureSign]:
    """Of similarities for which the batches of the first epoch hold nothing, or no two rows that are alike."""
    recipe, dataset = training.recipe, training.dataset
    lonely = _without_alike_rows(dataset, training) if isinstance(dataset, Dataset) else set()
    for part in recipe.similarities:
        if part.column in lonely or part.column not in compared:
            objective = (part.objective or recipe.objective).name
            yield sign_of_batches(part.column, objective, part.column in compared, training.steps_an_epoch)


def _without_alike_rows(dataset: Dataset, training: Training) -> set[str]:
    """Label columns of which no batch has two rows that are alike; of those that compare in pairs some rows."""
    batches = [batch for batch in training.sampler.epoch(1).batches if batch.numel()][:_BATCHES]
    return {
        similarity.column
        for similarity, codes in zip(dataset.similarities, dataset.codes, strict=True)
        if similarity.columns and not any(bool(has_alike(similarity, codes, batch).any()) for batch in batches)
    }


def _head_pairs(training: Training) -> list[HeadPair]:
    """Every two heads, by some training rows. Where the space of both is the features there is nothing to compare."""
    dataset, recipe = training.dataset, training.recipe
    if not isinstance(dataset, Dataset):
        return []
    rows = dataset.indices("train")
    rows = rows[:: -(-len(rows) // _ROWS)]
    projections = training.embed(rows)[1].numpy()
    shared = {number for part, numbers in recipe.grouped("heads") if part.name == "identity" for number in numbers}
    some = dataset.rows[rows.numpy()]
    cells = [cells_of(some, s.columns) if s.columns else None for s in dataset.similarities]
    return [
        HeadPair((recipe.columns[i], recipe.columns[j]), space, label_cka(cells[i], cells[j]))
        for i, j in combinations(range(len(recipe.similarities)), 2)
        if not {i, j} <= shared and (space := linear_cka(projections[i], projections[j])) is not None
    ]
