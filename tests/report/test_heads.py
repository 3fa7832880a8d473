"""Masks in the report: bars of the right height, in one order, for runs that have them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mscon.evaluate.report.gather import gather
from mscon.evaluate.report.heads import masks, order
from mscon.evaluate.report.page import build_report

VALUES = [[0.0, 0.5, 1.0, 0.0, 0.2], [0.8, 0.4, 0.0, 0.0, 0.2]]


@pytest.fixture
def masked(a_run):
    run = a_run("masked", title="CSN <b>")
    run.write_masks(VALUES)
    return run


def test_bars_stand_in_the_order_of_who_sees_a_dimension_most(masked):
    (drawn,) = masks(gather([masked]).methods)
    assert (drawn.method, drawn.seed, drawn.dimensions, drawn.largest) == ("CSN <b>", 0, 5, 1.0)
    first, second = drawn.masks
    assert [m.column for m in drawn.masks] == ["character", "slant"]
    # Dimension 2 (1.0) then 1 (0.5) then 4 (a tie goes to the first), then 0 of the second, then 3 of nobody.
    assert [bar.height for bar in first.bars] == [48.0, 24.0, 9.6, 0.0, 0.0]
    assert [bar.height for bar in second.bars] == [0.0, 19.2, 9.6, 38.4, 0.0]
    assert [bar.is_largest for bar in first.bars] == [True, True, True, False, False]
    assert [bar.is_largest for bar in second.bars] == [False, False, True, True, False]
    assert (first.nonzero, first.most) == (3, 3)
    assert (second.nonzero, second.most) == (3, 2)
    assert first.largest_share == pytest.approx(1.0)
    assert second.largest_share == pytest.approx(1.0 / 1.4)


@given(st.integers(1, 4), st.integers(1, 9), st.integers(0, 99))
def test_the_order_leaves_no_dimension_out(similarities, dim, seed):
    values = np.random.default_rng(seed).normal(size=(similarities, dim)).clip(min=0)
    assert sorted(order(values).tolist()) == list(range(dim))


def test_masks_of_zeros_are_drawn_as_nothing(a_run):
    run = a_run("dead")
    run.write_masks([[0.0, 0.0], [0.0, 0.0]])
    (drawn,) = masks(gather([run]).methods)
    assert [(m.nonzero, m.largest_share) for m in drawn.masks] == [(0, None), (0, None)]


def test_the_page_shows_masks_where_a_run_has_them(masked, a_run, tmp_path):
    plain = a_run("plain", title="MSCon")
    page = build_report([masked, plain], tmp_path / "both.html", with_maps=False).read_text()
    assert page.count('<svg class="mask c') == 2
    assert 'aria-label="Mask of slant: 3 of 5 dimensions above 0"' in page
    assert page.count("<rect ") == 6
    assert "CSN <b>" not in page
    assert "Conditional Similarity Networks" not in page  # its recipe names other heads and another objective
    assert 'href="#masks"' in page
    without = build_report([plain], tmp_path / "one.html", with_maps=False).read_text()
    assert '<svg class="mask c' not in without
    assert 'href="#masks"' not in without


def test_what_csn_builds_on_is_cited(a_run, tmp_path):
    run = a_run("csn", settings=["heads.name=masks", "objective.name=triplet_margin"])
    assert "Conditional Similarity Networks" in build_report([run], tmp_path / "csn.html", with_maps=False).read_text()
