r"""Noise of a column: the share of its labels that are wrong, estimated together with the probability of each.

Predictions out of fold, of several sources, are pooled to the probability q that a row is of each class; a label is
right with probability 1 - e, and else drawn from what is written for a class by mistake:

    q_ik ~ prod_s p_sik^(a_s),    P(label y of row i) = (1 - e) q_iy + e sum_{k /= y} q_ik T_ky.

The exponents a and the share e maximise the likelihood of the labels, as if there were one wrong one more; T begins
with the frequencies of the classes and is re-estimated by expectation-maximisation. What keeps e from counting rows
that are merely hard to predict is that a model is as uncertain of these as it is wrong, while a wrong label contradicts
it also where it is certain.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int
from torch import Tensor

# Parameters are few, so that these rows suffice for them; all rows are judged by the result.
_FITTED_ON = 20_000
_ROUNDS = 3
_LEAST, _LOGIT = 1e-6, -2.0
# Of the logarithm of an exponent: the line search may go so far that exponents are infinite, and then all is NaN.
_SHARPEST = 5.0
# Of few rows sources without any wrong label can be as likely as sharp ones with some: predictions that learnt from
# wrong labels expect them. So many wrong labels are taken for granted; 4 raised the estimate for clean labels that are
# hard to predict by 1 to 2 points of 3,000 rows.
_EXPECTED = 1


@dataclass(frozen=True, eq=False, slots=True)
class Judgement:
    """What is believed of the labels of a column.

    Attributes:
        share: the estimated share of wrong labels, from 0 to 1.
        right: the probability that each label is right.
        predicted: the class that each row most probably has, whatever its label says.
        confidence: the probability that it is this class, its label considered.
        rows: numbers of the rows that the parameters were fitted to.
        slack: of each of these, how far the estimate would move with it (an influence value whose mean is 0), beyond
            its own probability of being wrong.
    """

    share: float
    right: Float[np.ndarray, " rows"]
    predicted: Int[np.ndarray, " rows"]
    confidence: Float[np.ndarray, " rows"]
    rows: Int[np.ndarray, " fitted"]
    slack: Float[np.ndarray, " fitted"]

    @property
    def influence(self) -> Float[np.ndarray, " rows"]:
        """One value a label, whose mean is the estimated share and from which its interval is drawn."""
        values = 1 - self.right
        values[self.rows] += self.slack * (len(values) / len(self.rows))
        return values


@dataclass(frozen=True, eq=False, slots=True)
class Noise:
    """How labels go wrong: fitted parameters.

    Attributes:
        exponents: of the sources.
        share: e.
        mistakes: T, [classes, classes], the diagonal 0 and rows that sum to 1.
    """

    exponents: Float[Tensor, " sources"]
    share: Float[Tensor, ""]
    mistakes: Float[Tensor, "classes classes"]


def judge(
    sources: Float[np.ndarray, "sources rows classes"],
    labels: Int[np.ndarray, " rows"],
    rate: Float[np.ndarray, "rows classes"] | None = None,
    share: float | None = None,
) -> Judgement:
    """Estimate the share of wrong labels, and judge each label.

    Args:
        sources: probabilities out of fold, above 0.
        labels: classes from 0, each between 0 and `classes` - 1.
        rate: how much more or less often than e a label goes wrong in a row of each class; None for 1.
        share: e, where it is known; None to estimate it. Predictions of models that learnt no more from doubted labels
            would make it too small.

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
    frequency = (torch.bincount(codes, minlength=logs.shape[2]).double() + 0.5) / (rows + 0.5 * logs.shape[2])
    few = torch.from_numpy(some)
    noise = _fit(logs[:, few], codes[few], rates[few], frequency, share)
    pooled, right, wrong = _likelihoods(noise, logs, codes, rates)
    total = right + wrong.sum(dim=1)
    believed = wrong.scatter_add(1, codes[:, None], right[:, None]) / total[:, None]
    predicted = pooled.argmax(dim=1)
    return Judgement(
        share=float((1 - right / total).mean()) if share is None else share,
        right=(right / total).numpy(),
        predicted=predicted.numpy(),
        confidence=believed.gather(1, predicted[:, None])[:, 0].numpy(),
        rows=some,
        slack=_slack(noise, logs[:, few], codes[few], rates[few]) if share is None else np.zeros(len(some)),
    )


def _likelihoods(
    noise: Noise,
    logs: Float[Tensor, "sources rows classes"],
    codes: Int[Tensor, " rows"],
    rates: Float[Tensor, "rows classes"],
) -> tuple[Float[Tensor, "rows classes"], Float[Tensor, " rows"], Float[Tensor, "rows classes"]]:
    """Pooled probabilities; how likely each label is as a right one; and as a wrong one of a row of each class."""
    pooled = torch.einsum("s,src->rc", noise.exponents, logs).softmax(dim=1)
    of_label = codes[:, None]
    right = (pooled.gather(1, of_label) * (1 - noise.share * rates.gather(1, of_label)))[:, 0]
    return pooled, right, pooled * rates * noise.mistakes.T[codes] * noise.share


def _fit(
    logs: Float[Tensor, "sources rows classes"],
    codes: Int[Tensor, " rows"],
    rates: Float[Tensor, "rows classes"],
    frequency: Float[Tensor, " classes"],
    share: float | None,
) -> Noise:
    prior = frequency.repeat(len(frequency), 1).fill_diagonal_(0)
    prior = prior / prior.sum(dim=1, keepdim=True)
    mistakes = prior
    # Logarithms of the exponents, and the logit of the share.
    parameters = torch.cat([torch.zeros(len(logs)), torch.tensor([_LOGIT])]).double().requires_grad_()

    def noise() -> Noise:
        wrong = parameters[-1].sigmoid() if share is None else torch.tensor(share, dtype=torch.float64)
        return Noise(parameters[:-1].clamp(max=_SHARPEST).exp(), wrong.clamp(_LEAST, 1 - _LEAST), mistakes)

    def loss() -> Float[Tensor, ""]:
        optimiser.zero_grad()
        _, right, wrong = _likelihoods(noise(), logs, codes, rates)
        value = -(right + wrong.sum(dim=1)).log().mean() - _EXPECTED / len(codes) * noise().share.log()
        value.backward()
        return value

    for _ in range(_ROUNDS):
        optimiser = torch.optim.LBFGS([parameters], max_iter=60, line_search_fn="strong_wolfe")
        optimiser.step(loss)
        with torch.no_grad():
            _, right, wrong = _likelihoods(noise(), logs, codes, rates)
            expected = torch.zeros_like(mistakes).index_add_(1, codes, (wrong / (right + wrong.sum(1))[:, None]).T)
            # As many mistakes by frequency as were found beside them, so that few do not say too much.
            expected = expected + expected.sum(dim=1, keepdim=True) * prior + _LEAST * prior
            mistakes = expected / expected.sum(dim=1, keepdim=True)
    with torch.no_grad():
        return noise()


def _slack(
    noise: Noise,
    logs: Float[Tensor, "sources rows classes"],
    codes: Int[Tensor, " rows"],
    rates: Float[Tensor, "rows classes"],
) -> Float[np.ndarray, " rows"]:
    """By how much the mean probability of being wrong would move with each row, through the parameters."""

    def by_row(parameters: Float[Tensor, " parameters"]) -> tuple[Tensor, Tensor]:
        moved = Noise(parameters[:-1], parameters[-1], noise.mistakes)
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
