"""Gates of AutoTCL: between 0 and 1, their straight-through gradient, and the loss of their network."""

from __future__ import annotations

import math

import pytest
import torch

from mscon.method.cores.view_gate import augmenter_loss, gated_view, hard_concrete

F64 = torch.float64


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=F64)


def test_gates_by_loops():
    logits, noise = 3 * drawn(2, 5, 1), drawn(2, 5, 1, seed=1).sigmoid()
    soft = hard_concrete(logits, noise=noise, temperature=0.7, binary=False)
    for at, gate in enumerate(soft.flatten().tolist()):
        logit, u = logits.flatten()[at].item(), noise.flatten()[at].item()
        stretched = 1.05 / (1 + math.exp(-(logit + math.log(u / (1 - u))) / 0.7)) - 0.05
        assert gate == pytest.approx(min(1.0, max(0.0, stretched)))
    rounded = hard_concrete(logits, noise=noise, temperature=0.7)
    torch.testing.assert_close(rounded, (soft > 0.5).to(F64))


def test_far_logits_close_and_open_a_gate():
    logits = torch.tensor([[[-20.0], [20.0]]], dtype=F64)
    noise = torch.tensor([[[1.0], [0.0]]], dtype=F64)  # the most extreme there is
    assert hard_concrete(logits, noise=noise).flatten().tolist() == [0.0, 1.0]
    assert hard_concrete(logits, binary=False).flatten().tolist()[0] == 0.0


def test_a_rounded_gate_has_the_gradient_of_the_soft_one():
    logits = drawn(2, 4, 1).requires_grad_()
    gradients = [
        torch.autograd.grad((hard_concrete(logits, binary=binary) * drawn(2, 4, 1, seed=2)).sum(), logits)[0]
        for binary in (True, False)
    ]
    torch.testing.assert_close(*gradients)
    assert torch.autograd.gradcheck(lambda x: hard_concrete(x, binary=False), (logits,))


def test_more_noise_on_the_open_side_opens_more_gates():
    share = [
        float(hard_concrete(torch.full((1, 4000, 1), logit), noise=torch.rand(1, 4000, 1)).mean())
        for logit in (-2.0, 0.0, 2.0)
    ]
    assert share[0] < 0.2 < share[1] < 0.8 < share[2]


def test_a_view_is_cut_out_and_scaled():
    series = drawn(2, 3, 4)
    gate = torch.tensor([1.0, 0.0, 1.0], dtype=F64).view(1, 3, 1).expand(2, 3, 1)
    view = gated_view(series, gate.expand(2, 3, 4), torch.full((2, 3, 4), 0.5, dtype=F64))
    torch.testing.assert_close(view, torch.stack([series[:, 0] / 2, series[:, 1] * 0, series[:, 2] / 2], dim=1))


def test_the_loss_of_the_gates_by_loops():
    features, view, gate = drawn(3, 4), drawn(3, 4, seed=1), drawn(3, 5, 1, seed=2).sigmoid()
    loss = augmenter_loss(features, view, gate, share=0.3, openness=0.2, roughness=0.5)
    apart = sum((features[:, d].mean() - view[:, d].mean()).item() ** 2 for d in range(4))
    opened = max(gate.mean().item() - 0.3, 0)
    jumps = [abs((gate[row, t + 1] - gate[row, t]).item()) for row in range(3) for t in range(4)]
    assert loss.item() == pytest.approx(apart + 0.2 * opened + 0.5 * sum(jumps) / len(jumps))
    inputs = [value.requires_grad_() for value in (features, view, gate)]
    assert torch.autograd.gradcheck(lambda f, v, g: augmenter_loss(f, v, g, share=0.3), inputs)


def test_equal_features_and_a_constant_small_gate_cost_nothing():
    z = drawn(3, 4)
    assert augmenter_loss(z, z, torch.full((3, 1, 1), 0.25, dtype=F64)) == 0
