"""Optimiser: which parameter learns how fast, decays or not, and how the rate changes over the steps."""

from __future__ import annotations

from typing import Any

from torch import nn
from torch.optim import SGD, AdamW, Optimizer
from torch.optim.lr_scheduler import ConstantLR, CosineAnnealingLR, LRScheduler, OneCycleLR

from mscon.errors import RecipeError
from mscon.run.recipe import Train


def parameter_groups(
    model: nn.Module, objective: nn.Module, weighting: nn.Module, settings: Train
) -> list[dict[str, Any]]:
    """Three groups, empty ones left out: decayed, not decayed, the weighting's. With `layer_decay`, two a layer.

    Matrices and filters decay. Biases, norms, and tokens or positions that a backbone names in
    `no_weight_decay` do not. The log-variances of a learned weighting have a learning rate of their
    own and no decay, which would draw every weight to 1.

    Raises:
        RecipeError: if layers are to learn at different rates, but it is not known which layers there are.
    """
    spared, pace = _spared(model), _pace(model, settings.layer_decay)
    decayed: dict[float, list[nn.Parameter]] = {}
    free: dict[float, list[nn.Parameter]] = {}
    for module in (model, objective):
        for name, parameter in module.named_parameters():
            if parameter.requires_grad:
                is_matrix = parameter.dim() >= 2 and name.rpartition(".")[2] != "bias" and id(parameter) not in spared
                (decayed if is_matrix else free).setdefault(pace.get(id(parameter), 1.0), []).append(parameter)
    groups: list[dict[str, Any]] = [
        {"params": params, "lr": settings.learning_rate * scale, "weight_decay": decay}
        for of_pace, decay in ((decayed, settings.weight_decay), (free, 0.0))
        for scale, params in of_pace.items()
    ]
    if learned := [p for p in weighting.parameters() if p.requires_grad]:
        groups.append({"params": learned, "lr": settings.weighting_learning_rate, "weight_decay": 0.0})
    # Where nothing learns (train.epochs = 0, or weights that an objective alone would have), torch still wants a group.
    return groups or [{"params": [], "lr": settings.learning_rate, "weight_decay": 0.0}]


def _pace(model: nn.Module, layer_decay: float) -> dict[int, float]:
    """Of each encoder parameter, by identity, how many times the learning rate it learns at; empty for all alike."""
    if layer_decay == 1:
        return {}
    backbones = [m for m in model.modules() if hasattr(m, "group_matcher")]
    if not backbones:
        raise RecipeError(
            f"[train] layer_decay is {layer_decay:g}, but only encoders of timm say which layers they have. Take one "
            "of those, or set layer_decay = 1."
        )
    import timm.optim

    groups = timm.optim.param_groups_layer_decay(backbones[0], layer_decay=layer_decay)
    return {id(parameter): group["lr_scale"] for group in groups for parameter in group["params"]}


def _spared(model: nn.Module) -> set[int]:
    """Parameters that a backbone of timm wants free of decay, by identity."""
    identities = set()
    for module in model.modules():
        names = getattr(module, "no_weight_decay", None)
        if callable(names):
            parameters = dict(module.named_parameters())
            identities |= {id(parameters[name]) for name in names() if name in parameters}
    return identities


def build(
    model: nn.Module, objective: nn.Module, weighting: nn.Module, settings: Train, steps: int
) -> tuple[Optimizer, LRScheduler]:
    """Optimiser and schedule; call both `step` once a step, the optimiser first.

    Args:
        steps: of the whole training, at least 1. one_cycle and cosine end there.

    Raises:
        ValueError: if there is no step to take.
    """
    if steps < 1:
        raise ValueError(f"steps must be at least 1, got {steps}.")
    groups = parameter_groups(model, objective, weighting, settings)
    optimiser: Optimizer
    # One pass over parameter, gradient and momentum: a step is bound by memory.
    is_fused = all(p.device.type in ("cpu", "cuda") for g in groups for p in g["params"])
    if settings.optimiser == "adamw":
        optimiser = AdamW(groups, fused=is_fused)
    else:
        optimiser = SGD(groups, momentum=settings.momentum, fused=is_fused)
    return optimiser, _schedule(optimiser, settings, steps)


def _schedule(optimiser: Optimizer, settings: Train, steps: int) -> LRScheduler:
    if settings.schedule == "one_cycle":
        # torch's cycle also moves the momentum. AdamW's first beta may; SGD's is what the recipe says.
        rates = [group["lr"] for group in optimiser.param_groups]
        return OneCycleLR(optimiser, rates, total_steps=steps, cycle_momentum=settings.optimiser == "adamw")
    if settings.schedule == "cosine":
        return CosineAnnealingLR(optimiser, steps)
    return ConstantLR(optimiser, factor=1.0, total_iters=0)
