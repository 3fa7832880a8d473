"""Loop: epochs of steps over the training rows, and what the validation rows say after each.

It yields records and moves parameters; it writes no file.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import torch
from jaxtyping import Float, Int64, Shaped
from lightning_fabric import Fabric
from torch import Tensor
from torch.optim.lr_scheduler import LRScheduler

from mscon.data.batches.dataset import Batch, Dataset
from mscon.data.batches.sampler import Sampler, epoch_batches, part_of
from mscon.data.batches.triplet_dataset import TripletDataset, rows_of
from mscon.data.inputs.augment_vectors import Marginals, corrupt
from mscon.data.inputs.stored_views import StoredViews
from mscon.data.inputs.views import Part, augment
from mscon.run.recipe import Recipe, Views
from mscon.train.average import MovingAverage
from mscon.train.breakdown import Moment, broken_down, is_finite, need_finite
from mscon.train.gather import average_gradients, average_running_means, processes
from mscon.train.grad_cache import cached_backward
from mscon.train.log import Record, is_by_accuracy, means_of, step_record
from mscon.train.module import TrainingModule
from mscon.train.step import MakeView, Measured
from mscon.train.weighting_fit import fit_weighting
from mscon.train.within_epoch import WithinEpoch, derived_seed

# Steps summed up in a record of the log. Reading a number back makes a GPU wait for it.
LOG_EVERY = 10

# As MakeView, with how to draw, the part of the batch that the inputs are, the numbers of the rows, and which of the
# views of a row that are drawn so it is.
DrawView = Callable[[Tensor, Views, Part, Tensor, int], Tensor]


@dataclass(frozen=True, slots=True, eq=False)
class Training:
    """All that an epoch needs, put together.

    Attributes:
        recipe: with every "auto" resolved.
        dataset: rows of all splits, or triplets of them.
        method: the modules that learn.
        optimiser: torch's.
        schedule: of the learning rates, per step.
        fabric: device and precision.
        sampler: forms the batches of every epoch.
        marginals: the values that views of vectors draw from; None where inputs are images.
        average: of the weights over the steps, which is validated and handed on; None for the weights as they are.
        within: where an epoch in progress stands.
    """

    recipe: Recipe
    dataset: Dataset | TripletDataset
    method: TrainingModule
    optimiser: torch.optim.Optimizer
    schedule: LRScheduler
    fabric: Fabric
    sampler: Sampler
    marginals: Marginals | None = None
    average: MovingAverage | None = None
    within: WithinEpoch = field(default_factory=WithinEpoch)

    @property
    def steps_an_epoch(self) -> int:
        return len(self.sampler)

    def of_epoch(self, epoch: int) -> Training:
        """The same, with the labels that are used in an epoch; see `Dataset.drawn`."""
        if isinstance(self.dataset, TripletDataset):
            return self
        dataset = self.dataset.drawn(derived_seed(self.recipe.train.seed, epoch, "labels"))
        return self if dataset is self.dataset else replace(self, dataset=dataset)

    def lines_of(self, numbers: Int64[Tensor, " numbers"]) -> list[int]:
        """Of each input of a batch, the line of its row in the table."""
        rows = self.dataset.batch(numbers).rows
        return rows_of(self.dataset).rows.get_column("line").gather(rows.tolist()).to_list()

    def epoch_views(self, epoch: int, generator: torch.Generator | None = None) -> DrawView:
        """The views of training rows in an epoch."""
        return self.view_maker(derived_seed(self.recipe.train.seed, epoch, "views"), generator)

    def view_maker(self, seed: int, generator: torch.Generator | None = None) -> DrawView:
        """Random views that follow from the seed and the place in the batch, drawn on the device.

        Of stored views those that follow from the seed and the row.

        Args:
            seed: of all views.
            generator: draws them as it stands, on the device of the training; None for one that follows from the seed.
        """
        stored = self.dataset.inputs
        if isinstance(stored, StoredViews):
            orders = stored.orders(seed)
            return lambda _, views, part, rows, number: stored.draw(rows, views, number, orders)
        generator = generator or torch.Generator(self.fabric.device).manual_seed(seed)
        layout = torch.channels_last if self.recipe.train.channels_last == "yes" else torch.contiguous_format

        def draw_view(
            inputs: Shaped[Tensor, "rows ..."], views: Views, part: Part | None = None, *_: object
        ) -> Float[Tensor, "rows ..."]:
            if self.marginals is not None:
                share, noise = views.corrupt, views.noise
                return corrupt(inputs, self.marginals, share=share, noise=noise, generator=generator, part=part)
            return augment(inputs, views, generator, part, size=self.recipe.data.image_size, memory_format=layout)

        return draw_view

    def measure(self, rows: Int64[Tensor, " rows"], draw_view: DrawView) -> Measured:
        """What the method says of some rows. Of several processes each encodes its part of them.

        Outside training a process that knows of no others has all of them to itself.
        """
        is_shared = self.method.training or self.method.candidates.world_size > 1
        batch, make_views = self._part(rows, draw_view, *(processes() if is_shared else (0, 1)))
        # Not by Fabric's wrapper of a module, which rounds labels and vectors to bfloat16 as well.
        with self.fabric.autocast():
            measured: Measured = self.method(batch.inputs, batch.codes, batch.rows, make_views)
        return measured

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

    @torch.no_grad()
    def embed(
        self, rows: Int64[Tensor, " rows"]
    ) -> tuple[Float[Tensor, "samples width"], Float[Tensor, "similarities samples dim"]]:
        """Features and projections of one view of each row, three rows for each triplet, encoded as after training.

        As many at a time as in a step. Leaves the method in evaluation mode.
        """
        draw_view = self.view_maker(derived_seed(self.recipe.train.seed, 0, "features"))
        with self.average.in_use() if self.average is not None else contextlib.nullcontext():
            self.method.eval()
            parts, train, model = [], self.recipe.train, self.method.model
            samples = train.mini_batch_size or train.batch_size * self.dataset.rows_each
            for numbers in rows.split(max(1, samples // self.dataset.rows_each)):
                batch, make_views = self._part(numbers, draw_view, 0, 1)
                features = model.encoder(make_views[0](batch.inputs))
                parts.append((features.float().cpu(), model.heads(features).float().cpu()))
        return torch.cat([features for features, _ in parts]), torch.cat([p for _, p in parts], dim=1)

    def _part(
        self, rows: Int64[Tensor, " rows"], draw_view: DrawView, rank: int, world: int
    ) -> tuple[Batch, list[MakeView]]:
        """The rows of a batch that a process has, and how to draw each view that they have in the whole batch."""
        local, each = part_of(len(rows), rank, world), self.dataset.rows_each
        batch = self.dataset.batch(rows[local]).to(self.fabric.device)
        places = torch.arange(each * len(rows)).view(each, len(rows))[:, local].reshape(-1)
        part = Part(places, each * len(rows))

        def maker(views: Views, number: int) -> MakeView:
            return lambda inputs: draw_view(inputs, views, part, batch.rows, number)

        drawn = self.recipe.drawn_views
        return batch, [maker(views, drawn[:n].count(views)) for n, views in enumerate(drawn)]

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


def train_epoch(training: Training, epoch: int, step: int) -> Iterator[Record]:
    """Train for one epoch, or for what is left of it, up to a pause if `training.within` says so.

    All that is random in it follows from the recipe's seed and the number of the epoch, so an epoch
    may begin anew, or in another process, and do the same.

    Args:
        training: is changed. It may stand within the epoch.
        epoch: its number, from 1.
        step: how many steps were taken before, in all epochs.

    Yields:
        A record for every `LOG_EVERY` steps, and for those left at the end. Before them, where batches are balanced,
        one of kind "sampler" with the number of rows that are left over.

    Raises:
        NotFinite: if a loss or a gradient is not finite, before the step is applied.
    """
    settings, training = training.recipe.train, training.of_epoch(epoch)
    within, window = training.within, training.within.window
    views = within.begin(settings.seed, epoch, training.fabric.device)
    make_view = training.epoch_views(epoch, views)
    training.method.train()
    rows = training.sampler.epoch(epoch)
    last = max((number for number, batch in enumerate(rows.batches) if batch.numel()), default=0)
    if training.sampler.floors is not None and not within.steps:
        yield {"kind": "sampler", "epoch": epoch, "step": step + 1, "left_over": rows.left_over.numel()}

    for batch in rows.batches[within.steps :]:
        step, within.steps = step + 1, within.steps + 1
        if not batch.numel():  # a balanced batch for which no rows were left: a step in which nothing is learnt
            training.schedule.step()
            continue
        rate = training.optimiser.param_groups[0]["lr"]
        moment = Moment.of(training.method, views)
        try:
            measured = training.learn(batch, make_view)
        except ValueError as error:  # a loss that refuses vectors which are not finite
            capture = moment.capture(training.method, epoch, step, batch)
            raise broken_down(training, epoch, step, f"the loss could not be computed: {error}", capture) from error
        if not is_finite(measured, training.method.parameters()):
            capture = moment.capture(training.method, epoch, step, batch)
            raise broken_down(training, epoch, step, "a loss or a gradient is not finite", capture)
        training.optimiser.step()
        with torch.no_grad():
            training.method.objective.after_step()
        if training.average is not None:
            training.average.update()
        training.optimiser.zero_grad()
        training.schedule.step()
        window.append(replace(measured, total=measured.total.detach()))
        if len(window) == LOG_EVERY:
            yield step_record(window, training.recipe.columns, epoch, step, rate)
            window.clear()
        if within.steps <= last and within.is_pause(not window):
            return
    if window:
        yield step_record(window, training.recipe.columns, epoch, step, rate)
    average_running_means(training.method.model)
    average_running_means(training.method.weighting)
    if training.average is not None:
        training.average.agree()
    within.end()


@torch.no_grad()
def validate(training: Training, epoch: int, step: int) -> Record | None:
    """What the validation rows say; None if there are none.

    Batches and views are the same in every epoch, so that differences come from the network. Nothing
    moves: neither running means of the network nor of the weighting; only a weighting that looks at
    validation rows learns from them, at the end.

    Returns:
        A record with means over the batches; "merit" in it says how good a checkpoint is, more is
        better: the mean accuracy where all objectives have one, else minus the mean relative
        excess. None where no similarity has a pair.
    """
    rows = training.dataset.indices("validation")
    if not rows.numel():
        return None
    settings = training.recipe.train
    make_view = training.view_maker(derived_seed(settings.seed, 0, "validation"))
    batches = list(epoch_batches(rows, settings.batch_size, settings.seed, 0, drop_last=False))
    with training.average.in_use() if training.average is not None else contextlib.nullcontext():
        training.method.eval()
        measured = [training.measure(batch, make_view) for batch in batches]
    means = means_of(measured, torch.tensor([float(len(batch)) for batch in batches]))
    names = training.recipe.columns
    need_finite(training, measured, epoch, step, "validation ")
    if samples := [m.samples for m in measured if m.samples is not None]:
        fit_weighting(training.method.weighting, training.method.objective, samples)
    record = {
        "kind": "validation",
        "epoch": epoch,
        "step": step,
        **{key: dict(zip(names, values, strict=True)) for key, values in means.items() if key != "weight"},
    }
    by = "accuracy" if is_by_accuracy(record) else "relative_excess"
    present = [v for v in means[by] if v is not None]
    merit = sum(present) / len(present) if present else None
    return {**record, "merit": merit if merit is None or by == "accuracy" else -merit}
