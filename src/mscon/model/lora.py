"""LoRA: low-rank adapters learn in place of the weights of linear layers, and are merged into them afterwards."""

from __future__ import annotations

import importlib.util

import torch
from torch import Tensor, nn

from mscon.errors import RecipeError


def add_adapters(encoder: nn.Module, rank: int, name: str) -> None:
    """From now on adapters of the encoder's linear layers learn, and nothing else of it.

    An adapter adds B A x to W x, with A [rank, inputs] drawn by chance and B [outputs, rank] of zeros, so that at first
    nothing changes.

    Args:
        encoder: is changed.
        rank: of the adapters, at least 1.
        name: of the encoder, for messages.

    Raises:
        RecipeError: if the extra `lora` is not installed, or the encoder has no linear layer.

    Source: Hu et al. 2021, "LoRA: Low-Rank Adaptation of Large Language Models", https://arxiv.org/abs/2106.09685,
        with alpha = rank, by Hugging Face's peft.
    """
    if importlib.util.find_spec("peft") is None:
        raise RecipeError(
            "[encoder] lora needs a package that is not installed: peft.\n"
            '  Install it with `pip install "mscon[lora]"`, or set lora = 0.'
        )
    # Subclasses are left out: what uses them may read their weights and never call them.
    linear = [path for path, module in encoder.named_modules() if type(module) is nn.Linear]
    if not linear:
        raise RecipeError(
            f"[encoder] lora puts LoRA adapters on linear layers, but '{name}' has none. Take a vision transformer, or "
            "for vectors 'mlp'; or set lora = 0."
        )
    import peft

    peft.inject_adapter_in_model(peft.LoraConfig(r=rank, lora_alpha=rank, target_modules=linear), encoder)


def merged_state(module: nn.Module) -> dict[str, Tensor]:
    """The state of a module as it would be without adapters, with what they have learnt in the weights."""
    from peft.tuners.lora import Linear

    state = dict(module.state_dict())
    for path, layer in module.named_modules():
        if isinstance(layer, Linear):
            tensors = {key: state.pop(key) for key in [*state] if key.startswith(f"{path}.")}
            base = f"{path}.base_layer."
            state |= {f"{path}.{key.removeprefix(base)}": v for key, v in tensors.items() if key.startswith(base)}
            with torch.no_grad():
                state[f"{path}.weight"] = state[f"{path}.weight"] + layer.get_delta_weight("default")
    return state
