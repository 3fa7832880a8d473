"""Hostile input, drawn by a generator: whatever comes in, mscon accepts it or refuses it by one message.

No other exception, no hang, no more memory than the surface states, no file touched around, no program started, no
connection made, nothing unpickled and nothing imported.
"""

from __future__ import annotations

import os
import secrets
from collections import Counter
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from reliability.fuzz.cells import Cells
from reliability.fuzz.images import Images
from reliability.fuzz.packed import PackedModels
from reliability.fuzz.recipes import Recipes
from reliability.fuzz.runs import Runs
from reliability.fuzz.searches import Requests, Searches
from reliability.fuzz.surface import Surface
from reliability.fuzz.tables import Tables
from reliability.fuzz.vectors import VectorFiles
from reliability.fuzz.worker import Worker

SURFACES = (Tables, Recipes, Cells, VectorFiles, Images, PackedModels, Runs, Searches, Requests)


@pytest.mark.parametrize("surface", [kind() for kind in SURFACES], ids=lambda surface: type(surface).__name__)
def test_hostile_input_is_accepted_or_refused_by_one_message(surface, full, counts, tmp_path):
    seed = int(os.environ.get("MSCON_FUZZ_SEED", secrets.randbits(32)))
    tries = int(os.environ.get("MSCON_FUZZ_TRIES", surface.tries if full else surface.share))
    outcomes, faults = tried(surface, tries, seed if full else None, tmp_path)
    name = type(surface).__name__
    for outcome, count in outcomes.items():
        counts[f"{name}: {outcome}"] += count
    shown = "\n\n".join(f"{kind} ({outcomes[kind]} times)\n{detail}" for kind, detail in faults.items())
    assert not faults, f"MSCON_FUZZ_SEED={seed}\n{shown}"


def tried(surface: Surface, tries: int, seed: int | None, folder: Path) -> tuple[Counter[str], dict[str, str]]:
    """Outcomes with their numbers; and of each kind of fault the shortest input with what came of it."""
    outcomes: Counter[str] = Counter()
    shortest: dict[str, tuple[int, str]] = {}
    worker = Worker(surface, folder)

    def attempt(case: Any) -> None:
        result = worker.attempt(case)
        outcomes[result.outcome] += 1
        if result.is_fault:
            text = repr(case)
            if result.outcome not in shortest or len(text) < shortest[result.outcome][0]:
                shortest[result.outcome] = (len(text), f"{text[:1_000]}\n{result.detail}")

    settings = hypothesis.settings(
        max_examples=tries,
        derandomize=seed is None,
        database=None,
        deadline=None,
        phases=[hypothesis.Phase.generate],
        suppress_health_check=list(hypothesis.HealthCheck),
    )
    drawn = settings(hypothesis.given(surface.cases())(attempt))
    try:
        (drawn if seed is None else hypothesis.seed(seed)(drawn))()
    finally:
        worker.close()
    return outcomes, {kind: detail for kind, (_, detail) in shortest.items()}
