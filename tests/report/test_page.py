"""The page as a file: whole, closed to the network, and safe against whatever a table holds."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mscon.cli import main
from mscon.errors import RunError
from mscon.evaluate.report.page import build_report

from .runs import CLASSES, make_images, make_rows, make_run

EVIL = "<script>alert(1)</script>"
HOSTILE = {
    "character": [EVIL, '"><img src=x onerror=alert(1)>', "$\\frac{a}$", "{{ 7 * 7 }}", "http://example.org/a.png"],
    f"slant {EVIL}": ["up'right", "italic\u202e"],
    "family": ["\U0001f600", "javascript:alert(1)", "</style><style>*{}", "</title>"],
}


class Page(HTMLParser):
    """Collects tags, their attributes, and the text outside of style."""

    VOID = frozenset({"meta", "link", "img", "br", "line", "circle", "path"})

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.text, self.style = "", ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open, f"</{tag}> closes nothing"
        assert self.open.pop() == tag, f"</{tag}> in the wrong place"

    def handle_data(self, data):
        if self.open and self.open[-1] == "style":
            self.style += data
        else:
            self.text += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attributes for name, attributes in self.tags if name == tag]

    @property
    def policy(self) -> str:
        return next(m["content"] for m in self.all("meta") if m.get("http-equiv") == "Content-Security-Policy")


@pytest.fixture(scope="module")
def compared(tmp_path_factory) -> Path:
    """Three methods, three seeds each, with images."""
    folder = tmp_path_factory.mktemp("compared")
    monkey = pytest.MonkeyPatch()
    monkey.setenv("MSCON_CACHE", str(folder / "cache"))
    rows = make_rows(CLASSES)
    make_images(folder / "images", rows)
    methods = [
        ("MSCon", ("character", "slant"), 0.75),
        ("SupCon, character", ("character",), 0.3),
        ("SimCLR", ("same_row",), 0.7),
    ]
    runs = [
        make_run(
            folder / f"{i}-{seed}", rows, title=title, seed=seed, train_on=on, skill=skill, images=folder / "images"
        )
        for i, (title, on, skill) in enumerate(methods)
        for seed in range(3)
    ]
    path = build_report(runs, folder / "out" / "compared.html")
    monkey.undo()
    return path


@pytest.fixture(scope="module")
def page(compared) -> Page:
    return Page(compared.read_text("utf-8"))


@pytest.fixture(scope="module")
def hostile(tmp_path_factory) -> Page:
    folder = tmp_path_factory.mktemp("hostile")
    rows = make_rows(HOSTILE)
    slant = f"slant {EVIL}"
    run = make_run(
        folder / "run <b>",
        rows,
        title=f"title {EVIL}",
        train_on=("character", slant),
        ask=("character", slant, "family"),
        images=folder / "gone",
        table=f"{EVIL}.csv",
    )
    return Page(build_report([run], folder).read_text("utf-8"))


# Closed ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("which", ["page", "hostile"])
def test_nothing_is_asked_of_the_network(which, request):
    for tag, attributes in request.getfixturevalue(which).tags:
        assert tag not in {"script", "iframe", "object", "embed", "form", "base", "audio", "video"}
        for name, value in attributes.items():
            assert not name.startswith("on")
            if name in {"src", "href", "srcset", "action", "poster", "data", "xlink:href"}:
                assert value.startswith(("data:", "#")), f"{tag} {name}={value[:60]}"
    style = request.getfixturevalue(which).style
    assert "url(" not in style
    assert "@import" not in style


@pytest.mark.parametrize("which", ["page", "hostile"])
def test_the_policy_forbids_all_but_the_pictures_and_this_very_style(which, request):
    page = request.getfixturevalue(which)
    digest = base64.b64encode(hashlib.sha256(page.style.encode()).digest()).decode()
    rules = dict(rule.split(" ", 1) for rule in page.policy.split("; "))
    assert rules["default-src"] == "'none'"
    assert rules["img-src"] == "data:"
    assert rules["style-src"] == f"'sha256-{digest}'"
    assert not any("style" in attributes for _, attributes in page.tags), "the policy would drop inline styles"


def test_the_policy_comes_before_anything_that_it_governs(compared):
    text = compared.read_text("utf-8")
    assert text.index("Content-Security-Policy") < min(text.index(tag) for tag in ("<link", "<style", "<img"))


# Hostile --------------------------------------------------------------------------------------------


def test_hostile_text_is_shown_as_text(hostile):
    for label in [*HOSTILE["character"], *HOSTILE, f"title {EVIL}", f"{EVIL}.csv", "</style><style>*{}"]:
        assert label in hostile.text, label
    assert len(hostile.all("style")) == 1
    assert len(hostile.all("title")) == 1
    assert {attributes.get("src", "")[:5] for attributes in hostile.all("img")} == {"data:"}


def test_folders_of_the_machine_stay_private(hostile, page):
    for text in (hostile.text, page.text):
        assert "secret" not in text
        assert "/home" not in text


# Whole ----------------------------------------------------------------------------------------------


def test_every_part_is_there(page):
    headings = {a["id"] for a in page.all("h2")}
    assert headings == {
        "comparison",
        "training",
        "diversity",
        "maps",
        "neighbours",
        "confusion",
        "data",
        "again",
        "cite",
    }
    assert {a["href"] for a in page.all("a")} == {f"#{name}" for name in headings}
    for text in ("MSCon", "SupCon, character", "SimCLR", "2307.02712", "2004.11362", "2002.05709", "mscon train"):
        assert text in page.text


def test_pictures_have_words_and_sizes(page):
    assert len(page.all("img")) > 20
    for image in page.all("img"):
        assert image["alt"]
        assert int(image["width"]) > 0
        assert int(image["height"]) > 0


def test_tables_can_be_read_aloud(page):
    assert all(attributes.get("scope") for attributes in page.all("th"))
    assert page.all("html")[0]["lang"] == "en"
    assert len(page.all("h1")) == 1
    ids = Counter(attributes["id"] for _, attributes in page.tags if "id" in attributes)
    assert set(ids.values()) == {1}


def test_agreement_of_neighbours_is_told_in_words_too(compared):
    text = compared.read_text("utf-8")
    assert len(re.findall(r'<li class="same">', text)) == len(re.findall(r"<b>same</b>", text)) > 0
    assert len(re.findall(r'<li class="different">', text)) == len(re.findall(r"<b>different</b>", text)) > 0


def test_bold_is_what_the_numbers_beside_call_best(compared):
    told = json.loads(compared.with_suffix(".json").read_text("utf-8"))
    best = sorted(
        f"{100 * cell['value']:.1f}"
        for column in told["columns"]
        for cell in column["cells"]
        if cell and cell["standing"] == "best"
    )
    bold = re.findall(r'<strong class="value">([\d.]+)</strong>', compared.read_text("utf-8"))
    assert sorted(bold) == best
    level = [c for column in told["columns"] for c in column["cells"] if c and c["standing"] == "level"]
    text = compared.read_text("utf-8")
    assert text.count('<span class="words">within the best’s interval</span>') == len(level) > 0


def test_scores_of_few_seeds_are_grey_and_say_so(a_run, tmp_path):
    text = build_report([a_run("a"), a_run("b", title="SupCon", skill=0.2)], tmp_path).read_text("utf-8")
    assert 'class="value">' in text
    assert '<strong class="value">' not in text
    cells = re.findall(r'<td class="(cell[^"]*)">', text)
    assert all("few" in cell.split() for cell in cells if "not asked" not in cell)
    assert text.count("<small>too few</small>") == text.count('<td class="seeds">') > 0


def test_one_run_alone_has_scores_and_no_contest(a_run, tmp_path):
    page = Page(build_report([a_run("a")], tmp_path / "one.html").read_text("utf-8"))
    assert "MSCon on glyphs.csv" in page.text
    assert "within the best" not in page.text
    assert "best mean" not in page.text


def test_a_folder_gets_a_file_called_report(a_run, tmp_path):
    assert build_report([a_run("a")], tmp_path / "there") == tmp_path / "there" / "report.html"
    assert (tmp_path / "there" / "report.json").is_file()


def test_a_report_replaces_an_earlier_one_and_no_other_file(a_run, tmp_path, capsys):
    run, out = a_run("a"), tmp_path / "out" / "page.html"
    arguments = ["report", str(run.root), "--out", str(out)]
    assert main(arguments) == main(arguments) == 0
    report = {path: path.read_bytes() for path in out.parent.iterdir()}
    for path in report:
        path.write_text('{"mine": "<meta>"}')
        before = {path: path.read_bytes() for path in out.parent.iterdir()}
        assert main(arguments) == 2
        told = capsys.readouterr().err
        assert f"{path.name}' exists and was not written by this command: not replaced. Choose another --out." in told
        assert {path: path.read_bytes() for path in out.parent.iterdir()} == before
        assert main([*arguments, "--overwrite"]) == 0
        assert {path: path.read_bytes() for path in out.parent.iterdir()} == report


@pytest.mark.parametrize("name", ["run.html", "probe.html", "masks.html", "similarities.htm"])
def test_a_report_is_never_written_over_the_run(a_run, name, capsys):
    run = a_run("a")
    before = {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()}
    assert main(["report", str(run.root), "--out", str(run.root / name), "--overwrite"]) == 2
    assert "that a run keeps: not written. Choose another --out." in capsys.readouterr().err
    assert {path: path.read_bytes() for path in run.root.rglob("*") if path.is_file()} == before


def test_a_report_that_cannot_be_written_is_one_message(a_run, tmp_path, capsys, monkeypatch):
    run = a_run("a")
    (tmp_path / "notes.txt").write_text("mine")
    assert main(["report", str(run.root), "--out", str(tmp_path / "notes.txt" / "page.html")]) == 2
    assert "notes.txt' is not a folder. Choose another --out." in capsys.readouterr().err

    def full(path, content):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("mscon.run.atomic.write_text", full)
    assert main(["report", str(run.root), "--out", str(tmp_path / "page.html")]) == 2
    assert "page.html' cannot be written: No space left on device." in capsys.readouterr().err


def test_the_same_runs_give_the_same_bytes(a_run, tmp_path):
    run = a_run("a")
    assert (
        build_report([run], tmp_path / "1.html").read_bytes() == build_report([run], tmp_path / "2.html").read_bytes()
    )


def test_a_run_without_a_log_still_has_a_report(a_run, tmp_path):
    run = a_run("a", steps=0)
    assert "Nothing was logged" in build_report([run], tmp_path).read_text("utf-8")


def test_nothing_is_written_for_runs_that_cannot_be_compared(a_run, rows, tmp_path):
    with pytest.raises(RunError, match="different rows"):
        build_report([a_run("a"), a_run("b", rows[:-1], title="SupCon")], tmp_path / "no.html")
    assert not list(tmp_path.glob("*.html"))
    assert not list(tmp_path.glob("*.json"))


def test_a_probe_that_is_missing_names_the_verb(a_run, tmp_path):
    with pytest.raises(RunError, match="mscon probe"):
        build_report([a_run("a", probed=False)], tmp_path)


def test_what_the_probe_skipped_is_said(a_run, tmp_path):
    run = a_run("a")
    skipped = [{"column": "family", "probe": "neighbours", "reason": "no row of an unseen group"}]
    run.write_probe({**run.read_probe(), "skipped": skipped}, run.read_predictions())
    text = build_report([run], tmp_path).read_text("utf-8")
    assert "family (neighbours): no row of an unseen group" in text
