"""What a check says of a table: counts, shares that are exact, and images that lie twice."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mscon.data.check.batch_stats import alike_share
from mscon.data.check.check import describe
from mscon.data.inputs.images import ImageStore
from mscon.data.table.table import Table
from mscon.errors import TableError
from mscon.method.similarities.categorical import Categorical
from mscon.run.recipe import Data, Probe, Recipe, Sampler, SimilarityPart, Train, Triplets, Views

KINDS = ["boots", "boots", "boots", "sandals", "sandals", None, None, None, "clogs", "boots"]
SPLITS = ["train"] * 8 + ["test", "unseen"]
ROWS = pl.DataFrame(
    {
        "line": [2, 3, 4, 5, 6, 7, 8, 9, 10, 11],
        "split": SPLITS,
        "image": [str(i) for i in range(10)],
        "kind": KINDS,
        "colour": ["red", "blue"] * 5,
    },
)
TABLE = Table(Path("shoes.csv"), ROWS.select("image", "kind"), tuple(range(2, 12)))
RECIPE = Recipe(
    (SimilarityPart("kind", "categorical"), SimilarityPart("same_row", "same_row")),
    probe=Probe(columns=("colour", "kind")),
    train=Train(batch_size=4),
)


def store(values: list[int]) -> ImageStore:
    return ImageStore(np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 1, 8, 8), np.uint8))


def test_a_column_is_described_by_its_training_rows():
    kind, same_row, colour = describe(ROWS, RECIPE, TABLE).columns
    assert dict(kind.classes) == {"boots": 3, "sandals": 2}
    assert list(kind.classes) == ["boots", "sandals"]
    assert kind.missing_share == 3 / 8
    assert kind.majority_share == 3 / 5
    assert dict(kind.outside) == {"clogs": 1}
    assert kind.alike_share == pytest.approx(alike_share([3, 2], 8, 4))
    assert kind.positive_share == 5 / 8
    assert (same_row.alike_share, same_row.positive_share, dict(same_row.classes)) == (0.0, 1.0, {})
    assert (colour.kind, colour.alike_share) == ("probe", None)


def test_with_one_view_only_other_rows_are_positives():
    kind, same_row, _ = describe(ROWS, replace(RECIPE, views=Views(count=1)), TABLE).columns
    assert kind.positive_share == kind.alike_share
    assert same_row.positive_share == 0.0


class Loud(Categorical):
    """A similarity of a user's own, whose classes cannot be counted."""

    is_partition = False


def test_a_similarity_that_cannot_be_counted_is_drawn():
    part = SimilarityPart("kind", f"{__name__}:Loud")
    many = pl.concat([ROWS.filter(pl.col("split") == "train")] * 10)
    table = Table(Path("t.csv"), many.select("image"), tuple(range(many.height)))
    drawn, exact = (
        describe(many, replace(RECIPE, similarities=(p,), train=Train(batch_size=3)), table).columns[0]
        for p in (part, RECIPE.similarities[0])
    )
    assert drawn.alike_share == pytest.approx(exact.alike_share, abs=0.08)
    assert 0 < drawn.alike_share < 1
    assert drawn.positive_share == pytest.approx(exact.positive_share)


def test_the_text_says_what_one_must_know():
    text = describe(ROWS, RECIPE, TABLE, store([1, 1, 2, 3, 3, 4, 5, 6, 2, 7])).to_text()
    assert text.startswith("shoes.csv: 10 rows (8 train, 1 test, 1 unseen)")
    assert "'kind' (categorical): 2 classes among the training rows, 37.5% missing" in text
    assert "always guessing 'boots' is right for 60.0%" in text
    assert "'boots' 3, 'sandals' 2" in text
    assert "1 row with a value that no training row has: 'clogs' 1" in text
    assert "in a batch of 4 rows" in text
    assert "62.5% have a positive" in text
    assert "views of one row are alike" in text
    assert "'colour' (probe)" in text
    assert "6 rows in 3 groups of equal images; 1 group with rows in more than one split" in text
    assert "lines 4, 10" in text
    assert "left out" not in text


def test_rows_left_out_are_told():
    assert "1 row of 10 left out" in describe(ROWS[:9], RECIPE, TABLE).to_text()


def test_images_that_nobody_looked_at_are_not_called_different():
    description = describe(ROWS, RECIPE, TABLE)
    assert description.duplicates is None
    assert "equal" not in description.to_text()
    assert "No two images are equal" in describe(ROWS, RECIPE, TABLE, store(list(range(10)))).to_text()


def test_the_description_is_plain_json():
    plain = json.loads(json.dumps(describe(ROWS, RECIPE, TABLE, store([0] * 10)).to_json(), allow_nan=False))
    assert plain["splits"] == {"train": 8, "test": 1, "unseen": 1}
    assert plain["columns"][0]["classes"] == {"boots": 3, "sandals": 2}
    assert plain["duplicates"]["groups_across"] == 1


def test_an_odd_cell_cannot_write_to_the_terminal():
    odd = ROWS.with_columns(kind=pl.Series(["\x1b[31m", "b"] * 5), colour=pl.Series(["\x1b]0;", "b"] * 5))
    assert "\x1b" not in describe(odd, RECIPE, TABLE).to_text()


MANY = pl.DataFrame(
    {
        "line": range(2, 302),
        "split": ["train"] * 240 + ["test"] * 60,
        "image": [f"{i}.png" for i in range(300)],
        "family": [f"f{i % 80}" for i in range(300)],
        "group": [f"g{i % 80 // 20}" for i in range(300)],
        "price": [f"{i * 37 % 100}.5" for i in range(300)],
        "tags": ["red;round" if i % 3 else "red" if i % 2 else None for i in range(300)],
    },
)
OF_MANY = Table(Path("many.csv"), MANY.select("image"), tuple(range(2, 302)))
ALL_KINDS = Recipe(
    (
        SimilarityPart("family", "categorical"),
        SimilarityPart("group", "categorical"),
        SimilarityPart("price", "continuous", {"width": 0.1}),
        SimilarityPart("tags", "multi_label"),
    ),
    train=Train(batch_size=16),
)


def test_each_kind_is_described_in_its_own_words():
    family, group, price, tags = describe(MANY, ALL_KINDS, OF_MANY).columns
    assert (len(family.classes), len(group.classes)) == (80, 4)
    assert not price.classes
    assert (price.numbers.least, price.numbers.greatest, price.numbers.different) == (0.5, 99.5, 100)
    assert price.numbers.width == 0.1
    assert dict(tags.classes) == {"red": 200, "round": 160}
    assert tags.labels_a_row == pytest.approx(360 / 200)
    assert tags.missing_share == pytest.approx(1 / 6)


def test_few_positives_are_told_with_what_would_help():
    family, group, price, _ = describe(MANY, ALL_KINDS, OF_MANY).columns
    assert family.alike_share < 0.2
    advice = "\n".join(family.advice)
    larger = int(advice.split("train.batch_size = ")[1].split(":")[0])
    assert alike_share([3] * 80, 240, larger) >= 0.9 > alike_share([3] * 80, 240, larger // 2)
    assert '[sampler] name = "balanced", columns = ["family", "price"]' in advice
    assert any("larger width (it is 0.1), such as 0.2" in line for line in price.advice)
    assert group.advice == ()


def test_numbers_that_are_taken_as_classes_are_pointed_out():
    rows = ROWS.with_columns(price=pl.Series([f"{1_000.5 + 10 * n * n}" for n in range(10)]))
    recipe = replace(
        RECIPE, similarities=(SimilarityPart("price", "categorical"), SimilarityPart("kind", "categorical"))
    )
    price, kind = describe(rows, recipe, TABLE).columns[:2]
    assert 'set name = "continuous" if near numbers are alike' in price.advice[0]
    assert not any("continuous" in line for line in kind.advice)


def test_the_shares_are_those_of_the_sampler_that_the_recipe_names():
    changed = replace(ALL_KINDS, sampler=Sampler(name="balanced", columns=("family",)))
    checked = describe(MANY, changed, OF_MANY)
    assert checked.columns[0].alike_share == 1.0
    assert checked.batches.sampler == "balanced"
    assert max(checked.batches.left_over) == 0
    assert "Every training row comes once." in checked.to_text()
    assert "balanced batches" in checked.to_text()
    chance = describe(MANY, replace(ALL_KINDS, train=Train(batch_size=7)), OF_MANY)
    assert "2 rows left over after the last full batch" in chance.to_text()


def test_columns_that_tell_each_other_are_named_with_the_direction():
    checked = describe(MANY, ALL_KINDS, OF_MANY)
    (pair,) = checked.dependences
    assert (pair.a, pair.b) == ("family", "group")
    assert pair.a_tells_b == pytest.approx(1.0)
    assert pair.b_tells_a < 0.5
    assert "'family' explains 100% of 'group'" in checked.to_text()
    assert "'group' explains" not in checked.to_text()
    assert 'column = "family", name = "hierarchical", under = ["group"]' in checked.to_text()


def test_triplets_are_counted_for_each_similarity():
    changed = replace(ALL_KINDS, triplets=Triplets(count=90), similarities=ALL_KINDS.similarities[:3])
    checked = describe(MANY, changed, OF_MANY)
    assert dict(checked.triplets) == {"family": 30, "group": 30, "price": 30}
    assert checked.batches is None
    assert checked.columns[0].alike_share is None
    assert "an epoch has 90 of them: 'family' 30" in checked.to_text()


def test_a_column_that_is_only_probed_is_read_as_the_recipe_says():
    changed = replace(ALL_KINDS, similarities=ALL_KINDS.similarities[:1])
    probed = replace(changed, probe=Probe(columns=("price",), kinds={"price": "continuous"}))
    column = describe(MANY, probed, OF_MANY).columns[-1]
    assert (column.kind, column.numbers.different, column.alike_share) == ("probe, continuous", 100, None)
    wrong = replace(changed, probe=Probe(columns=("group",), kinds={"group": "continuous"}))
    with pytest.raises(TableError, match=r"'group'.* not numbers"):
        describe(MANY, wrong, OF_MANY)


def test_all_of_it_is_plain_json():
    json.dumps(describe(MANY, ALL_KINDS, OF_MANY).to_json(), allow_nan=False)


def test_a_share_of_anchors_is_no_larger_with_other_rows_only_than_with_all_positives():
    """Of numbers the batches of a few epochs are looked at, which may have missed rows without one."""
    rows = MANY.with_columns(price=pl.when(pl.col("line") % 9 > 0).then(pl.col("price")))
    wide = replace(ALL_KINDS, similarities=(SimilarityPart("price", "continuous", {"width": 50.0}),))
    for size in range(5, 40, 3):
        (price,) = describe(rows, replace(wide, train=Train(batch_size=size)), OF_MANY).columns
        assert price.alike_share <= price.positive_share


def test_a_label_among_several_that_no_training_row_has_is_told():
    rows = MANY.with_columns(tags=pl.when(pl.col("line") > 290).then(pl.lit("red;velvet")).otherwise(pl.col("tags")))
    description = describe(rows, ALL_KINDS, OF_MANY)
    assert dict(description.columns[3].outside) == {"velvet": 11}
    assert "labels that no training row has, left out of their cells: 'velvet' 11" in description.to_text()


def test_advice_to_a_balanced_sampler_is_one_that_it_does_not_follow_already():
    four = Sampler(name="balanced", columns=("family",), at_least=4)  # families have three rows
    family = describe(MANY, replace(ALL_KINDS, sampler=four), OF_MANY).columns[0]
    assert any('columns = ["family", "price"], at_least = 2' in line for line in family.advice)
    both = replace(ALL_KINDS, sampler=Sampler(name="balanced", columns=("family", "price")))
    assert not any("[sampler]" in line for column in describe(MANY, both, OF_MANY).columns for line in column.advice)


def test_columns_that_are_encoded_are_not_listed_as_left_aside():
    changed = replace(ALL_KINDS, similarities=ALL_KINDS.similarities[:1])
    encoded = replace(changed, data=Data(input="columns", numbers=("price",), categories=("tags",)))
    assert set(describe(MANY, changed, OF_MANY).unnamed) == {"group", "price", "tags"}
    assert set(describe(MANY, encoded, OF_MANY).unnamed) == {"group"}
