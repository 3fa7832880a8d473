"""The method in anyone's loop: projections and several label columns -> one loss.

Imports nothing heavier than torch.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor, nn

from mscon.method import catalogue
from mscon.method.objectives.base import AverageOver
from mscon.method.objectives.supcon import Positives, SupCon
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.same_row import SameRow
from mscon.method.weightings.base import Emphasised, Seen, Weighting
from mscon.train.gather import Candidates, Gathered, InBatch, Samples
from mscon.train.memory_bank import Remembered
from mscon.train.seen import look
from mscon.train.step import Measured, measure

# Shapes are told in the docstrings and checked by hand here: this is where users' own tensors come in.
Integers = Tensor | np.ndarray | Sequence[Any]
Projections = Mapping[str, Tensor] | Tensor
Labels = Mapping[str, Integers] | Integers


@dataclass(frozen=True, slots=True)
class SimilaritySummary:
    """What the last batch said of one similarity. See `mscon.train.step.Measured`."""

    name: str
    loss: float
    floor: float
    ceiling: float
    relative_excess: float
    weight: float
    positive_share: float


class MSConLoss(nn.Module):
    """Multi-similarity contrastive loss: a supervised contrastive loss per label column, weighed.

    The value is in nats and averages over anchors with a positive, column by column. Coinciding
    embeddings give log(candidates) per column; no column can fall below log(positives). With learned
    weights the total may be negative; that is no fault. It runs in float32 whatever autocast says.

    The "multi-similarity loss" of Wang et al. 2019 (pytorch-metric-learning's MultiSimilarityLoss) is
    another thing.

    Args:
        similarities: names of the label columns, in the order of their projections. The name
            "same_row" needs no label: views of one row are alike (SimCLR's notion), so it can be
            added to any list to learn from unlabelled rows too.
        temperature: divides cosine similarities; dimensionless, > 0.
        weighting: "uncertainty" (the paper's learned weights), "equal", "relative" (by how much is
            still to learn), "exact" (by how well labels of other rows are told: call `fit_weights` with held-out
            rows after each epoch, until then it is "equal"; or give `fit_on="training"`), "fixed" with
            `weights=[...]`, or a Weighting of your own. A learned weighting has parameters: hand
            `criterion.parameters()` to the optimiser, without weight decay.
        importance: by name, a number >= 0 that multiplies what the weighting gives the similarity; 1 where not named.
        average_over: "anchors_with_a_positive", or "all_anchors" as SupContrast's code does.
        positives: "outside" the logarithm (L_out) or "inside" (L_in).
        gather_across_devices: compare with the batches of all processes of torch.distributed. Gradients, averaged as
            data-parallel training does, are those of one process with all rows, for two numbers a sample and
            similarity that travel in the backward pass. The value is the mean over all anchors, and processes may
            hold unequal numbers of rows.
        memory_size: compare with that many samples of past batches too. Remembered samples carry no gradient;
            pass `rows` if the same rows come again, so that a row never meets its own past.
        **weighting_settings: passed to the weighting, for example `normalise=True`.

    Raises:
        ValueError: for a temperature that is no positive number, names that repeat, an importance of no similarity,
            settings that the weighting does not have or lacks.
        RecipeError: for an unknown weighting.

    Source: MSCon, eq. 2 and 7, https://arxiv.org/abs/2307.02712; the mean over anchors for its sum.
    """

    def __init__(
        self,
        similarities: Sequence[str],
        temperature: float = 0.1,
        weighting: str | Weighting = "uncertainty",
        *,
        importance: Mapping[str, float] | None = None,
        average_over: AverageOver = "anchors_with_a_positive",
        positives: Positives = "outside",
        gather_across_devices: bool = False,
        memory_size: int = 0,
        **weighting_settings: Any,
    ) -> None:
        super().__init__()
        names = tuple(similarities)
        if isinstance(similarities, str) or not names or len(set(names)) < len(names):
            raise ValueError(f"similarities must be a list of distinct names, got {similarities!r}.")
        self.names = names
        self._similarities: tuple[Similarity, ...] = tuple(
            SameRow(name) if name == "same_row" else Categorical(name, ()) for name in names
        )
        self.objective = SupCon(temperature, average_over, positives)
        self.weighting = _emphasised(_weighting(weighting, len(names), weighting_settings), names, importance or {})
        self._now = Gathered() if gather_across_devices else InBatch()
        self.candidates: Candidates = Remembered(memory_size, self._now) if memory_size else self._now
        self._last: Measured | None = None

    def forward(
        self, projections: Projections, labels: Labels | None = None, rows: Integers | None = None
    ) -> Float[Tensor, ""]:
        """The number to minimise.

        Args:
            projections: by name, (B, dim) or (B, views, dim) each; or a tensor (C, B, dim) or
                (C, B, views, dim) in the order of the names. Of any length: they are normalised here.
            labels: by name, (B,) integers each; or (B, C) of all. Of any integer type, up to 2^63 - 1; a tensor, a
                NumPy array or a list. Only -1 is missing: the row neither attracts nor repels in that column.
                Booleans are two classes, none missing. "same_row" takes none.
            rows: what row of the data set each of the B is, integers likewise; without it every row counts as a new
                one. Matters to a memory, and under `gather_across_devices` must be the same number in every process.

        Raises:
            ValueError: for shapes, types, sizes or names that do not fit, with what was got and expected. Such a
                batch, or one whose projections are refused, leaves no trace in a memory or a weighting.
        """
        anchors = self._samples(projections, labels, rows, self.candidates)
        measured = measure(
            anchors,
            similarities=self._similarities,
            objective=self.objective,
            weighting=self.weighting,
            candidates=self.candidates,
        )
        self._last = dataclasses.replace(measured, total=measured.total.detach(), seen=None)  # a summary needs no graph
        return measured.total

    def fit_weights(self, projections: Projections, labels: Labels | None = None, rows: Integers | None = None) -> None:
        """Fit the weights of the weighting "exact" on these rows, which training should not have seen.

        Call it after each epoch, with all held-out rows at once; no gradient is taken. Under
        `gather_across_devices` the rows of all processes count.

        Args:
            projections, labels, rows: as `forward` takes them.

        Raises:
            ValueError: if the weighting fits nothing on held-out rows; for arguments that `forward` refuses.
        """
        if self.weighting.looks_at != "validation":
            raise ValueError('fit_weights is for weighting="exact" with fit_on="validation", its default.')
        seen = self._now(self._samples(projections, labels, rows, self._now)).samples
        look(
            self.weighting, self.objective, [Seen(seen.projections.detach(), torch.stack(list(seen.codes)), seen.rows)]
        )

    def _samples(
        self, projections: Projections, labels: Labels | None, rows: Integers | None, candidates: Candidates
    ) -> Samples:
        """Arguments checked, the views of a row one after the other."""
        stacked = _stack_projections(projections, self.names)
        similarities, count, views, dim = stacked.shape
        if count == 0 and candidates.world_size == 1:  # of several processes one may have none: the others wait for it
            raise ValueError("projections of no rows: the batch is empty.")
        device = stacked.device
        columns = _columns(labels, self.names, count, device)
        own = candidates.new_rows(count, device) if rows is None else _column("rows", rows, count, device)
        codes = [own if isinstance(s, SameRow) else columns[s.column] for s in self._similarities]
        *codes, rows = (code[:, None].expand(count, views).reshape(-1) for code in [*codes, own])
        numbers = torch.arange(views, device=device).repeat(count)
        return Samples(stacked.reshape(similarities, count * views, dim), codes, rows, numbers)

    def summary(self) -> tuple[SimilaritySummary, ...]:
        """What the last batch said, a record per similarity; print it or log it.

        Raises:
            RuntimeError: if there was no batch yet.
        """
        if self._last is None:
            raise RuntimeError("no batch yet: call the loss before summary().")
        last = self._last
        columns = (last.loss, last.floor, last.ceiling, last.relative_excess, last.weight, last.positive_share)
        values = torch.stack([c.to(torch.float64) for c in columns], dim=1).tolist()
        return tuple(SimilaritySummary(name, *row) for name, row in zip(self.names, values, strict=True))


class SupConLoss(nn.Module):
    """Supervised contrastive loss of one label column: MSConLoss with one similarity.

    Takes what pytorch-metric-learning's loss of that name takes, `loss(embeddings, labels)`, and
    (B, views, dim) as SupContrast's does. A column of one class still attracts, a label of -1 is
    missing and anchors without a positive do not count: the other two differ there (docs/choosing.md).

    Args:
        temperature: divides cosine similarities; dimensionless, > 0.
        average_over, positives, gather_across_devices, memory_size: see `MSConLoss`.

    Source: Khosla et al. 2020, eq. 2, https://arxiv.org/abs/2004.11362.
    """

    def __init__(
        self,
        temperature: float = 0.1,
        *,
        average_over: AverageOver = "anchors_with_a_positive",
        positives: Positives = "outside",
        gather_across_devices: bool = False,
        memory_size: int = 0,
    ) -> None:
        super().__init__()
        self._loss = MSConLoss(
            ["label"],
            temperature,
            "equal",
            average_over=average_over,
            positives=positives,
            gather_across_devices=gather_across_devices,
            memory_size=memory_size,
        )

    def forward(self, embeddings: Tensor, labels: Integers, rows: Integers | None = None) -> Float[Tensor, ""]:
        """Mean loss in nats over anchors with a positive. `labels` and `rows`: see `MSConLoss.forward`."""
        return self._loss({"label": embeddings}, {"label": labels}, rows)


class NTXentLoss(nn.Module):
    """SimCLR's loss of two or more views: MSConLoss with the similarity "same row" alone.

    Args:
        temperature: divides cosine similarities; dimensionless, > 0.
        gather_across_devices, memory_size: see `MSConLoss`.

    Source: Chen et al. 2020, eq. 1, https://arxiv.org/abs/2002.05709.
    """

    def __init__(self, temperature: float = 0.1, *, gather_across_devices: bool = False, memory_size: int = 0) -> None:
        super().__init__()
        self._loss = MSConLoss(
            ["same_row"],
            temperature,
            "equal",
            gather_across_devices=gather_across_devices,
            memory_size=memory_size,
        )

    def forward(self, embeddings: Tensor, rows: Integers | None = None) -> Float[Tensor, ""]:
        """Mean loss in nats over all views of all rows. `rows`: see `MSConLoss.forward`."""
        return self._loss({"same_row": embeddings}, rows=rows)


def _weighting(weighting: str | Weighting, similarities: int, settings: Mapping[str, Any]) -> Weighting:
    if isinstance(weighting, str):
        kind = catalogue.find("weighting", weighting)
        try:
            inspect.signature(kind).bind(similarities, **settings)
        except TypeError as error:
            known = [*inspect.signature(kind).parameters][1:]
            raise ValueError(f"weighting '{weighting}': {error}. Its settings: {', '.join(known) or 'none'}.") from None
        made: Weighting = kind(similarities, **settings)
        return made
    if settings:
        raise ValueError(f"settings {sorted(settings)} go with a weighting by name, not with an object.")
    return weighting


def _emphasised(weighting: Weighting, names: Sequence[str], importance: Mapping[str, float]) -> Weighting:
    if unknown := sorted(set(importance) - set(names)):
        raise ValueError(f"importance is given for {unknown}, but the similarities are {list(names)}.")
    factors = [float(importance.get(name, 1.0)) for name in names]
    return Emphasised(weighting, factors) if any(f != 1 for f in factors) else weighting


def _stack_projections(projections: Projections, names: Sequence[str]) -> Float[Tensor, "similarities rows views dim"]:
    """Any accepted form as one tensor with a dimension of views."""
    if isinstance(projections, Mapping):
        _same_names("projections", projections, names)
        shapes = {name: tuple(_projected(f"projections '{name}'", projections[name]).shape) for name in names}
        if len(set(shapes.values())) > 1:
            raise ValueError(f"projections must have one shape, got {shapes}.")
        stacked = torch.stack([projections[name] for name in names])
    else:
        stacked = _projected("projections", projections)
        if stacked.dim() < 3 or stacked.shape[0] != len(names):
            raise ValueError(
                f"projections must be (similarities, rows, dim) or (similarities, rows, views, dim) with "
                f"{len(names)} similarities {list(names)}, got {tuple(stacked.shape)}."
            )
    if not stacked.is_floating_point():
        raise ValueError(f"projections must be floating point, got {stacked.dtype}.")
    if stacked.dim() == 3:
        stacked = stacked.unsqueeze(2)
    if stacked.dim() != 4:
        raise ValueError(f"projections must be (rows, dim) or (rows, views, dim) each, got {tuple(stacked.shape[1:])}.")
    return stacked


def _columns(
    labels: Labels | None, names: Sequence[str], rows: int, device: torch.device
) -> dict[str, Int[Tensor, " rows"]]:
    """Any accepted form as one checked vector per labelled similarity."""
    labelled = [name for name in names if name != "same_row"]
    if labels is None:
        labels = {}
    if not isinstance(labels, Mapping):
        together = _tensor("labels", labels)
        if together.dim() != 2 or together.shape[1] != len(labelled):
            raise ValueError(f"labels must be (rows, {len(labelled)}) for {labelled}, got {tuple(together.shape)}.")
        labels = {name: together[:, i] for i, name in enumerate(labelled)}
    _same_names("labels", labels, labelled)
    return {name: _column(f"labels '{name}'", labels[name], rows, device) for name in labelled}


def _projected(what: str, values: Any) -> Tensor:
    if not isinstance(values, Tensor):
        raise ValueError(f"{what} must be a tensor, which the gradient goes back to, got {type(values).__name__}.")
    return values


def _tensor(what: str, values: Integers) -> Tensor:
    if isinstance(values, Tensor):
        return values
    try:
        array = np.asarray(values)
    except ValueError:  # rows of unequal lengths
        raise ValueError(f"{what} must be integers, one a row, got a list with lists of other lengths.") from None
    if array.dtype.kind not in "biu":
        raise ValueError(f"{what} must be integers up to 2^63 - 1, got {array.dtype}: {array.ravel()[:4].tolist()}.")
    # A copy: torch takes no array that is reversed, of foreign byte order or read-only.
    return torch.from_numpy(array.astype(array.dtype.newbyteorder("="), order="C"))


def _column(what: str, values: Integers, rows: int, device: torch.device) -> Int[Tensor, " rows"]:
    given = _tensor(what, values)
    if given.shape != (rows,):
        raise ValueError(f"{what} must have shape ({rows},), one value a row, got {tuple(given.shape)}.")
    if given.is_floating_point() or given.is_complex() or (given.dtype == torch.bool and what == "rows"):
        raise ValueError(f"{what} must be integers, got {given.dtype}.")
    codes = given.to(torch.int64)  # first, since torch compares few of the unsigned types
    if given.dtype == torch.uint64 and (codes < 0).any():
        raise ValueError(f"{what} must be at most 2^63 - 1, got {int(codes[codes < 0][0]) + 2**64}.")
    if (codes < -1).any():
        raise ValueError(f"{what} must be >= 0, or -1 where missing, got {int(codes.min())}.")
    return codes.to(device)


def _same_names(what: str, given: Mapping[str, Any], names: Sequence[str]) -> None:
    if set(given) != set(names):
        missing, unknown = sorted(set(names) - set(given)), sorted(set(given) - set(names))
        raise ValueError(f"{what} must be given for {list(names)}: missing {missing}, unknown {unknown}.")
