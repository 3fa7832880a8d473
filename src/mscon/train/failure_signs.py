"""Failure signs: what the numbers of an epoch say is going wrong, each in one sentence with advice.

A functional core: from the means of some epochs to sentences. `mscon.train.sign_watch` collects the numbers. The bounds
are measured, see docs/decisions/0046-columns.md.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from statistics import fmean
from typing import Any, Literal

from mscon.data.batches.training_length import FEW_STEPS

# Epochs in a row that must agree: after a step that was too large the numbers of one epoch may be anything.
_IN_A_ROW = 4
# Relative excess from which a similarity is at chance; and up to which others count as learnt beside it.
_CHANCE, _LEARNT = 0.98, 0.9
# Relative excess of validation rows from which it is memorised, and by how much that of training rows is below it.
_CARRIES_NOTHING, _GAP = 0.9, 0.3
# Weights, of which equal ones are 1, at which a similarity hardly counts, or nothing else does.
_LEAST_WEIGHT, _MOST_WEIGHT = 0.01, 100.0
# Linear CKA from which on two spaces are the same; and of labels, from which on two columns say the same, and below
# which there is no reason for one space.
_SAME_SPACE, _SAME_LABELS, _OTHER_LABELS = 0.95, 0.9, 0.5

SignName = Literal["nothing_alike", "nothing_compared", "chance", "memorised", "weight", "same_labels", "same_space"]
Excess = Mapping[str, float | None]


@dataclass(frozen=True, slots=True)
class FailureSign:
    """One thing that goes wrong.

    Attributes:
        name: which.
        columns: of the similarities that it concerns.
        sentence: what it is, and what to do.
    """

    name: SignName
    columns: tuple[str, ...]
    sentence: str


@dataclass(frozen=True, slots=True)
class HeadPair:
    """Linear CKA of two heads' projections of some training rows, and of the labels themselves.

    Attributes:
        columns: of the two similarities.
        space: of the projections.
        labels: of the columns as classes; None where there is none, see `mscon.model.cka.label_cka`.
    """

    columns: tuple[str, str]
    space: float
    labels: float | None


@dataclass(frozen=True, slots=True)
class EpochNumbers:
    """Means over an epoch, by similarity; None where it was absent.

    Attributes:
        epoch: its number, from 1.
        step: the last one.
        training: relative excess.
        validation: the same of validation rows; empty where none were measured after this epoch.
        weight: in the total.
    """

    epoch: int
    step: int
    training: Excess
    validation: Excess = field(default_factory=dict)
    weight: Excess = field(default_factory=dict)


def epochs_of(log: Sequence[Mapping[str, Any]]) -> list[EpochNumbers]:
    """The epochs that the records of a log report on, in order."""
    needed = {"step": {"epoch", "step", "relative_excess", "weight"}, "validation": {"epoch", "relative_excess"}}
    measured = (record for record in log if needed.get(record.get("kind", ""), {""}) <= record.keys())
    each = [list(records) for _, records in groupby(measured, key=lambda record: record["epoch"])]
    return [_numbers(records) for records in each if records[0]["kind"] == "step"]


def _numbers(records: Sequence[Mapping[str, Any]]) -> EpochNumbers:
    steps = [record for record in records if record["kind"] == "step"]
    validation: Excess = next((record["relative_excess"] for record in records if record["kind"] == "validation"), {})
    training, weight = (_means([record[name] for record in steps]) for name in ("relative_excess", "weight"))
    return EpochNumbers(steps[-1]["epoch"], steps[-1]["step"], training, validation, weight)


def _means(records: Sequence[Excess]) -> dict[str, float | None]:
    known = {column: [v for record in records if (v := record.get(column)) is not None] for column in records[0]}
    return {column: fmean(values) if values else None for column, values in known.items()}


def signs_of_epochs(epochs: Sequence[EpochNumbers], importance: Mapping[str, float]) -> Iterator[FailureSign]:
    """Signs that show in losses and weights.

    Args:
        epochs: all so far, in order; the last ones are judged.
        importance: that the recipe gives each similarity.
    """
    if not epochs or epochs[-1].step < FEW_STEPS:  # fewer are reported before they are taken
        return
    validated = [numbers for numbers in epochs if numbers.validation]
    judged = (validated or list(epochs))[-_IN_A_ROW:]
    if len(judged) == _IN_A_ROW and judged[-1] is epochs[-1]:
        yield from _at_chance(judged)
        yield from _memorised(judged)
    if len(epochs) >= _IN_A_ROW:
        yield from _extreme_weights(epochs[-_IN_A_ROW:], importance)


def _at_chance(judged: Sequence[EpochNumbers]) -> Iterator[FailureSign]:
    """Those that neither training nor validation rows tell from chance. What is memorised is another sign."""
    lowest = _lowest(judged, lambda numbers: numbers.training)
    for column, value in _lowest(judged, lambda numbers: numbers.validation).items():
        lowest[column] = min(value, lowest.get(column, value))
    lost = tuple(column for column, value in lowest.items() if value >= _CHANCE)
    epochs = f"epochs {judged[0].epoch} to {judged[-1].epoch}"
    if len(lost) > 1 and len(lost) == len(lowest):
        yield FailureSign(
            "chance",
            lost,
            f"No similarity has learnt anything so far: in {epochs} the relative excess of each was "
            f"{min(lowest.values()):.2f} or more (0 learnt, 1 chance); try another train.learning_rate and weaker "
            "[views], and see with `mscon check` whether inputs and labels belong together.",
        )
        return
    best = min(lowest, key=lambda column: lowest[column], default="")
    for column in lost:
        others = f", while that of '{best}' was down to {lowest[best]:.2f}" * (lowest[best] < _LEARNT)
        yield FailureSign(
            "chance",
            (column,),
            f"'{column}' is at chance by its loss: in {epochs} its relative excess was {lowest[column]:.2f} or more "
            f"(0 learnt, 1 chance){others}; its labels may be wrong (`mscon doubt`) or not show in the inputs, so "
            "compare the scores with those of a run without it, or train for longer.",
        )


def _memorised(judged: Sequence[EpochNumbers]) -> Iterator[FailureSign]:
    if not all(numbers.validation for numbers in judged):
        return
    training = _highest(judged, lambda numbers: numbers.training)
    for column, value in _lowest(judged, lambda numbers: numbers.validation).items():
        if value >= _CARRIES_NOTHING and column in training and value - training[column] >= _GAP:
            yield FailureSign(
                "memorised",
                (column,),
                f"'{column}' is memorised: in epochs {judged[0].epoch} to {judged[-1].epoch} its relative excess was "
                f"at most {training[column]:.2f} on training rows but at least {value:.2f} on validation rows (0 "
                "learnt, 1 chance), so its labels are noisy (`mscon doubt` says which) or its rows too few; use fewer "
                'train.epochs or train.checkpoint = "best", and compare the scores with those of a run without it.',
            )


def _extreme_weights(judged: Sequence[EpochNumbers], importance: Mapping[str, float]) -> Iterator[FailureSign]:
    lowest, highest = (pick(judged, lambda numbers: numbers.weight) for pick in (_lowest, _highest))
    for column, factor in importance.items():
        if column not in lowest or not factor:
            continue
        low, high = lowest[column] / factor, highest[column] / factor
        if high <= _LEAST_WEIGHT or low >= _MOST_WEIGHT:
            extent = f"at most {high:.2g}" if high <= _LEAST_WEIGHT else f"at least {low:.2g}"
            effect = "hardly counts" if high <= _LEAST_WEIGHT else "outweighs all others"
            yield FailureSign(
                "weight",
                (column,),
                f"'{column}' {effect}: sigma is at an extreme, so in epochs {judged[0].epoch} to {judged[-1].epoch} "
                f'its mean weight was {extent} (equal weights are 1); take weighting.name = "relative" or "equal", or '
                "a lower train.weighting_learning_rate where log-variances are learned.",
            )


def signs_of_heads(pairs: Sequence[HeadPair]) -> Iterator[FailureSign]:
    """Signs that show in the projections: two heads with one space though their labels differ, or for the same labels.

    Pairs whose labels are in between, or cannot be compared, may well have one space.
    """
    for pair in pairs:
        first, second = (f"'{column}'" for column in pair.columns)
        if pair.labels is not None and pair.labels >= _SAME_LABELS:
            yield FailureSign(
                "same_labels",
                pair.columns,
                f"{first} and {second} say the same (CKA of their labels {pair.labels:.2f}, of their heads' spaces "
                f"{pair.space:.2f}), so together they count twice; leave one of them out, or halve the importance of "
                "both.",
            )
        elif pair.labels is not None and pair.labels < _OTHER_LABELS and pair.space >= _SAME_SPACE:
            yield FailureSign(
                "same_space",
                pair.columns,
                f"The heads of {first} and {second} have one space (linear CKA {pair.space:.2f}) though their labels "
                f"differ (CKA {pair.labels:.2f}), so a search that mixes them finds what each finds alone; train for "
                'longer, or use heads.name = "mlp" with a larger hidden_dim.',
            )


def sign_of_batches(column: str, objective: str, is_compared: bool, steps: int) -> FailureSign:
    """The sign that no batch of the first epoch has two rows that are alike in a column, or else nothing to compare.

    Args:
        column: of the similarity.
        objective: its name.
        is_compared: whether there was a loss all the same, of views of one row.
        steps: of the epoch.
    """
    batches = f"None of the {steps:,} batches of the first epoch holds"
    if is_compared:
        return FailureSign(
            "nothing_alike",
            (column,),
            f"{batches} two rows that are alike in '{column}', so it compares views of one row only, as a similarity "
            "'same_row' does; set a larger train.batch_size, balanced batches ([sampler]) or a larger width (`mscon "
            "check` counts alike rows), or leave it out.",
        )
    return FailureSign(
        "nothing_compared",
        (column,),
        f"{batches} anything to compare by '{column}' (objective '{objective}'), so it learnt nothing: a batch must "
        "hold rows that are alike in it and rows that are not, and some objectives need rows of weight 0, of which "
        "kinds such as 'continuous' have few; 'supcon' does not.",
    )


def _lowest(judged: Sequence[EpochNumbers], of: Callable[[EpochNumbers], Excess]) -> dict[str, float]:
    return _extreme(judged, of, min)


def _highest(judged: Sequence[EpochNumbers], of: Callable[[EpochNumbers], Excess]) -> dict[str, float]:
    return _extreme(judged, of, max)


def _extreme(
    judged: Sequence[EpochNumbers], of: Callable[[EpochNumbers], Excess], pick: Callable[[Sequence[float]], float]
) -> dict[str, float]:
    """Of each similarity that was present in all of these epochs."""
    values = {column: [of(numbers).get(column) for numbers in judged] for column in of(judged[-1])}
    return {c: pick([v for v in vs if v is not None]) for c, vs in values.items() if None not in vs}
