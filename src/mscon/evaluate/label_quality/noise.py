r"""Noise of a column: the share of its labels that are wrong, estimated together with the probability of each.

Predictions out of fold, of several sources, are pooled to the probability q that a row is of each class; a label is
right with probability 1 - e, and else drawn from what is written for a class by mistake:

    q_ik ~ exp(b_k) prod_s p_sik^(a_s),    P(label y of row i) = (1 - e) q_iy + e sum_{k /= y} q_ik T_ky.

The exponents a, the offsets b of the classes, the share e and the mistakes T maximise the likelihood of the labels
together, as if there were one wrong one more. What keeps e from counting rows that are merely hard to predict is that a
model is as uncertain of these as it is wrong, while a wrong label contradicts it also where it is certain. Offsets
matter where one class is often taken for another: predictions that learnt from such labels expect them, and offsets
undo this. What is left of the bias is measured and subtracted, see `simulation.py`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

# Parameters are few, so that these rows suffice for them; all rows are judged by the result.
_FITTED_ON = 20_000
_ITERATIONS, _TOLERANCE = 60, 1e-7
_LEAST, _LOGIT = 1e-6, -2.0
# Of the logarithm of an exponent: the line search may go so far that exponents are infinite, and then all is NaN.
_SHARPEST = 5.0
# Of few rows sources without any wrong label can be as likely as sharp ones with some: predictions that learnt from
# wrong labels expect them. So many wrong labels are taken for granted; 4 raised the estimate for clean labels that are
# hard to predict by 1 to 2 points of 3,000 rows.
_EXPECTED = 1
# So many mistakes of each class, as a share of the mean class, are taken for granted, by the frequencies of the others;
# and offsets cost so much for each squared unit of log-probability. With less of both, classes that no model tells
# apart are taken for mistakes.
_MISTAKES, _OFFSET = 0.03, 3.0
# Where a source predicts fewer of the labels beyond those of the largest class, mistakes are drawn by a power of the
# frequencies and offsets are 0. Fitted ones take what a class that cannot be told from its neighbours is predicted as
# for mistakes: 21 to 27 % of right labels were called wrong in five ranges of a number that nothing else tells well.
_PREDICTABLE = 0.35


@dataclass(frozen=True, eq=False, slots=True)
class Noise:
    """How labels go wrong: fitted parameters.

    Attributes:
        exponents: of the sources.
        offsets: of the classes, added to logarithms.
        share: e.
        mistakes: T, [classes, classes], the diagonal 0 and rows that sum to 1.
        by_class: whether offsets and mistakes were fitted; else they are 0, and a power of the frequencies of classes.
    """

    exponents: Float[Tensor, " sources"]
    offsets: Float[Tensor, " classes"]
    share: Float[Tensor, ""]
    mistakes: Float[Tensor, "classes classes"]
    by_class: bool

    def pooled(self, logs: Float[Tensor, "sources rows classes"]) -> Float[Tensor, "rows classes"]:
        """q: the probability that a row is of each class, from logarithms of what the sources say."""
        return (torch.einsum("s,src->rc", self.exponents, logs) + self.offsets).softmax(dim=1)


@dataclass(frozen=True, eq=False, slots=True)
class Judgement:
    """What is believed of the labels of a column.

    Attributes:
        share: the estimated share of wrong labels, from 0 to 1.
        right: the probability that each label is right.
        predicted: the class that each row most probably has, whatever its label says.
        confidence: the probability that it is this class, its label considered.
        spread: of each label, by how much it moves the estimate; the mean is 0. The interval is drawn from it.
        noise: the fitted parameters.
    """

    share: float
    right: Float[np.ndarray, " rows"]
    predicted: Int[np.ndarray, " rows"]
    confidence: Float[np.ndarray, " rows"]
    spread: Float[np.ndarray, " rows"]
    noise: Noise

    @property
    def influence(self) -> Float[np.ndarray, " rows"]:
        """One value a label, whose mean is the estimated share and from which its interval is drawn."""
        return self.share + self.spread


def judge(
    sources: Float[np.ndarray, "sources rows classes"],
    labels: Int[np.ndarray, " rows"],
    rate: Float[np.ndarray, "rows classes"] | None = None,
    share: float | None = None,
    by_class: bool | None = None,
) -> Judgement:
    """Estimate the share of wrong labels, and judge each label.

    Args:
        sources: probabilities out of fold, above 0.
        labels: classes from 0, each between 0 and `classes` - 1.
        rate: how much more or less often than e a label goes wrong in a row of each class; None for 1.
        share: the share of wrong labels, where it is known; None to estimate it. Predictions of models that learnt no
            more from doubted labels would make it too small.
        by_class: see `Noise`; None for whether a source predicts the labels well enough.

    Source: Dawid and Skene 1979, "Maximum Likelihood Estimation of Observer Error-Rates Using the EM Algorithm";
        Northcutt, Jiang and Chuang 2021, "Confident Learning", https://arxiv.org/abs/1911.00068, for the matrix of
        mistakes; White 1982, "Maximum Likelihood Estimation of Misspecified Models", for influence values.
    """
    rows = len(labels)
    some = np.arange(rows)
    if rows > _FITTED_ON:
        some = np.sort(np.random.default_rng(0).choice(rows, _FITTED_ON, replace=False))
    logs = torch.from_numpy(np.log(sources))
    codes = torch.from_numpy(labels.astype(np.int64))
    rates = torch.ones_like(logs[0]) if rate is None else torch.from_numpy(rate).double()
    few = torch.from_numpy(some)
    # Some wrong label is taken for granted, so that labels are ranked where none is estimated to be wrong.
    fixed = None if share is None else max(share, _EXPECTED / rows)
    if by_class is None:
        by_class = predictability(sources, labels) > _PREDICTABLE
    noise = _fit(logs[:, few], codes[few], rates[few], fixed, by_class)
    pooled, right, wrong = _likelihoods(noise, logs, codes, rates)
    total = right + wrong.sum(dim=1)
    believed = wrong.scatter_add(1, codes[:, None], right[:, None]) / total[:, None]
    predicted = pooled.argmax(dim=1)
    doubt = (1 - right / total).numpy()
    spread = doubt - doubt.mean()
    if share is None:
        spread[some] += _slack(noise, logs[:, few], codes[few], rates[few]) * (rows / len(some))
    return Judgement(
        share=float(doubt.mean()) if share is None else share,
        right=1 - doubt,
        predicted=predicted.numpy(),
        confidence=believed.gather(1, predicted[:, None])[:, 0].numpy(),
        spread=spread,
        noise=noise,
    )


def predictability(sources: Float[np.ndarray, "sources rows classes"], labels: Int[np.ndarray, " rows"]) -> float:
    """How far the better source is on the way from guessing the largest class, 0, to predicting every label, 1."""
    guessed = float(np.bincount(labels).max()) / len(labels)
    agreement = float((sources.argmax(axis=2) == labels).mean(axis=1).max())
    return (agreement - guessed) / (1 - guessed)


def _likelihoods(
    noise: Noise,
    logs: Float[Tensor, "sources rows classes"],
    codes: Int[Tensor, " rows"],
    rates: Float[Tensor, "rows classes"],
) -> tuple[Float[Tensor, "rows classes"], Float[Tensor, " rows"], Float[Tensor, "rows classes"]]:
    """Pooled probabilities; how likely each label is as a right one; and as a wrong one of a row of each class."""
    pooled = noise.pooled(logs)
    of_label = codes[:, None]
    right = (pooled.gather(1, of_label) * (1 - noise.share * rates.gather(1, of_label)))[:, 0]
    return pooled, right, pooled * rates * noise.mistakes.T[codes] * noise.share


def _fit(
    logs: Float[Tensor, "sources rows classes"],
    codes: Int[Tensor, " rows"],
    rates: Float[Tensor, "rows classes"],
    share: float | None,
    by_class: bool,
) -> Noise:
    rows, classes = len(codes), logs.shape[2]
    frequency = (torch.bincount(codes, minlength=classes).double() + 0.5) / (rows + 0.5 * classes)
    itself = torch.eye(classes, dtype=torch.bool)
    prior = frequency.repeat(classes, 1).masked_fill(itself, 0)
    prior = prior / prior.sum(dim=1, keepdim=True)
    # Logarithms of the exponents and mistakes, the logit of the share, and the power of the frequencies: at 0 a wrong
    # label is any other class, at 1 it is as frequent as rightly.
    exponents, offsets, mistakes = torch.zeros(len(logs)).double(), torch.zeros(classes).double(), prior.log()
    wrong, power = torch.tensor(_LOGIT).double(), torch.tensor(0.5).double()
    if by_class:
        # It begins where all labels that differ from the prediction are wrong. From few wrong labels it would not
        # arrive at many that are taken for one class each: predictions that expect them are a local optimum.
        predicted = logs.mean(dim=0).argmax(dim=1)
        differ = (predicted != codes).double().mean().clamp(_LEAST, 1 - _LEAST)
        confused = prior.index_put((predicted, codes), torch.ones(rows).double(), accumulate=True)
        exponents, mistakes, wrong = exponents + 1, confused.log(), differ.logit()
    parameters = [exponents, *([wrong] if share is None else []), *([offsets, mistakes] if by_class else [power])]
    for parameter in parameters:
        parameter.requires_grad_()

    def noise() -> Noise:
        e = wrong.sigmoid() if share is None else torch.tensor(share).double()
        drawn = mistakes if by_class else power * frequency.log().expand(classes, classes)
        of_class = drawn.masked_fill(itself, -torch.inf).softmax(dim=1)
        return Noise(exponents.clamp(max=_SHARPEST).exp(), offsets, e.clamp(_LEAST, 1 - _LEAST), of_class, by_class)

    def loss() -> Float[Tensor, ""]:
        optimiser.zero_grad()
        fitted = noise()
        _, right, doubtful = _likelihoods(fitted, logs, codes, rates)
        value = -(right + doubtful.sum(dim=1)).log().sum() - _EXPECTED * fitted.share.log()
        value = value - _MISTAKES * rows / classes * (prior * fitted.mistakes.clamp_min(_LEAST).log()).sum()
        value = (value + _OFFSET * offsets.square().sum()) / rows
        value.backward()
        return value

    optimiser = torch.optim.LBFGS(
        parameters, max_iter=_ITERATIONS, tolerance_change=_TOLERANCE, line_search_fn="strong_wolfe"
    )
    optimiser.step(loss)
    with torch.no_grad():
        return replace(noise(), offsets=offsets.detach())


def _slack(
    noise: Noise,
    logs: Float[Tensor, "sources rows classes"],
    codes: Int[Tensor, " rows"],
    rates: Float[Tensor, "rows classes"],
) -> Float[np.ndarray, " rows"]:
    """By how much the mean probability of being wrong would move with each row, through exponents and share."""

    def by_row(parameters: Float[Tensor, " parameters"]) -> tuple[Tensor, Tensor]:
        moved = replace(noise, exponents=parameters[:-1], share=parameters[-1])
        _, right, wrong = _likelihoods(moved, logs, codes, rates)
        total = right + wrong.sum(dim=1)
        return total.log(), 1 - right / total

    at = torch.cat([noise.exponents, noise.share[None]])
    # One parameter at a time: they are few, and rows many.
    moved = [torch.autograd.functional.jvp(by_row, at, one)[1] for one in torch.eye(len(at), dtype=torch.float64)]
    scores, doubts = (torch.stack(columns, dim=1) for columns in zip(*moved, strict=True))
    information = scores.T @ scores / len(codes)
    ridge = 1e-9 * information.diagonal().sum() * torch.eye(len(at), dtype=torch.float64)
    moves = torch.linalg.solve(information + ridge, scores.T).T
    slack: Float[np.ndarray, " rows"] = ((moves - moves.mean(dim=0)) @ doubts.mean(dim=0)).numpy()
    return slack
