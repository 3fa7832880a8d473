"""Icons: what is drawn of a package, which is made up here, what is written about it, and that it is made once."""

from __future__ import annotations

import base64
import csv
import hashlib
import importlib.metadata
import io
import json
import tarfile
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mscon.cli import main
from mscon.errors import RunError, TableError
from mscon.run import recipe
from mscon.run.starting_recipes import recipe_text
from mscon_paper.npm_package import NpmPackage
from mscon_paper.sources import icons

pytest.importorskip("resvg_py", reason="the extra `icons` is not installed")

TYPES = """export declare enum IconStyle {
    THIN = "thin"
}
export declare enum IconCategory {
    ARROWS = "arrows",
    MAP = "maps & travel"
}
export declare enum FigmaCategory {
    OFFICE = "office & editing",
    GAMES = "games"
}
"""
NAMES = [f"{word}-{side}" for word in ("arrow", "box", "cup", "dot") for side in ("left", "right", "up", "down-left")]
STROKES = {"thin": 4, "light": 8, "regular": 16, "bold": 32}


def declaration(name: str) -> str:
    categories = "IconCategory.MAP, IconCategory.ARROWS" if name.endswith("left") else "IconCategory.MAP"
    section = "OFFICE" if name.endswith("-left") else "GAMES"
    return f"""{{
    readonly name: "{name}";
    readonly pascal_name: "X";
    readonly alias: {{
        readonly name: "other";
    }};
    readonly categories: readonly [{categories}];
    readonly figma_category: FigmaCategory.{section};
    readonly tags: readonly ["*new*", "a; readonly b", "say \\"hi\\""];
    readonly codepoint: 60314;
    readonly published_in: 2.1;
}}"""


def drawing(name: str, weight: str) -> str:
    """A square whose place is the object's, as an outline or filled; of the last object all weights are alike."""
    number = NAMES.index(name)
    x, y, stroke = 40 + 12 * (number % 4), 40 + 12 * (number // 4), STROKES.get(weight, 16)
    shape = f'<path d="M{x} {y}h128v128h-128z" stroke="currentColor" stroke-width="{stroke}" '
    fill = {"fill": "", "duotone": 'fill-opacity="0.2"'}.get(weight, 'fill="none"')
    if name == NAMES[-1] and weight in ("fill", "duotone"):
        fill = ""
    return f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 256 256">{shape}{fill}/></svg>'


def archive() -> bytes:
    files = {
        "dist/types.d.ts": TYPES,
        "dist/icons.d.ts": f"export declare const icons: readonly [{', '.join(map(declaration, reversed(NAMES)))}];\n",
    }
    for name in NAMES:
        for weight in icons.WEIGHTS:
            files[f"assets/{weight}/{name}{'' if weight == 'regular' else f'-{weight}'}.svg"] = drawing(name, weight)
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for path, text in files.items():
            member = tarfile.TarInfo(f"package/{path}")
            member.size = len(text.encode())
            tar.addfile(member, io.BytesIO(text.encode()))
    return content.getvalue()


ARCHIVE = archive()
PACKAGE = NpmPackage("@test/set", "1.0.0", base64.b64encode(hashlib.sha512(ARCHIVE).digest()).decode(), len(ARCHIVE))


@pytest.fixture(autouse=True)
def offline(monkeypatch):
    monkeypatch.setattr(icons, "PACKAGE", PACKAGE)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:1")


def prepare(root: Path, **settings: object) -> Path:
    root.mkdir(parents=True, exist_ok=True)
    (root / PACKAGE.file_name).write_bytes(ARCHIVE)
    return icons.prepare(root, **settings)  # type: ignore[arg-type]


def read(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def pixels(table: Path, row: dict[str, str]) -> np.ndarray:
    with Image.open(table.parent / row["image"]) as image:
        assert (image.format, image.mode) == ("PNG", "L")
        return np.asarray(image)


@pytest.fixture(scope="module")
def table(tmp_path_factory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(icons, "PACKAGE", PACKAGE)
        return prepare(tmp_path_factory.mktemp("icons"), unseen_share=0.25)


@pytest.fixture(scope="module")
def rows(table) -> list[dict[str, str]]:
    return read(table)


def test_the_columns_say_what_the_package_says(rows):
    assert tuple(rows[0]) == icons.COLUMNS
    row = next(r for r in rows if (r["object"], r["weight"]) == ("cup-left", "fill"))
    assert row["categories"] == "maps & travel;arrows"
    assert row["section"] == "office & editing"
    assert row["tags"] == 'a; readonly b;say "hi"'  # "*new*" is about the release
    assert (row["family"], row["direction"], row["style"]) == ("cup", "left", "fill")
    assert {r["style"] for r in rows if r["weight"] in STROKES} == {"outline"}


def test_a_direction_is_missing_where_the_name_has_none_or_two(rows):
    assert {r["direction"] for r in rows if r["object"].endswith("down-left")} == {""}
    assert {r["direction"] for r in rows if r["object"].endswith("-up")} == {"up"}
    assert icons.Icon("acorn", (), "", ()).direction == icons.Icon("touchdown-upright", (), "", ()).direction == ""


def test_images_are_black_on_white_and_a_duotone_is_grey_inside(table, rows):
    of = {r["weight"]: pixels(table, r) for r in rows if r["object"] == "arrow-left"}
    assert {image.shape for image in of.values()} == {(64, 64)}
    corner, inside = (2, 2), (26, 26)
    assert all(image[corner] == 255 and image.min() < 140 for image in of.values())
    assert (of["regular"][inside], of["fill"][inside]) == (255, 0)
    assert 195 < of["duotone"][inside] < 210
    ink = [255 - of[weight].mean() for weight in ("thin", "light", "regular", "bold", "fill")]
    assert ink == sorted(ink) and len(set(ink)) == 5


def test_equal_images_contradict_each_other_and_are_left_out_with_a_word(tmp_path, capsys):
    rows = read(prepare(tmp_path))
    assert [r["weight"] for r in rows if r["object"] == NAMES[-1]] == ["thin", "light", "regular", "bold"]
    assert len(rows) == 6 * len(NAMES) - 2
    assert f"2 left out because they are equal to another: fill/{NAMES[-1]}.png" in capsys.readouterr().err


def test_objects_are_split_whole_and_families_are_held_out_whole(rows):
    splits = defaultdict(set)
    for r in rows:
        splits[r["object"]].add(r["split"])
    assert {len(some) for some in splits.values()} == {1}
    assert {split for some in splits.values() for split in some} == {"train", "validation", "test", "unseen"}
    unseen = {r["family"] for r in rows if r["split"] == "unseen"}
    assert len(unseen) == 1
    assert not unseen & {r["family"] for r in rows if r["split"] != "unseen"}


def test_the_same_settings_give_the_same_bytes_and_another_seed_another_split(tmp_path, table):
    again = prepare(tmp_path / "again", unseen_share=0.25)
    assert again.read_bytes() == table.read_bytes()
    for row in read(again)[::7]:
        assert (again.parent / row["image"]).read_bytes() == (table.parent / row["image"]).read_bytes()
    other = read(prepare(tmp_path / "other", unseen_share=0.25, seed=1))
    assert [r["split"] for r in other] != [r["split"] for r in read(table)]
    assert {r["split"] for r in read(prepare(tmp_path / "none", unseen_share=0.0))} == {"train", "validation", "test"}


def test_a_second_call_needs_neither_the_archive_nor_a_network(tmp_path, monkeypatch):
    first = prepare(tmp_path)
    (tmp_path / PACKAGE.file_name).unlink()
    monkeypatch.setattr(icons, "_draw", lambda *_: pytest.fail("drew the icons again"))
    assert icons.prepare(tmp_path) == first


@pytest.mark.parametrize(
    "damage",
    [
        lambda root, image: image.unlink(),
        lambda root, image: (root / "icons.csv").write_text("image\n"),
        lambda root, image: (root / "icons.json").unlink(),
    ],
    ids=["image gone", "table changed", "record gone"],
)
def test_what_was_damaged_is_made_anew_from_the_archive(tmp_path, damage):
    table = prepare(tmp_path)
    whole = table.read_bytes()
    image = tmp_path / read(table)[0]["image"]
    damage(tmp_path, image)
    assert icons.prepare(tmp_path).read_bytes() == whole
    assert image.is_file()


def test_other_settings_replace_the_icons_and_nothing_else(tmp_path):
    (tmp_path / "mine.txt").write_text("keep")
    before = prepare(tmp_path).read_text()
    row = read(prepare(tmp_path, size=32))[0]
    assert pixels(tmp_path / "icons.csv", row).shape == (32, 32)
    folder = Path(row["image"]).parts[0]
    assert folder not in before
    assert {path.name for path in tmp_path.iterdir()} == {
        *("mine.txt", "icons.csv", "icons.json", folder, PACKAGE.file_name)
    }
    assert json.loads((tmp_path / "icons.json").read_text())["package"] == "@test/set 1.0.0"


def test_a_call_that_breaks_down_leaves_the_archive_only(tmp_path, monkeypatch):
    saved = []

    def save(image: Image.Image, path: Path) -> None:
        if len(saved) == 5:
            raise OSError("disk full")
        saved.append(path)

    monkeypatch.setattr(Image.Image, "save", save)
    with pytest.raises(OSError, match="disk full"):
        prepare(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [PACKAGE.file_name]


# Mistakes -----------------------------------------------------------------------------------------


def test_without_a_network_one_message_says_what_to_do_and_nothing_is_written(tmp_path, capsys):
    assert main(["prepare", "icons", str(tmp_path / "new")]) == 2
    message = capsys.readouterr().err
    assert "npm pack @test/set@1.0.0" in message and str(tmp_path / "new" / PACKAGE.file_name) in message
    assert "Traceback" not in message
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_the_users_in_the_way_is_kept_and_nothing_is_downloaded(tmp_path, monkeypatch):
    (tmp_path / "icons.csv").write_text("name\nmine\n")
    monkeypatch.setattr(NpmPackage, "fetch", lambda *_: pytest.fail("downloaded before it asked"))
    with pytest.raises(RunError, match=r"icons\.csv' exists and was not written by this command"):
        icons.prepare(tmp_path)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["name\nmine\n"]


def test_without_the_extra_the_message_names_it(tmp_path, monkeypatch):
    def version(name: str) -> str:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "version", version)
    with pytest.raises(TableError, match=r'pip install "mscon\[icons\]"'):
        icons.prepare(tmp_path / "none")
    assert not (tmp_path / "none").exists()


@pytest.mark.parametrize("wrong", [{"size": 8}, {"size": 1000}, {"unseen_share": 0.6}, {"unseen_share": -0.1}])
def test_settings_without_sense_are_a_value_error_with_the_value(tmp_path, wrong):
    with pytest.raises(ValueError, match="got"):
        prepare(tmp_path, **wrong)


# Recipe -------------------------------------------------------------------------------------------


def test_the_recipe_trains_on_columns_of_the_table_and_probes_the_others():
    parsed = recipe.parse(recipe_text("icons"))
    asked = {*parsed.columns, *parsed.probe.columns, *parsed.probe.neighbours} - {"same_row"}
    assert asked <= set(icons.COLUMNS)
    assert set(parsed.probe.columns) - set(parsed.columns)


def test_the_recipe_fits_the_table(table, tmp_path, capsys):
    path = tmp_path / "icons.toml"
    path.write_text(recipe_text("icons"))
    assert main(["check", str(path), "--table", str(table)]) == 0, capsys.readouterr().err
