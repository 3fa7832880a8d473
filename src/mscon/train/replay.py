"""Replay: the step at which a training broke down, taken again."""

from __future__ import annotations

from mscon.data.table.table import unit
from mscon.errors import RunError
from mscon.run.run import Run
from mscon.train import environment
from mscon.train.breakdown import CAPTURE, ON_GPU, Capture, diagnose
from mscon.train.frozen_features import frozen_features
from mscon.train.reopen import reopen


def replay(run: Run, *, accept_changes: bool = False) -> str:
    """Take the step again at which a training broke down, and say what of it is not finite, and in which rows.

    Rows, weights and states of random number generators are those of that step, so on the same machine its numbers
    are the same, bit for bit. A step of several processes is taken by one with the whole batch. Nothing is written.

    Args:
        run: its checkpoints hold one of name "breakdown".
        accept_changes: also where images or vectors have changed since training.

    Returns:
        A sentence.

    Raises:
        RunError: if the run holds no such step, or inputs have changed; see also `Run.need_trust`.
        TableError: if an image cannot be read any more.
    """
    recipe = run.read_recipe()
    if not run.has_checkpoint(CAPTURE):
        raise RunError(f"run '{run.root}' has no captured step: its training has not broken down.")
    capture = Capture.of_checkpoint(*run.read_checkpoint(CAPTURE))
    device = environment.device_type()
    if (ON_GPU in capture.generators) != (device == "cuda"):
        of = "with" if ON_GPU in capture.generators else "without"
        raise RunError(f"the step that run '{run.root}' holds was taken {of} a GPU, so it can be repeated only there.")
    with environment.repeatable(recipe.train.seed, device):
        training, root, name, _, _ = reopen(run, recipe, device, accept_changes)
        training.method.load_state_dict(dict(capture.weights))
        if (frozen := frozen_features(training, run.read_rows(), root, name)) is not None:
            training = frozen.training_on(training, run.read_rows(), name, progress=False)
        words = diagnose(training, capture, unit(name))
    where = f"epoch {capture.epoch}, step {capture.step}"
    return f"{where}: {words}." if words else f"{where}: every number is finite here, so another machine computed it."
