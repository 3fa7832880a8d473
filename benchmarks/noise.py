"""How noisy a column is: estimators of the share of wrong labels, side by side, on labels that were planted.

    python benchmarks/noise.py glyphs=RUN:slant,weight icons=RUN:weight           prints the tables
    python benchmarks/noise.py ... --seeds 0 1 --write        also writes benchmarks/results/noise.md

RUN and its columns are as in `benchmarks/doubt.py`. One column gets 0, 20, 40 and 60 % of symmetric errors (at most
50 % of two classes, where more cannot be told from fewer), and 20 and 40 % of confusable ones and of those at the
boundary, as they are explained there. The others stay as they are.

An MLP with a head a column is trained on 70 % of the rows with the paper's weights; its estimates come from the other
rows, whose labels are as wrong. Estimates out of fold need no training and use all rows.
"""

from __future__ import annotations

import argparse
import functools
import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from cleanlab.count import estimate_joint
from doubt import Data
from machine import machine
from scipy.stats import spearmanr
from sklearn.isotonic import IsotonicRegression
from torch import Tensor, nn
from torch.nn.functional import normalize
from wrong_labels import planted

from mscon import MSConLoss
from mscon.errors import counted
from mscon.evaluate.label_quality.issues import Material, issues_of
from mscon.evaluate.label_quality.out_of_fold import (
    class_probabilities,
    folds_of,
    groups_of,
    neighbours_of,
    space_of,
    with_products,
)
from mscon.evaluate.label_quality.witnesses import inputs_of, others
from mscon.evaluate.targets import ProbeTarget, codes_of
from mscon.method.weightings.base import LabelledProjections
from mscon.method.weightings.exact import Exact
from mscon.run import atomic

RESULTS = Path(__file__).parent / "results" / "noise.md"
ERRORS: Mapping[str, Sequence[float]] = {
    "symmetric": (0.0, 0.2, 0.4, 0.6),
    "confusable": (0.2, 0.4),
    "boundary": (0.2, 0.4),
}
TEMPERATURE = 0.1
EPOCHS, BATCH = 20, 256

NAMES: Mapping[str, str] = {
    "doubt": "`mscon doubt`",
    "alone": "`mscon doubt`, no witnesses",
    "joint": "cleanlab's joint",
    "agreement": "1 - out-of-fold agreement",
    "sigma": "the paper's sigma^2, at rest",
    "excess": "relative excess, held out",
    "exact": "eq. 5, held out: likelihood / log(classes)",
    "exact_sigma": "eq. 5, held out: sigma^2",
    "sincere": "SINCERE, held out: loss / chance",
}
NOTE = "The probabilities out of fold are counted with the joint; the agreement needs nothing else."
IS_SHARE = ("doubt", "alone", "joint", "agreement", "excess", "exact", "sincere")


@dataclass(frozen=True)
class Measurement:
    """Estimates of the noise of one column, by estimator; and CPU seconds, by what they were spent on."""

    column: str
    classes: int
    how: str
    rate: float
    estimates: Mapping[str, float]
    seconds: Mapping[str, float]


class Network(nn.Module):
    """A shared layer and one projection head a column."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.shared = nn.Sequential(nn.Dropout(0.2), nn.Linear(width, 256), nn.ReLU(), nn.Linear(256, 128), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(128, 64) for _ in range(heads))

    def forward(self, x: Tensor) -> Tensor:
        features = self.shared(x)
        return torch.stack([head(features) for head in self.heads])


def sincere(projections: Tensor, labels: Tensor) -> float:
    r"""SINCERE's loss as a share of its value where all projections coincide, over anchors that have a positive.

    With s cosines divided by the temperature, N(i) the rows of other classes, the loss is

        L_i = mean_p [ -s_ip + log(exp(s_ip) + sum_{n in N(i)} exp(s_in)) ],

    which is log(1 + |N(i)|) by chance and about 0 at best, for any number of classes.

    Source: Feeney and Hughes 2023, https://arxiv.org/abs/2309.14277.
    """
    unit = normalize(projections, dim=1)
    cosines = unit @ unit.T / TEMPERATURE
    losses, chances = [], []
    for row, label in enumerate(labels.tolist()):
        is_alike = labels == label
        negatives = cosines[row, ~is_alike].logsumexp(dim=0)
        is_alike[row] = False
        if is_alike.any():
            positives = cosines[row, is_alike]
            losses.append(float((torch.logaddexp(positives, negatives) - positives).mean()))
            chances.append(math.log1p(int((labels != label).sum())))
    return float(np.mean(losses) / np.mean(chances))


def of_training(space: np.ndarray, codes: np.ndarray, classes: int, seed: int) -> dict[str, float]:
    """Estimates for the first column, from an MLP that is trained on all of them.

    Args:
        space: vectors.
        codes: of each column, [columns, rows].
        classes: of the first.
        seed: of the network, of its batches and of which rows are held out.
    """
    torch.manual_seed(seed)
    x, labels = torch.from_numpy(space), torch.from_numpy(codes)
    order = torch.randperm(len(x))
    train, held_out = order.split([round(0.7 * len(x)), len(x) - round(0.7 * len(x))])
    names = [str(number) for number in range(len(codes))]
    network = Network(x.shape[1], len(names))
    loss = MSConLoss(names, temperature=TEMPERATURE, weighting="uncertainty", normalise=True)
    optimiser = torch.optim.AdamW(
        [{"params": network.parameters(), "lr": 1e-3}, {"params": loss.parameters(), "lr": 2e-2, "weight_decay": 0.0}]
    )
    losses: list[float] = []
    for _ in range(EPOCHS):
        for rows in train[torch.randperm(len(train))].split(BATCH):
            optimiser.zero_grad()
            views = torch.stack([network(x[rows]), network(x[rows])], dim=2)
            loss(views, dict(zip(names, labels[:, rows], strict=True)), rows).backward()
            optimiser.step()
            losses.append(loss.summary()[0].loss)
    network.eval()
    with torch.no_grad():
        projections = network(x[held_out])
        judge = MSConLoss(names, temperature=TEMPERATURE)
        judge(projections, dict(zip(names, labels[:, held_out], strict=True)))
        exact = Exact(1)
        exact.fit_to(LabelledProjections(projections[:1], labels[:1, held_out], held_out), [TEMPERATURE])
        return {
            # Where it comes to rest, the mean loss, see `Uncertainty`: in so few steps it is still on its way there.
            "sigma": float(np.mean(losses[-(len(losses) // EPOCHS) :])),
            "excess": judge.summary()[0].relative_excess,
            "exact": float(exact.curve[0].min()) / math.log(classes),
            "exact_sigma": float(exact.log_variance[0].exp()),
            "sincere": sincere(projections[0], labels[0, held_out]),
        }


def out_of_fold(
    space: np.ndarray, near: np.ndarray, fold: np.ndarray, codes: np.ndarray, classes: int
) -> dict[str, Callable[[], float]]:
    """Estimates for the first of some columns that need no training."""
    targets = [
        ProbeTarget(str(number), [f"{code:02d}" for code in column.tolist()], None, True, None)
        for number, column in enumerate(codes)
    ]
    alone, inputs = with_products(space), inputs_of(space, others(targets[0], targets))

    def share(inputs: np.ndarray) -> float:
        return float(issues_of(targets[0], Material(inputs, near, fold)).influence.mean())

    @functools.cache
    def probabilities() -> np.ndarray:
        return class_probabilities(alone, codes[0], classes, fold)

    return {
        "doubt": lambda: share(inputs),
        "alone": lambda: share(alone),
        "joint": lambda: 1 - float(np.trace(estimate_joint(codes[0], probabilities()))),
        "agreement": lambda: float((probabilities().argmax(axis=1) != codes[0]).mean()),
    }


def measured(data: Data, seed: int) -> list[Measurement]:
    space, groups = space_of(data.features), groups_of(data.features, data.groups)
    near, fold = neighbours_of(space, groups), folds_of(groups)
    right = {name: codes_of(cells)[0] for name, cells in data.columns.items()}
    measurements = []
    for column in data.judged:
        codes, classes = right[column], int(right[column].max()) + 1
        clean = class_probabilities(with_products(space), codes, classes, fold)
        beside = [cells for name, cells in right.items() if name != column]
        for how, rate in [(how, rate) for how, rates in ERRORS.items() for rate in rates]:
            if how == "confusable" and classes == 2:
                continue  # each class is the other's only one
            labels = np.stack([planted(codes, how, min(rate, 1 - 1 / classes), clean, seed), *beside])
            estimates, seconds = dict[str, float](), dict[str, float]()
            for name, estimate in out_of_fold(space, near, fold, labels, classes).items():
                began = time.process_time()
                estimates[name] = estimate()
                seconds[name] = time.process_time() - began
            began = time.process_time()
            estimates |= of_training(space, labels, classes, seed)
            seconds["training"] = time.process_time() - began
            wrong = float((labels[0] != codes).mean())
            measurements.append(Measurement(f"{data.name}, {column}", classes, how, wrong, estimates, seconds))
            shown = {name: round(value, 3) for name, value in estimates.items()}
            print(data.name, column, how, rate, shown, {k: round(v, 1) for k, v in seconds.items()}, flush=True)
    return measurements


def within(measurements: Sequence[Measurement], name: str) -> str:
    """The rank correlation of estimates with the rates in each column, the mean over columns."""
    ranks = []
    for column in dict.fromkeys(m.column for m in measurements):
        some = [m for m in measurements if m.column == column]
        ranks.append(spearmanr([m.rate for m in some], [m.estimates[name] for m in some]).statistic)
    return f"{np.mean(ranks):.2f}"


def transferred(measurements: Sequence[Measurement], name: str) -> float:
    """Mean error in points of rates that are read off a monotone curve, which was fitted to the other columns."""
    errors = []
    for column in dict.fromkeys(m.column for m in measurements):
        known, new = ([m for m in measurements if (m.column == column) == is_new] for is_new in (False, True))
        curve = IsotonicRegression(out_of_bounds="clip")
        curve.fit([m.estimates[name] for m in known], [m.rate for m in known])
        errors += list(np.abs(curve.predict([m.estimates[name] for m in new]) - [m.rate for m in new]))
    return 100 * float(np.mean(errors))


def page(measurements: Sequence[Measurement], command: str, seeds: int) -> str:
    columns = list(dict.fromkeys((m.column, m.classes) for m in measurements))
    lines = [
        "# Estimators of the noise of a column",
        "",
        f"`{command}`, {counted(seeds, 'seed')}. {machine()}.",
        "",
        "Estimates for 0, 20, 40 and 60 % of symmetric errors (0, 20, 40 and 50 % of two classes), means over seeds:",
        "",
        f"| column (classes) | {' | '.join(NAMES.values())} |",
        f"|---|{'---|' * len(NAMES)}",
    ]
    for column, classes in columns:
        some = [m for m in measurements if m.column == column and m.how == "symmetric"]
        rates = dict.fromkeys(m.rate for m in some)
        means = {
            name: [np.mean([m.estimates[name] for m in some if m.rate == rate]) for rate in rates] for name in NAMES
        }
        cells = [", ".join(f"{mean:.2f}" for mean in means[name]) for name in NAMES]
        lines.append(f"| {column} ({classes}) | {' | '.join(cells)} |")
    kinds = {"none": [m for m in measurements if not m.rate]}
    kinds |= {how: [m for m in measurements if m.rate and m.how == how] for how in ERRORS}
    lines += [
        "",
        "Rank correlation with the rate of symmetric errors, in each column (mean over columns) and over all columns",
        "together; and error in points, mean over columns, rates and seeds, of estimates that are shares. “On the",
        "scale of other columns”: the error for symmetric errors of a rate that is read off an isotonic regression on",
        "all other columns, which is small if one scale holds for all numbers of classes.",
        "",
        f"| estimator | rank correlation in a column | over columns | error: {' | '.join(kinds)} | "
        "on the scale of other columns |",
        f"|---|---|---|{'---|' * len(kinds)}---|",
    ]
    symmetric = [m for m in measurements if m.how == "symmetric"]
    for name, title in NAMES.items():
        over = spearmanr([m.rate for m in symmetric], [m.estimates[name] for m in symmetric]).statistic
        errors = [
            f"{100 * np.mean([abs(m.estimates[name] - m.rate) for m in some]):.1f}" if name in IS_SHARE else ""
            for some in kinds.values()
        ]
        cells = [title, within(symmetric, name), f"{over:.2f}", *errors, f"{transferred(symmetric, name):.1f}"]
        lines.append(f"| {' | '.join(cells)} |")
    seconds = {key: np.mean([m.seconds[key] for m in measurements]) for key in measurements[0].seconds}
    spent = ", ".join(f"{NAMES.get(key, key)} {value:.1f}" for key, value in seconds.items())
    return "\n".join([*lines, "", f"CPU seconds for one column: {spent}. {NOTE}", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", nargs="+", metavar="NAME=RUN:COLUMNS[:WITNESSES]")
    parser.add_argument("--rows", type=int, default=3_000)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--write", action="store_true")
    arguments = parser.parse_args()
    tables = [Data.read(data, arguments.rows, None) for data in arguments.data]
    measurements: list[Measurement] = []
    for number, seed in enumerate(arguments.seeds, start=1):
        for data in tables:
            measurements += measured(data, seed)
        command = f"benchmarks/noise.py --rows {arguments.rows}"
        text = page(measurements, command, number)
        if arguments.write:
            atomic.write_text(RESULTS, text)
    print(text)


if __name__ == "__main__":
    main()
