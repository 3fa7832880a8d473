"""A comparison: methods and seeds, trained and probed side by side, each in a run directory of its own.

Finished runs of the same recipe are not run again, so a comparison that was stopped goes on.
"""

from __future__ import annotations

import multiprocessing
import os
import re
import sys
import threading
import time
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from mscon.errors import MSConError
from mscon.recipe import Recipe
from mscon.run import Run
from mscon.trust import foreign_code

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Planned:
    """One run to be: its recipe, and where it goes."""

    recipe: Recipe
    out: Path


def plan(recipes: Sequence[Recipe], seeds: int, out: Path) -> list[Planned]:
    """Every recipe under every seed; seed by seed, so that a stopped comparison is still one.

    Args:
        recipes: one a method; their titles name them.
        seeds: seeds 0, 1, ... of each.
        out: folder of the run directories.
    """
    seeded = [(seed, replace(r, train=replace(r.train, seed=seed))) for seed in range(seeds) for r in recipes]
    return [Planned(recipe, out / f"{_slug(recipe.title)}-seed{seed}") for seed, recipe in seeded]


def _slug(title: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")


def is_finished(planned: Planned, table_hash: str) -> bool:
    """Whether this very run is there, trained and probed."""
    if not (planned.out / "recipe.toml").is_file():
        return False
    run = Run.open(planned.out)
    try:
        # What the run names may be imported as far as the plan, which is this user's, names it too.
        if foreign_code(run.recipe_values) - foreign_code(tomllib.loads(planned.recipe.to_toml())):
            return False
        run = replace(run, trust=True)
        # The hardware choices were resolved when it was trained; all else must be equal.
        there, wanted = run.recipe, planned.recipe
        resolved = replace(there.train, precision=wanted.train.precision, channels_last=wanted.train.channels_last)
        return run.has_probe and replace(there, train=resolved) == wanted and run.facts["table"]["sha256"] == table_hash
    except (MSConError, KeyError):
        return False


def train_and_probe(planned: Planned, table: Path) -> str:
    """One run from start to end, in this process, with one thread; its name."""
    import torch

    from mscon.data.table import read_table
    from mscon.evaluate.probe import probe
    from mscon.train.fit import fit

    torch.set_num_threads(1)
    run = fit(planned.recipe, read_table(table), planned.out, overwrite=True, progress=False)
    assert run is not None
    probe(run, progress=False)
    return planned.out.name


def carry_out(
    planned: Sequence[Planned], table: Path, jobs: int | None, work: Callable[[Planned, Path], T]
) -> Iterator[T]:
    """Work off what is planned, several side by side; yields what each gave as it is finished.

    Args:
        planned: what to run.
        table: the table of all of them.
        jobs: processes; by default one a core, at most 8. With 1 it all happens in this one.
        work: what is done for each, such as `train_and_probe`; found by its name in a new process.

    Raises:
        MSConError: the first mistake of any run; those under way are let finish, others are not begun.
    """
    workers = min(jobs or min(cores(), 8), max(len(planned), 1))
    if workers == 1:
        yield from (work(p, table) for p in planned)
        return
    # Spawned: a forked child would inherit torch's threads in whatever state they are.
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(workers, mp_context=context, initializer=_begin, initargs=(os.getpid(),)) as pool:
        futures = [pool.submit(work, p, table) for p in planned]
        try:
            for future in as_completed(futures):
                yield future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def carry_out_with_bar(
    planned: Sequence[Planned], table: Path, jobs: int | None, work: Callable[[Planned, Path], T]
) -> list[T]:
    """The same with a bar on standard error, or a line a run where that is no terminal."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    console = Console(file=sys.stderr)
    done: list[T] = []
    with Progress(*columns, console=console, disable=not planned) as bar:
        task = bar.add_task("training and probing", total=len(planned))
        for result in carry_out(planned, table, jobs, work) if planned else []:
            done.append(result)
            bar.advance(task)
            if not console.is_terminal:
                print(f"{len(done)}/{len(planned)} {result}", file=sys.stderr)
    return done


def _begin(parent: int) -> None:
    """What a process does first: it takes one thread, and ends when its parent does.

    A killed parent says nothing to its processes, and two comparisons must not write one run.
    """
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
        os.environ[name] = "1"

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def with_titles(base: str, methods: Mapping[str, Sequence[str]], overrides: Sequence[str] = ()) -> list[Recipe]:
    """The recipes of a comparison: one base, and what each method changes in it."""
    from mscon import recipe

    return [
        replace(recipe.parse(base, [*changes, *overrides], where=f"{title}: "), title=title)
        for title, changes in methods.items()
    ]
