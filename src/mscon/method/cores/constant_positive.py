"""cMIM: codes of different rows shall be apart, measured against a positive that is always as near as can be."""

from __future__ import annotations

import math

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.method.cores.pair_logits import pair_logits
from mscon.method.template import Terms, template_losses, with_constant_positive


def cmim_term(codes: Float[Tensor, "rows dim"], *, temperature: float = 0.1) -> Float[Tensor, " rows"]:
    """The contrastive term of cMIM, which needs neither views nor labels.

    loss_i = log( exp(1 / temperature) + mean_{j != i} exp(s_ij / temperature) ) - 1 / temperature, with s cosines: the
    positive of a code is the code itself. A mean and no sum stands over the others, so the size of a batch matters
    little. It is log 2 if all codes coincide.

    Args:
        codes: of an encoder; of any length, scaled to unit length here.
        temperature: divides cosines, > 0.

    Returns:
        A loss per row; 0 for a row alone.

    Source: Livne 2025, https://arxiv.org/abs/2502.19642 and https://arxiv.org/abs/2509.21511. Unconfirmed: neither code
        nor full text could be read, so the formula is reconstructed from abstract and reviews. The bound of the
        autoencoder that it is added to needs a decoder, and is not here.
    """
    logits, rows = pair_logits(codes, codes, temperature), len(codes)
    is_self = torch.eye(rows, dtype=torch.bool, device=codes.device)
    among_others = torch.full_like(logits.values, -math.log(max(rows - 1, 1))).masked_fill(is_self, -torch.inf)
    terms = Terms(torch.zeros_like(logits.values), among_others, itself=1.0)
    return template_losses(*with_constant_positive(logits, terms)).loss
