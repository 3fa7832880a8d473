"""A planned run: its recipe and its directory; whether it is there already, and how it is made."""

from __future__ import annotations

import functools
import hashlib
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import tomli_w

from mscon.errors import MSConError, NotResumable, RecipeError, RunError
from mscon.run import checksums, folder
from mscon.run import recipe as recipes
from mscon.run.layout import FILES, SHOWN
from mscon.run.recipe import Recipe
from mscon.run.run import Run
from mscon.run.trust import foreign_code

if TYPE_CHECKING:
    # A process of the pool must not load numpy before it has set its number of threads, see `pool._serve`.
    import numpy as np

    from mscon.data.table.table import Table


@dataclass(frozen=True, slots=True)
class Planned:
    """One run to be.

    Attributes:
        recipe: with its seed.
        out: the run directory.
        images: folder that image paths, or the file of vectors, are relative to; None for the folder of the table.
    """

    recipe: Recipe
    out: Path
    images: Path | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of a run: its name, and why it is not there, if it is not."""

    name: str
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.name}: {self.fault.splitlines()[0]}" if self.fault else self.name


def is_finished(planned: Planned, table_hash: str, inputs: np.ndarray | None = None, root: Path | None = None) -> bool:
    """Whether this very run is there, trained and probed, and its files are as they were written.

    Args:
        planned: the run.
        table_hash: SHA-256 of its table, see `Table.sha256`.
        inputs: fingerprints [rows, 16] of the images or vectors outside the table, as they are now; None where they are
            not asked for, or lie in the table.
        root: folder that files of teachers are relative to; None to take these, and the run that is started from, as
            unchanged.
    """
    try:
        return (
            (run := _begun(planned, table_hash, root)) is not None
            and run.has_probe
            and (inputs is None or _are_equal(run.read_fingerprints(), inputs))
            and not damage(run.root)
        )
    except MSConError:
        return False


def _begun(planned: Planned, table_hash: str, root: Path | None) -> Run | None:
    """This very run, if its training has begun at least; see `is_finished`."""
    if not (planned.out / "recipe.toml").is_file():
        return None
    try:
        run = Run.open(planned.out)
        # What the run names may be imported as far as the plan, which is this user's, names it too.
        if foreign_code(run.read_recipe_values()) - foreign_code(planned.recipe.to_plain()):
            return None
        run = replace(run, trust=True)
        # The hardware choices were resolved when it was trained; all else must be equal.
        trained, recipe = run.read_recipe(), planned.recipe
        resolved = replace(trained.train, precision=recipe.train.precision, channels_last=recipe.train.channels_last)
        is_same = (
            replace(trained, train=resolved) == recipe
            and run.read_facts()["table"]["sha256"] == table_hash
            and (root is None or run.read_facts().get("sources", {}) == _sources(recipe, root))
        )
        return run if is_same else None
    except (MSConError, KeyError):
        return None


def damage(root: Path) -> str:
    """What is wrong with a file of a run, as a sentence; "" where all are there, and as they were written."""
    known = checksums.read(root)
    names = [name for name in FILES if name in known and name not in (*SHOWN, "log.jsonl")]
    absent = [name for name in names if not (root / name).is_file()]
    if gone := [name for name in absent if len(known[name]) > 1]:  # one line alone: it was never moved into place
        return f"{root / gone[0]} is gone."
    checked = checksums.check(root, [name for name in names if name not in absent])
    return next((f"{root / name} {file.fault}." for name, file in checked.items() if file.fault), "")


def _sources(recipe: Recipe, root: Path) -> dict[str, str]:
    from mscon.train.sources import sources

    return sources(recipe, root)


def _are_equal(one: np.ndarray | None, other: np.ndarray) -> bool:
    return one is not None and one.shape == other.shape and bool((one == other).all())


def train_and_probe(planned: Planned, table: Path) -> str:
    """One run to its end, in this process, with one thread, from its last checkpoint if it has one; its name."""
    import torch

    from mscon.data.table.table import read_table
    from mscon.evaluate.probe import probe
    from mscon.train.fit import fit

    torch.set_num_threads(1)
    rows = read_table(table)
    folder.readmit(planned.out)
    if not _is_continued(planned, rows):
        run = fit(planned.recipe, rows, planned.out, images=planned.images, overwrite=True, progress=False)
        assert run is not None
        probe(run, progress=False, start=False)  # methods are compared with one another; the start is one of them
    return planned.out.name


def _is_continued(planned: Planned, table: Table) -> bool:
    """Train and probe the run to its end if its training had begun; whether it could go on, else it is trained anew."""
    from mscon.data.inputs.open import images_root
    from mscon.evaluate.probe import probe
    from mscon.train.fit import resume

    root = images_root(table, planned.recipe.data, planned.images)
    run = _begun(planned, table.sha256, root)
    if run is None or damage(run.root):
        return False
    try:
        probe(resume(run, progress=False, images=root), progress=False, start=False)
    except NotResumable:
        return False
    return True


def attempt(planned: Planned, table: Path) -> Outcome:
    """The same; training that breaks down is an outcome, not the end of the others."""
    try:
        train_and_probe(planned, table)
    except RunError as error:
        return Outcome(planned.out.name, str(error))
    return Outcome(planned.out.name)


def seed_count(seeds: int | None, quick: bool, default: int) -> int:
    """How many runs each method has, which differ in their seed.

    Args:
        seeds: as the user says; None for the default.
        quick: one run, to see that it works.
        default: without either of them.

    Raises:
        RecipeError: for `quick` together with `seeds`.
        ValueError: if `seeds` is below 1.
    """
    if quick and seeds is not None:
        raise RecipeError("--quick trains with one seed, so it cannot be combined with --seeds. Leave out one of them.")
    if seeds is not None and seeds < 1:
        raise ValueError(f"seeds must be 1 or more, got {seeds!r}.")
    return 1 if quick else default if seeds is None else seeds


def run_name(recipe: Recipe) -> str:
    """Of the directory of a run: the method, the seed, and a hash of all else.

    Without what is as by default, so that a new setting, which changes nothing, does not rename old runs.
    """
    plain = recipe.to_plain()
    for section, values in _defaults().items():
        if isinstance(values, dict):
            changed = {k: v for k, v in plain.pop(section, {}).items() if k not in values or values[k] != v}
            plain |= {section: changed} if changed else {}
    digest = hashlib.sha256(tomli_w.dumps(dict(sorted(plain.items()))).encode("utf-8")).hexdigest()[:8]
    return f"{slug(recipe.title)}-seed{recipe.train.seed}-{digest}"


def slug(title: str) -> str:
    """A title as part of a file's name: never empty, and no longer than all file systems take."""
    return re.sub(r"[^a-z0-9]+", "-", title.lower())[:60].strip("-") or "run"


@functools.cache
def _defaults() -> dict[str, Any]:
    # The weighting that recipes meant without naming it when the first of these runs were named.
    return recipes.of_plain({"similarity": [{"column": "any"}], "weighting": {"name": "uncertainty"}}).to_plain()
