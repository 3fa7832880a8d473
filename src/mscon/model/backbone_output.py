"""Backbone output: what networks of several libraries return, as one feature vector a row."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

# Entries of a mapping that are features, the first that is there: CLIP and SigLIP of Hugging Face, its other models,
# DINOv2's class token, open_clip.
FEATURE_NAMES = ("image_embeds", "pooler_output", "x_norm_clstoken", "image_features", "features", "pooled")


def features_of(output: Any, inputs: Tensor) -> Tensor:
    """The features [rows, width] in what a backbone returned, in the precision of its inputs, or of autocast.

    A tensor of another shape is returned as it is; `feature_width` refuses it.

    Args:
        output: a tensor; or a mapping (dict, ModelOutput) or tuple that holds one: as `FEATURE_NAMES` names it, else
            the only one with two axes; of a tuple the first with two axes. Further axes of length 1 are dropped.
        inputs: what the backbone got.

    Raises:
        ValueError: if there is no such tensor, with what there is.
    """
    features = _tensor_of(output)
    if features.dim() > 2 and features.shape[2:].numel() == 1:
        features = features.flatten(1)
    # What autocast computes in bfloat16 goes on in it; float16 is a choice of the backbone's own.
    if features.dtype == torch.bfloat16 and torch.is_autocast_enabled(inputs.device.type):
        return features
    return features.to(inputs.dtype)


def _tensor_of(output: Any) -> Tensor:
    if isinstance(output, Tensor):
        return output
    if isinstance(output, Mapping):
        named = {str(name): value for name, value in output.items() if isinstance(value, Tensor)}
        for name in FEATURE_NAMES:
            if name in named:
                return named[name]
        vectors = [value for value in named.values() if value.dim() == 2]
        if len(vectors) == 1:
            return vectors[0]
    elif isinstance(output, tuple | list):
        named = {str(number): value for number, value in enumerate(output) if isinstance(value, Tensor)}
        if vectors := [value for value in named.values() if value.dim() == 2]:
            return vectors[0]
    else:
        raise ValueError(f"it returns {type(output).__name__}, not a tensor of features.")
    tensors = ", ".join(f"{name} {list(value.shape)}" for name, value in named.items()) or "no tensor"
    raise ValueError(
        f"it returns {type(output).__name__} with {tensors}, of which none is known to be one feature vector a row. "
        "Return that tensor alone, or name it 'features'."
    )
