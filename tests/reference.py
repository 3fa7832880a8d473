"""The losses by slow loops, straight from the equations. Never imported by the package."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor


def supcon_loops(
    anchors: Float[np.ndarray, "anchors dim"],
    candidates: Float[np.ndarray, "candidates dim"],
    weight: Float[np.ndarray, "anchors candidates"],
    known: Bool[np.ndarray, "anchors candidates"],
    temperature: float,
    positives: str = "outside",
    denominator: str = "all",
) -> Float[np.ndarray, " anchors"]:
    """Khosla et al. 2020, eq. 2 (L_out) or 3 (L_in) with weights, one anchor at a time. 0 without a positive.

    Or Yeh et al. 2022, eq. 6: positives compete with the negatives alone, 0 without one of these; or SINCERE, each with
    the negatives and itself.
    """
    losses = []
    for i, anchor in enumerate(np.asarray(anchors, dtype=np.float64)):
        others = [j for j in range(len(candidates)) if known[i][j]]
        total = math.fsum(float(weight[i][j]) for j in others)
        competing = [j for j in others if denominator == "all" or weight[i][j] == 0]
        if total == 0 or not competing:
            losses.append(0.0)
            continue
        logits = {j: float(np.dot(anchor, candidates[j])) / temperature for j in others}
        highest = max(logits[j] for j in competing)
        log_sum = highest + math.log(math.fsum(math.exp(logits[j] - highest) for j in competing))
        log_probability = {j: s - log_sum for j, s in logits.items()}
        if denominator == "negatives_and_itself":
            log_probability = {j: -np.logaddexp(0, log_sum - s) for j, s in logits.items()}
        shares = {j: float(weight[i][j]) / total for j in others if weight[i][j] > 0}
        if positives == "outside":
            losses.append(-math.fsum(q * log_probability[j] for j, q in shares.items()))
        else:
            nearest = max(log_probability[j] for j in shares)
            losses.append(
                -nearest - math.log(math.fsum(q * math.exp(log_probability[j] - nearest) for j, q in shares.items()))
            )
    return np.array(losses)


def supcon_formula(
    anchors: Float[Tensor, "anchors dim"],
    candidates: Float[Tensor, "candidates dim"],
    weight: Float[Tensor, "anchors candidates"],
    known: Bool[Tensor, "anchors candidates"],
    temperature: float | Float[Tensor, ""] | Float[Tensor, "anchors candidates"],
    positives: str = "outside",
    denominator: str = "all",
) -> Float[Tensor, " anchors"]:
    """The same as torch operations on anchors that have a positive, for its gradient by autograd."""
    weight = torch.where(known, weight, 0.0).to(anchors.dtype)
    competing = known if denominator == "all" else known & (weight == 0)
    counted = (weight > 0).any(dim=1) & competing.any(dim=1)
    of_anchor = temperature[counted] if isinstance(temperature, Tensor) and temperature.dim() == 2 else temperature
    logits = torch.where(known[counted], anchors[counted] @ candidates.T / of_anchor, -torch.inf)
    among = torch.where(competing[counted], logits, -torch.inf)
    log_probability = logits - among.logsumexp(dim=1, keepdim=True)
    if denominator == "negatives_and_itself":
        log_probability = torch.nn.functional.logsigmoid(log_probability)
    share = weight[counted] / weight[counted].sum(dim=1, keepdim=True)
    if positives == "outside":
        some = -(share * torch.where(share > 0, log_probability, 0.0)).sum(dim=1)
    else:
        some = -torch.where(share > 0, log_probability + share.clamp_min(1e-300).log(), -torch.inf).logsumexp(dim=1)
    return anchors.new_zeros(len(anchors)).masked_scatter(counted, some)


def triplet_margin_loops(
    anchors: Float[np.ndarray, "anchors dim"],
    candidates: Float[np.ndarray, "candidates dim"],
    weight: Float[np.ndarray, "anchors candidates"],
    known: Bool[np.ndarray, "anchors candidates"],
    margin: float,
) -> Float[np.ndarray, " anchors"]:
    """Every known candidate against every one that is less alike, by how much less. 0 without a comparison."""
    losses = []
    for i, anchor in enumerate(anchors):
        others = [j for j in range(len(candidates)) if known[i][j]]
        distance = {j: math.dist(anchor, candidates[j]) for j in others}
        hinges = [
            (weight[i][j] - weight[i][k], max(0.0, distance[j] - distance[k] + margin))
            for j in others
            for k in others
            if weight[i][j] > weight[i][k]
        ]
        total = math.fsum(more for more, _ in hinges)
        losses.append(math.fsum(more * hinge for more, hinge in hinges) / total if hinges else 0.0)
    return np.array(losses)


def csn_loss_loops(
    anchor: Float[np.ndarray, "triplets dim"],
    near: Float[np.ndarray, "triplets dim"],
    far: Float[np.ndarray, "triplets dim"],
    margin: float,
) -> float:
    """Veit et al. 2017, the margin ranking loss of masked embeddings, a triplet at a time."""
    hinges = [max(0.0, math.dist(a, n) - math.dist(a, f) + margin) for a, n, f in zip(anchor, near, far, strict=True)]
    return math.fsum(hinges) / len(hinges)


def csn_accuracy_loops(
    anchor: Float[np.ndarray, "triplets dim"],
    near: Float[np.ndarray, "triplets dim"],
    far: Float[np.ndarray, "triplets dim"],
) -> float:
    """Share of triplets with the far one further than the near one."""
    return sum(math.dist(a, f) > math.dist(a, n) for a, n, f in zip(anchor, near, far, strict=True)) / len(anchor)


def csn_penalty_loops(
    embedded: Float[np.ndarray, "samples dim"],
    masks: Float[np.ndarray, "similarities dim"],
    of_embedding: float,
    of_masks: float,
    squared: bool,
) -> float:
    """The two norm penalties of Veit et al. 2017, once: |X|_F / sqrt(samples), and the mean L1 norm of a mask."""
    frobenius_squared = math.fsum(float(x) ** 2 for row in embedded for x in row)
    length = frobenius_squared / len(embedded) if squared else math.sqrt(frobenius_squared / len(embedded))
    l1 = math.fsum(max(0.0, float(m)) for row in masks for m in row) / len(masks)
    return of_embedding * length + of_masks * l1


def pseudo_likelihood_loops(
    unit: Float[np.ndarray, "samples dim"], classes: list[int], rows: list[int], temperature: float
) -> tuple[list[float], dict[str, np.ndarray]]:
    """MSCon eq. 5 normalised over classes, other rows only, one anchor at a time; and its mean's gradients.

    The gradients are the closed forms, not autograd's: of the unit vectors "vectors", of log temperature "log".
    """
    losses, vectors, of_log = [0.0] * len(unit), np.zeros_like(unit), 0.0
    counted = [
        i
        for i in range(len(unit))
        if classes[i] >= 0 and any(classes[j] == classes[i] and rows[j] != rows[i] for j in range(len(unit)))
    ]
    for i in counted:
        members = {
            k: [j for j in range(len(unit)) if classes[j] == k and rows[j] != rows[i]] for k in {*classes} - {-1}
        }
        members = {k: indices for k, indices in members.items() if indices}
        logits = {k: [float(unit[i] @ unit[j]) / temperature for j in indices] for k, indices in members.items()}
        s = {k: math.log(math.fsum(map(math.exp, z)) / len(z)) for k, z in logits.items()}
        total = math.fsum(map(math.exp, s.values()))
        losses[i] = math.log(total) - s[classes[i]]
        pi = {k: math.exp(s[k]) / total for k in s}  # of each class
        r = {k: [math.exp(v) / math.fsum(map(math.exp, z)) for v in z] for k, z in logits.items()}  # within a class
        m = {k: sum(q * unit[j] for q, j in zip(r[k], members[k], strict=True)) for k in s}
        expected = sum(pi[k] * m[k] for k in s)
        vectors[i] += (expected - m[classes[i]]) / temperature / len(counted)
        for k in s:
            for q, j in zip(r[k], members[k], strict=True):
                vectors[j] += unit[i] / temperature * q * (pi[k] - (k == classes[i])) / len(counted)
        of_log += float(unit[i] @ (m[classes[i]] - expected)) / temperature / len(counted)
    return losses, {"vectors": vectors, "log": np.array(of_log)}


def rank_n_contrast_loops(
    anchors: Float[Tensor, "anchors dim"],
    candidates: Float[Tensor, "candidates dim"],
    further: Bool[np.ndarray, "anchors candidates candidates"],
    included: Bool[np.ndarray, "anchors candidates"],
    temperature: float,
) -> Float[Tensor, " anchors"]:
    """Zha et al. 2023, eq. 1 and 2, a pair at a time, for its gradient by autograd too.

    Args:
        further: of anchor i, whether candidate k stands in the sum that j is compared with: no nearer than j.
        included: the pairs (i, j) that the mean is over.
    """
    losses = []
    for i, anchor in enumerate(anchors):
        s = [-(anchor - other).square().sum().sqrt() / temperature for other in candidates]
        terms = [
            torch.stack([s[k] for k in range(len(s)) if further[i][j][k]]).logsumexp(0) - s[j]
            for j in range(len(s))
            if included[i][j]
        ]
        losses.append(torch.stack(terms).mean() if terms else 0 * anchor.sum())
    return torch.stack(losses)


def himulcon_loops(
    unit: Float[np.ndarray, "samples dim"], paths: list[tuple[str, ...]], temperature: float, is_constrained: bool
) -> list[float]:
    """Zhang et al. 2022 with the penalties of their code, an anchor and a level at a time; the finest level is last.

    A path that ends early is not known below; rows of an empty path are in no sum.
    """
    levels = max(len(path) for path in paths)
    losses = []
    for i, anchor_path in enumerate(paths):
        total, finer = 0.0, 0.0
        for level in range(1, levels + 1):  # 1 the finest
            depth = levels - level + 1
            others = [j for j, path in enumerate(paths) if j != i and len(path) >= depth]
            alike = [j for j in others if paths[j][:depth] == anchor_path[:depth]]
            if len(anchor_path) < depth or not alike:
                continue
            s = {j: float(unit[i] @ unit[j]) / temperature for j in others}
            log_sum = math.log(math.fsum(math.exp(v) for v in s.values()))
            loss = math.fsum(log_sum - s[j] for j in alike) / len(alike)
            finer = max(finer, loss) if is_constrained else loss
            total += 2 ** (1 / level) * finer / levels
        losses.append(total)
    return losses


def template_loops(
    logits: Float[np.ndarray, "anchors candidates"],
    positives: Float[np.ndarray, "anchors candidates"],
    weights: Float[np.ndarray, "anchors candidates"],
    alikeness: Float[np.ndarray, "anchors candidates"] | None = None,
    *,
    itself: float = 0.0,
    ties: bool = False,
    logarithm: str = "outside",
    of_pair: Callable[[float, float], float] = lambda near, denominator: math.log(denominator) - near,
) -> Float[np.ndarray, " anchors"]:
    """The template of contrastive losses, pair by pair; positives that meet no competitor are left out."""
    losses = []
    for s, omega, w, alike in zip(
        logits, positives, weights, [None] * len(logits) if alikeness is None else alikeness, strict=True
    ):
        shares, terms = [], []
        for p in np.flatnonzero(omega):
            met = [
                a for a in np.flatnonzero(w) if alike is None or alike[a] < alike[p] or (ties and alike[a] == alike[p])
            ]
            if met:
                denominator = itself * math.exp(s[p]) + math.fsum(w[a] * math.exp(s[a]) for a in met)
                shares.append(omega[p])
                terms.append(of_pair(s[p], denominator))
        total = math.fsum(shares)
        if not shares:
            losses.append(0.0)
        elif logarithm == "outside":
            losses.append(math.fsum(o * t for o, t in zip(shares, terms, strict=True)) / total)
        else:
            losses.append(-math.log(math.fsum(o * math.exp(-t) for o, t in zip(shares, terms, strict=True)) / total))
    return np.array(losses)
