"""Training: all that an epoch needs, put together, and what it does with one batch."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64, Shaped
from lightning_fabric import Fabric
from torch import Tensor, nn
from torch.optim.lr_scheduler import LRScheduler

from mscon.data.batches.dataset import Batch, Dataset
from mscon.data.batches.sampler import Sampler, part_of
from mscon.data.batches.triplet_dataset import TripletDataset
from mscon.data.inputs.augment_vectors import Marginals, corrupt
from mscon.data.inputs.views import Part, augment
from mscon.run.recipe import Recipe, Views
from mscon.train.gather import average_gradients, processes
from mscon.train.grad_cache import cached_backward
from mscon.train.module import Method
from mscon.train.step import MakeView, Measured

# As MakeView, with how to draw, and the part of the batch that the inputs are.
DrawView = Callable[[Tensor, Views, Part], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """All that an epoch needs, put together.

    Attributes:
        recipe: with every "auto" resolved.
        dataset: rows of all splits, or triplets of them.
        method: the modules that learn.
        shell: the same, wrapped by Fabric for device and precision; this one is called.
        optimiser: torch's, wrapped by Fabric.
        schedule: of the learning rates, per step.
        fabric: device and precision.
        sampler: forms the batches of every epoch.
        marginals: the values that views of vectors draw from; None where inputs are images.
    """

    recipe: Recipe
    dataset: Dataset | TripletDataset
    method: Method
    shell: nn.Module
    optimiser: torch.optim.Optimizer
    schedule: LRScheduler
    fabric: Fabric
    sampler: Sampler
    marginals: Marginals | None = None

    @property
    def steps_an_epoch(self) -> int:
        return len(self.sampler)

    def view_maker(self, seed: int) -> DrawView:
        """Random views that follow from the seed and the place in the batch, drawn on the device."""
        generator = torch.Generator(self.fabric.device).manual_seed(seed)
        layout = torch.channels_last if self.recipe.train.channels_last == "yes" else torch.contiguous_format

        def draw_view(
            inputs: Shaped[Tensor, "rows ..."], views: Views, part: Part | None = None
        ) -> Float[Tensor, "rows ..."]:
            if self.marginals is not None:
                share, noise = views.corrupt, views.noise
                return corrupt(inputs, self.marginals, share=share, noise=noise, generator=generator, part=part)
            return augment(inputs, views, generator, part, memory_format=layout)

        return draw_view

    def measure(self, rows: Int64[Tensor, " rows"], draw_view: DrawView) -> Measured:
        """What the method says of some rows. Of several processes each encodes its part of them.

        Outside training a process that knows of no others has all of them to itself.
        """
        is_shared = self.method.training or self.method.candidates.world_size > 1
        batch, make_views = self._part(rows, draw_view, *(processes() if is_shared else (0, 1)))
        return Measured(**self.shell(batch.inputs, batch.codes, batch.rows, make_views))

    def learn(self, rows: Int64[Tensor, " rows"], draw_view: DrawView) -> Measured:
        """The same, and the gradient of it, and of all other processes', in every parameter."""
        mini_batch = self.recipe.train.mini_batch_size
        rank, world = processes()
        local = len(rows[part_of(len(rows), rank, world)]) * self.dataset.rows_each
        if mini_batch and local > mini_batch:
            measured = self._learn_cached(*self._part(rows, draw_view, rank, world), mini_batch)
        else:
            measured = self.measure(rows, draw_view)
            self.fabric.backward(measured.total)
        average_gradients(self.method.parameters())
        return measured

    def _part(
        self, rows: Int64[Tensor, " rows"], draw_view: DrawView, rank: int, world: int
    ) -> tuple[Batch, list[MakeView]]:
        """The rows of a batch that a process has, and how to draw each view that they have in the whole batch."""
        local, each = part_of(len(rows), rank, world), self.dataset.rows_each
        batch = self.dataset.batch(rows[local]).to(self.fabric.device)
        places = torch.arange(each * len(rows)).view(each, len(rows))[:, local].reshape(-1)
        part = Part(places, each * len(rows))

        def maker(views: Views) -> MakeView:
            return lambda inputs: draw_view(inputs, views, part)

        return batch, [maker(views) for views in self.recipe.drawn_views]

    def _learn_cached(self, batch: Batch, make_views: Sequence[MakeView], mini_batch: int) -> Measured:
        return cached_backward(
            self.method,
            batch.inputs,
            batch.codes,
            batch.rows,
            make_views=make_views,
            mini_batch_size=mini_batch,
            autocast=self.fabric.autocast,
        )
