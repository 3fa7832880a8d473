"""Experiments on the page: figures of the paper as `mscon reproduce` leaves them."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest

from mscon.cli import main
from mscon.errors import RunError
from mscon.evaluate.metrics.bootstrap import Interval
from mscon.evaluate.report.page import build_report
from mscon.evaluate.report.results import holds_results, read_results
from mscon.run import atomic
from mscon_paper.figures import draw, draw_training
from mscon_paper.files import find
from mscon_paper.table import Difference, ExperimentResult, Reading, result_json

EVIL = "<script>alert(1)</script>"


def interval(x: int) -> Interval:
    return Interval(0.5 + 0.1 * x, 0.4, 0.9, 0.1)


def found(row: str = "MSCon", points: int = 3) -> ExperimentResult:
    readings = [
        Reading(name, f"{x}", float(x), "accuracy", column, interval(x), 3, "best")
        for column in ("family", "weight")
        for name in (row, "SupCon")
        for x in range(points)
    ]
    readings.append(Reading("CSN", "0", 0.0, "accuracy", "family", None, reason="training broke down"))
    experiment = replace(
        find("glyphs/figure3"),
        title="Figure 3: redrawn",
        about="A share of labels.\nDrawn anew.",
        sweep=("share redrawn", "linear"),
        published={},
    )
    differences = (Difference(row, "SupCon", "0", "family", Interval(0.02, 0.01, 0.03, 0.005)),)
    return ExperimentResult(experiment, tuple(readings), differences)


def leave(folder: Path, told: ExperimentResult, kinds: tuple[str, ...] = ("svg", "png")) -> Path:
    atomic.write_json(folder / "results.json", result_json(told))
    for kind, content in draw(told).items():
        if kind in kinds:
            atomic.write_bytes(folder / f"figure.{kind}", content)
    return folder


def test_a_curve_has_a_table_for_each_thing_read_and_its_points_beside_each_other(tmp_path):
    told = read_results(leave(tmp_path / "f", found()))
    assert [sheet.title for sheet in told.sheets] == ["family, by share redrawn", "weight, by share redrawn"]
    family, weight = told.sheets
    assert family.head == ("0", "1", "2")
    lines = dict(family.lines)
    assert [cell.value for cell in lines["MSCon"]] == ["50.0", "60.0", "70.0"]
    assert lines["MSCon"][1].span == "40.0 to 90.0"
    assert lines["CSN"][0].reason == "training broke down"
    assert lines["CSN"][1] is None
    assert "CSN" not in dict(weight.lines)
    assert told.differences[0].verdict == "told apart"
    assert told.about == "A share of labels. Drawn anew."


@pytest.mark.parametrize(("kinds", "media"), [(("svg", "png"), "svg+xml"), (("png",), "png"), ((), None)])
def test_the_figure_is_lines_or_else_pixels(tmp_path, kinds, media):
    told = read_results(leave(tmp_path / "f", found(), kinds))
    if media is None:
        assert told.picture is None
        return
    assert told.picture.uri.startswith(f"data:image/{media};base64,")
    assert 500 < told.picture.width < 800


def test_an_experiment_alone_is_a_page(tmp_path):
    folder = leave(tmp_path / "f", found())
    page = build_report([], folder, results=[folder]).read_text("utf-8")
    assert page.count("<h1>") == 1 and "Figure 3: redrawn" in page
    assert 'id="results"' in page and 'id="comparison"' not in page and 'href="#data"' not in page
    assert not (folder / "report.json").exists()


def test_experiments_stand_beside_runs(a_run, tmp_path):
    folder = leave(tmp_path / "f", found())
    main(["report", str(a_run("r").root), str(folder), "--out", str(tmp_path / "both.html")])
    page = (tmp_path / "both.html").read_text("utf-8")
    assert 'id="results"' in page and 'id="comparison"' in page
    assert "from 1 run and 1 experiment" in page


def test_what_is_no_evidence_says_so(tmp_path):
    folder = leave(tmp_path / "f", replace(found(), changed=("--quick: one seed and two epochs",)))
    page = build_report([], folder, results=[folder]).read_text("utf-8")
    assert re.search(r'class="failure">Made with --quick.*no evidence', page)


def test_names_of_an_experiment_stay_names(tmp_path):
    result = found(f"MSCon {EVIL}")
    folder = leave(tmp_path / "f", replace(result, experiment=replace(result.experiment, title=f"t {EVIL}")))
    page = build_report([], folder, results=[folder]).read_text("utf-8")
    assert "<script" not in page
    assert "&lt;script&gt;" in page


@pytest.mark.parametrize("content", ["{", "[]", '{"readings": 3}', json.dumps({"experiment": "x"})])
def test_a_broken_file_is_one_message(tmp_path, content):
    atomic.write_text(tmp_path / "f" / "results.json", content)
    assert holds_results(tmp_path / "f")
    with pytest.raises(RunError, match="not what `mscon reproduce` writes"):
        build_report([], tmp_path / "out.html", results=[tmp_path / "f"])
    assert not (tmp_path / "out.html").exists()


@pytest.mark.parametrize("methods", [1, 2, 7, 15])
def test_the_legend_of_a_figure_fits_and_leaves_no_gap(methods):
    """Between the lowest mark of the axes and the highest of the legend lies little."""
    from mscon.evaluate.report.pictures import style
    from mscon_paper.figures import _lines

    readings = [
        Reading(f"A method of some length, {i}", f"{x}", float(x), "accuracy", "c", Interval(0.5, 0.4, 0.6, 0.05), 1)
        for i in range(methods)
        for x in (1, 2)
    ]
    with style():
        figure = _lines(replace(found(), readings=tuple(readings), differences=()))
        (legend,) = figure.legends
        (axis,) = [a for a in figure.axes if a.get_visible()]
        box, plot = legend.get_window_extent(), axis.get_tightbbox()
        assert box.x1 <= figure.bbox.width and box.y0 >= 0
        assert 0 <= (plot.y0 - box.y1) / figure.dpi < 0.3


# Curves of training -------------------------------------------------------------------------------


def test_curves_of_training_are_means_over_seeds_of_what_was_left_on_validation_rows(monkeypatch):
    drawn = {}
    monkeypatch.setattr("mscon_paper.figures._saved", lambda figure: drawn.update(figure=figure) or {})
    one = [{"kind": "step", "epoch": 1, "relative_excess": {"a": 9.0}}]
    first = [*one, *({"kind": "validation", "epoch": e, "relative_excess": {"a": 1 / e}} for e in (1, 2))]
    second = [{"kind": "validation", "epoch": e, "relative_excess": {"a": 0.5, "b": None}} for e in (1, 2, 3)]
    draw_training({"<MSCon>": [first, second], "without": [one]}, [])
    axes = {axis.get_title(loc="left"): axis for axis in drawn["figure"].axes}
    (line,) = axes["a"].get_lines()
    assert line.get_xdata().tolist() == [1, 2], "epochs that all seeds reached"
    assert line.get_ydata().tolist() == [0.75, 0.5]
    assert all(tick == round(tick) for tick in axes["a"].get_xticks()), "there is no half epoch"
    assert not axes["b"].get_lines()
