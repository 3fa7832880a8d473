"""The loss in a training step that torch.compile compiles: the same numbers, and few breaks of the graph."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mscon import MSConLoss
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.continuous import Continuous

LABELS = {"make": torch.arange(24) % 3, "price": torch.arange(24.0)}


def step(encoder: nn.Module, criterion: MSConLoss, inputs: torch.Tensor) -> torch.Tensor:
    features = encoder(inputs).relu()
    return criterion(torch.stack([features, 2 * features + 1]), LABELS) + 0.01 * features.square().mean()


@pytest.mark.filterwarnings("ignore")  # those of the compiler
@pytest.mark.usefixtures("as_users_run_it")
@pytest.mark.parametrize("memory_size", [0, 30])
def test_a_compiled_step_breaks_at_the_loss_only_and_learns_the_same(memory_size):
    torch.manual_seed(0)
    encoder, inputs = nn.Linear(5, 8), torch.randn(24, 5)
    plain, compiled, explained = (
        MSConLoss([Categorical("make"), Continuous("price", width=5)], memory_size=memory_size) for _ in range(3)
    )
    torch._dynamo.reset()
    explanation = torch._dynamo.explain(step)(encoder, explained, inputs)
    assert 1 <= explanation.graph_break_count <= 3
    assert explanation.graph_count == explanation.graph_break_count + 1
    torch._dynamo.reset()
    fast = torch.compile(step, backend="aot_eager")
    for _ in range(2):
        expected, total = step(encoder, plain, inputs), fast(encoder, compiled, inputs)
        torch.testing.assert_close(total, expected)
        gradients = [torch.autograd.grad(value, encoder.parameters()) for value in (total, expected)]
        torch.testing.assert_close(*gradients)
    assert [s.loss for s in compiled.summary()] == pytest.approx([s.loss for s in plain.summary()])
    with pytest.raises(ValueError, match="not finite"):
        fast(encoder, compiled, inputs * torch.nan)
