"""Derived columns: what is redrawn, what is left, and that the table stays as it was."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.data.table.label_noise import redrawn, with_derived
from mscon.data.table.table import Table, read_table
from mscon.errors import RecipeError, TableError
from mscon.run import recipe
from mscon.run.recipe import Derived
from selected import selected

CELLS = st.lists(
    st.tuples(st.sampled_from(["a", "b", "c", None]), st.sampled_from(["train", "validation", "test", "unseen"])),
    max_size=60,
)
SHARES = st.floats(0, 1)


def changed(before, after):
    return [i for i, (a, b) in enumerate(zip(before, after, strict=True)) if a != b]


@given(CELLS, SHARES, st.integers(0, 99))
def test_only_training_labels_are_redrawn_and_only_into_training_classes(rows, share, seed):
    cells, split = [c for c, _ in rows], [s for _, s in rows]
    noisy = redrawn(cells, split, share, False, seed)
    training = [c for c, s in rows if s == "train" and c is not None]
    moved = changed(cells, noisy)
    assert all(split[i] == "train" and cells[i] is not None and noisy[i] in training for i in moved)
    assert len(moved) <= round(share * len(training))


@given(CELLS, SHARES, st.booleans(), st.integers(0, 99))
def test_missing_stays_missing_and_a_share_of_0_is_a_copy(rows, share, everywhere, seed):
    cells, split = [c for c, _ in rows], [s for _, s in rows]
    noisy = redrawn(cells, split, share, everywhere, seed)
    assert [c is None for c in noisy] == [c is None for c in cells]
    assert redrawn(cells, split, 0.0, everywhere, seed) == cells


@given(CELLS, SHARES, SHARES, st.integers(0, 99))
def test_what_a_smaller_share_changes_a_larger_one_changes_alike(rows, one, other, seed):
    cells, split = [c for c, _ in rows], [s for _, s in rows]
    small, large = (redrawn(cells, split, share, True, seed) for share in sorted((one, other)))
    assert all(small[i] == large[i] for i in changed(cells, small))


def test_the_share_that_changes_is_that_of_uniform_redraws():
    cells, split = ["a", "b", "c", "d"] * 2_500, ["train"] * 10_000
    for share in (0.25, 0.5, 1.0):
        moved = len(changed(cells, redrawn(cells, split, share, False, 0))) / 10_000
        # A redraw keeps the label in one of four cases; five standard deviations.
        assert abs(moved - 0.75 * share) < 5 * (0.75 * 0.25 / 10_000) ** 0.5


def test_the_same_seed_redraws_alike_and_another_does_not():
    cells, split = list("abcd") * 50, ["train"] * 200
    first = redrawn(cells, split, 0.5, False, 1)
    assert first == redrawn(cells, split, 0.5, False, 1)
    assert first != redrawn(cells, split, 0.5, False, 2)


def table_of(**columns) -> Table:
    frame = pl.DataFrame(columns, schema=dict.fromkeys(columns, pl.String))
    return Table(Path("shoes.csv"), frame, tuple(range(2, frame.height + 2)))


def test_the_table_is_left_as_it_is_and_one_column_may_follow_another():
    table = table_of(kind=["a", "b", "a", None])
    derived = (Derived("noisy", "kind", 1.0), Derived("again", "noisy"))
    noisy = with_derived(table, ["train"] * 4, derived)
    assert table.frame.columns == ["kind"]
    assert noisy.frame.columns == ["kind", "noisy", "again"]
    assert noisy.cells("again") == noisy.cells("noisy")


def test_all_that_is_wrong_with_derived_columns_is_said_at_once():
    derived = (Derived("noisy", "knid"), Derived("kind", "kind"))
    with pytest.raises(TableError, match=r"no column 'knid'. Did you mean 'kind'(.|\n)*'kind' is there already"):
        with_derived(table_of(kind=["a", "b"]), ["train", "test"], derived)


LEAST = '[[similarity]]\ncolumn = "noisy"\n[[derived]]\ncolumn = "noisy"\nof = "kind"\n'


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ("redraw = 1.5", "a share from 0 to 1"),
        ("rows = 'test'", 'must be one of "train", "all"'),
        ("share = 0.5", "no setting 'share'"),
        ("[[derived]]\ncolumn = 'noisy'\nof = 'other'", "'noisy' is in two"),
        ("[[derived]]\ncolumn = 'other'", "needs a value for 'of'"),
    ],
)
def test_a_recipe_that_derives_wrongly_says_so(more, words):
    with pytest.raises(RecipeError, match=words):
        recipe.parse(LEAST + more)


def test_a_recipe_keeps_what_it_derives():
    noisy = recipe.parse(LEAST + "redraw = 0.5\nseed = 3")
    assert noisy.derived == (Derived("noisy", "kind", 0.5, "train", 3),)
    assert recipe.parse(noisy.to_toml()) == noisy
    assert "derived" not in recipe.parse('[[similarity]]\ncolumn = "kind"\n').to_toml()


def test_the_rows_of_a_run_hold_the_derived_column(tmp_path):
    for number in range(8):
        (tmp_path / f"{number}.png").write_bytes(b"")
    lines = [f"{n}.png,{'train' if n < 6 else 'test'},{'ab'[n % 2]}" for n in range(8)]
    path = tmp_path / "t.csv"
    path.write_text("image,split,kind\n" + "\n".join(lines) + "\n")
    rows = selected(read_table(path), recipe.parse(LEAST + "redraw = 1.0"))
    assert rows.columns == ["line", "split", "image", "kind", "noisy"]
    assert rows["noisy"][6:].to_list() == rows["kind"][6:].to_list()
    with pytest.raises(TableError, match="no column 'knid'"):
        selected(read_table(path), recipe.parse(LEAST.replace('"kind"', '"knid"')))
