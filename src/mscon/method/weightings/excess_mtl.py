"""Weights by how far each similarity is from convergence, estimated from gradients."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from mscon.method.weightings.base import BatchLosses, Weighted, Weighting

# Beside sums of squared gradients, as in the authors' code.
_EPSILON = 1e-7


class ExcessMTL(Weighting):
    r"""ExcessMTL: weights that grow with the excess risk, which a noisy similarity loses once it has converged.

    The excess risk of a loss is what is left to gain, L - min L. With g its gradient and S the sum of g^2 over all
    steps so far, each step estimates it and multiplies the weight:

        E_c = sum_j g_cj^2 / sqrt(S_cj),    w_c <- w_c exp(step_size * E_c / E_c at first).

    Weights are scaled to a mean of 1 over the similarities that are present. The floor of a loss would not do in place
    of E_c: no network reaches it where labels are wrong, so noise would get all the weight.

    g is the derivative by a gain of each feature, because batch norm in the heads makes the derivative by a shift 0.
    An absent similarity stays where it is; the others move by how far they differ from their mean.

    Args:
        similarities: how many there are.
        step_size: of the weights, > 0; larger values follow the estimate faster. The authors' examples have 1.
        warm_up: steps before the weights move, at least 1; E at first is the mean over these.

    Source: He et al. 2024, "Robust Multi-Task Learning with Excess Risks", eq. 6, 7 and 9,
        https://arxiv.org/abs/2402.02009. Their gradient is that of all shared weights.
    """

    reads_gradients = True
    squares: Tensor
    initial: Tensor
    steps: Tensor
    log_weight: Tensor

    def __init__(self, similarities: int, step_size: float = 0.01, warm_up: int = 20) -> None:
        super().__init__()
        if not 0 < step_size <= 100:
            raise ValueError(f"step_size must be above 0 and at most 100, got {step_size}.")
        if warm_up < 1:
            raise ValueError(f"warm_up must be at least 1, got {warm_up}.")
        self.step_size, self.warm_up = step_size, warm_up
        self.register_buffer("squares", torch.zeros(similarities, 0))  # as wide as features, once there are some
        self.register_buffer("initial", torch.zeros(similarities))
        self.register_buffer("steps", torch.zeros(similarities, dtype=torch.int64))
        self.register_buffer("log_weight", torch.zeros(similarities))

    def forward(self, batch: BatchLosses) -> Weighted:
        present = batch.present
        if batch.gradients is not None:
            self._move(batch.gradients.gains.to(self.log_weight.dtype), present)
        weights = self.log_weight.masked_fill(~present, -torch.inf).softmax(dim=0) * present.sum()
        return Weighted.sum(weights, batch)

    @torch.no_grad()
    def _move(self, gains: Float[Tensor, "similarities features"], present: Bool[Tensor, " similarities"]) -> None:
        squares = gains.square().where(present[:, None], 0.0)
        self.squares = squares + self.squares if self.squares.numel() else squares
        excess = (squares / (self.squares + _EPSILON).sqrt()).sum(dim=1)
        is_first = present & (self.steps < self.warm_up)
        self.steps += present
        self.initial += (excess / self.warm_up).where(is_first, 0.0)
        moves = present & ~is_first
        step = (self.step_size * excess / self.initial.clamp_min(_EPSILON)).where(moves, 0.0)
        self.log_weight += (step - step.sum() / moves.sum().clamp_min(1)).where(moves, 0.0)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *rest: Any) -> None:
        if (saved := state_dict.get(f"{prefix}squares")) is not None:
            self.squares = torch.empty_like(saved, device=self.log_weight.device)
        super()._load_from_state_dict(state_dict, prefix, *rest)
