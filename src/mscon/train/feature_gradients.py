"""Feature gradients: how the mean loss of each similarity changes with the features, for weightings that read it."""

from __future__ import annotations

import torch
from jaxtyping import Float
from torch import Tensor

from mscon.method.weightings.base import BatchLosses, FeatureGradients
from mscon.train.gather import CandidateSource


def feature_gradients(
    batch: BatchLosses, features: Float[Tensor, "... features"] | None, candidates: CandidateSource
) -> FeatureGradients:
    """Gradients of the mean losses of a batch, over the samples of all processes.

    One backward pass for each similarity that is present, through its loss and head and not through the encoder. The
    graph is kept.

    Args:
        batch: whose losses have a graph back to the features.
        features: of the samples of this process, any dimensions before the last; they must require a gradient.
        candidates: of the step, which knows the other processes.

    Raises:
        ValueError: if there are no features.
    """
    if features is None:
        raise ValueError(
            "this weighting reads the gradients of the losses at the features, so it needs them: pass features=, the "
            "tensor that all projections were computed from."
        )
    wide = torch.promote_types(features.dtype, torch.float32)
    count, width = len(batch.loss), features.shape[-1]
    gradients = torch.zeros(count, features.numel(), dtype=wide, device=features.device)
    with torch.autocast(features.device.type, enabled=False):
        for number in batch.present.nonzero().squeeze(1).tolist():
            (gradient,) = torch.autograd.grad(
                batch.loss[number], features, retain_graph=True, allow_unused=True, materialize_grads=True
            )
            gradients[number] = gradient.reshape(-1)
        # A process's loss is so many times its part of the mean; see `measure`.
        gradients /= candidates.world_size
        gramian = gradients @ gradients.T
    of_features = (gradients * features.detach().reshape(-1)).reshape(count, features.numel() // width, width)
    return FeatureGradients(candidates.total(gramian), candidates.total(of_features.sum(dim=1)))
