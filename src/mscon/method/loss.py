"""The method in anyone's loop: projections and several label columns -> one loss.

Imports nothing heavier than torch.
"""

from __future__ import annotations

import dataclasses
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Shaped
from torch import Tensor, nn

from mscon.method import catalogue
from mscon.method.labels import Values, integers, need_shape, tensor_of
from mscon.method.objectives.base import AverageOver, Objective
from mscon.method.objectives.supcon import Positives
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.same_row import SameRow
from mscon.method.weightings.base import Emphasised, Seen, Weighting
from mscon.train.gather import Candidates, Gathered, InBatch, Samples
from mscon.train.memory_bank import Remembered
from mscon.train.seen import look
from mscon.train.step import Measured, measure

Projections = Mapping[str, Tensor] | Tensor
Labels = Mapping[str, Values] | Values


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
    """Multi-similarity contrastive loss: a loss per similarity, weighed.

        MSConLoss(["make", "colour"])                                              # classes
        MSConLoss([Categorical("make"), Continuous("price", width=5_000), "same_row"], objective="rank_n_contrast")

    The value is in nats and averages over anchors with a positive, similarity by similarity. With the objective
    "supcon" coinciding embeddings give log(candidates) per similarity, and none can fall below log(positives). With
    learned weights the total may be negative; that is no fault. It runs in float32 whatever autocast says.

    Under torch.compile it is one break of the graph, and runs as it does without: its kernels choose by the values of
    a batch how to compute, and bring their own gradient.

    The "multi-similarity loss" of Wang et al. 2019 (pytorch-metric-learning's MultiSimilarityLoss) is
    another thing.

    Args:
        similarities: in the order of their projections, each a Similarity, of any kind or a class of your own, or the
            name of a label column, which is `Categorical` of that name. "same_row" needs no label: views of one row are
            alike (SimCLR's notion), so it can be added to any list to learn from unlabelled rows too.
        temperature: of the objective; None for its own default. That of "supcon", 0.1, divides cosine similarities.
        weighting: "uncertainty" (the paper's learned weights), "equal", "relative" (by how much is
            still to learn), "exact" (by how well labels of other rows are told: call `fit_weights` with held-out
            rows after each epoch, until then it is "equal"; or give `fit_on="training"`), "fixed" with
            `weights=[...]`, or a Weighting of your own. A learned weighting has parameters: hand
            `criterion.parameters()` to the optimiser, without weight decay.
        objective: "supcon", "rank_n_contrast", "himulcon", "triplet_margin", "cross_entropy", or an Objective, of these
            or of your own, which is made ready here (`Objective.prepare`).
        dim: width of the projections; needed where the objective learns something of that width, as "cross_entropy".
        importance: by name, a number >= 0 that multiplies what the weighting gives the similarity; 1 where not named.
        gather_across_devices: compare with the batches of all processes of torch.distributed. Gradients, averaged as
            data-parallel training does, are those of one process with all rows, for two numbers a sample and
            similarity that travel in the backward pass. The value is the mean over all anchors, and processes may
            hold unequal numbers of rows.
        memory_size: compare with that many samples of past batches too. Remembered samples carry no gradient;
            pass `rows` if the same rows come again, so that a row never meets its own past.
        **settings: of the objective and the weighting where these are names: `positives="inside"` (L_in) or
            `average_over="all_anchors"` of "supcon", `margin=0.3` of "triplet_margin", `normalise=True` of
            "uncertainty".

    Raises:
        ValueError: for names that repeat, an importance of no similarity, a value that a part refuses, settings that
            neither objective nor weighting has or that one lacks; for a weighting that asks for classes or a
            temperature where there are none.
        RecipeError: for an unknown objective or weighting, or an objective that cannot use one of the similarities.

    Source: MSCon, eq. 2 and 7, https://arxiv.org/abs/2307.02712; the mean over anchors for its sum.
    """

    def __init__(
        self,
        similarities: Sequence[str | Similarity],
        temperature: float | None = None,
        weighting: str | Weighting = "uncertainty",
        *,
        objective: str | Objective = "supcon",
        dim: int | None = None,
        importance: Mapping[str, float] | None = None,
        gather_across_devices: bool = False,
        memory_size: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.similarities = _similarities(similarities)
        self.names = tuple(s.column for s in self.similarities)
        if temperature is not None:
            settings["temperature"] = temperature
        self.objective, plain = _parts(objective, weighting, len(self.names), settings)
        self.weighting = _emphasised(plain, self.names, importance or {})
        _check_parts(self.similarities, self.objective, self.weighting, dim, memory_size)
        self.objective.prepare(self.similarities, dim or 0)
        self._now = Gathered() if gather_across_devices else InBatch()
        self.candidates: Candidates = Remembered(memory_size, self._now) if memory_size else self._now
        self._last: Measured | None = None

    def forward(
        self, projections: Projections, labels: Labels | None = None, rows: Values | None = None
    ) -> Float[Tensor, ""]:
        """The number to minimise.

        Args:
            projections: by name, (B, dim) or (B, views, dim) each; or a tensor (C, B, dim) or
                (C, B, views, dim) in the order of the names. Of any length: they are normalised here.
            labels: by name, a tensor, a NumPy array or a list each, with a row for each of the B: classes are integers,
                -1 where missing; numbers are floats in the unit of the column, NaN where missing; what other kinds take
                says their `encode_tensor`. Or (B, C) of all at once. A missing label neither attracts nor repels in
                that column. "same_row" takes none.
            rows: what row of the data set each of the B is, integers likewise; without it every row counts as a new
                one. Matters to a memory, and under `gather_across_devices` must be the same number in every process.

        Raises:
            ValueError: for shapes, types, sizes or names that do not fit, with what was got and expected. Such a
                batch, or one whose projections are refused, leaves no trace in a memory or a weighting.
        """
        if torch.compiler.is_compiling():  # not as a decorator: that would import the compiler whoever uses it
            return torch.compiler.disable(self._measure)(projections, labels, rows)
        return self._measure(projections, labels, rows)

    def _measure(self, projections: Projections, labels: Labels | None, rows: Values | None) -> Float[Tensor, ""]:
        anchors = self._samples(projections, labels, rows, self.candidates)
        measured = measure(
            anchors,
            similarities=self.similarities,
            objective=self.objective,
            weighting=self.weighting,
            candidates=self.candidates,
        )
        self._last = dataclasses.replace(measured, total=measured.total.detach(), seen=None)  # a summary needs no graph
        return measured.total

    def fit_weights(self, projections: Projections, labels: Labels | None = None, rows: Values | None = None) -> None:
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
        self, projections: Projections, labels: Labels | None, rows: Values | None, candidates: Candidates
    ) -> Samples:
        """Arguments checked, the views of a row one after the other."""
        stacked = _stack_projections(projections, self.names)
        similarities, count, views, dim = stacked.shape
        if count == 0 and candidates.world_size == 1:  # of several processes one may have none: the others wait for it
            raise ValueError("projections of no rows: the batch is empty.")
        columns = _columns(labels, [s for s in self.similarities if s.columns])
        own = candidates.new_rows(count, stacked.device)
        if rows is not None:
            own = integers("rows", rows, truth_values=False).to(stacked.device)
            need_shape("rows", own, words="one number a row")
        codes = [columns[s.column].to(stacked.device) if s.columns else own for s in self.similarities]
        for name, code in zip((*self.names, "rows"), (*codes, own), strict=True):
            if code.shape[0] != count:
                what = "rows" if name == "rows" else f"labels '{name}'"
                raise ValueError(f"{what} must have one value for each of {count} rows, got shape {tuple(code.shape)}.")
        if views > 1:
            *codes, own = (
                code.unsqueeze(1).expand(count, views, *code.shape[1:]).flatten(0, 1) for code in (*codes, own)
            )
        numbers = torch.arange(views, device=stacked.device).repeat(count)
        return Samples(stacked.reshape(similarities, count * views, dim), codes, own, numbers)

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

    def forward(self, embeddings: Tensor, labels: Values, rows: Values | None = None) -> Float[Tensor, ""]:
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

    def forward(self, embeddings: Tensor, rows: Values | None = None) -> Float[Tensor, ""]:
        """Mean loss in nats over all views of all rows. `rows`: see `MSConLoss.forward`."""
        return self._loss({"same_row": embeddings}, rows=rows)


def _similarities(given: Sequence[str | Similarity]) -> tuple[Similarity, ...]:
    """Objects for names; a column that is read, each once."""
    parts = () if isinstance(given, str | Similarity) else tuple(given)
    for part in parts:
        if not isinstance(part, str | Similarity):
            raise ValueError(f"similarities must be names or Similarity objects, got {type(part).__name__}: {part!r}.")
    similarities = tuple(
        part if isinstance(part, Similarity) else SameRow(part) if part == "same_row" else Categorical(part)
        for part in parts
    )
    if not parts or len({s.column for s in similarities}) < len(parts):
        raise ValueError(f"similarities must be a list of distinct names, or Similarity objects, got {given!r}.")
    return similarities


def _parts(
    objective: str | Objective, weighting: str | Weighting, similarities: int, settings: Mapping[str, Any]
) -> tuple[Objective, Weighting]:
    """Objects for names, each with those of the settings that are its own."""
    parts: dict[str, Any] = {"objective": objective, "weighting": weighting}
    first: dict[str, tuple[int, ...]] = {"objective": (), "weighting": (similarities,)}  # what is no setting
    kinds = {what: catalogue.find(what, part) for what, part in parts.items() if isinstance(part, str)}
    known = {what: [*inspect.signature(kind).parameters][len(first[what]) :] for what, kind in kinds.items()}
    listed = "".join(f" Settings of {what} '{parts[what]}': {', '.join(known[what]) or 'none'}." for what in kinds)
    for name in settings:
        if (owners := sum(name in names for names in known.values())) != 1:
            raise ValueError(
                f"setting '{name}' is of {'both' if owners else 'neither'} objective and weighting."
                f"{listed} A part that is an object has its settings already."
            )
    for what, kind in kinds.items():
        own = {name: settings[name] for name in known[what] if name in settings}
        try:
            inspect.signature(kind).bind(*first[what], **own)
        except TypeError as error:
            raise ValueError(f"{what} '{parts[what]}': {error}.{listed}") from None
        parts[what] = kind(*first[what], **own)
    return parts["objective"], parts["weighting"]


def _check_parts(
    similarities: Sequence[Similarity], objective: Objective, weighting: Weighting, dim: int | None, memory_size: int
) -> None:
    """That the parts fit together."""
    name = type(objective).__name__
    if not objective.compares and dim is None:
        raise ValueError(
            f"objective {name} learns a classifier for each similarity: give dim=, the projections' width."
        )
    if not objective.compares and memory_size:
        raise ValueError(f"memory_size is {memory_size}, but objective {name} compares no rows. Leave it out.")
    if weighting.looks_at == "nothing":
        return
    if objective.temperature is None:
        raise ValueError(f"a weighting that looks at projections needs a temperature, but {name} has none.")
    if graded := [s.column for s in similarities if not s.is_partition]:
        raise ValueError(f"a weighting that looks at projections needs classes, similarities {graded} have none.")


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


def _columns(labels: Labels | None, similarities: Sequence[Similarity]) -> dict[str, Shaped[Tensor, "rows ..."]]:
    """Any accepted form as the codes of each labelled similarity, where the labels lie."""
    names = [s.column for s in similarities]
    if labels is None:
        labels = {}
    if not isinstance(labels, Mapping):
        together = tensor_of("labels", labels, "numbers (classes as integers, -1 where missing)")
        if together.dim() != 2 or together.shape[1] != len(names):
            raise ValueError(
                f"labels must be (rows, {len(names)}) for {names}, got {tuple(together.shape)}. A similarity that "
                "takes several numbers a row wants them by name, as {name: labels}."
            )
        labels = {name: together[:, i] for i, name in enumerate(names)}
    _same_names("labels", labels, names)
    columns = {s.column: s.encode_tensor(labels[s.column]) for s in similarities}
    for name, codes in columns.items():
        if not (isinstance(codes, Tensor) and codes.dim()):
            raise ValueError(f"encode_tensor of similarity '{name}' must give a tensor with a row for each label.")
    return columns


def _projected(what: str, values: Any) -> Tensor:
    if not isinstance(values, Tensor):
        raise ValueError(f"{what} must be a tensor, which the gradient goes back to, got {type(values).__name__}.")
    return values


def _same_names(what: str, given: Mapping[str, Any], names: Sequence[str]) -> None:
    if set(given) != set(names):
        missing, unknown = sorted(set(names) - set(given)), sorted(set(given) - set(names))
        raise ValueError(f"{what} must be given for {list(names)}: missing {missing}, unknown {unknown}.")
