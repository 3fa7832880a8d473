"""AutoTCL: a learned view of a time series, which a gate cuts out and a factor scales."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import relu

Gates = Float[Tensor, "rows steps channels"]

# The interval [-0.05, 1] that a gate is stretched to and then clipped, so that it is often exactly 0.
_LOWEST = -0.05
# Noise is drawn from [0.001, 0.999], as its logit must be finite.
_MARGIN = 0.001


def hard_concrete(logits: Gates, *, noise: Gates | None = None, temperature: float = 1.0, binary: bool = True) -> Gates:
    """Gates between 0 and 1, drawn so that a gradient reaches their logits.

    With u the noise: sigmoid((logits + log(u / (1 - u))) / temperature), stretched to [-0.05, 1] and clipped at 0.
    Binary gates are 1 where that is above 0.5, else 0, with its gradient (straight-through).

    Args:
        logits: of a gate to be open.
        noise: uniform between 0 and 1; None for none, as in evaluation.
        temperature: > 0; the lower, the nearer gates are to 0 and 1.
        binary: whether gates are rounded.

    Source: Louizos et al. 2018, https://arxiv.org/abs/1712.01312, as in AutoTCL, Zheng et al. 2024,
        https://arxiv.org/abs/2402.10434. Their code hands over sigmoids as logits, so that whatever is learned a gate
        is open with a probability between 0.48 and 0.71; here logits are any numbers.
    """
    if noise is not None:
        drawn = noise.clamp(_MARGIN, 1 - _MARGIN)
        logits = logits + drawn.logit()
    soft = (torch.sigmoid(logits / temperature) * (1 - _LOWEST) + _LOWEST).clamp_min(0)
    return soft + ((soft > 0.5).to(soft.dtype) - soft).detach() if binary else soft


def gated_view(series: Gates, gate: Gates, factor: Gates) -> Gates:
    """A view of a series: factor * gate * series, with one gate a step for all channels or one each."""
    return factor * gate * series


def augmenter_loss(
    features: Float[Tensor, "rows dim"],
    view_features: Float[Tensor, "rows dim"],
    gate: Gates,
    *,
    share: float = 0.4,
    openness: float = 0.001,
    roughness: float = 0.001,
) -> Float[Tensor, ""]:
    """What the network of the gates minimises, in turn with the encoder's own contrastive loss.

    |mean of features - mean of view features|^2 + openness * max(mean gate - share, 0)
    + roughness * mean |gate - gate of the next step|.

    Args:
        features, view_features: of the series and of their `gated_view`s, by an encoder that does not learn here.
        gate: before rounding, between 0 and 1.
        share: of the steps that may be open without a penalty.
        openness, roughness: weights of the penalties.

    Source: Zheng et al. 2024, https://arxiv.org/abs/2402.10434. Their code compares gates of random steps too, and
        rewards differences of some of them; here only those of neighbouring steps are penalised.
    """
    apart = (features.mean(dim=0) - view_features.mean(dim=0)).square().sum()
    jumps = (gate[:, 1:] - gate[:, :-1]).abs().mean() if gate.shape[1] > 1 else gate.new_zeros(())
    return apart + openness * relu(gate.mean() - share) + roughness * jumps
