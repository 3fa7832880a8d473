"""What every way of computing a contrastive loss offers, and the one autograd Function around them all."""

from __future__ import annotations

from typing import Any, Literal, Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.method.kernels.lengths import across, divided
from mscon.method.kernels.precision import no_rounding
from mscon.method.pairs import Exchange

Denominator = Literal["all", "negatives"]
"""What an anchor's positives compete with: all known candidates, or those of weight 0 alone."""

Competitors = Literal["all", "negatives", "negatives_and_itself"]
"""The same, or the negatives and of the positives only the one whose share is computed (SINCERE)."""

Positives = Literal["outside", "inside"]
"""Where positives stand, outside or inside the logarithm (L_out, L_in); see `mscon.method.objectives.supcon`."""

Gradients = tuple[Float[Tensor, "similarities anchors dim"], Float[Tensor, "similarities candidates dim"] | None]


@runtime_checkable
class Kernel(Protocol):
    """A loss and its gradient for fixed pairs and temperatures. Holds no embedding and no state.

    Half-precision embeddings may come in; all sums, the losses and the gradients are float32 or
    wider. Candidates are None where the anchors are compared with one another.
    """

    def forward(
        self,
        anchors: Float[Tensor, "similarities anchors dim"],
        candidates: Float[Tensor, "similarities candidates dim"] | None,
    ) -> tuple[Float[Tensor, "similarities anchors"], tuple[Tensor, ...]]:
        """The losses, and the tensors that `backward` wants to see again."""

    def backward(
        self,
        anchors: Float[Tensor, "similarities anchors dim"],
        candidates: Float[Tensor, "similarities candidates dim"] | None,
        saved: tuple[Tensor, ...],
        grad: Float[Tensor, "similarities anchors"],
        *,
        wants_candidates: bool,
        exchange: Exchange | None = None,
    ) -> Gradients:
        """Gradients of sum(grad * losses). The first is that of both roles where candidates are None.

        With an `exchange` (see `LazyPairs`) the losses of all processes are meant, and the first is the whole
        gradient of the anchors here, as anchors and as candidates of everyone; the second is None.
        """


def evaluate(
    kernel: Kernel,
    anchors: Float[Tensor, "similarities anchors dim"],
    candidates: Float[Tensor, "similarities candidates dim"] | None,
    temperature: float | Float[Tensor, " similarities"],
    lengths: tuple[Tensor | None, Tensor | None] = (None, None),
    exchange: Exchange | None = None,
) -> Float[Tensor, "similarities anchors"]:
    """The losses by one kernel, with their gradient.

    Args:
        temperature: the one the kernel was built with; a tensor receives its gradient too.
        lengths: what anchors and candidates are to be divided by first: their own; None to take them as they are.
        exchange: see `LazyPairs`. Candidates then get no gradient. That of a temperature is this process's share:
            summed over processes it is right.
    """
    if exchange is not None and candidates is not None:
        candidates = candidates.detach()
    losses: Tensor = _Contrast.apply(anchors, candidates, temperature, kernel, *lengths, exchange)
    return losses


def wide(vectors: Tensor) -> Tensor:
    """Float32 or wider; a copy only where the vectors are narrower."""
    return vectors.to(torch.promote_types(vectors.dtype, torch.float32))


class _Contrast(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any,
        anchors: Tensor,
        candidates: Tensor | None,
        temperature: float | Tensor,
        kernel: Kernel,
        anchor_lengths: Tensor | None,
        candidate_lengths: Tensor | None,
        exchange: Exchange | None,
    ) -> Tensor:
        with no_rounding(anchors):
            c = None if candidates is None else divided(candidates, candidate_lengths)
            losses, saved = kernel.forward(divided(anchors, anchor_lengths), c)
        ctx.kernel, ctx.exchange = kernel, exchange
        t = temperature if isinstance(temperature, Tensor) else None
        ctx.save_for_backward(anchors, candidates, t, anchor_lengths, candidate_lengths, *saved)
        return losses

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        anchors, candidates, temperature, anchor_lengths, candidate_lengths, *saved = ctx.saved_tensors
        wants_candidates, wants_temperature = ctx.needs_input_grad[1:3]
        with torch.no_grad(), no_rounding(anchors):
            a, c = divided(anchors, anchor_lengths), None
            if candidates is not None:
                c = divided(candidates, candidate_lengths)
            of_a, of_c = ctx.kernel.backward(
                a, c, tuple(saved), grad.contiguous(), wants_candidates=wants_candidates, exchange=ctx.exchange
            )
            is_both = c is None or ctx.exchange is not None
            of_temperature = _of_temperature(a, of_a, is_both, temperature) if wants_temperature else None
            of_a = across(of_a, a, anchor_lengths).to(anchors.dtype)
            if c is not None and of_c is not None:
                of_c = across(of_c, c, candidate_lengths).to(candidates.dtype)
        gradients = (
            None if g is None else _differentiable_once(g, anchors, grad) for g in (of_a, of_c, of_temperature)
        )
        return *gradients, None, None, None, None


def _of_temperature(anchors: Tensor, of_anchors: Tensor, is_both: bool, temperature: Tensor) -> Tensor:
    """d loss / dt = - sum_ij G_ij s_ij / t with G the gradient to s = <a, c> / t: what <a, dl/da> adds up to.

    Twice that where dl/da is of both roles (`is_both`), since each pair is then met from either side.
    """
    total = (wide(anchors) * of_anchors).sum(dim=(1, 2)) / temperature.to(of_anchors.dtype)
    return -(total / 2 if is_both else total).to(temperature.dtype)


def _differentiable_once(gradient: Tensor, *sources: Tensor) -> Tensor:
    """The gradient; with words for whoever differentiates it again. `sources`: what it was computed from."""
    # Gradients are only recorded inside `backward` under create_graph=True.
    return _NoSecondDerivative.apply(gradient, *sources) if torch.is_grad_enabled() else gradient


class _NoSecondDerivative(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, gradient: Tensor, *sources: Tensor) -> Tensor:
        del sources  # arguments so that the graph leads from them through here
        return gradient.view_as(gradient)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Any:
        raise RuntimeError(
            "Contrastive losses of mscon have a gradient but no second derivative, and theirs was differentiated again "
            "(with create_graph=True, as gradient penalties and Hessians need). Write the loss out in torch for that: "
            "log_softmax over a small batch will do."
        )
