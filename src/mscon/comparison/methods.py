"""Methods that a recipe is compared with: what each changes in it. All else is shared: rows, views, encoder, budget."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mscon.errors import RecipeError
from mscon.model.beside import starts_from_weights
from mscon.run.parts import part_of
from mscon.run.recipe import Encoder, Keep, Part, Probe, Recipe, Sampler, SimilarityPart, Triplets, similarity_part
from mscon.run.run import Run

NAMES = ("start", "cross_entropy", "cross_entropy_same_row", "supcon", "simclr", "mscon", "mscon_same_row")
"""What `--methods` may name, besides the recipe itself, which is always among them."""

RECIPE = "this recipe"


@dataclass(frozen=True, slots=True)
class Method:
    """A method of a comparison.

    Attributes:
        name: one of `NAMES`, "recipe" or "also".
        recipe: whose title heads its scores.
    """

    name: str
    recipe: Recipe

    @property
    def title(self) -> str:
        return self.recipe.title

    @property
    def is_trained(self) -> bool:
        return self.recipe.train.epochs > 0


def methods_of(
    recipe: Recipe, also: Sequence[Recipe] = (), width: int = 0, names: Sequence[str] = ()
) -> tuple[tuple[Method, ...], tuple[str, ...]]:
    """The methods, in the order in which they are shown, and a sentence on each that is left out.

    A method that trains exactly as an earlier one is left out without a word, as MSCon is for one column, where it is
    SupCon. If the recipe itself equals a method, the title of that says so.

    Args:
        recipe: the user's, with its kinds inferred.
        also: recipes to be compared besides, each with a title of its own.
        width: compare also with so many principal components of the start's features; 0 for none.
        names: of `NAMES`, those that are compared; all of them where empty.

    Raises:
        RecipeError: if two methods have one title.
    """
    sentences: list[tuple[tuple[str, ...], str]] = []
    methods: list[Method] = []
    for method in _specialists(recipe, width, sentences):
        if not any(_are_alike(method, other) for other in methods):
            methods.append(method)
    itself = Method("recipe", replace(recipe, title=f"{RECIPE} ({recipe.title})" if recipe.title else RECIPE))
    alike = [number for number, method in enumerate(methods) if _are_alike(method, itself)]
    if alike:
        method = methods[alike[0]]
        methods[alike[0]] = Method("recipe", replace(method.recipe, title=f"{method.title} ({RECIPE})"))
    else:
        methods.append(itself)
    methods += [Method("also", other) for other in also]
    titles = [method.title for method in methods]
    if again := sorted({title for title in titles if titles.count(title) > 1}):
        raise RecipeError(
            f'two methods are titled {again[0]!r}. Give a recipe of --also another title: --also "my title=FILE".'
        )
    return (
        tuple(method for method in methods if not names or method.name in (*names, "recipe", "also")),
        tuple(text for of_names, text in sentences if not names or set(of_names) & set(names)),
    )


def _specialists(recipe: Recipe, width: int, sentences: list[tuple[tuple[str, ...], str]]) -> Iterator[Method]:
    labels = tuple(part for part in recipe.similarities if part.reads)
    classes = tuple(part for part in labels if part.name == "categorical")
    contrastive = tuple(_with(part, "supcon") for part in labels)
    if (start := _start(recipe, contrastive)) is not None:
        yield Method("start", start)
        if width:
            reduced = replace(start, title=f"{start.title}, {width} components", keep=Keep(width=width))
            yield Method("start", reduced)
    else:
        text = (
            "There is no frozen start to compare with: the encoder begins with random weights ([encoder] pretrained "
            "and start_from)."
        )
        sentences.append((("start",), text))
    same_row = _same_row(recipe)
    if same_row is None:
        text = (
            "SimCLR and methods with 'same row' are left out: they compare views of a row, and [views] draws one view, "
            "or equal ones."
        )
        sentences.append((("cross_entropy_same_row", "simclr", "mscon_same_row"), text))
    if classes:
        with_classes = tuple(_with(part, "cross_entropy", part_of("heads", {"name": "identity"})) for part in classes)
        yield Method("cross_entropy", _baseline(recipe, with_classes, "XEnt multi-task"))
        if same_row is not None:
            yield Method("cross_entropy_same_row", _baseline(recipe, (*with_classes, same_row), "XEnt + same row"))
    others = [f"'{part.column}' ({part.name})" for part in labels if part not in classes]
    if others:
        left_out = f"Cross-entropy is trained without {', '.join(others)}" if classes else "Cross-entropy is left out"
        of_names = ("cross_entropy", "cross_entropy_same_row")
        sentences.append((of_names, f"{left_out}, since it needs columns of classes."))
    for part in contrastive:
        yield Method("supcon", _baseline(recipe, (part,), f"SupCon, {part.column}"))
    if same_row is not None:
        yield Method("simclr", _baseline(recipe, (same_row,), "SimCLR"))
    if contrastive:
        yield Method("mscon", _baseline(recipe, contrastive, "MSCon"))
        if same_row is not None:
            yield Method("mscon_same_row", _baseline(recipe, (*contrastive, same_row), "MSCon + same row"))


def _start(recipe: Recipe, parts: tuple[SimilarityPart, ...]) -> Recipe | None:
    """The inputs as they are, or the encoder before it is trained; None where it begins with random weights."""
    untrained = _baseline(recipe, parts, "frozen start")
    untrained = replace(untrained, train=replace(recipe.train, epochs=0, checkpoint="last"))
    if starts_as_inputs(recipe):
        return replace(untrained, encoder=Encoder(name="identity"))
    return replace(untrained, encoder=start_encoder(recipe.encoder)) if starts_from_weights(recipe) else None


def start_encoder(encoder: Encoder) -> Encoder:
    """The encoder before it learns: without an adapter, whose weights are random unless they are of another run."""
    trained = encoder.adapter and encoder.start_from and Run(Path(encoder.start_from)).read_recipe_values()["encoder"]
    return replace(encoder, lora=0, adapter=encoder.adapter if trained and trained.get("adapter") else {})


def starts_as_inputs(recipe: Recipe) -> bool:
    """Whether the frozen start is the vectors, columns or texts as they are."""
    return recipe.data.input != "image" and not recipe.encoder.start_from


def _same_row(recipe: Recipe) -> SimilarityPart | None:
    """The recipe's own similarity of views, or one as by default; None if all views of a row would be equal."""
    present = next((part for part in recipe.similarities if part.name == "same_row"), None)
    if present is not None:
        return _with(present, "supcon")
    views = recipe.views
    differ = views.count > 1 and (recipe.data.input == "image" or views.corrupt > 0 or views.noise > 0)
    return similarity_part("same_row", "same_row") if differ else None


def _with(part: SimilarityPart, objective: str, heads: Part | None = None) -> SimilarityPart:
    """The part with this objective and these heads. Settings of its own for that objective, and its views, stay."""
    its_objective = part.objective if part.objective is not None and part.objective.name == objective else None
    if objective == "cross_entropy":
        its_objective = part_of("objective", {"name": objective})
    return replace(part, objective=its_objective, heads=heads)


def _baseline(recipe: Recipe, parts: tuple[SimilarityPart, ...], title: str) -> Recipe:
    """The recipe with other similarities, equal weights, and without what belongs to its own method alone."""
    objective = recipe.objective if recipe.objective.name == "supcon" else part_of("objective", {"name": "supcon"})
    heads = recipe.heads if recipe.heads.name == "mlp" else part_of("heads", {"name": "mlp"})
    compares = any(part.objective is None or part.objective.name != "cross_entropy" for part in parts)
    candidates = recipe.candidates if compares else replace(recipe.candidates, memory_size=0, warm_up=0)
    return replace(
        recipe,
        title=title,
        similarities=parts,
        objective=objective,
        heads=heads,
        weighting=part_of("weighting", {"name": "equal"}),
        sampler=_sampler(recipe.sampler, parts),
        triplets=Triplets(),
        candidates=candidates,
        keep=Keep(),
    )


def _sampler(sampler: Sampler, parts: Sequence[SimilarityPart]) -> Sampler:
    """The sampler without columns that are not trained on; by chance where none of its columns is left."""
    names = [part.column for part in parts if part.reads]
    columns = tuple(column for column in sampler.columns if column in names)
    return replace(sampler, columns=columns) if names and (columns or not sampler.columns) else Sampler()


def _are_alike(one: Method, other: Method) -> bool:
    return _untitled(one.recipe) == _untitled(other.recipe)


def _untitled(recipe: Recipe) -> Recipe:
    """Without its title, and with each part's objective and heads in full, so that equal methods are equal values."""
    parts = tuple(
        replace(part, objective=part.objective or recipe.objective, heads=part.heads or recipe.heads)
        for part in recipe.similarities
    )
    return replace(recipe, title="", similarities=parts, objective=Part(""), heads=Part(""))


# Columns held out ---------------------------------------------------------------------------------


def without(method: Method, column: str) -> Method | None:
    """The method without all similarities that read a column, or one that is derived from it, or from the same.

    The method itself where it has none of them, or trains nothing; None if nothing is left to be trained on.
    """
    recipe = method.recipe
    if not method.is_trained:
        return method
    origins = {derived.column: derived.of for derived in recipe.derived}
    hidden = _origin(column, origins)
    parts = tuple(p for p in recipe.similarities if hidden not in {_origin(read, origins) for read in p.reads})
    if len(parts) == len(recipe.similarities):
        return method
    if not parts or not any(part.importance for part in parts):
        return None
    lists = {name: value for name, value in recipe.triplets.lists.items() if name in {part.column for part in parts}}
    sampler, triplets = _sampler(recipe.sampler, parts), replace(recipe.triplets, lists=lists)
    return replace(method, recipe=replace(recipe, similarities=parts, sampler=sampler, triplets=triplets))


def _origin(column: str, origins: Mapping[str, str]) -> str:
    while column in origins:
        column = origins[column]
    return column


def probed(
    method: Method, labels: Mapping[str, SimilarityPart], probe: Probe, held_out: str | None = None
) -> Method | None:
    """The method, probed for all label columns of the comparison, each by its kind, and for those of [probe].

    None if it chooses between weights by label columns, and none is left to choose by.

    Args:
        method: may be trained on any of them.
        labels: the label columns, as the recipe reads them.
        probe: of the recipe.
        held_out: the column whose labels the training must not know.
    """
    trained = {part.column for part in method.recipe.similarities if part.reads}
    kinds = {
        column: {"name": part.name, **{key: value for key, value in part.settings.items() if value is not None}}
        for column, part in labels.items()
        if column not in trained and part.name != "categorical"
    }
    others = {column: kind for column, kind in probe.kinds.items() if column not in trained}
    columns = tuple(dict.fromkeys([*labels, *probe.columns]))
    changed, keep = replace(probe, columns=columns, kinds={**others, **kinds}), method.recipe.keep
    if keep.interpolate == "auto":
        origins = {derived.column: derived.of for derived in method.recipe.derived}
        hidden = None if held_out is None else _origin(held_out, origins)
        untrained = [column for column in columns if column not in trained]
        unscored = [c for c in untrained if c not in probe.columns or _origin(c, origins) == hidden]
        keep = replace(keep, unscored=tuple(dict.fromkeys([*keep.unscored, *unscored])))
        if not {*trained, *columns} - {*keep.unscored}:
            return None
    return replace(method, recipe=replace(method.recipe, probe=changed, keep=keep))
