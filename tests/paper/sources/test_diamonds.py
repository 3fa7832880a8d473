"""Diamonds: which columns are written, what becomes of impossible and equal measures. The package is made up here."""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
from collections import Counter, defaultdict
from pathlib import Path

import pytest

from mscon.cli import main
from mscon.errors import RunError
from mscon.run import recipe
from mscon.run.starting_recipes import recipe_text
from mscon_paper.sources import diamonds

HEADER = '"carat","cut","color","clarity","depth","table","price","x","y","z"\n'
STONES = [
    '0.23,"Ideal","E","SI2",61.5,55,326,3.95,3.98,2.43\n',
    '0.5,"Premium","J","I1",59.8,61,327,3.89,3.84,2.31\n',
    '1.0,"Good","D","IF",0,61,1327,0,6.5,0\n',
    '0.23,"Fair","F","VS1",61.5,55,400,3.95,3.98,2.43\n',  # the first one's measures, graded and priced again
    '2.5,"Very Good","G","VVS2",60,58,9999.5,8,8.1,5\n',
]
MANY = [
    f'{0.3 + n / 100:.2f},"{cut}","{"JIHGFED"[n % 7]}","{diamonds.LEVELS["clarity"][n % 8]}",60,55,{500 + n},4,4,2\n'
    for n, cut in enumerate(diamonds.LEVELS["cut"] * 40)
]


@pytest.fixture(autouse=True)
def package(tmp_path_factory, monkeypatch) -> Path:
    """The file of an installed package."""
    file: Path = tmp_path_factory.mktemp("package") / "diamonds.csv"
    file.write_text(HEADER + "".join(STONES + MANY))

    class Distribution:
        version = "9.9"

        @staticmethod
        def locate_file(path: str) -> Path:
            assert path == "plotnine/data/diamonds.csv"
            return file

    monkeypatch.setattr(importlib.metadata, "distribution", lambda name: Distribution)
    monkeypatch.setattr(diamonds, "_SHA256", hashlib.sha256(file.read_bytes()).hexdigest())
    return file


def read(table: Path) -> list[dict[str, str]]:
    with table.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_every_row_stays_in_its_order_with_two_columns_that_follow_from_others(tmp_path):
    rows = read(diamonds.prepare(tmp_path / "new"))
    assert tuple(rows[0]) == diamonds.COLUMNS
    assert len(rows) == len(STONES) + len(MANY)
    assert (rows[1]["carat"], rows[1]["cut"], rows[1]["price"]) == ("0.5", "Premium", "327")
    assert [r["size"] for r in rows[:5]] == [diamonds.LEVELS["size"][level] for level in (0, 1, 2, 0, 3)]
    assert [r["price_per_carat"] for r in rows[:5]] == ["1417.39", "654.00", "1327.00", "1739.13", "3999.80"]


def test_a_length_of_nothing_is_missing_and_a_depth_of_nothing_is_as_written(tmp_path, capsys):
    row = read(diamonds.prepare(tmp_path))[2]
    assert (row["x"], row["y"], row["z"], row["depth"]) == ("", "6.5", "", "0")
    assert "1 with a length of 0 mm" in capsys.readouterr().err


def test_equal_measures_are_one_stone_and_in_one_split(tmp_path, capsys):
    rows = read(diamonds.prepare(tmp_path))
    assert [r["stone"] for r in rows[:5]] == ["1", "2", "3", "1", "4"]
    splits = defaultdict(set)
    for seed in range(8):
        for r in read(diamonds.prepare(tmp_path, seed=seed)):
            splits[seed, r["stone"]].add(r["split"])
    assert {len(some) for some in splits.values()} == {1}
    assert len({frozenset(some) for (_, stone), some in splits.items() if stone == "1"}) > 1
    assert "2 share all measures with another row" in capsys.readouterr().err


def test_the_same_seed_gives_the_same_bytes_and_the_shares_are_those_of_other_sources(tmp_path):
    table = diamonds.prepare(tmp_path)
    whole = table.read_bytes()
    assert diamonds.prepare(tmp_path).read_bytes() == whole
    assert [path.name for path in tmp_path.iterdir()] == ["diamonds.csv"]
    sizes = Counter(r["split"] for r in read(table))
    assert {name: round(sizes[name] / sizes.total(), 1) for name in sizes} == {
        "train": 0.7,
        "validation": 0.1,
        "test": 0.2,
    }


def test_the_recipe_fits_the_table_and_has_its_levels(tmp_path, capsys):
    parsed = recipe.parse(recipe_text("diamonds"))
    levels = {s.column: s.settings["levels"] for s in parsed.similarities if "levels" in s.settings}
    assert {name: tuple(of) for name, of in levels.items()} == {
        name: of for name, of in diamonds.LEVELS.items() if name != "size"
    }
    assert tuple(parsed.probe.kinds["size"]["levels"]) == diamonds.LEVELS["size"]  # type: ignore[index]
    (tmp_path / "recipe.toml").write_text(recipe_text("diamonds"))
    table = diamonds.prepare(tmp_path)
    assert main(["check", str(tmp_path / "recipe.toml"), "--table", str(table)]) == 0, capsys.readouterr().err


# Mistakes -----------------------------------------------------------------------------------------


def test_without_the_package_the_message_names_the_extra(tmp_path, monkeypatch, capsys):
    def distribution(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "distribution", distribution)
    assert main(["prepare", "diamonds", str(tmp_path / "none")]) == 2
    assert 'pip install "mscon[diamonds]"' in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_package_without_the_file_is_the_same_mistake(tmp_path, package, capsys):
    package.unlink()
    assert main(["prepare", "diamonds", str(tmp_path)]) == 2
    assert 'pip install "mscon[diamonds]"' in capsys.readouterr().err


def test_another_table_in_the_package_is_refused(tmp_path, package, capsys):
    package.write_text(HEADER + "".join(STONES[:2]))
    assert main(["prepare", "diamonds", str(tmp_path)]) == 2
    assert "plotnine' 9.9 is not the published one" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_file_of_the_users_in_the_way_is_kept(tmp_path):
    (tmp_path / "diamonds.csv").write_text("mine\n")
    with pytest.raises(RunError, match="was not written by this command"):
        diamonds.prepare(tmp_path)
    assert (tmp_path / "diamonds.csv").read_text() == "mine\n"
