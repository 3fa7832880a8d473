"""Glyphs: what is drawn, what is written about it, and that it is made once."""

from __future__ import annotations

import csv
import importlib.metadata
import itertools
import json
import subprocess
import sys
from collections import Counter, defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscon.errors import RunError, TableError
from mscon_paper import font_families, sources
from mscon_paper.sources import glyphs

FAMILIES = ("kalam", "lato", "open-sans", "roboto")  # handwriting with weights; static; two variable fonts
SMALL = {"families": FAMILIES, "characters": "abgl", "unseen_families": 1}

pytestmark = pytest.mark.skipif(
    not set(FAMILIES) <= set(font_families.installed()), reason="the extra `fonts` is not installed"
)


def prepare(root: Path, **settings: object) -> Path:
    return glyphs.prepare(root, **{**SMALL, **settings})  # type: ignore[arg-type]


def read(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pixels(table: Path, row: dict[str, str]) -> np.ndarray:
    with Image.open(table.parent / row["image"]) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    return prepare(tmp_path_factory.mktemp("glyphs"))


@pytest.fixture(scope="module")
def rows(table) -> list[dict[str, str]]:
    return read(table)


def test_the_source_is_found_by_its_name_with_its_first_line():
    assert "glyphs" in sources.names()
    assert sources.find("glyphs") is glyphs.prepare
    assert sources.summary("glyphs").startswith("Glyphs of 60 font families")


def test_an_unknown_source_is_refused_with_the_nearest():
    with pytest.raises(TableError, match=r"no data set 'glyph'\. Did you mean 'glyphs'"):
        sources.find("glyph")


def test_every_source_keeps_the_convention():
    for name in sources.names():
        assert sources.find(name).__name__ == "prepare"
        assert sources.summary(name).endswith(".")


# What is drawn ------------------------------------------------------------------------------------


def test_each_face_gives_each_character_once(rows):
    """Kalam has 3 faces, Lato 9 weights in 2 slants, Open Sans 300 to 800 and Roboto 100 to 900 in 2 slants."""
    assert Counter(r["family"] for r in rows) == {
        "Kalam": 3 * 4,
        "Lato": 18 * 4,
        "Open Sans": 12 * 4,
        "Roboto": 18 * 4,
    }
    assert len({(r["family"], r["slant"], r["weight_number"], r["character"]) for r in rows}) == len(rows)


def test_images_are_black_on_white_of_the_size_asked_for(table, rows):
    for row in rows[:20]:
        image = pixels(table, row)
        assert image.shape == (24, 24)
        assert image.max() == 255 and image.min() < 225 and image.mean() > 200  # thin strokes are grey


def test_no_two_images_are_equal(table, rows):
    assert len({pixels(table, r).tobytes() for r in rows}) == len(rows)


def test_images_of_a_caps_only_font_that_contradict_each_other_are_left_out(tmp_path):
    """Bungee draws a and A alike, so no such image says which it is; other fonts keep both."""
    if "bungee" not in font_families.installed():
        pytest.skip("the family bungee is not installed")
    rows = read(prepare(tmp_path, families=("bungee", "kalam"), characters="aA1", unseen_families=0))
    assert {r["character"] for r in rows if r["family"] == "Bungee"} == {"1"}
    assert {r["character"] for r in rows if r["family"] == "Kalam"} == {"a", "A", "1"}


def test_characters_that_a_face_lacks_are_left_out(tmp_path):
    rows = read(prepare(tmp_path, families=("lato", "roboto"), characters="a\u4e00 ", unseen_families=0))
    assert {r["character"] for r in rows} == {"a"}


def test_a_heavier_weight_has_more_ink(table, rows):
    ink: dict[tuple[str, str, str], dict[int, float]] = defaultdict(dict)
    for r in rows:
        ink[r["family"], r["slant"], r["character"]][int(r["weight_number"])] = float(255 - pixels(table, r).mean())
    for (family, *_), by_weight in ink.items():
        amounts = [by_weight[weight] for weight in sorted(by_weight)]
        assert amounts[-1] > 1.3 * amounts[0]
        if family != "Lato":  # whose file of weight 800 is drawn heavier than that of 900
            assert all(heavier > lighter for lighter, heavier in itertools.pairwise(amounts))


def test_an_italic_leans_to_the_right(table, rows):
    """The l of a sans: in an italic its top half lies to the right of its bottom half."""

    def lean(image: np.ndarray) -> float:
        dark = 255.0 - image
        lines = np.flatnonzero(dark.sum(axis=1))
        top, bottom = np.array_split(lines, 2)
        centre = (dark * np.arange(24)).sum(axis=1)
        return centre[top].sum() / dark[top].sum() - centre[bottom].sum() / dark[bottom].sum()

    for r in rows:
        if r["character"] == "l" and r["family"] == "Roboto":
            assert (lean(pixels(table, r)) > 0.5) == (r["slant"] == "italic"), r["image"]


def test_letters_stand_on_one_line_and_are_never_cut(table, rows):
    for r in rows:
        bottom = int(np.flatnonzero((pixels(table, r) < 225).any(axis=1))[-1])
        if r["character"] == "a" and r["family"] != "Kalam":
            assert bottom in (16, 17)  # the line is at 0.72 * 24
        if r["character"] == "g":
            assert bottom >= 19
    wide = glyphs._draw_character(lambda em: glyphs._open_font(_file_of("roboto"), None, em), "\u2014" * 3, 24)
    assert wide is not None
    columns = np.flatnonzero((np.asarray(wide) < 255).any(axis=0))
    assert 18 <= len(columns) <= 24


def _file_of(slug: str) -> Path:
    family = font_families.read_family(font_families.installed()[slug])
    return family.folder / family.files[0]["path"]


# What is written about it -------------------------------------------------------------------------


def test_the_columns_say_what_the_packages_say(table, rows):
    assert tuple(rows[0]) == glyphs.COLUMNS
    assert {r["category"] for r in rows if r["family"] == "Kalam"} == {"handwriting"}
    assert {r["category"] for r in rows if r["family"] != "Kalam"} == {"sans"}
    assert {r["slant"] for r in rows} == {"upright", "italic"}
    assert {r["slant"] for r in rows if r["family"] == "Kalam"} == {"upright"}
    words = {int(r["weight_number"]): r["weight"] for r in rows}
    assert [words[weight] for weight in range(100, 1000, 100)] == [
        *["light"] * 3,
        *["regular"] * 2,
        *["bold"] * 2,
        *["black"] * 2,
    ]


def test_a_family_of_two_categories_has_the_one_that_stands_out():
    if "inconsolata" not in font_families.installed():
        pytest.skip("the family inconsolata is not installed")
    assert (
        font_families.read_family(font_families.installed()["inconsolata"]).category == "mono"
    )  # listed as sans and mono


def test_families_are_held_out_whole_and_the_rest_is_split_by_image(rows):
    families = {split: {r["family"] for r in rows if r["split"] == split} for split in ("train", "unseen")}
    assert len(families["unseen"]) == 1 and not families["unseen"] & families["train"]
    splits = [r["split"] for r in rows if r["split"] != "unseen"]
    assert Counter(splits) == {
        "train": round(0.7 * len(splits)),
        "validation": round(0.1 * len(splits)),
        "test": len(splits) - round(0.7 * len(splits)) - round(0.1 * len(splits)),
    }
    assert {r["family"] for r in rows if r["split"] == "test"} == families["train"]


def test_no_category_loses_its_last_family_to_the_unseen(tmp_path):
    held_out = {r["family"] for r in read(prepare(tmp_path, unseen_families=2)) if r["split"] == "unseen"}
    assert len(held_out) == 2 and "Kalam" not in held_out
    with pytest.raises(TableError, match=r"3 font families are to be held out, but of the 4 chosen only 2"):
        prepare(tmp_path / "more", unseen_families=3)


def test_the_default_protocol_holds_out_2_to_3_families_of_each_category():
    slugs = font_families.of_the_extra()
    assert len(slugs) == 60
    if not set(slugs) <= set(font_families.installed()):
        pytest.skip("not all 60 families are installed")
    families = font_families.choose(None)
    category = {family.slug: family.category for family in families}
    held_out = glyphs._hold_out(families, 13, seed=0)
    assert sorted(Counter(category[slug] for slug in held_out).values()) == [2, 2, 3, 3, 3]


def test_a_family_has_at_most_the_images_allowed_chosen_regardless_of_other_families(tmp_path, rows):
    few = read(prepare(tmp_path, per_family=10))
    assert set(Counter(r["family"] for r in few).values()) == {10}
    alone = read(prepare(tmp_path / "fewer", families=("lato", "roboto"), per_family=10))

    def of_roboto(some: list[dict[str, str]]) -> list[str]:
        return [Path(r["image"]).name for r in some if r["family"] == "Roboto"]

    assert of_roboto(few) == of_roboto(alone)
    assert set(of_roboto(few)) < set(of_roboto(rows))


# Files --------------------------------------------------------------------------------------------


def test_the_same_seed_gives_the_same_bytes_and_another_seed_another_split(tmp_path, table):
    again = prepare(tmp_path / "again")
    assert again.read_bytes() == table.read_bytes()
    for row in read(again)[::17]:
        assert (again.parent / row["image"]).read_bytes() == (table.parent / row["image"]).read_bytes()
    assert again.read_bytes() != prepare(tmp_path / "other", seed=1).read_bytes()


def test_a_second_call_reuses_what_is_there(tmp_path, monkeypatch):
    first = prepare(tmp_path)
    monkeypatch.setattr(glyphs, "_draw", lambda *_: pytest.fail("drew the glyphs again"))
    assert prepare(tmp_path) == first


@pytest.mark.parametrize(
    "damage",
    [
        lambda root, image: image.unlink(),
        lambda root, image: (root / "glyphs.csv").write_text("image\n"),
        lambda root, image: (root / "glyphs.json").write_text("{"),
        lambda root, image: (root / "glyphs.json").write_text("[]"),
        lambda root, image: (root / "glyphs.json").unlink(),
    ],
    ids=["image gone", "table changed", "record cut short", "record of another kind", "record gone"],
)
def test_what_was_damaged_is_made_anew(tmp_path, damage):
    table = prepare(tmp_path)
    whole = table.read_bytes()
    image = tmp_path / read(table)[0]["image"]
    damage(tmp_path, image)
    assert prepare(tmp_path).read_bytes() == whole
    assert image.is_file()


def test_other_settings_or_fonts_replace_the_glyphs_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "mine.txt").write_text("keep")
    before = json.loads((prepare(tmp_path).parent / "glyphs.json").read_text())
    row = read(prepare(tmp_path, size=32))[0]
    assert pixels(tmp_path / "glyphs.csv", row).shape == (32, 32)
    monkeypatch.setattr(glyphs.PIL, "__version__", "0.0.test")
    prepare(tmp_path, size=32)
    assert json.loads((tmp_path / "glyphs.json").read_text())["pillow"] == "0.0.test" != before["pillow"]
    folder = Path(read(tmp_path / "glyphs.csv")[0]["image"]).parts[0]
    assert {path.name for path in tmp_path.iterdir()} == {"mine.txt", "glyphs.csv", "glyphs.json", folder}


@pytest.mark.parametrize("name", ["glyphs.csv", "glyphs.json"])
def test_a_file_of_the_users_in_the_way_is_kept(tmp_path, monkeypatch, name):
    (tmp_path / name).write_text('{"image": "split"}\n')
    monkeypatch.setattr(glyphs, "_draw", lambda *_: pytest.fail("drew before it asked"))
    with pytest.raises(RunError, match=rf"{name}' exists and was not written by this command: not replaced\. Name"):
        prepare(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ['{"image": "split"}\n']


def test_a_call_that_breaks_down_leaves_nothing(tmp_path, monkeypatch):
    saved = []

    def save(image: Image.Image, path: Path) -> None:
        if len(saved) == 5:
            raise OSError("disk full")
        saved.append(path)

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="disk full"):
        prepare(tmp_path)
    assert list(tmp_path.iterdir()) == []


# Mistakes -----------------------------------------------------------------------------------------


def test_missing_fonts_are_told_with_how_many_were_found_and_what_to_do(tmp_path, monkeypatch):
    few = dict(list(font_families.installed().items())[:3])
    monkeypatch.setattr(font_families, "of_the_extra", lambda: (*few, "gone-sans", "gone-serif"))
    monkeypatch.setattr(font_families, "installed", lambda: few)
    with pytest.raises(
        TableError, match=r"5 font packages, of which 3 (?s:.*)gone-sans(?s:.*)pip install \"mscon\[fonts\]\""
    ):
        glyphs.prepare(tmp_path / "none")
    assert not (tmp_path / "none").exists()


def test_without_the_extra_no_family_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: ())
    with pytest.raises(TableError, match=r"60 font packages, of which 0 are installed(?s:.*)mscon\[fonts\]"):
        glyphs.prepare(tmp_path)


def test_a_misspelt_family_is_told_the_nearest(tmp_path):
    with pytest.raises(TableError, match="Did you mean 'roboto'"):
        prepare(tmp_path, families=("robotto",))


@pytest.mark.parametrize(
    "wrong", [{"size": 4}, {"per_family": 0}, {"unseen_families": -1}, {"characters": ""}, {"characters": "aa"}]
)
def test_settings_without_sense_are_a_value_error_with_the_value(tmp_path, wrong):
    with pytest.raises(ValueError, match="got"):
        prepare(tmp_path, **wrong)


def test_listing_the_sources_imports_no_torch():
    """`mscon list` has to be quick."""
    code = (
        "import sys; from mscon_paper import sources; [sources.summary(n) for n in sources.names()]; "
        "print('torch' in sys.modules)"
    )
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert listed.stdout.strip() == "False"
