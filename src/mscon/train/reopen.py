"""Reopen: the training that a run describes, put together again from the files of the run and its inputs."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

import torch

from mscon.data.inputs import fingerprints
from mscon.data.inputs.open import fingerprints_of, open_inputs, root_of
from mscon.errors import NotResumable
from mscon.method import catalogue
from mscon.run.parts import TEACHER
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.train import assembly
from mscon.train.gather import first_before_others
from mscon.train.judged_labels import with_factors
from mscon.train.loop import Training


class Reopened(NamedTuple):
    """A training whose weights are as before its first step, or of no meaning where the run has a checkpoint.

    Attributes:
        training: nothing of it is restored yet.
        root, table_name: of its inputs.
        changed, words: how many rows have other inputs than those that were trained on, and a sentence on them.
    """

    training: Training
    root: Path
    table_name: str
    changed: int
    words: str


def reopen(run: Run, recipe: Recipe, device: str, accept_changes: bool) -> Reopened:
    """Put the training of a run together again.

    Args:
        run: as `fit` began it.
        recipe: of the run, perhaps with other settings of [train] and [log].
        device: "cpu", "cuda" or "mps".
        accept_changes: go on also where images or vectors are not those that the run was trained on.

    Raises:
        NotResumable: if an image or a vector has changed since it was trained on.
        RunError: see `Run.need_trust`.
        TableError: if an image cannot be read any more.
    """
    known, rows = run.read_facts(), run.read_rows()
    similarities = tuple(catalogue.find("similarity", s["name"]).from_json(s["state"]) for s in run.read_similarities())
    root, name = root_of(run), known["table"]["name"]
    with first_before_others():
        inputs = open_inputs(
            rows, root, recipe.data, name, vectors=run.vectors_file, known=run.read_inputs(), for_views=True
        )
        changed, words = fingerprints.changes(
            run.read_fingerprints(), fingerprints_of(inputs), rows["line"].to_list(), name, recipe.data, root
        )
        if changed and not accept_changes:
            raise NotResumable(f"run '{run.root}': {words}\n  {fingerprints.ADVICE}")
    has_teachers = any(part.name == TEACHER for part in recipe.similarities)
    arrays = run.read_teachers() if has_teachers else {}
    codes = {column: torch.from_numpy(array) for column, array in arrays.items()}
    weights = run.read_label_weights(len(similarities), rows.height)
    label_weights = None if weights is None else torch.from_numpy(weights)
    dataset = assembly.dataset_of(recipe, rows, similarities, inputs, root, name, codes, label_weights)
    # The weights come from the checkpoint, if there is one: no hub and no other run is asked for them again.
    weighed = with_factors(recipe, known.get("doubt", {}))
    bare = replace(weighed, encoder=recipe.encoder.bare)
    method = assembly.method_of(bare if run.has_checkpoint("last") else weighed, similarities, inputs)
    assembly.check_learns(method, recipe.train.epochs)
    return Reopened(assembly.training_of(recipe, dataset, method, device), root, name, changed, words)
