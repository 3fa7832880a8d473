"""Batches of triplets, and the rule by which their samples compare."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from mscon.data.batches.dataset import Dataset
from mscon.data.batches.triplet_dataset import TripletDataset, TripletRule, in_triplets
from mscon.data.batches.triplets import Triplets
from mscon.data.inputs.images import ImageStore
from mscon.errors import RecipeError, TableError
from mscon.method.similarities.base import Rule
from mscon.method.similarities.categorical import Categorical
from mscon.run import recipe as recipes

RECIPE = """
[[similarity]]
column = "kind"
[[similarity]]
column = "shade"
[triplets]
count = 9
validation = 4
"""


def store(rows: int) -> ImageStore:
    """Images that are their own row's number."""
    return ImageStore(np.arange(rows, dtype=np.uint8)[:, None, None, None])


@pytest.fixture
def dataset() -> Dataset:
    kinds, shades = ["a", "b"] * 10, [None, "x", "y", "x"] * 5
    split = ["train"] * 12 + ["validation"] * 6 + ["test"] * 2
    images = [f"pictures/{i}.png" for i in range(20)]
    rows = pl.DataFrame({"line": range(20), "split": split, "image": images, "kind": kinds, "shade": shades})
    return Dataset.build(rows, [Categorical("kind", ("a", "b")), Categorical("shade", ("x", "y"))], store(20))


ROWS = Dataset.build(
    pl.DataFrame({"line": range(220), "split": ["train"] * 220, "image": ["x"] * 220, "c": ["a", "b"] * 110}),
    [Categorical("c", ("a", "b"))] * 3,
    store(220),
)


@given(st.lists(st.integers(0, 2), min_size=1, max_size=8), st.integers(1, 3))
def test_an_anchor_knows_its_own_near_and_far_under_its_own_similarity_and_nothing_else(conditions, views):
    count = len(conditions)
    condition = torch.tensor(conditions)
    rows = torch.arange(count)
    of_triplets = TripletDataset(ROWS, Triplets(rows, rows + 100, rows + 200, condition), {})
    batch = of_triplets.batch(rows)
    assert batch.rows.tolist() == [*range(count), *range(100, 100 + count), *range(200, 200 + count)]
    for c in range(3):
        code = batch.codes[c].repeat(views, 1)  # as a step does for views
        pairs = TripletRule("c").compare(code, code)
        for i in range(3 * count * views):
            for j in range(3 * count * views):
                (triplet, part), (other, role) = divmod_of(i, count), divmod_of(j, count)
                known = triplet == other and part == 0 and role > 0 and conditions[triplet] == c
                assert pairs.known[i, j].item() is known
                if known:
                    assert pairs.weight[i, j].item() == (role == 1)


def divmod_of(sample: int, count: int) -> tuple[int, int]:
    """Number of the triplet and part of a sample, of any view."""
    part, number = divmod(sample % (3 * count), count)
    return number, part


def test_the_rule_is_one():
    assert isinstance(TripletRule("c"), Rule)


def triplets(dataset: Dataset, recipe: recipes.Recipe, root: Path, where: str = "") -> TripletDataset:
    return in_triplets(dataset, recipe.triplets, recipe.train.seed, root, where)


def test_splits_have_their_own_triplets_and_images_follow_them(dataset, tmp_path):
    of_triplets = triplets(dataset, recipes.parse(RECIPE), tmp_path)
    train, validation = of_triplets.indices("train"), of_triplets.indices("validation")
    assert (train.tolist(), validation.tolist()) == (list(range(9)), list(range(9, 13)))
    assert len(of_triplets) == 13
    assert of_triplets.indices("test").numel() == 0
    for numbers, first, last in ((train, 0, 12), (validation, 12, 18)):
        batch = of_triplets.batch(numbers)
        assert ((batch.rows >= first) & (batch.rows < last)).all()
        assert torch.equal(batch.inputs.flatten().long(), batch.rows)
        assert batch.rows.numel() == of_triplets.rows_each * numbers.numel()


def test_the_seed_of_the_training_draws(dataset, tmp_path):
    def rows(seed):
        of_triplets = triplets(dataset, recipes.parse(RECIPE, [f"train.seed={seed}"]), tmp_path)
        return of_triplets.batch(of_triplets.indices("train")).rows

    assert torch.equal(rows(1), rows(1))
    assert not torch.equal(rows(1), rows(2))


def test_no_validation_triplets_if_none_are_asked_for(dataset, tmp_path):
    of_triplets = triplets(dataset, recipes.parse(RECIPE, ["triplets.validation=0"]), tmp_path)
    assert of_triplets.indices("validation").numel() == 0


def test_a_column_without_a_triplet_is_said_of_the_table(tmp_path):
    rows = pl.DataFrame({"line": [1, 2, 3], "split": ["train"] * 3, "image": list("abc"), "kind": list("abc")})
    dataset = Dataset.build(rows, [Categorical("kind", ("a", "b", "c"))], store(3))
    with pytest.raises(TableError, match=r"^shoes\.csv: column 'kind': no triplet can be drawn from 3 rows"):
        triplets(dataset, recipes.parse(RECIPE), tmp_path, where="shoes.csv: ")


@pytest.fixture
def listed(tmp_path):
    """Files of the authors: two lists of train, two of val."""
    folder = tmp_path / "files" / "tripletlists"
    folder.mkdir(parents=True)
    (folder.parent / "filenames.json").write_text("".join(f"{i}.png\n" for i in range(20)))
    for split, first in (("train", 0), ("val", 12)):
        for name in ("class", "shade"):
            lines = [f"{first + i} {first + i + 1} {first + i + 2}\n" for i in range(3)]
            (folder / f"{name}_tripletlist_{split}.txt").write_text("".join(lines))
    return tmp_path


LISTED = ['triplets.folder="files"', 'triplets.lists={kind="class"}']


def test_lists_take_the_place_of_draws(dataset, listed):
    of_triplets = triplets(dataset, recipes.parse(RECIPE, [*LISTED, "triplets.count=0"]), listed)
    batch = of_triplets.batch(of_triplets.indices("train"))
    assert len(batch.rows) == 3 * 6
    anchor, near, far = batch.rows.unflatten(0, (3, 6))
    assert (near == anchor + 2).all() and (far == anchor + 1).all()
    assert len(of_triplets.indices("validation")) == 4  # of 6, as many as asked for
    few = triplets(dataset, recipes.parse(RECIPE, [*LISTED, "triplets.count=5"]), listed)
    assert len(few.indices("train")) == 5


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ('triplets.lists={kinds="class"}', "names 'kinds', which is no .* Did you mean 'kind'"),
        ('triplets.lists={kind="../class"}', "part of a file's name"),
        ('triplets.folder="../elsewhere"', "lies outside the folder of the images"),
        ('triplets.folder="\\u0000"', "lies outside the folder of the images"),
    ],
)
def test_lists_stay_in_their_folder(dataset, listed, override, words):
    with pytest.raises(RecipeError, match=words):
        triplets(dataset, recipes.parse(RECIPE, [*LISTED, override]), listed)


def test_links_to_lists_are_followed_where_the_recipe_says_where_they_lead(dataset, listed):
    """As a hub's cache keeps a data set: a folder in its place, with a link for each file."""
    (listed / "blobs").mkdir()
    root = listed / "snapshot"
    for file in [path for path in (listed / "files").rglob("*") if path.is_file()]:
        file.rename(listed / "blobs" / file.name)
        link = root / file.relative_to(listed)
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(listed / "blobs" / file.name)
    recipe = recipes.parse(RECIPE, LISTED)
    with pytest.raises(RecipeError, match=r"'files/filenames.json' lies outside(?s:.*)link_folders = \[\"../blobs\"\]"):
        triplets(dataset, recipe, root)
    followed = in_triplets(dataset, recipe.triplets, recipe.train.seed, root, link_folders=["../blobs"])
    assert len(followed) == 6 + 4


def test_a_single_list_that_is_a_link_out_of_the_folder_is_not_read(dataset, listed):
    (listed / "secret.txt").write_text("a secret\n")
    file = listed / "files" / "tripletlists" / "shade_tripletlist_val.txt"
    file.unlink()
    (listed / "data").mkdir()
    (listed / "files").rename(listed / "data" / "files")
    (listed / "data" / "files" / "tripletlists" / file.name).symlink_to(listed / "secret.txt")
    with pytest.raises(RecipeError, match=r"shade_tripletlist_val\.txt' lies outside") as raised:
        triplets(dataset, recipes.parse(RECIPE, LISTED), listed / "data")
    assert "a secret" not in str(raised.value)
