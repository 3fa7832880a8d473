"""Fit: from a recipe and a table to a trained run; and from a run that was stopped to the same."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import datetime
from pathlib import Path

from mscon.data.batches.dataset import fit_similarities
from mscon.data.batches.training_length import training_length
from mscon.data.inputs.encoded_columns import resolve_encoded
from mscon.data.inputs.open import Vectors, fingerprints_of, images_root, open_inputs
from mscon.data.inputs.teachers import source_of, stored
from mscon.data.table import infer_kind
from mscon.data.table.rows import left_out, select_rows
from mscon.data.table.table import Table, unit
from mscon.errors import RecipeError
from mscon.run import folder, outputs
from mscon.run.layout import FACTS
from mscon.run.recipe import AUTO, Recipe
from mscon.run.run import Run
from mscon.train import assembly, environment, log
from mscon.train.checkpoint import Position, restore_last
from mscon.train.epochs import is_first, seconds_a_step, train, write_trained
from mscon.train.fit_arguments import recipe_and_table
from mscon.train.frozen_features import frozen_features
from mscon.train.gather import first_before_others, processes
from mscon.train.judged_labels import judged_labels, with_factors
from mscon.train.keep import check_keep, is_finished, write_start
from mscon.train.reopen import reopen
from mscon.train.requirements import check_recipe
from mscon.train.teachers import check_teachers, teachers_of
from mscon.train.torchrun import launch_of, leave, run_to_restart


def default_out(name: str) -> Path:
    """Where a run goes that is given no place: runs/NAME-DATE, below the current folder."""
    return Path("runs") / f"{name}-{datetime.now():%Y%m%d-%H%M%S}"


def fit(
    recipe: object,
    table: object,
    out: str | Path | None = None,
    *,
    numbers: Sequence[str] = (),
    categories: Sequence[str] = (),
    images: str | Path | None = None,
    overwrite: bool = False,
    progress: bool = True,
    dry_run: bool = False,
    protected: Sequence[Path] = (),
) -> Run | None:
    """Train an encoder and write a run directory.

        mscon.fit("shoes.csv", ["make", "price"])                                # encodes the images
        mscon.fit(frame, ["make", "price"], numbers=["height"], categories=["fuel"])  # encodes these columns
        mscon.fit(recipe, "shoes.csv", "runs/shoes")

    Everything is read, checked and built before the directory is created, so a mistake leaves nothing behind.

    Args:
        recipe: a Recipe; or a list of label columns, whose kinds are then inferred from their cells. Add "same_row" to
            the list to learn also from views of the same row. Without a recipe the encoder reads the columns in
            `numbers` and `categories`; else the images of the column `image`; else what `mscon.init` would choose:
            another column of images, vectors, texts, or all columns of numbers that are left.
        table: a path, a DataFrame, or the result of `mscon.read_table`. Recipe and table may come in either order.
        out: the run directory. It must not exist, or be empty, unless `overwrite` is set: then an existing run is
            replaced once the new one has its first checkpoint. Default: runs/TABLE-DATE. Processes that torchrun
            starts again (`--max-restarts`) continue the run that they began there, unless `overwrite` is set.
        numbers, categories: the columns that the encoder reads, with a list of label columns in place of a recipe;
            "*" for all columns of numbers, or all others, that are left.
        images: folder that image paths, or the file of vectors, are relative to. Default: the folder of the table.
        progress: show a bar, or one line per epoch, on standard error.
        dry_run: take two steps on the CPU and say how long all would take there, or none where train.epochs is 0;
            write nothing (except the cache of decoded images), return None.
        protected: more files that must not be lost: an existing run whose folder contains one is not replaced.

    Raises:
        TableError: for a mistake in the table or an image.
        RecipeError: for a mistake in the recipe.
        RunError: if the directory exists already; or if a loss was not finite, and then the run keeps the
            checkpoints of the epochs before.
        ValueError: if the first two arguments are not a table and a recipe or list of columns; if `numbers` or
            `categories` come with a Recipe, which names them itself.
    """
    recipe, table = recipe_and_table(recipe, table, numbers, categories)
    launch = launch_of(recipe, table)
    out = default_out(table.path.stem) if out is None else Path(out)
    images = None if images is None else Path(images)
    protected = [*protected, *_read_from(recipe, table, images)]
    if not dry_run:
        if not overwrite and (begun := run_to_restart(out, recipe, table)) is not None:
            return resume(begun, progress, images=images)
        folder.refuse_if_taken(out, overwrite, protected)
        outputs.need_place(out / FACTS)
    check_teachers(recipe)
    log.check(recipe.log.to)
    root = images_root(table, recipe.data, images)
    rows = select_rows(table, recipe.data, recipe.similarities, root, probe=recipe.probe, derived=recipe.derived)
    recipe, encoded = resolve_encoded(rows, recipe, where=f"{table.name}: ")
    for sentence in (*encoded, left_out(rows, table)):
        _say(sentence, progress)
    assembly.check_rows(recipe, rows, table.name)
    if any(part.name == AUTO for part in recipe.similarities):
        parts, inferred = infer_kind.resolve(rows, recipe.similarities, where=f"{table.name}: ")
        recipe = replace(recipe, similarities=parts)
        for sentence in inferred:
            _say(sentence, progress)
    similarities = fit_similarities(rows, recipe.similarities, where=f"{table.name}: ", unit=unit(table.name))
    check_recipe(recipe, similarities)
    judged = judged_labels(recipe, rows, similarities, table.name)
    device = "cpu" if dry_run else environment.device_type()
    if not dry_run:
        environment.meet(device)
        assembly.check_processes(recipe, rows)
    with environment.repeatable(recipe.train.seed, device):
        # What is wrong with the method is found in a second, so before images are decoded; how wide vectors are is not
        # known before they are opened.
        vectors = table.vectors.get(recipe.data.vectors)
        inputs = None
        if recipe.data.input != "image":
            with first_before_others():
                inputs = open_inputs(rows, root, recipe.data, table.name, vectors=vectors)
        method = assembly.method_of(with_factors(recipe, judged.facts), similarities, inputs)
        assembly.check_learns(method, recipe.train.epochs)
        assembly.check_weighting(recipe, method, rows, table.name)
        check_keep(recipe, method.model.encoder, rows, similarities, inputs, table.name)
        if inputs is None:
            with first_before_others():
                inputs = open_inputs(rows, root, recipe.data, table.name, for_views=True)
        codes = teachers_of(recipe, rows, table, root, inputs, method.model.encoder, device)
        dataset = assembly.dataset_of(recipe, rows, similarities, inputs, root, table.name, codes, judged.weights)
        training = assembly.training_of(recipe, dataset, method, device)
        frozen = frozen_features(training, rows, root, table.name)
        if frozen is not None:
            _say(frozen.sentence(training), progress)
        if dry_run:
            for sentence in training_length(recipe.train, recipe.sampler, training.steps_an_epoch):
                _say(sentence, progress)
            if steps := recipe.train.epochs * training.steps_an_epoch:
                rehearsed = training if frozen is None else frozen.rehearsal(training)
                _say(log.time_needed(seconds_a_step(rehearsed), steps), progress)
            leave()
            return None
        training = training if frozen is None else frozen.training_on(training, rows, table.name, progress)
        if recipe.data.input == "image":
            protected += {(root / image.rpartition("::")[2]).parent for image in rows.get_column("image").to_list()}
        with folder.training_lock(out) if is_first() else contextlib.nullcontext():
            run = Run.create(out, overwrite, protected) if is_first() else Run(out, trust=True)
            if is_first():
                run.write_recipe(training.recipe)
                run.write_similarities(
                    [
                        {"name": part.name, "state": s.to_json()}
                        for part, s in zip(recipe.similarities, similarities, strict=True)
                    ]
                )
                run.sign()
                if isinstance(inputs, Vectors):
                    run.write_inputs(inputs.to_json(), vectors if recipe.data.input == "vectors" else None)
                if codes:
                    run.write_teachers({name: code.numpy() for name, code in codes.items()})
                if judged.weights is not None:
                    run.write_label_weights(judged.weights.numpy())
                run.write_rows(rows)
                if (prints := fingerprints_of(inputs)) is not None:
                    run.write_fingerprints(prints)
                write_start(run, training)
                # The last of them: it makes the folder a run.
                facts = environment.describe(training.recipe, table, rows, root, method, device)
                facts |= launch | ({"doubt": judged.facts} if judged.facts else {})
                run.write_facts(facts if frozen is None else {**facts, "frozen_features": frozen.facts()})
            return train(run, training, Position(), progress)


def _read_from(recipe: Recipe, table: Table, images: Path | None) -> list[Path]:
    """Files and folders of the user's that a training reads, of which each must lie outside a run that is replaced."""
    root = table.folder if images is None else images
    named = [table.path, images, Path(recipe.encoder.start_from or recipe.encoder.weights or table.path)]
    sources = [source_of(part) for part in stored(recipe.similarities)]
    named += [Path(recipe.doubt.run or table.path)]
    named += [root / name for name in (recipe.data.vectors, recipe.triplets.folder, *sources) if name]
    return [path for path in named if path is not None and path.exists()]


def resume(
    run: Run | str | Path,
    progress: bool = True,
    overrides: Sequence[str] = (),
    *,
    accept_changes: bool = False,
    images: str | Path | None = None,
) -> Run:
    """Go on with a run that was stopped, from its last checkpoint to the epochs that its recipe says.

    What results is, on the same machine, what an uninterrupted run would have left, bit for bit. A
    run that is finished is left as it is, and says so.

    Args:
        run: a run, or its directory; it is changed.
        progress: show a bar, or a line an epoch, on standard error.
        overrides: of [train] and [log] in its recipe, as in "train.epochs=40"; the run keeps them.
        accept_changes: go on also where images or vectors are not those that the run was trained on; then run.json says
            so. The run keeps the fingerprints of those that it began with.
        images: the folder in which the images, or the file of vectors, are now, if they moved; the run remembers it.

    Raises:
        RunError: if the checkpoint does not fit the recipe, another process trains the run, one of its files, or
            an image or a vector, has changed since it was trained on, or a loss is not finite; see `Run.need_trust`.
        RecipeError: if an override is of something else.
        TableError: if an image cannot be read any more.
    """
    run = Run.of(run).moved(images)
    if other := [text for text in overrides if not text.startswith(("train.", "log."))]:
        raise RecipeError(
            f"--set {other[0]}: a run that is resumed can change [train] and [log] only; all else is in its checkpoint "
            "already. Train a new run."
        )
    device = environment.device_type()
    environment.meet(device)
    with folder.training_lock(run.root) if is_first() else contextlib.nullcontext():
        return _resume(run, run.read_recipe(overrides), device, progress, accept_changes)


def _resume(run: Run, recipe: Recipe, device: str, progress: bool, accept_changes: bool) -> Run:
    known, rows = run.read_facts(), run.read_rows()
    log.check(recipe.log.to)
    assembly.check_processes(recipe, rows)
    state = run.read_checkpoint("last")[1] if run.has_checkpoint("last") else asdict(Position())
    last = Position.of(state)
    if run.has_checkpoint("last") and last.epoch >= recipe.train.epochs and is_finished(recipe, state):
        _say(f"run '{run.root}' is finished: {last.epoch} of {recipe.train.epochs} epochs are done.", progress)
        if is_first() and known.get("trained", {}).get("epochs") != last.epoch:  # stopped just before it wrote this
            write_trained(run, recipe, last)
        leave()
        return run
    with environment.repeatable(recipe.train.seed, device):
        training, root, name, changed, words = reopen(run, recipe, device, accept_changes)
        before, now = [known, *known.get("resumed", [])][-1]["machine"].get("processes", 1), processes()[1]
        if before != now:
            _say(
                f"note: this run was trained by {before} process{'' if before == 1 else 'es'} so far, now by {now}. "
                "Batches stay the same. Numbers differ in their last digits, and by more with batch normalisation, "
                "which uses the rows of one process at a time.",
                progress,
            )
        position, note = restore_last(run, training)
        _say(note, progress)
        frozen = frozen_features(training, rows, root, name)
        training = training if frozen is None else frozen.training_on(training, rows, name, progress)
        again = {
            "after_epoch": position.epoch,
            "after_step": position.step,
            "versions": environment.versions(),
            "machine": environment.machine(device),
        }
        if frozen is not None:
            again["frozen_features"] = frozen.facts()
        if changed:
            again["changed_rows"] = changed
            _say(f"note: {words} Training continues with the inputs as they are now.", progress)
        if is_first():
            if run.has_lost_log:
                logged = max((record.get("step", 0) for record in run.read_log()), default=0)
                again["log_lost_after_step"] = logged
                _say(
                    f"note: log.jsonl of run '{run.root}' ends at step {logged:,}, but its checkpoint is of step "
                    f"{position.step:,}. Curves will lack the steps between; training itself loses nothing.",
                    progress,
                )
            was_signed = run.is_signed
            run.write_recipe(recipe)
            if was_signed:
                run.sign()
            run.write_facts({**known, "resumed": [*known.get("resumed", []), again]})
            run.cut_log(position.step)
        return train(run, training, position, progress)


def _say(text: str, progress: bool) -> None:
    if text and progress and is_first():
        print(text, file=sys.stderr)
