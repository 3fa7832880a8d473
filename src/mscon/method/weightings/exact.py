"""Weights from the exact pseudo-likelihood of each similarity's labels, where the paper approximates it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor
from torch.nn.functional import normalize

from mscon.errors import need_one_of
from mscon.method.kernels.precision import no_rounding
from mscon.method.weightings.base import BatchLosses, LabelledProjections, Weighted, Weighting, scaled_where

FitOn = Literal["validation", "training"]

# Values of log sigma^2 that the likelihood is computed for; between them a parabola finds the least.
_GRID = 25
# Anchors at a time: 25 x 256 x 1,024 likelihoods of pairs are 26 MB.
_ANCHORS = 256


def pseudo_likelihood(
    projections: Float[Tensor, "samples dim"],
    classes: Int[Tensor, " samples"],
    rows: Int[Tensor, " samples"],
    *,
    temperature: float | Float[Tensor, "*grid"],
) -> tuple[Float[Tensor, "*grid samples"], Bool[Tensor, " samples"]]:
    r"""How surprising the class of each sample is to a kernel classifier made of the other rows, in nats.

    With z_ip the cosine similarities divided by the temperature, over the samples p of other rows,

        nll_i = log sum_k exp(s_ik) - s_iy,    s_ik = log mean_{p of class k} exp(z_ip).

    It is log(number of classes) where all projections coincide, whatever their number of rows. The derivative by
    log temperature is (E_y[z] - sum_k softmax(s)_k E_k[z]), E_k the mean under the softmax within class k: at the
    best temperature the similarity to the own class is what the classifier expects it to be.

    All views of the anchor's own row are left out of every class. They bear its label, right or wrong, so with
    them pure noise looks certain.

    Args:
        projections: of any length except 0; compared with one another.
        classes: -1 where missing; such samples are neither anchors nor candidates.
        rows: samples of equal numbers are views of one row.
        temperature: one, or several to compute all at once, each > 0; the paper's tau sigma^2.

    Returns:
        nll: exactly 0 for anchors that are not counted.
        counted: samples with a class that some other row has too. Average over these.

    Source: MSCon eq. 5, https://arxiv.org/abs/2307.02712, with the normalisation over the classes that are
        there, which eq. 6 replaces by 2 log sigma.
    """
    counted = shared(classes, rows)
    dtype = torch.promote_types(projections.dtype, torch.float32)
    temperature = torch.as_tensor(temperature, dtype=dtype, device=projections.device)
    if not counted.any():
        return projections.new_zeros(*temperature.shape, len(classes), dtype=dtype), counted
    by_class = classes.argsort(stable=True)[int((classes < 0).sum()) :]
    names, sizes = classes[by_class].unique_consecutive(return_counts=True)
    unit = normalize(projections.to(dtype), dim=1)
    parts = []
    for anchors in counted.nonzero().squeeze(1).split(_ANCHORS):
        with no_rounding(unit):
            cosine = unit[anchors] @ unit[by_class].T
        same_row = rows[anchors, None] == rows[None, by_class]
        among = zip(cosine.split(sizes.tolist(), dim=1), same_row.split(sizes.tolist(), dim=1), strict=True)
        logits = torch.stack([_log_mean_exp(c / temperature[..., None, None], o) for c, o in among], dim=-1)
        label = torch.searchsorted(names, classes[anchors])
        of_label = logits.gather(-1, label[:, None].expand(*logits.shape[:-1], 1)).squeeze(-1)
        parts.append(logits.logsumexp(dim=-1) - of_label)
    nll = projections.new_zeros(*temperature.shape, len(classes), dtype=dtype)
    return nll.masked_scatter(counted.expand_as(nll), torch.cat(parts, dim=-1)), counted


def shared(classes: Int[Tensor, " samples"], rows: Int[Tensor, " samples"]) -> Bool[Tensor, " samples"]:
    """Samples with a class that is not that of their row alone."""
    names, owners = torch.stack([classes, rows]).unique(dim=1)[0].unique(return_counts=True)
    return (owners[torch.searchsorted(names, classes)] > 1) & (classes >= 0)


def _log_mean_exp(
    logits: Float[Tensor, "*grid anchors candidates"], same_row: Bool[Tensor, "anchors candidates"]
) -> Float[Tensor, "*grid anchors"]:
    """Over the candidates that are not the anchor's own; -inf where there is no other, with a gradient of 0."""
    others = (~same_row).sum(dim=1)
    alone = others == 0
    # An anchor alone would have -inf - -inf in the gradient, so it gets logits of 0 first.
    total = logits.masked_fill(same_row, -torch.inf).masked_fill(alone[:, None], 0.0).logsumexp(dim=-1)
    return (total - others.clamp_min(1).to(total.dtype).log()).masked_fill(alone, -torch.inf)


class Exact(Weighting):
    r"""1 / sigma_c^2, with sigma_c fitted by the pseudo-likelihood of eq. 5, without the approximation of eq. 6.

    sigma_c says how sharply the geometry of a similarity's own projections predicts its labels on other rows: it
    grows with label noise and does not depend on the number of classes. The network has no say in it (projections
    are detached) and learns from SupCon as ever. On rows that were memorised noise looks certain, so validation
    rows are the better judges, if their labels are as careless as those of training: clean ones hide its noise.

    A similarity in which no class has two rows, `same_row` above all, cannot be judged so. It counts 1, which with
    `normalise` is the mean of the others; until the first look every similarity does.

    Args:
        similarities: how many there are.
        fit_on: "validation" fits anew after each validation (`train.validate_every`), on those rows; in a loop of
            your own, on what `MSConLoss.fit_weights` is given. "training" looks at the batch of each step.
        normalise: scale the weights of the present similarities that could be judged to sum to their number.
            Without it weights are above 1 where labels are clean, and the network learns the faster for it.
        decay: of the exponential mean over steps, in [0, 1); for "training" only.
        least, most: log sigma^2 stays between the two. Labels that are predicted without error would draw sigma to 0,
            noise draws it to infinity; two weights differ at most by a factor of exp(most - least). With least = 0
            noise is turned down and all else left alone.
        samples: the fit takes no more than so many with a class, the first that come (validation rows come in a random
            order). Its cost grows with the square.

    Source: MSCon eq. 5, https://arxiv.org/abs/2307.02712; what it leaves open is in docs/decisions/0008.
    """

    curve: Tensor
    judged: Tensor

    def __init__(
        self,
        similarities: int,
        fit_on: FitOn = "validation",
        normalise: bool = True,
        decay: float = 0.95,
        least: float = -3.0,
        most: float = 3.0,
        samples: int = 1_024,
    ) -> None:
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay must be in [0, 1), got {decay}.")
        if not -10 <= least < most <= 10:
            raise ValueError(f"least must be below most, and both from -10 to 10, got {least} and {most}.")
        if samples < 4:
            raise ValueError(f"samples must be at least 4, got {samples}.")
        need_one_of("fit_on", fit_on, FitOn)
        self.fit_on: FitOn = fit_on
        self.normalise, self.decay, self.samples = normalise, decay, samples
        self.least, self.most = least, most
        # Mean negative log-likelihood at each value of log sigma^2. A curve can be averaged over steps; the places
        # of the least values of noisy curves cannot.
        self.register_buffer("curve", torch.zeros(similarities, _GRID))
        self.register_buffer("judged", torch.zeros(similarities, dtype=torch.bool))

    @property
    def log_variance(self) -> Float[Tensor, " similarities"]:
        """log sigma^2 of each similarity; 0 where there was nothing to judge by."""
        # Of values that are equally likely the largest: a head whose projections coincide is no witness.
        equal = self.curve <= self.curve.amin(dim=1, keepdim=True) + 1e-5
        least = (equal * torch.arange(_GRID, device=equal.device)).amax(dim=1)
        inside = least.clamp(1, _GRID - 2)
        before, at, after = (self.curve.gather(1, (inside + i)[:, None]).squeeze(1) for i in (-1, 0, 1))
        # The vertex of the parabola through three points, half a step away from the middle one at most.
        shift = (before - after) / (2 * (before - 2 * at + after)).clamp_min(1e-12)
        place = torch.where(least == inside, inside + shift.clamp(-0.5, 0.5), least.to(shift.dtype))
        return torch.where(self.judged, self.least + (self.most - self.least) * place / (_GRID - 1), 0.0)

    @torch.no_grad()
    def fit_to(self, samples: LabelledProjections, temperatures: Sequence[float]) -> None:
        """Fit sigma: replace what was known, or under `fit_on = "training"` move the mean over steps."""
        factors = torch.linspace(self.least, self.most, _GRID, device=self.curve.device).exp()
        decay = self.decay if self.fit_on == "training" else 0.0
        for number, (projections, classes, temperature) in enumerate(
            zip(samples.projections, samples.classes, temperatures, strict=True)
        ):
            first = slice(int(((classes >= 0).cumsum(0) <= self.samples).sum()))
            nll, counted = pseudo_likelihood(
                projections[first], classes[first], samples.rows[first], temperature=temperature * factors
            )
            if counted.any():
                mean = (nll.sum(dim=1) / counted.sum()).to(self.curve.dtype)
                self.curve[number] = decay * self.curve[number] + (1 - decay) * mean
                self.judged[number] = True

    def forward(self, batch: BatchLosses) -> Weighted:
        present = batch.present
        weights = (-self.log_variance).exp()
        if self.normalise:
            weights = scaled_where(weights, self.judged & present)
        return Weighted.sum(weights, batch)
