"""Weights file: tensors by name from a file on this machine, and a backbone that starts from them."""

from __future__ import annotations

import pickle
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from mscon.errors import RecipeError, counted, first_few

# Under which training scripts store the weights among other things.
_WITHIN = ("state_dict", "model_state_dict", "model", "teacher", "module")

# Beginnings of names that wrappers put before those of the network.
_PREFIXES = ("module.", "_orig_mod.", "model.", "backbone.", "encoder.", "visual.")


def read_weights(file: str) -> dict[str, Tensor]:
    """The tensors of a .safetensors file, or of one that `torch.save` wrote. Nothing in it is executed.

    Raises:
        RecipeError: if it is not there, damaged, or holds anything but tensors.
    """
    path, what = Path(file), f"[encoder] weights: '{file}'"
    if not path.is_file():
        raise RecipeError(f"{what} does not exist (relative to the current folder).")
    try:
        if path.suffix.lower() == ".safetensors":
            from safetensors.torch import load_file

            content: Any = load_file(path)
        else:
            # weights_only admits tensors and plain containers, so that nothing in the file can execute.
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise RecipeError(
            f"{what} holds more than tensors, or is no file of weights. Objects are not read, since they could run "
            "code; write the tensors alone: safetensors.torch.save_file(model.state_dict(), path)."
        ) from None
    except Exception as error:  # of safetensors, zipfile, struct, the disk
        reason = str(error).strip().partition("\n")[0]
        raise RecipeError(f"{what} cannot be read: {reason}") from None
    while isinstance(content, Mapping) and (name := next((name for name in _WITHIN if name in content), None)):
        content = content[name]
    tensors = {str(k): v for k, v in content.items() if isinstance(v, Tensor)} if isinstance(content, Mapping) else {}
    if not tensors:
        raise RecipeError(f"{what} holds no tensors by name.")
    return tensors


def converted(tensors: dict[str, Tensor], backbone: nn.Module, channels: int) -> dict[str, Tensor]:
    """Tensors under the names, and in the shapes, of a model of timm, which knows those of its publisher.

    Position embeddings are resized, and filters for colour summed for grey images; of other networks nothing changes.

    Raises:
        RecipeError: if they are of another model.
    """
    convert = getattr(sys.modules[type(backbone).__module__], "checkpoint_filter_fn", None)
    first = (getattr(backbone, "pretrained_cfg", None) or {}).get("first_conv")
    try:
        tensors = tensors if convert is None else convert(tensors, backbone)
        if isinstance(first, str) and (name := f"{first}.weight") in tensors and channels != tensors[name].shape[1]:
            from timm.models import adapt_input_conv

            tensors = {**tensors, name: adapt_input_conv(channels, tensors[name])}
    except Exception as error:  # of a function of timm that expects another model's tensors
        raise RecipeError(
            f"[encoder] weights: the file is not of the model '{type(backbone).__name__}': {error!r}."
        ) from None
    return tensors


def load_weights(backbone: nn.Module, tensors: Mapping[str, Tensor], file: str) -> None:
    """Give a backbone the tensors of its names, whatever wrapper's name stands before all of them.

    Tensors that the backbone does not have, such as those of a classifier, are left out.

    Raises:
        RecipeError: if one is missing, or has another shape, and which.
    """
    expected = backbone.state_dict()
    bare = max(_unwrapped(tensors), key=lambda names: len(expected.keys() & names.keys()))
    faults = [f"'{name}' is not there" for name in expected if name not in bare]
    faults += [
        f"'{name}' has shape {list(bare[name].shape)} there, {list(tensor.shape)} here"
        for name, tensor in expected.items()
        if name in bare and bare[name].shape != tensor.shape
    ]
    if faults:
        raise RecipeError(
            f"[encoder] weights: '{file}' does not fit the encoder, in {counted(len(faults), 'tensor')} of "
            f"{len(expected):,}: {first_few(faults, 3)}.\n  Names there: {first_few(list(tensors), 3)}."
        )
    backbone.load_state_dict({name: bare[name] for name in expected})


def _unwrapped(tensors: Mapping[str, Tensor]) -> list[dict[str, Tensor]]:
    """The tensors by their names, and by these without what stands before all, or before those of one part."""
    ways = [dict(tensors)]
    for way in ways:  # those that are added are gone through too: "module.backbone."
        for prefix in _PREFIXES:
            inner = {name.removeprefix(prefix): value for name, value in way.items() if name.startswith(prefix)}
            ways += [inner] if inner else []
    return ways
