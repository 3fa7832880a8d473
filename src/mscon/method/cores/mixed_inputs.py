"""M3CoL: one input of a row mixed with that of another row, and compared with the other inputs of both."""

from __future__ import annotations

import torch
from jaxtyping import Float, Int
from torch import Tensor

from mscon.method.cores.clip import Targets, Vectors, clip
from mscon.method.cores.info_nce import info_nce
from mscon.method.cores.pair_logits import pair_logits

Shares = Float[Tensor, " rows"]


def mixing_shares(rows: int, *, beta: float = 0.15, mixed: float = 0.5) -> tuple[Int[Tensor, " rows"], Shares]:
    """A partner for each row, and the share of the row's own input, drawn by torch.

    Args:
        rows: how many.
        beta: both parameters of the Beta distribution that shares of mixed rows come from, > 0.
        mixed: probability that a row is mixed; others have share 1.
    """
    own_share = torch.distributions.Beta(beta, beta).sample((rows,))
    return torch.randperm(rows), torch.where(torch.rand(rows) <= mixed, own_share, 1.0)


def mix(inputs: Float[Tensor, "rows ..."], partners: Int[Tensor, " rows"], shares: Shares) -> Float[Tensor, "rows ..."]:
    """share * input + (1 - share) * input of the partner, of each row."""
    if not inputs.is_floating_point():
        raise ValueError(f"inputs must be floating-point numbers to be mixed, got {inputs.dtype}.")
    weights = shares.to(inputs).view(-1, *[1] * (inputs.ndim - 1))
    return weights * inputs + (1 - weights) * inputs[partners]


def mixed_targets(partners: Int[Tensor, " rows"], shares: Shares) -> Targets:
    """How much the other input of row j belongs to the mixed input of row i: each row adds up to 1.

    In the authors' code a row that is its own partner loses its own share; here both are added.
    """
    return torch.diag(shares).index_put(
        (torch.arange(len(shares), device=shares.device), partners), 1 - shares, accumulate=True
    )


def m3col(
    mixed: Vectors,
    others: Vectors,
    partners: Int[Tensor, " rows"],
    shares: Shares,
    *,
    temperature: float | Tensor = 0.1,
) -> Float[Tensor, " rows"]:
    """CLIP's loss whose targets are `mixed_targets`; the authors use it for the first third of the epochs.

    Args:
        mixed: projections of the inputs that `mix` made.
        others: those of the other input of each row, as it is.
        partners, shares: as `mix` had them.
        temperature: divides cosines, > 0.

    Source: Kumar et al. 2024, "Harnessing Shared Relations via Multimodal Mixup Contrastive Learning",
        https://arxiv.org/abs/2409.17777, and https://github.com/RaghavSinghal10/M3CoL. They add a tenth of it to
        cross-entropies of three classifiers.
    """
    return clip(mixed, others, temperature=temperature, targets=mixed_targets(partners, shares).to(others))


def soft_clip(first: Vectors, second: Vectors, *, temperature: float = 0.125) -> Float[Tensor, " rows"]:
    """CLIP's loss whose targets are how near the second inputs are to one another: M3CoL's last two thirds.

    The targets are softmax(second @ second.T / temperature) in both directions, with a gradient, as in the authors'
    code.
    """
    targets = pair_logits(second, second, temperature).values.softmax(dim=1)
    ways = ((first, second), (second, first))
    there, back = (info_nce(a, b, temperature=temperature, positives=targets) for a, b in ways)
    return (there + back) / 2
