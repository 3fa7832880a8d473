"""The page as a file: whole, closed to the network, and safe against whatever a table holds."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re
from collections import Counter
from html.parser import HTMLParser
from pathlib import Path

import pytest

from mscon.cli import main
from mscon.errors import RunError
from mscon.evaluate.report.compare import MARKS
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

    VOID = frozenset({"meta", "link", "img", "br"})

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

    def handle_startendtag(self, tag, attributes):  # of a drawing
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
    assert not hostile.all("img")  # that of a label is text, and the pictures of this run are gone


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


def test_the_page_begins_with_at_most_three_sentences_and_one_table(page, compared):
    assert len([a for a in page.all("p") if a.get("class") == "lead"]) == 3
    assert len([a for a in page.all("table") if a.get("class") == "scores"]) == 2  # and one of other measures, folded
    text = html.unescape(compared.read_text("utf-8"))
    main = text[text.index('<table class="scores">') : text.index("</table>")]
    cells = [re.sub(r"<[^>]+>", " ", cell) for cell in re.findall(r'<td class="score.*?</td>', main, re.DOTALL)]
    signs = {sign for sign, _ in MARKS.values()}
    assert len(cells) == 3 * len(re.findall(r'<tr><th scope="row">', main))
    for cell in cells:
        parts = re.fullmatch(r"[\d.]+'?\s+(\S?)\s+[\d.]+ to [\d.]+|(–)", cell.strip())
        assert parts, cell
        assert not parts[1] or parts[1] in signs
    assert signs & set("".join(cells)) <= set(re.findall(r"<dt>([^<]+)</dt>", text))


def test_pictures_have_words_and_sizes(page):
    drawings = [a for a in page.all("svg") if a.get("class") in ("chart", "map")]
    assert len(drawings) > 20
    assert all(a["role"] == "img" and a["aria-label"] and a["viewbox"] for a in drawings)
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


def test_shades_of_a_confusion_are_shares_of_the_true_class(compared):
    text = compared.read_text("utf-8")
    lines = re.findall(r'<tr><th scope="row">[^<]+</th>((?:<td class="(?:right|wrong) s\d">[\d·]+</td>)+)</tr>', text)
    assert len(lines) == 8 + 2 + 5
    for line in lines:
        cells = [(int(s), 0 if n == "·" else int(n)) for s, n in re.findall(r's(\d)">([\d·]+)<', line)]
        total = sum(n for _, n in cells) or 1
        assert [s for s, _ in cells] == [-(-8 * n // total) for _, n in cells]


def test_agreement_of_neighbours_is_told_in_words_too(compared):
    text = compared.read_text("utf-8")
    assert len(re.findall(r'<li class="same">', text)) == len(re.findall(r"<b>same</b>", text)) > 0
    assert len(re.findall(r'<li class="different">', text)) == len(re.findall(r"<b>different</b>", text)) > 0


def test_marks_are_what_the_numbers_beside_say(compared):
    columns = json.loads(compared.with_suffix(".json").read_text("utf-8"))["columns"]
    cells = [cell for column in columns for cell in column["cells"] if cell]
    best = sorted(f"{100 * cell['value']:.1f}" for cell in cells if cell["standing"] == "best")
    text = compared.read_text("utf-8")
    assert sorted(re.findall(r'<td class="score best"[^>]*><span class="value">([\d.]+)', text)) == best
    for standing, sign in (("best", "★"), ("first", "▲"), ("level", "=")):
        expected = sum(cell["standing"] == standing for cell in cells)
        assert text.count(f'<span class="mark {standing}"') == len(re.findall(f"{sign}</span>", text)) == expected > 0


def test_scores_of_few_seeds_are_grey_and_say_so(a_run, tmp_path):
    runs = [a_run("a"), a_run("b", title="SupCon", skill=0.2)]
    text = build_report(runs, tmp_path, with_maps=False).read_text("utf-8")
    cells = re.findall(r'<td class="(score[^"]*)"[^>]*><span', text)
    assert len(cells) >= 6 and all(cell == "score few" for cell in cells)
    assert text.count('<small class="few">1 seed</small>') == 4
    assert "fewer than 3 seeds is never marked as clearly best" in text


def test_one_run_alone_has_scores_and_no_contest(a_run, tmp_path):
    page = Page(build_report([a_run("a")], tmp_path / "one.html", with_maps=False).read_text("utf-8"))
    assert "MSCon on glyphs.csv" in page.text
    assert "best mean" not in page.text
    assert "better than guessing: the interval excludes" in page.text


def test_two_runs_of_one_recipe_can_be_compared(a_run, tmp_path, capsys):
    out = tmp_path / "page.html"
    assert main(["report", str(a_run("a").root), str(a_run("b").root), "--out", str(out), "--no-maps"]) == 0
    assert "MSCon (a)" in (text := out.read_text("utf-8")) and "MSCon (b)" in text


def test_a_folder_gets_a_file_called_report(a_run, tmp_path):
    assert build_report([a_run("a")], tmp_path / "there", with_maps=False) == tmp_path / "there" / "report.html"
    assert (tmp_path / "there" / "report.json").is_file()


def test_a_report_replaces_an_earlier_one_and_no_other_file(a_run, tmp_path, capsys):
    run, out = a_run("a"), tmp_path / "out" / "page.html"
    arguments = ["report", str(run.root), "--no-maps", "--out", str(out)]
    assert main(arguments) == main(arguments) == 0
    report = {path: path.read_bytes() for path in out.parent.iterdir()}
    for path in report:
        path.write_text('{"mine": "<meta>"}')
        before = {path: path.read_bytes() for path in out.parent.iterdir()}
        assert main(arguments) == 2
        message = capsys.readouterr().err
        assert (
            f"{path.name}' exists and was not written by this command: not replaced. Choose another --out." in message
        )
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
    assert main(["report", str(run.root), "--out", str(tmp_path / "page.html"), "--no-maps"]) == 2
    assert "page.html' cannot be written: No space left on device." in capsys.readouterr().err


def test_the_same_runs_give_the_same_bytes(a_run, tmp_path):
    run = a_run("a")
    assert (
        build_report([run], tmp_path / "1.html").read_bytes() == build_report([run], tmp_path / "2.html").read_bytes()
    )


def test_a_run_without_a_log_still_has_a_report(a_run, tmp_path):
    run = a_run("a", steps=0)
    page = build_report([run], tmp_path, with_maps=False).read_text("utf-8")
    assert page.count('<td class="text verdict">not logged</td>') == 2 and '<svg class="chart"' not in page


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
    text = build_report([run], tmp_path, with_maps=False).read_text("utf-8")
    assert "family (neighbours): no row of an unseen group" in text


def test_signs_of_failure_are_shown_as_text_and_once_for_several_seeds(a_run, tmp_path):
    runs = [a_run(f"seed{seed}", seed=seed) for seed in (0, 1)]
    for run in runs:
        sign = {"kind": "sign", "epoch": 1, "step": 40, "sign": "chance", "columns": ["slant"]}
        run.append_log({**sign, "sentence": f"slant is at chance {EVIL}"})
        run.append_log({**sign, "sign": "same_space", "sentence": "of heads while they learn"})
    text = build_report(runs, tmp_path / "report.html", with_maps=False).read_text("utf-8")
    assert text.count(f"“MSCon”: slant is at chance {html.escape(EVIL)}") == 1
    assert "of heads while they learn" not in text and EVIL not in text


@pytest.mark.parametrize(("skill", "is_worse"), [(0.3, True), (0.9, False)])
def test_a_column_that_is_predicted_worse_as_others_are_added_is_a_warning(skill, is_worse, a_run, tmp_path):
    few = a_run("few", title="one column", train_on=("character",), skill=0.9)
    many = a_run("many", title="two columns", train_on=("character", "slant"), skill=skill)
    text = build_report([few, many], tmp_path / "report.html", with_maps=False).read_text("utf-8")
    assert ("“character” is predicted worse with more columns: “two columns” is -" in text) == is_worse
    assert ("“one column”, which is the same without “slant”" in text) == is_worse


def test_methods_that_differ_in_more_than_columns_are_not_told_apart_by_columns(a_run, tmp_path):
    few = a_run("few", title="one column", train_on=("character",), skill=0.9)
    many = a_run("many", title="two", train_on=("character", "slant"), skill=0.3, settings=["train.epochs=7"])
    text = build_report([few, many], tmp_path / "report.html", with_maps=False).read_text("utf-8")
    assert "worse with more columns" not in text


def test_uniformity_and_tolerance_are_means_over_seeds(a_run, tmp_path):
    runs = [a_run(f"run{seed}", seed=seed, skill=0.5 + 0.2 * seed) for seed in range(2)]
    page = build_report(runs, tmp_path / "report.html").read_text("utf-8")
    table = page[page.index("<summary>Uniformity and tolerance</summary>") :]
    assert "<td>-2.10</td>" in table[: table.index("</table>")]
    assert "slant 0.30" in table[: table.index("</table>")]
    older = a_run("older")
    values = {name: value for name, value in older.read_probe().items() if name != "uniformity"}
    older.write_probe(values, older.read_predictions())
    assert "Uniformity and tolerance" not in build_report([older.root], tmp_path / "older.html").read_text("utf-8")
