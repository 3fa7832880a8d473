"""Layers: pooled outputs of the intermediate layers of an encoder of images, to be probed like its features."""

from __future__ import annotations

from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mscon.model.encoder import Encoder


def layer_features(
    encoder: Encoder, images: Float[Tensor, "samples channels height width"]
) -> dict[str, Float[Tensor, "samples layer_width"]]:
    """The output of each layer, averaged over the image, by the layer's name, first to last.

    Of models of timm the stages or blocks that `forward_intermediates` gives; of others the modules one after another,
    those of containers one by one, as far as they give a vector or a map for each image.

    Args:
        encoder: in evaluation mode.
        images: in [0, 1].
    """
    prepared = (images - encoder.mean) / encoder.std
    backbone: Any = encoder.backbone
    if hasattr(backbone, "forward_intermediates"):
        outputs = backbone.forward_intermediates(prepared, intermediates_only=True, output_fmt="NCHW")
        names = [str(info["module"]) for info in list(backbone.feature_info)]
        if len(names) != len(outputs):
            names = [f"layer {number}" for number in range(len(outputs))]
        return {name: output.mean(dim=(2, 3)) for name, output in zip(names, outputs, strict=True)}
    pooled: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _, __, output, name=name: pooled.update(_pooled(name, output, len(images))))
        for name, module in _modules(backbone)
    ]
    try:
        backbone(prepared)
    finally:
        for hook in hooks:
            hook.remove()
    return pooled


def _modules(module: nn.Module, prefix: str = "") -> list[tuple[str, nn.Module]]:
    """Children by name, those of containers in their place."""
    children: list[tuple[str, nn.Module]] = []
    for name, child in module.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList) and not prefix.count("."):
            children += _modules(child, f"{prefix}{name}.") or [(f"{prefix}{name}", child)]
        else:
            children.append((f"{prefix}{name}", child))
    return children


def _pooled(name: str, output: object, samples: int) -> dict[str, Tensor]:
    """Channels averaged over places; empty for what is no vector or map of each image."""
    if not isinstance(output, Tensor) or not 2 <= output.dim() <= 4 or len(output) != samples:
        return {}
    places = {2: (), 3: (1,), 4: (2, 3)}[output.dim()]
    return {name: output.mean(dim=places) if places else output}


@torch.inference_mode()
def layer_widths(encoder: Encoder, channels: int, image_size: int) -> dict[str, int]:
    """The width of each layer of `layer_features`, first to last, measured on two empty images."""
    encoder.eval()
    outputs = layer_features(encoder, torch.zeros(2, channels, image_size, image_size))
    return {name: output.shape[1] for name, output in outputs.items()}
