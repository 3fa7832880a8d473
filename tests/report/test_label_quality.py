"""The report and the explorer show what `mscon doubt` found, and nothing of a run that was trained on since."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from tests.planted_labels import cells, trained

import mscon
from mscon.evaluate.report.label_quality import sentences
from mscon.run.run import Run
from mscon.search.explorer.label_errors import judged_doubt
from mscon.search.explorer.page import payload
from mscon.search.explorer.payload import gather

LONG = "L" * 300


@pytest.fixture(scope="module")
def run(tmp_path_factory) -> Run:
    vectors, _, noisy = cells()
    kind = [cell.replace("a", "<b>a") for cell in noisy["kind"]]
    columns = {"kind": kind, "grade": noisy["grade"], LONG: kind}
    run = trained(tmp_path_factory.mktemp("judged"), columns, vectors)
    mscon.probe(run, progress=False, start=False)
    mscon.doubt(run, progress=False)
    return run


def with_other_checkpoint(run: Run, folder: Path) -> Run:
    """A copy that was trained on since its labels were judged."""
    copied = Run(Path(shutil.copytree(run.root, folder / "run")))
    copied._write_json("doubt.json", {**copied.read_doubt(), "checkpoint_sha256": "0" * 64})
    return copied


def test_the_report_lists_doubtful_labels_as_text(run, tmp_path):
    page = mscon.build_report(run, tmp_path, with_maps=False).read_text("utf-8")
    section = page.partition('id="labels"')[2].partition("</section>")[0]
    assert all(sentence.replace("'", "&#39;") in section for sentence in sentences(run.read_doubt()))
    worst = run.read_judged_labels().filter((pl.col("column") == "kind") & pl.col("is_label_issue")).row(0, named=True)
    assert f"line {worst['line']}" in section
    assert "&lt;b&gt;a" in section and "<b>a</b>" not in section
    assert section.count("<li class") == sum(min(8, record["issues"]) for record in run.read_doubt()["columns"])


@pytest.mark.parametrize("width", [1280, 390])
def test_the_list_of_labels_fills_its_box_and_not_more(run, tmp_path, browser, width):
    address = mscon.build_report(run, tmp_path / "page.html", with_maps=False).as_uri()
    page = browser.new_page(viewport={"width": width, "height": 900})
    page.goto(address)
    share = "[...document.querySelectorAll('section .whole')].map(e => e.firstChild.offsetWidth / e.offsetWidth)"
    shares = page.evaluate(share)
    assert shares and min(shares) > 0.95
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "the page scrolls sideways"
    page.close()


def test_beside_pictures_words_are_not_broken(run, tmp_path, browser):
    """The rows of this run have no pictures; their list is laid out as if they had."""
    page = browser.new_page(viewport={"width": 390, "height": 900})
    page.goto(mscon.build_report(run, tmp_path / "page.html", with_maps=False).as_uri())
    page.evaluate("document.querySelectorAll('.whole ol').forEach(e => e.className = 'pictures')")
    widths = page.evaluate("[...document.querySelectorAll('.whole li')].map(e => e.offsetWidth)")
    assert min(widths) >= 92 and max(widths) < 150
    page.close()


def test_the_report_says_whether_other_columns_judged(run, tmp_path):
    for witnesses in (False, True):
        mscon.doubt(run, witnesses=witnesses, progress=False)
        page = mscon.build_report(run, tmp_path / f"{witnesses}.html", with_maps=False).read_text("utf-8")
        section = page.partition('id="labels"')[2].partition("</section>")[0]
        assert ("by the other label columns" in section) == witnesses
        assert "% probable, predicted" in section


def test_what_is_out_of_date_is_not_shown(run, tmp_path):
    old = with_other_checkpoint(run, tmp_path)
    assert 'id="labels"' not in mscon.build_report(old, tmp_path / "old.html", with_maps=False).read_text("utf-8")
    judged, not_judged = (payload(gather(one, seconds=1.0))["columns"][0] for one in (run, old))
    assert "predicted" in judged and "predicted" not in not_judged
    assert judged["doubt"] != not_judged["doubt"]


def test_the_explorer_has_the_numbers_of_the_file(run):
    gathered = gather(run, seconds=1.0)
    labels = run.read_judged_labels().filter(pl.col("column") == "kind").sort("line")
    assert gathered.columns[0].name == "kind"
    np.testing.assert_allclose(gathered.doubts[0].share, 1 - labels["label_score"].to_numpy())
    assert list(gathered.doubts[0].predicted) == labels["predicted_label"].to_list()


def test_a_label_that_was_not_judged_is_not_ranked(run):
    judged = run.read_judged_labels()
    lines = np.array([2, 999_999])
    doubt = judged_doubt(judged, "kind", lines)
    assert doubt is not None and np.isnan(doubt.share).tolist() == [False, True]
    assert doubt.known.tolist() == [1, 0] and doubt.predicted[1] is None
    assert judged_doubt(judged, "no column", lines) is None


def test_sentences_say_what_is_known_and_what_is_not():
    share = {"value": 0.123, "low": 0.081, "high": 0.161}
    record = {"column": "closure", "kind": "class", "rows": 1_180, "missing": 3, "too_rare": 7, "witnesses": []}
    record |= {"agreement": 0.8, "issues": 141, "share": share}
    (text,) = sentences({"columns": [record], "skipped": []})
    assert text == (
        "closure: about 12 % of the labels look wrong (8.1 to 16 %); 141 label issues among 1,180 labels. 7 labels "
        "cannot be judged, because too few rows have the same."
    )
    (hard,) = sentences({"columns": [{**record, "agreement": 0.35}], "skipped": []})
    assert "Only 35 % of the labels can be predicted, so this is a rough estimate" in hard
    assert sentences({"columns": [], "skipped": [{"column": "one", "reason": "it has no label"}]}) == [
        "one: not judged: it has no label."
    ]
