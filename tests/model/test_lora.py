from __future__ import annotations

import importlib.util

import pytest
import torch
from torch import nn

from mscon.errors import RecipeError
from mscon.model import lora
from mscon.model.lora import add_adapters, merged_state
from mscon.model.model import build_model
from mscon.run import recipe as recipes

needs_peft = pytest.mark.skipif(importlib.util.find_spec("peft") is None, reason="the extra 'lora' is not installed")
SIMILARITY = '[[similarity]]\ncolumn = "kind"\n'
VIT = ["encoder.name=vit_tiny_patch16_224", "data.image_size=32", "encoder.settings={depth=2}"]
MLP = ["data={input='vectors', vectors='v.npy'}", "encoder={name='mlp', settings={units=6, layers=2}}"]
LINEAR = ["data={input='vectors', vectors='v.npy'}", "encoder={name='linear', settings={units=6}}"]
CASES = [(VIT, None), (MLP, 5), (LINEAR, 5)]


def encoder_of(settings, dim):
    torch.manual_seed(0)
    return build_model(recipes.parse(SIMILARITY, settings), 1, dim).encoder


def inputs_of(dim):
    return torch.rand(4, 3, 32, 32) if dim is None else torch.randn(4, dim)


def with_random_adapters(encoder):
    add_adapters(encoder, 3, "any")
    generator = torch.Generator().manual_seed(1)
    for name, parameter in encoder.named_parameters():
        if "lora_B" in name:
            parameter.data.copy_(torch.randn(parameter.shape, generator=generator))
    return encoder.eval()


@needs_peft
@pytest.mark.parametrize(("settings", "dim"), CASES, ids=["transformer", "mlp", "linear"])
def test_at_first_they_change_nothing_and_they_alone_learn(settings, dim):
    encoder, inputs = encoder_of(settings, dim).eval(), inputs_of(dim)
    before = encoder(inputs)
    add_adapters(encoder, 3, "any")
    torch.testing.assert_close(encoder(inputs), before)
    learning = {name for name, p in encoder.named_parameters() if p.requires_grad}
    assert learning and all(".lora_" in name for name in learning)


@needs_peft
@pytest.mark.parametrize(("settings", "dim"), CASES, ids=["transformer", "mlp", "linear"])
def test_merged_they_compute_the_same_in_a_network_without_adapters(settings, dim):
    encoder, plain, inputs = (
        with_random_adapters(encoder_of(settings, dim)),
        encoder_of(settings, dim).eval(),
        inputs_of(dim),
    )
    before = plain(inputs)
    plain.load_state_dict(merged_state(encoder))
    torch.testing.assert_close(plain(inputs), encoder(inputs), rtol=1e-4, atol=1e-5)
    assert not torch.allclose(plain(inputs), before, atol=1e-2)


@needs_peft
def test_the_state_of_a_network_without_adapters_is_its_own():
    encoder = encoder_of(MLP, 5)
    state = merged_state(encoder)
    assert all(torch.equal(value, state[name]) for name, value in encoder.state_dict().items())


def test_a_network_without_linear_layers_is_one_message():
    with pytest.raises(RecipeError, match=r"adapters on linear layers, but 'small_cnn' has none"):
        encoder_of(["encoder.lora=2", "data.image_size=16"], None)
    # The output of torch's attention is of a subclass, whose weights it reads without calling it.
    with pytest.raises(RecipeError, match="'mine' has none"):
        add_adapters(nn.MultiheadAttention(8, 2), 2, "mine")


def test_without_peft_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(lora.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(RecipeError, match=r'peft.\n.*pip install "mscon\[lora\]"'):
        add_adapters(nn.Sequential(nn.Linear(2, 2)), 2, "mine")
