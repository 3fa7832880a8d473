"""Starting recipes: TOML that comes with mscon, to be changed to what one has."""

from __future__ import annotations

from importlib import resources

from mscon.errors import RecipeError, nearest


def recipe_names() -> tuple[str, ...]:
    """Recipes that come with mscon."""
    folder = resources.files("mscon.run").joinpath("recipes")
    return tuple(sorted(f.name.removesuffix(".toml") for f in folder.iterdir() if f.name.endswith(".toml")))


def recipe_text(name: str) -> str:
    """The TOML of a recipe that comes with mscon.

    Raises:
        RecipeError: for an unknown name.
    """
    if name not in recipe_names():
        known = recipe_names()
        raise RecipeError(f"there is no recipe '{name}'.{nearest(name, known)} Known: {', '.join(known)}.")
    return resources.files("mscon.run").joinpath("recipes", f"{name}.toml").read_text("utf-8")
