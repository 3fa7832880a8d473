"""The report shows whether the confidences of `mscon predict` are right, and nothing of predictors that are old."""

from __future__ import annotations

import os
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from tests.planted_labels import cells, trained

import mscon
from mscon.errors import RunError
from mscon.evaluate.predictors import need_predictors
from mscon.evaluate.report.reliability import calibration_of
from mscon.run.run import Run


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    vectors, right, _ = cells()
    kind = [cell.replace("a", "<b>a") for cell in right["kind"]]
    run = trained(tmp_path_factory.mktemp("calibrated"), {**right, "kind": kind}, vectors)
    mscon.probe(run, progress=False, start=False)
    need_predictors(run, progress=False)
    return run


def section(page: Path) -> str:
    return page.read_text("utf-8").partition('id="calibration"')[2].partition("</section>")[0]


def test_every_column_is_there_with_the_numbers_of_the_file(run, tmp_path):
    text = section(mscon.build_report(run, tmp_path, with_maps=False))
    about, arrays = run.read_predictors(lambda about, arrays: (about, dict(arrays)))
    places = 0
    for number, one in enumerate(about["predictors"]):
        rows = f"{one['record']['test_rows']:,} test rows"
        if one["kind"] == "number":
            assert f"{one['column']}: intervals of 90 % hold {100 * one['record']['coverage']:.1f} % of {rows}." in text
            continue
        for level, record in enumerate(one["record"]["levels"]):
            numbers = (100 * record[name] for name in ("after", "by_chance", "accuracy"))
            assert "calibration error {:.1f} % ({:.1f} % by chance), {:.1f} % right of ".format(*numbers) + rows in text
            places += len(np.unique((arrays[f"{number}/confidence"][:, level] * 15).astype(int).clip(max=14)))
    assert text.count("<circle") == text.count('class="expected"') == places > 10
    assert "path, level 1 of 2" in text or "level 1 of 2" in text
    assert text.count("<svg") == sum(len(one["record"].get("levels", [])) for one in about["predictors"])


def test_points_lie_where_their_numbers_say(run):
    for chart in calibration_of(run).charts:
        for one in chart.bins:
            assert 0 <= one.low <= one.high <= 1 and one.low - 1e-9 <= one.confidence <= one.high + 1e-9
            assert one.x == pytest.approx(44 + 270 * one.confidence)
            assert one.up(one.accuracy) == pytest.approx(166 - 158 * one.accuracy)
        assert sum(one.share for one in chart.bins) == pytest.approx(1)
        assert sum(one.rows for one in chart.bins) == int(re.search(r"of (\d+) test rows", chart.summary)[1])


def test_what_is_out_of_date_is_not_shown(run, tmp_path):
    other = Run(Path(shutil.copytree(run.root, tmp_path / "run")))
    other.write_rows(other.read_rows().reverse())
    assert not section(mscon.build_report(other, tmp_path / "old.html", with_maps=False))
    os.remove(other.root / "predictors.safetensors")
    os.remove(other.root / "checksums.jsonl")
    assert calibration_of(other).charts == ()


def test_a_damaged_file_is_named(run, tmp_path):
    other = Run(Path(shutil.copytree(run.root, tmp_path / "run")))
    (other.root / "predictors.safetensors").write_bytes(b"no")
    with pytest.raises(RunError, match=r"predictors.safetensors has changed since"):
        mscon.build_report(other, tmp_path / "page.html", with_maps=False)


@pytest.mark.parametrize(("width", "scheme"), [(1280, "light"), (1280, "dark"), (390, "light"), (390, "dark")])
def test_the_charts_fit_their_page(run, tmp_path, browser, width, scheme):
    page = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    page.goto(mscon.build_report(run, tmp_path / "page.html", with_maps=False).as_uri())
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    colours = page.evaluate(
        "['expected', 'dot'].map(c => getComputedStyle(document.querySelector('#calibration ~ figure .' + c)))"
        ".map((s, i) => i ? s.fill : s.stroke)"
    )
    assert len(set(colours)) == 2 and "none" not in colours
    if place := os.environ.get("MSCON_SCREENSHOTS"):
        page.locator("section[aria-labelledby=calibration]").screenshot(
            path=f"{place}/calibration-{width}-{scheme}.png"
        )
    page.close()
