"""The method in anyone's loop: projections and several label columns -> one loss.

Imports nothing heavier than torch.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mscon.method.kernels.path import Positives
from mscon.method.labels import Values
from mscon.method.loss_batch import BatchLabels, Projections, samples_of
from mscon.method.loss_parts import build_parts, check_parts, similarities_of
from mscon.method.objectives.base import AverageOver, Objective
from mscon.method.similarities.base import Similarity
from mscon.method.weightings.base import Weighting
from mscon.train.gather import AcrossProcesses, CandidateSource, InBatch
from mscon.train.memory_bank import MemoryBank
from mscon.train.step import Measured, measure
from mscon.train.weighting_fit import fit_weighting, labelled_projections


@dataclass(frozen=True, slots=True)
class SimilaritySummary:
    """Loss and weight of one similarity in the last batch. See `mscon.train.step.Measured`."""

    name: str
    loss: float
    floor: float
    ceiling: float
    relative_excess: float
    weight: float
    positive_share: float


class MSConLoss(nn.Module):
    """Multi-similarity contrastive loss: the weighted sum of one contrastive loss per similarity.

        MSConLoss(["make", "colour"])                                              # classes
        MSConLoss([Categorical("make"), Continuous("price", width=5_000), "same_row"], objective="rank_n_contrast")
        MSConLoss(["make", Continuous("price", width=5_000)], objective={"price": "rank_n_contrast"})

    The value is in nats and averages over anchors with a positive, similarity by similarity. With the objective
    "supcon" coinciding embeddings give log(candidates) per similarity, and none can fall below log(positives). With
    learned weights the total may be negative, which is correct. It runs in float32 whatever autocast says.

    Under torch.compile it is one break of the graph, and runs as it does without: its kernels choose by the values of
    a batch how to compute, and bring their own gradient.

    The "multi-similarity loss" of Wang et al. 2019 (pytorch-metric-learning's MultiSimilarityLoss) is
    a different method.

    Args:
        similarities: in the order of their projections, each a Similarity, of any kind or a class of your own, or the
            name of a label column, which is `Categorical` of that name. "same_row" needs no label: views of one row are
            alike (SimCLR's notion), so it can be added to any list to learn from unlabelled rows too.
        temperature: of the objective; None for its default. That of "supcon", 0.1, divides cosine similarities. By
            name, {"same_row": 0.2}, of the similarities named; the others have the default.
        weighting: "equal" (weights of 1), "uncertainty" (the paper's learned weights), "relative" (larger for
            similarities that are learnt further), "exact" (by how well the labels of other rows are predicted: call
            `fit_weights` with held-out rows after each epoch, until then it is "equal"; or give `fit_on="training"`),
            "held_out" (by how well neighbours among held-out rows agree: call `fit_weights` likewise), "excess_mtl" or
            "torchjd" (by gradients: call the loss with `features=`), or a Weighting of your own. A learned weighting
            has parameters: pass `criterion.parameters()` to the optimiser, without weight decay.
        objective: "supcon", "rank_n_contrast", "himulcon", "triplet_margin", "cross_entropy", or an Objective of
            these or of your own, which is prepared here (`Objective.prepare`). Or by name of the similarity,
            {"price": "rank_n_contrast", "make": SupCon(temperature=0.2)}: those that are not named have "supcon".
            Similarities with equal objectives are computed in one call.
        dim: width of the projections; needed where an objective learns something of that width, as "cross_entropy".
        importance: by name, a number from 0 to 1,000,000 that multiplies what the weighting gives the similarity; 1
            where it is not named.
        gather_across_devices: compare with the batches of all processes of torch.distributed. Gradients, averaged as
            data-parallel training does, are those of one process with all rows, for two numbers a sample and
            similarity that travel in the backward pass. The value is the mean over all anchors, and processes may
            hold unequal numbers of rows.
        memory_size: compare with that many samples of past batches too. Remembered samples carry no gradient;
            pass `rows` if the same rows come again, so that a row never meets its own past.
        **settings: of the objective and the weighting where these are names: `positives="inside"` (L_in) or
            `average_over="all_anchors"` of "supcon", `margin=0.3` of "triplet_margin", `normalise=True` of
            "uncertainty". Where objectives are given by name of the similarity, settings and a `temperature` that is
            one number are those of "supcon"; give an object for settings of another.

    Raises:
        ValueError: for names that repeat; objectives, temperatures or an importance of no similarity; a value that a
            part refuses; settings that neither objective nor weighting has or that one lacks; a weighting that needs
            classes or a temperature where there are none.
        RecipeError: for an unknown objective or weighting, or an objective that cannot use one of the similarities.

    Source: MSCon, eq. 2 and 7, https://arxiv.org/abs/2307.02712; the mean over anchors for its sum.
    """

    def __init__(
        self,
        similarities: Sequence[str | Similarity],
        temperature: float | Mapping[str, float] | None = None,
        weighting: str | Weighting = "equal",
        *,
        objective: str | Objective | Mapping[str, str | Objective] = "supcon",
        dim: int | None = None,
        importance: Mapping[str, float] | None = None,
        gather_across_devices: bool = False,
        memory_size: int = 0,
        **settings: Any,
    ) -> None:
        super().__init__()
        self.similarities = similarities_of(similarities)
        self.names = tuple(s.column for s in self.similarities)
        self.objective, self.weighting = build_parts(
            self.names, objective, temperature, weighting, {} if importance is None else importance, settings
        )
        check_parts(self.similarities, self.objective, self.weighting, dim, memory_size)
        self.objective.prepare(self.similarities, dim or 0)
        self._now = AcrossProcesses() if gather_across_devices else InBatch()
        self.candidates: CandidateSource = MemoryBank(memory_size, self._now) if memory_size else self._now
        self._last: Measured | None = None

    def forward(
        self,
        projections: Projections,
        labels: BatchLabels | None = None,
        rows: Values | None = None,
        inputs: Values | None = None,
        features: Float[Tensor, "... features"] | None = None,
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
            inputs: of each view the input that it is a view of, for objectives that tell inputs apart: [0, 1] if the
                views of a row are an image and a text. By default all views are of one input.
            features: what all projections were computed from, which must require a gradient; only for the weightings
                "torchjd" and "excess_mtl", which read the gradients of the losses there.

        Raises:
            ValueError: for shapes, types, sizes or names that do not fit, with what was got and expected. Such a
                batch, or one whose projections are refused, leaves no trace in a memory or a weighting.
        """
        if torch.compiler.is_compiling():  # not as a decorator: that would import the compiler whoever uses it
            return torch.compiler.disable(self._measure)(projections, labels, rows, inputs, features)
        return self._measure(projections, labels, rows, inputs, features)

    def _measure(
        self,
        projections: Projections,
        labels: BatchLabels | None,
        rows: Values | None,
        inputs: Values | None,
        features: Float[Tensor, "... features"] | None,
    ) -> Float[Tensor, ""]:
        anchors = samples_of(
            projections, labels, rows, inputs, self.similarities, self.candidates, self.objective.least_views
        )
        measured = measure(
            anchors,
            similarities=self.similarities,
            objective=self.objective,
            weighting=self.weighting,
            candidates=self.candidates,
            features=features,
        )
        self._last = dataclasses.replace(
            measured, total=measured.total.detach(), samples=None
        )  # a summary needs no graph
        return measured.total

    def fit_weights(
        self, projections: Projections, labels: BatchLabels | None = None, rows: Values | None = None
    ) -> None:
        """Fit the weights of the weighting "exact" or "held_out" on these rows, which training should not use.

        Call it after each epoch, with all held-out rows at once; no gradient is taken. Under
        `gather_across_devices` the rows of all processes count.

        Args:
            projections, labels, rows: as `forward` takes them.

        Raises:
            ValueError: if the weighting fits nothing on held-out rows; for arguments that `forward` refuses.
        """
        if self.weighting.fit_on != "validation":
            raise ValueError(
                'fit_weights is for weighting="held_out", and for "exact" with fit_on="validation", its default.'
            )
        samples = samples_of(projections, labels, rows, None, self.similarities, self._now)
        labelled = labelled_projections(self._now(samples).samples, self.objective)
        fit_weighting(self.weighting, self.objective, [labelled])

    def summary(self) -> tuple[SimilaritySummary, ...]:
        """Losses and weights of the last batch, a record per similarity; print it or log it.

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
