"""Masked heads: one embedding, of which every similarity sees its own part."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from tests.reference import csn_penalty_loops

from mscon.model.heads.identity import Identity
from mscon.model.heads.masks import Masks
from mscon.model.heads.mlp import MLP
from mscon.run.recipe import Train
from mscon.train.optimiser import parameter_groups


def make(kind: str = "learned", similarities: int = 3, dim: int = 7, seed: int = 0, **settings: object) -> Masks:
    torch.manual_seed(seed)
    return Masks(similarities, 5, dim, masks=kind, **settings).double()


def features(samples: int = 6, seed: int = 1) -> torch.Tensor:
    return torch.randn(samples, 5, dtype=torch.float64, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("kind", ["learned", "disjoint", "preinitialised"])
def test_a_projection_is_the_shared_embedding_times_the_mask_above_zero(kind):
    heads, x = make(kind), features()
    weight, bias, mask = (t.detach().numpy() for t in (heads.embedding.weight, heads.embedding.bias, heads.mask))
    actual = heads(x)
    assert actual.shape == (3, 6, 7)
    for c in range(3):
        for i in range(6):
            for d in range(7):
                embedded = sum(float(weight[d, k]) * float(x[i, k]) for k in range(5)) + float(bias[d])
                assert actual[c, i, d].item() == pytest.approx(embedded * max(0.0, float(mask[c, d])))


def test_disjoint_masks_share_no_dimension_and_are_not_learned():
    heads = make("disjoint")
    expected = [[1, 1, 0, 0, 0, 0, 0], [0, 0, 1, 1, 0, 0, 0], [0, 0, 0, 0, 1, 1, 0]]  # floor(7 / 3) each
    assert heads.shown.tolist() == expected
    assert {name for name, _ in heads.named_parameters()} == {"embedding.weight", "embedding.bias"}
    assert "mask" in heads.state_dict()


def test_preinitialised_masks_begin_with_their_own_block_and_a_tenth_of_the_rest():
    heads = make("preinitialised", similarities=2, dim=4)
    torch.testing.assert_close(heads.shown.detach(), torch.tensor([[1, 1, 0.1, 0.1], [0.1, 0.1, 1, 1]]).double())
    assert heads.mask.requires_grad


def test_learned_masks_are_drawn_around_nine_tenths():
    heads = make("learned", similarities=4, dim=5_000)
    assert heads.mask.mean().item() == pytest.approx(0.9, abs=0.02)
    assert heads.mask.std().item() == pytest.approx(0.7, abs=0.02)
    assert (heads.shown >= 0).all() and (heads.shown == 0).any()


@given(
    st.integers(1, 5), st.integers(1, 9), st.sampled_from(["learned", "disjoint", "preinitialised"]),
    st.floats(0, 2), st.floats(0, 2), st.booleans(), st.integers(0, 99),
)  # fmt: skip
def test_the_penalty_is_that_of_the_loops_for_every_similarity(c, samples, kind, first, second, squared, seed):
    norm = "squared" if squared else "root"
    heads = make(kind, c, 7, seed, embedding_penalty=first, embedding_norm=norm, mask_penalty=second)
    x = features(samples, seed)
    loops = csn_penalty_loops(heads.embedding(x).detach().numpy(), heads.mask.detach().numpy(), first, second, squared)
    assert heads.penalty(x).item() == pytest.approx(c * loops, abs=1e-12)


@pytest.mark.parametrize("norm", ["root", "squared"])
def test_gradients_of_penalty_and_projections_are_those_of_finite_differences(norm):
    heads = make(embedding_norm=norm, embedding_penalty=0.3, mask_penalty=0.2)
    heads.mask.data[heads.mask.abs() < 0.05] = 0.1  # away from the corner of the ReLU
    x = features().requires_grad_()
    names, values = zip(*heads.named_parameters(), strict=True)

    def total(x, *parameters):
        by_name = dict(zip(names, parameters, strict=True))
        penalty = torch.func.functional_call(Both(heads), {f"heads.{k}": v for k, v in by_name.items()}, (x,))
        return penalty

    assert torch.autograd.gradcheck(total, (x, *values))


class Both(torch.nn.Module):
    def __init__(self, heads: Masks) -> None:
        super().__init__()
        self.heads = heads

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return self.heads.penalty(x), self.heads(x)


def test_an_embedding_of_zeros_has_a_finite_gradient():
    heads = make()
    torch.nn.init.zeros_(heads.embedding.weight), torch.nn.init.zeros_(heads.embedding.bias)
    heads.penalty(features()).backward()
    assert all(p.grad is None or p.grad.isfinite().all() for p in heads.parameters())


def test_masks_do_not_decay():
    heads = make()
    groups = parameter_groups(heads, torch.nn.Identity(), torch.nn.Identity(), Train())
    decay = {id(p): group["weight_decay"] for group in groups for p in group["params"]}
    assert decay[id(heads.mask)] == 0
    assert decay[id(heads.embedding.weight)] > 0


@pytest.mark.parametrize("heads", [MLP(2, 5), Identity(2, 5)], ids=["mlp", "identity"])
def test_other_heads_add_nothing_and_show_nothing(heads):
    assert heads.penalty(features().float()).item() == 0
    assert heads.shown is None


def test_values_that_cannot_be_meant_are_refused():
    with pytest.raises(ValueError, match="at least the number of similarities 3, got 2"):
        Masks(3, 5, 2)
    for name in ("embedding_penalty", "mask_penalty"):
        for value in (-1.0, np.nan, np.inf):
            with pytest.raises(ValueError, match=name):
                Masks(3, 5, **{name: value})
