"""The plan of a comparison: every run that it needs, and which of them answer for which column that is held out."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mscon.comparison.methods import Method, probed, without
from mscon.comparison.planned import Planned, run_name
from mscon.run import recipe as recipes
from mscon.run.recipe import Probe, SimilarityPart


@dataclass(frozen=True, slots=True)
class Group:
    """The runs of a method, one a seed, trained on all of its columns or without one.

    Attributes:
        title: of the method.
        recipe: of its runs but for the seed.
        runs: by seed.
    """

    title: str
    recipe: recipes.Recipe
    runs: tuple[Planned, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run.

    Attributes:
        methods: as they are shown.
        groups: by title of the method, trained on all of its columns.
        held_out: by column that is held out, and title: the same without it. A method that never reads the column is
            there with its runs of `groups`; one that reads nothing else is not there.
        seeds: runs of a method that depends on the seed.
    """

    methods: tuple[Method, ...]
    groups: Mapping[str, Group]
    held_out: Mapping[str, Mapping[str, Group]]
    seeds: int

    @property
    def runs(self) -> tuple[Planned, ...]:
        """Each run once: seed by seed, so that a stopped comparison has all methods."""
        groups = [*self.groups.values(), *(group for by_title in self.held_out.values() for group in by_title.values())]
        ordered = [group.runs[seed] for seed in range(self.seeds) for group in groups if seed < len(group.runs)]
        return tuple({planned.out: planned for planned in ordered}.values())


def plan(
    methods: Sequence[Method],
    labels: Mapping[str, SimilarityPart],
    probe: Probe,
    held_out: Sequence[str],
    seeds: int,
    out: Path,
    images: Path | None = None,
) -> Plan:
    """All runs of a comparison.

    Args:
        methods: as `methods_of` gives them.
        labels: the label columns that every run is probed for, as the recipe reads them.
        probe: [probe] of the recipe.
        held_out: label columns to be held out, each in turn.
        seeds: train.seed and those that follow it, of each method that is trained.
        out: folder of the run directories.
        images: folder of the images, or the file of vectors, if it is not that of the table.
    """

    def group(method: Method) -> Group:
        # Read again as a run reads it, so that a finished run is known by its recipe.
        recipe = recipes.parse(method.recipe.to_toml())
        first = recipe.train.seed
        of_seeds = [
            replace(recipe, train=replace(recipe.train, seed=first + seed))
            for seed in range(seeds if method.is_trained else 1)
        ]
        runs = tuple(Planned(one, out / run_name(one), images) for one in of_seeds)
        return Group(method.title, recipe, runs)

    def groups_of(some: Iterable[Method | None], held_out: str | None = None) -> dict[str, Group]:
        to_probe = [probed(method, labels, probe, held_out) for method in some if method is not None]
        return {method.title: group(method) for method in to_probe if method is not None}

    groups, apart = groups_of(methods), dict[str, dict[str, Group]]()
    for column in held_out:
        rest = groups_of((without(method, column) for method in methods), column)
        apart[column] = {title: groups[title] if one == groups[title] else one for title, one in rest.items()}
    return Plan(tuple(methods), groups, apart, seeds)
