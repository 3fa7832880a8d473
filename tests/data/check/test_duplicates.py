"""Equal images: found by what they show, told with the splits that they lie in."""

from __future__ import annotations

import numpy as np
import polars as pl

from mscon.cli import main
from mscon.data.check.duplicates import duplicates_text, find_duplicates
from mscon.data.inputs.images import ImageStore
from mscon.data.inputs.vectors import VectorStore

ROWS = pl.DataFrame(
    {
        "line": range(2, 12),
        "split": ["train"] * 8 + ["test", "unseen"],
        "image": [f"{i}.png" for i in range(10)],
    }
)


def store(values: list[int]) -> ImageStore:
    return ImageStore(np.array(values, np.uint8)[:, None, None, None] * np.ones((1, 1, 8, 8), np.uint8))


def test_equal_images_are_found_within_and_across_splits():
    equal = find_duplicates(ROWS, store([1, 1, 2, 3, 3, 4, 5, 6, 2, 7]))
    assert (equal.groups, equal.rows, equal.groups_across) == (3, 6, 1)
    assert equal.examples == ((4, 10), (2, 3), (5, 6))


def test_images_that_differ_in_one_pixel_are_not_equal():
    images = store([1] * 10).images.copy()
    images[range(10), 0, 0, 0] = range(10)
    assert find_duplicates(ROWS, ImageStore(images)).groups == 0


def test_rows_whose_image_is_trained_on_are_counted():
    equal = find_duplicates(ROWS, store([1, 2, 3, 4, 5, 6, 7, 8, 2, 2]))
    assert (equal.rows, equal.leaked) == (3, 2)
    (_, group, warning) = duplicates_text(equal, "line")
    assert warning.startswith("warning: of 2 rows outside the training split, 2 have an image that is trained on.")
    assert group == "    lines 3, 10, 11: '1.png'"


def test_images_equal_across_splits_of_which_none_is_trained_on_are_no_leak():
    equal = find_duplicates(ROWS, store([1, 2, 3, 4, 5, 6, 7, 8, 9, 9]))
    assert (equal.groups_across, equal.leaked) == (1, 0)
    head = duplicates_text(equal, "line")[0]
    assert "1 group with rows in more than one split." in head
    assert "trained on" not in head


def test_of_many_groups_the_text_names_some_and_json_all():
    equal = find_duplicates(ROWS, store([1, 2, 3, 4, 5, 6, 7, 8, 1, 2]))
    assert len(equal.examples) == len(equal.names) == 2
    many = pl.concat([ROWS.filter(pl.col("split") == "train")] * 2)
    equal = find_duplicates(many, store([*range(1, 9), *range(1, 9)]))
    assert len(equal.examples) == 8
    text = duplicates_text(equal, "row")
    assert len(text) == 7, "without a leak there is no warning"
    assert text[-1] == "    and 3 more"


def test_equal_vectors_are_found_whatever_the_sign_of_zero(tmp_path):
    vectors = np.arange(20, dtype=np.float32).reshape(10, 2)
    vectors[9], vectors[0], vectors[4] = vectors[2], (0.0, 1.0), (-0.0, 1.0)
    inputs = VectorStore(vectors, np.zeros(2, np.float32), np.ones(2, np.float32))
    equal = find_duplicates(ROWS, inputs, "vector")
    assert (equal.groups, equal.rows, equal.leaked) == (2, 4, 1)
    assert duplicates_text(equal, "line") == [
        "4 rows in 2 groups of equal vectors; 1 group with rows in more than one split.",
        "    lines 4, 11: '2.png'",
        "    lines 2, 6: '0.png'",
        "warning: of 2 rows outside the training split, 1 has a vector that is trained on. Scores on them do not tell "
        "how well new rows are predicted. Put equal rows into one split, or leave them out.",
    ]


def test_check_looks_for_equal_vectors_columns_and_texts(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    lines = [f"{['train', 'test'][n % 2]},{'ab'[n // 2 % 2]},{n % 8},word {n % 8} of it" for n in range(16)]
    (tmp_path / "t.csv").write_text("\n".join(["split,kind,n,words", *lines]))
    half = np.random.default_rng(0).normal(size=(8, 3)).astype(np.float32)
    np.save(tmp_path / "v.npy", np.concatenate([half, half]))
    monkeypatch.setattr("mscon.data.inputs.text.embed", lambda texts, model: np.concatenate([half, half]))
    for data, words in (
        ('input = "vectors"\nvectors = "v.npy"', "16 rows in 8 groups of equal vectors; 0 groups with rows in more"),
        ('input = "columns"\nnumbers = ["n"]', "16 rows in 8 groups of equal encoded columns; 0 groups"),
        ('input = "text"\ntext = "words"', "16 rows in 8 groups of equal texts; 0 groups"),
    ):
        recipe = f'[[similarity]]\ncolumn = "kind"\nname = "categorical"\n[data]\n{data}\n[encoder]\nname = "linear"'
        (tmp_path / "r.toml").write_text(recipe)
        assert main(["check", "r.toml", "--table", "t.csv"]) == 0
        assert words in capsys.readouterr().out
    np.save(tmp_path / "v.npy", np.ones((16, 3), np.float32))
    setting = ["--set", "data.input=vectors", "--set", "data.vectors=v.npy"]
    assert main(["check", "r.toml", "--table", "t.csv", *setting]) == 0
    assert (
        "warning: of 8 rows outside the training split, 8 have a vector that is trained on" in capsys.readouterr().out
    )
