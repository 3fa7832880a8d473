"""Epochs: the training of a run, each epoch with its log, its validation and its checkpoint."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Iterator
from dataclasses import replace

from mscon.data.batches.training_length import training_length
from mscon.data.table.table import unit
from mscon.errors import OthersStopped, RunError, TableError, is_out_of_memory, numbered
from mscon.model.collapse import collapse
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train.breakdown import CAPTURE, Capture, NotFinite, broken_down, diagnose, need_finite_state
from mscon.train.checkpoint import Position, save_best, save_last, within_epoch
from mscon.train.gather import processes
from mscon.train.grad_cache import has_batch_norm
from mscon.train.keep import finish, records
from mscon.train.log import LEGEND, Log, TrainingProgress
from mscon.train.loop import Training, train_epoch, validate
from mscon.train.pauses import Pauses
from mscon.train.sign_watch import SignWatch
from mscon.train.torchrun import leave

# Rows by whose features a collapse is noticed; with fewer than 3 nothing is said.
_LOOKED_AT = 256


def is_first() -> bool:
    """Whether this process writes files and prints: of several only one does."""
    return processes()[0] == 0


def train(run: Run, training: Training, position: Position, show: bool) -> Run:
    """The epochs that are left, each with its log, its validation and its checkpoint.

    Returns:
        The run, where it is in the end: one that replaces another moves after its first checkpoint.
    """
    settings, to = training.recipe.train, training.recipe.log.to
    steps = training.steps_an_epoch
    with TrainingProgress(settings.epochs, settings.epochs * steps, shown=show and is_first()) as progress:
        if not position.epoch:
            for sentence in training_length(settings, training.recipe.sampler, steps):
                progress.say(sentence)
        if settings.epochs:
            progress.say(LEGEND)
        world = processes()[1]
        if world > 1 and has_batch_norm(training.method.model):
            progress.say(
                f"note: batch normalisation uses the rows of one process at a time ({world} parts of a batch), so the "
                "gradient differs a little from that of the whole batch."
            )
        if settings.mini_batch_size and has_batch_norm(training.method.model):
            progress.say(
                f"note: batch normalisation uses {settings.mini_batch_size} rows at a time, not {settings.batch_size} "
                "(train.mini_batch_size), so the gradient differs a little from that of the whole batch."
            )
        # Other loggers keep files open in the run, so they begin once it is where it stays.
        records = Log(run, () if run.is_next else to, progress.say, position.step) if is_first() else None
        watch = SignWatch(run.read_log() if is_first() else (), position.epoch)
        pauses = Pauses(settings.checkpoint_minutes, training.fabric.device)
        training.within.is_pause = pauses.is_due
        try:
            if not settings.epochs:
                _save_start(run, training)
                run = run.take_place()
            with pauses:
                while position.epoch < settings.epochs:
                    position = _epoch(run, training, position, progress, records, watch)
                    pauses.saved()
                    if run.is_next:
                        run = run.take_place()
                        records = Log(run, to, progress.say)
                        for record in run.read_log():
                            records.copy(record)
                    pauses.end_if_requested()
            training.dataset.inputs[[]]  # checks once more that a file of vectors has not changed
        except KeyboardInterrupt:
            advice = f"`mscon resume {run.root}` continues after {_place(position, steps)}"
            if run.is_next:
                advice = f"the run in '{run.root.parent}' is unchanged"
            progress.say(f"stopped in epoch {position.epoch + 1} of {settings.epochs}; {advice}.")
            raise
        except (RunError, TableError, RuntimeError, MemoryError) as error:
            if is_out_of_memory(error):
                error = _out_of_memory(training.recipe, error)
            elif not isinstance(error, RunError | TableError):
                raise
            if isinstance(error, NotFinite) and error.capture is not None:
                error = _captured(run, training, error, error.capture)
            state = f"keeps its checkpoint of {_place(position, steps)}" if position.step else "has no checkpoint yet"
            state = f"'{run.root.parent}' is unchanged" if run.is_next else f"'{run.root}' {state}"
            raise type(error)(f"{error}\n  Run {state}.") from error
        finally:
            if records is not None:
                records.close()
    if is_first():
        for sentence in (*finish(run, training), *_collapse(training)):
            if show:
                print(sentence, file=sys.stderr)
        write_trained(run, training.recipe, position)
    leave()
    return run


def _out_of_memory(recipe: Recipe, error: BaseException) -> RunError:
    """The error for memory that ran out, with the settings that need it."""
    settings, reason = recipe.train, str(error).strip().partition("\n")[0][:200] or "no reason was given"
    smaller = max(1, (settings.mini_batch_size or settings.batch_size) // 4)
    advice = [f"train.mini_batch_size = {smaller}, which needs less and computes the same gradient but for batch norms"]
    advice.append(f"a smaller train.batch_size (it is {settings.batch_size})")
    if recipe.data.input == "image":
        advice.append(f"a smaller data.image_size (it is {recipe.data.image_size})")
    if recipe.candidates.memory_size:
        advice.append(f"a smaller candidates.memory_size (it is {recipe.candidates.memory_size})")
    return RunError(f"out of memory while training ({reason}).\n  Try {'; '.join(advice)}.")


def _collapse(training: Training) -> Iterator[str]:
    """A sentence if training has made the features of all rows nearly the same."""
    rows = training.dataset.indices("train")
    if training.recipe.train.epochs and (
        sentence := collapse(training.embed(rows[:: -(-len(rows) // _LOOKED_AT)])[0].numpy())
    ):
        yield sentence


def _captured(run: Run, training: Training, error: NotFinite, capture: Capture) -> RunError:
    """Keep the step that broke down in the run, and name the rows that are at fault."""
    if not is_first() and training.recipe.candidates.gather_across_devices:  # all find it out, and the first tells
        return OthersStopped(str(error))
    table = run.read_facts()["table"]["name"] if is_first() else ""
    path = run.root / f"checkpoints/{CAPTURE}.safetensors"
    advice = ""
    if is_first() and not run.is_next:  # what was to replace another run goes
        with contextlib.suppress(OSError):
            run.write_checkpoint(CAPTURE, *capture.to_checkpoint())
            advice = f"\n  This step is kept in '{path}'; `mscon replay {run.root}` takes it again."
    if processes()[1] > 1:
        lines = numbered(unit(table), sorted({*training.lines_of(capture.rows)}))
        return RunError(f"{error}\n  Rows of the batch: {lines}.{advice}")
    words = diagnose(training, capture, unit(table))
    return RunError(f"{broken_down(training, capture.epoch, capture.step, words) if words else error}{advice}")


def _save_start(run: Run, training: Training) -> None:
    """Checkpoints of the weights as they are, where no epoch will write any."""
    need_finite_state(training, 0, 0)
    if is_first():
        if training.recipe.train.checkpoint == "best":
            save_best(run, training, Position())
        save_last(run, training, Position())


def _place(position: Position, steps: int) -> str:
    """How far a run has come, whose epochs have so many steps."""
    within = position.step - position.epoch * steps
    return f"step {within:,} of {steps:,} of epoch {position.epoch + 1}" if within else f"epoch {position.epoch}"


def _epoch(
    run: Run,
    training: Training,
    position: Position,
    progress: TrainingProgress,
    records: Log | None,
    watch: SignWatch,
) -> Position:
    """The next epoch, or what is left of it, up to its end or a pause; then a checkpoint."""
    start = time.monotonic()
    epoch, within = position.epoch + 1, training.within
    begin = position.step - within.steps
    for record in train_epoch(training, epoch, position.step):
        if records is not None:
            records.append(record)
            watch.add(record)
        if record["kind"] == "step":
            progress.show(record)
            within.compared |= {column for column, loss in record["loss"].items() if loss is not None}
        elif record.get("left_over") and epoch == 1:
            rows, left = training.sampler.indices.numel(), record["left_over"]
            progress.say(
                f"note: {left:,} of {rows:,} rows are left over in this epoch, since no balanced batch can hold them "
                "([sampler]). Other epochs may leave over others; 'left_over' in the log counts them."
            )
    step = begin + (within.steps or training.steps_an_epoch)
    need_finite_state(training, epoch, step)
    if within.steps:
        position = replace(position, step=step, seconds=position.seconds + time.monotonic() - start)
        state = within_epoch(training)
        if is_first():
            save_last(run, training, position, state)
        return position
    compared = frozenset(within.compared)
    within.compared.clear()
    validation = None
    settings = training.recipe.train
    if epoch % settings.validate_every == 0 or epoch == settings.epochs:
        validation = validate(training, epoch, step)
    seconds = position.seconds + time.monotonic() - start
    position = replace(position, epoch=epoch, step=step, seconds=seconds)
    if validation is not None:
        if records is not None:
            records.append(validation)
            watch.add(validation)
        merit = validation["merit"]
        if position.best_epoch is None or (merit is not None and (position.best is None or merit > position.best)):
            position = replace(position, best=merit, best_epoch=epoch)
            if is_first():
                save_best(run, training, position)
    if records is not None:
        for sign in watch.look(training, epoch, step, compared):
            records.append(sign)
            progress.say(f"warning: {sign['sentence']}")
    if is_first():
        save_last(run, training, position)
    progress.end_epoch(epoch, validation)
    return position


def write_trained(run: Run, recipe: Recipe, position: Position) -> None:
    trained = {"epochs": position.epoch, "steps": position.step, "seconds": round(position.seconds, 2)}
    keep = {"keep": records(run)} if recipe.keep.interpolates else {}
    run.write_facts({**run.read_facts(), "trained": {**trained, "best_epoch": position.best_epoch}, **keep})


def seconds_a_step(training: Training) -> float:
    """Of a second step on the first batch: the first also loads libraries."""
    batch = next(batch for batch in training.sampler.epoch(1).batches if batch.numel())
    seconds = 0.0
    for step in (1, 2):
        start = time.monotonic()
        try:
            training.learn(batch, training.view_maker(training.recipe.train.seed))
        except ValueError as error:  # a loss that refuses vectors which are not finite
            raise broken_down(training, 1, step, f"the loss could not be computed: {error}") from error
        training.optimiser.step()
        training.optimiser.zero_grad()
        seconds = time.monotonic() - start
    return seconds
