"""Parts of the loss in one's own loop: names and settings -> similarities, an objective and a weighting."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping, Sequence, Set
from numbers import Integral, Real
from typing import Any

from mscon.errors import RecipeError
from mscon.method import catalogue
from mscon.method.objective_groups import groups_of, objective_of_each
from mscon.method.objectives.base import Objective, positive
from mscon.method.similarities.base import Similarity
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.same_row import SameRow
from mscon.method.weightings.base import ScaledWeighting, Weighting
from mscon.train.weighting_fit import check_fit

DEFAULT_OBJECTIVE = "supcon"


def similarities_of(parts: Sequence[str | Similarity]) -> tuple[Similarity, ...]:
    """Objects for names; each column once."""
    # Projections come in the order of the similarities, and a set has none.
    is_ordered = isinstance(parts, Iterable) and not isinstance(parts, str | Similarity | Set)
    listed = tuple(parts) if is_ordered else ()
    for part in listed:
        if not isinstance(part.column if isinstance(part, Similarity) else part, str):
            raise ValueError(f"similarities must be names or Similarity objects, got {type(part).__name__}: {part!r}.")
    similarities = tuple(
        part if isinstance(part, Similarity) else SameRow(part) if part == "same_row" else Categorical(part)
        for part in listed
    )
    if not listed or len({s.column for s in similarities}) < len(listed):
        raise ValueError(f"similarities must be a list of distinct names, or Similarity objects, got {parts!r}.")
    return similarities


def build_parts(
    names: Sequence[str],
    objective: str | Objective | Mapping[str, str | Objective],
    temperature: float | Mapping[str, float] | None,
    weighting: str | Weighting,
    importance: Mapping[str, float],
    settings: Mapping[str, Any],
) -> tuple[Objective, Weighting]:
    """Objects for names, with their settings.

    Args:
        names: of the similarities.
        objective, temperature, weighting, importance, settings: as of `MSConLoss`.

    Raises:
        ValueError: for names of no similarity, values of a wrong type, settings that no part has or that one lacks.
        RecipeError: for an unknown objective or weighting.
    """
    if not isinstance(importance, Mapping):
        raise ValueError(f"importance must be a dictionary of names and numbers, got {importance!r}.")
    if isinstance(objective, str):
        catalogue.find("objective", objective)
    default = DEFAULT_OBJECTIVE if isinstance(objective, Mapping) else objective
    choices = dict.fromkeys(names, default) | (dict(objective) if isinstance(objective, Mapping) else {})
    temperatures = temperature if isinstance(temperature, Mapping) else {}
    complaints = [
        f"{what} is given for {unknown}, but the similarities are {list(names)}."
        for what, by_name in (("objective", choices), ("temperature", temperatures), ("importance", importance))
        if (unknown := [name for name in by_name if name not in names])
    ]
    complaints += [complaint for name in choices if (complaint := _complaint(name, choices[name], temperatures))]
    complaints += [
        f"importance of '{name}' must be a number, got {factor!r}."
        for name, factor in importance.items()
        if not isinstance(factor, Real)
    ]
    if not isinstance(weighting, str | Weighting):
        complaints.append(f"weighting must be a name or a Weighting object, got {weighting!r}.")
    if complaints:
        raise ValueError("\n".join(dict.fromkeys(complaints)))

    plain = dict(settings) if temperature is None or temperatures else {"temperature": temperature, **settings}
    by_kind = {"objective": default} if default in choices.values() else {}
    of_kind = _divided(plain, {**by_kind, "weighting": weighting})
    built: list[tuple[str, Mapping[str, Any], Objective]] = []

    def objective_for(name: str) -> Objective:
        choice = choices[name]
        if isinstance(choice, Objective):
            return choice
        values = of_kind.get("objective", {}) if choice == default else {}
        if name in temperatures:
            values = {**values, "temperature": temperatures[name]}
        for other, other_values, instance in built:
            if (other, other_values) == (choice, values):
                return instance
        built.append((choice, values, _constructed("objective", choice, values)))
        return built[-1][2]

    part: Weighting = (
        _constructed("weighting", weighting, of_kind["weighting"], similarities=len(names))
        if isinstance(weighting, str)
        else weighting
    )
    factors = [float(importance.get(name, 1.0)) for name in names]
    scaled = ScaledWeighting(part, factors) if any(factor != 1 for factor in factors) else part
    return objective_of_each([objective_for(name) for name in names]), scaled


def _complaint(name: str, choice: str | Objective, temperatures: Mapping[str, float]) -> str:
    """What is wrong with the objective of a similarity, or with its temperature; "" if nothing is."""
    if not isinstance(choice, str | Objective):
        return f"objective must be a name or an Objective object, for '{name}' got {choice!r}."
    try:
        has_temperature = isinstance(choice, str) and "temperature" in _settings("objective", choice)
        if name in temperatures:
            positive(f"temperature of '{name}'", temperatures[name])
    except (RecipeError, ValueError) as error:
        return str(error)
    if name not in temperatures or has_temperature:
        return ""
    if isinstance(choice, str):
        return f"temperature is given for '{name}', but objective '{choice}' has none."
    return f"temperature is given for '{name}', but its objective is an object, which has its settings already."


def _settings(kind: str, name: str) -> list[str]:
    return [
        parameter
        for parameter in inspect.signature(catalogue.find(kind, name)).parameters
        if parameter != "similarities"
    ]


def _divided(settings: Mapping[str, Any], parts: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """The settings of each part that is a name."""
    known = {kind: _settings(kind, part) for kind, part in parts.items() if isinstance(part, str)}
    for name in settings:
        if (owners := sum(name in names for names in known.values())) != 1:
            listed = "".join(f" Settings of {k} '{parts[k]}': {', '.join(known[k]) or 'none'}." for k in known)
            raise ValueError(
                f"setting '{name}' is of {'both' if owners else 'neither'} objective and weighting.{listed} A part "
                "that is an object has its settings already."
            )
    return {kind: {name: settings[name] for name in names if name in settings} for kind, names in known.items()}


def _constructed(kind: str, name: str, settings: Mapping[str, Any], **filled: Any) -> Any:
    part = catalogue.find(kind, name)
    try:
        inspect.signature(part).bind(**filled, **settings)
    except TypeError as error:
        raise ValueError(f"{kind} '{name}': {error}. It has the settings {_settings(kind, name)}.") from None
    return part(**filled, **settings)


def check_parts(
    similarities: Sequence[Similarity], objective: Objective, weighting: Weighting, dim: int | None, memory_size: int
) -> None:
    """That the parts fit together.

    Raises:
        ValueError: if they do not.
    """
    for name, value in (("dim", 1 if dim is None else dim), ("memory_size", memory_size)):
        least = 1 if name == "dim" else 0
        if not isinstance(value, Integral) or value < least:
            raise ValueError(f"{name} must be an integer of at least {least}, got {value!r}.")
    groups = groups_of(objective, len(similarities))
    learners = sorted({type(group.objective).__name__ for group in groups if group.objective.learns_width})
    if learners and dim is None:
        raise ValueError(
            f"objective {', '.join(learners)} learns weights of its own: give dim=, the width of the projections."
        )
    classifiers = sorted({type(group.objective).__name__ for group in groups if not group.objective.compares})
    if not objective.compares and memory_size:
        raise ValueError(
            f"memory_size is {memory_size}, but objective {', '.join(classifiers)} compares no rows. Leave it out."
        )
    if weighting.fit_on != "nothing":
        check_fit(objective, similarities)
