"""mscon compare on small tables: its files, what is run and what is not run again, and bad input."""

from __future__ import annotations

import json
import re
import shutil
import signal
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mscon
from mscon.cli import main
from mscon.comparison import compare as shell
from mscon.comparison import planned as one_run
from mscon.comparison.compare import Compared, compare
from mscon.comparison.planned import Planned
from mscon.errors import MSConError, RecipeError, RunError, TableError
from mscon.run import folder as folders
from mscon.run import recipe as recipes
from mscon.run.run import Run
from process import start

RECIPE = """
title = "mine"
[[similarity]]
column = "colour"
[[similarity]]
column = "make"
[[similarity]]
name = "same_row"
[data]
input = "vectors"
vectors = "vectors.npy"
[encoder]
name = "mlp"
settings = { units = 6, layers = 1 }
[weighting]
name = "uncertainty"
[train]
epochs = 2
batch_size = 32
learning_rate = 1e-2
[probe]
columns = ["season"]
draws = 100
"""
pytestmark = pytest.mark.usefixtures("short_probes")
FEW = ("start", "mscon")
SPLIT = ["train", "train", "validation", "test"] * 45


def write_table(folder: Path, rows: int = 180, **columns: object) -> Path:
    """Three columns of classes that a vector of 10 numbers tells, and the product that a row is of."""
    g = np.random.default_rng(0)
    latent = g.normal(size=(rows, 3))
    (folder / "mine.toml").write_text(RECIPE)
    vectors = latent @ g.normal(size=(3, 10)) + 0.3 * g.normal(size=(rows, 10))
    np.save(folder / "vectors.npy", vectors.astype(np.float32))
    names = ("colour", "make", "season")
    labels = {name: [f"{name}{int(v > 0)}" for v in latent[:, i]] for i, name in enumerate(names)}
    frame = pl.DataFrame({"product": [f"p{row // 2}" for row in range(rows)], **labels, **columns})
    frame.write_csv(folder / "mine.csv")
    return folder / "mine.csv"


def run(folder: Path, **settings: object) -> Compared:
    arguments = {"methods": FEW, "seeds": 1, "jobs": 1, "progress": False, **settings}
    return compare(folder / "mine.toml", folder / "mine.csv", folder / "out", **arguments)


@pytest.fixture
def no_page(monkeypatch) -> None:
    """The report is not drawn."""
    monkeypatch.setattr(shell, "build_report", lambda runs, out, *_, **__: None)


@pytest.fixture(scope="module")
def finished(short_probes, tmp_path_factory) -> tuple[Path, Compared]:
    """A comparison with two seeds that came to its end; not to be changed."""
    folder = tmp_path_factory.mktemp("compare")
    write_table(folder)
    return folder, run(folder, seeds=2)


# What is written ----------------------------------------------------------------------------------


def test_everything_is_written_and_agrees(finished):
    folder, result = finished
    assert {path.name for path in (folder / "out").iterdir()} == {
        *("compare.json", "table.md", "report.html", "report.json", "recommended.toml", "runs", ".lock"),
    }
    numbers = json.loads((folder / "out" / "compare.json").read_text("utf-8"))
    titles = ["frozen start", "frozen start, 6 components", "MSCon", "this recipe (mine)"]
    assert numbers["compared"] == titles == result.frame["method"].unique(maintain_order=True).to_list()
    assert numbers["verdict"] == list(result.verdict)
    assert numbers["held_out"] == ["colour", "make"]
    page = (folder / "out" / "report.html").read_text("utf-8")
    table = (folder / "out" / "table.md").read_text("utf-8")
    assert "was not trained (train.epochs = 0)" not in page
    assert re.search(r"Probed, but not trained on</dt>\s*<dd>season</dd>", page)
    assert re.search(r"Held out in turn</dt>\s*<dd>colour; make</dd>", page)
    assert "Guessing: largest class." in page and "Guessing: not said" not in page and "Guessing: ." not in page
    assert '<small class="">1 seed</small>' in page
    assert result.frame.filter(pl.col("method") == "frozen start")["seeds"].unique().to_list() == [1]
    assert "on 18 validation rows" in result.verdict[2]
    for text in (page, table):
        assert all(sentence in text for sentence in result.verdict)
        assert "colour, held out" in text and "mean over unseen columns" in text
        assert "Nearest neighbours among test rows" in text
    best = numbers["validation"][0]
    assert recipes.read(folder / "out" / "recommended.toml") == result.recommended
    assert f"the method “{best['method']}”" in (folder / "out" / "recommended.toml").read_text("utf-8")
    assert result.recommended.probe == recipes.read(folder / "mine.toml").probe


def test_the_frame_has_every_score_of_every_method(finished):
    _, result = finished
    linear = result.frame.filter(pl.col("measure") == "accuracy")
    roles = linear.select("column", "role").unique(maintain_order=True).rows()
    assert roles == [
        ("colour", "trained on"),
        ("make", "trained on"),
        ("season", "not trained on"),
        ("colour", "held out"),
        ("make", "held out"),
    ]
    assert linear.height == 5 * 4
    means = result.frame.filter(pl.col("role") == "mean", pl.col("method") == "MSCon")
    expected = [
        linear.filter(pl.col("method") == "MSCon", pl.col("role").is_in(which))["value"].mean()
        for which in (["trained on"], ["held out", "not trained on"])
    ]
    assert means["value"].to_list() == pytest.approx(expected)


def test_the_start_is_the_vectors_as_they_are_also_reduced(finished):
    folder, _ = finished
    features = {path.name.rpartition("-seed")[0]: Run(path).read_features() for path in (folder / "out/runs").iterdir()}
    np.testing.assert_allclose(features["frozen-start"], np.load(folder / "vectors.npy"), rtol=1e-6)
    assert features["frozen-start-6-components"].shape[1] == features["mscon"].shape[1] == 6
    rows = Run(next((folder / "out/runs").glob("frozen-start-6*"))).read_rows()
    train = rows["split"].to_numpy() == "train"
    reduced = features["frozen-start-6-components"]
    np.testing.assert_allclose(reduced[train].mean(axis=0), 0, atol=1e-5)  # fitted on the training rows
    assert abs(reduced[~train].mean(axis=0)).max() > 1e-3


def test_columns_that_are_held_out_were_never_trained_on(finished):
    folder, _ = finished
    numbers = json.loads((folder / "out" / "compare.json").read_text("utf-8"))
    for column, groups in numbers["runs_held_out"].items():
        for title, names in groups.items():
            for name in names:
                one = Run(folder / "out" / "runs" / name)
                if "start" not in title:
                    assert column not in [part["column"] for part in one.read_recipe_values()["similarity"]]
                records = [r for r in one.read_probe()["linear"] if r["column"] == column]
                assert [record["trained"] for record in records] == [False]


# Again, and further -------------------------------------------------------------------------------


@pytest.mark.usefixtures("no_page")
def test_the_same_command_trains_nothing_again_and_says_the_same(finished, monkeypatch):
    folder, result = finished
    monkeypatch.setattr(one_run, "train_and_probe", lambda *_: pytest.fail("trained again"))
    again = run(folder, seeds=2)
    assert again.text == result.text and again.verdict == result.verdict
    assert again.frame.equals(result.frame)


def copy(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to, dirs_exist_ok=True)
    return to


@pytest.fixture
def trained(monkeypatch) -> list[str]:
    """Titles of the runs that are trained from now on."""
    titles: list[str] = []
    really = one_run.train_and_probe

    def train_and_probe(planned: Planned, table: Path) -> str:
        titles.append(planned.recipe.title)
        return really(planned, table)

    monkeypatch.setattr(one_run, "train_and_probe", train_and_probe)
    return titles


@pytest.mark.usefixtures("no_page")
def test_only_what_is_missing_is_run(finished, tmp_path, trained):
    folder = copy(finished[0], tmp_path)
    next((folder / "out" / "runs").glob("mscon-seed0-*/probe.json")).unlink()
    run(folder, seeds=2)
    assert trained == ["MSCon"]


@pytest.mark.usefixtures("no_page")
def test_other_vectors_under_the_same_name_are_another_comparison(finished, tmp_path, trained):
    folder = copy(finished[0], tmp_path)
    vectors = np.load(folder / "vectors.npy")
    vectors[0] += 1
    np.save(folder / "vectors.npy", vectors)
    run(folder, methods=("start",), held_out=[], seeds=1)
    assert trained == ["frozen start", "frozen start, 6 components", "this recipe (mine)"]


DAMAGED = (
    *("run.json", "recipe.toml", "rows.parquet", "predictions.safetensors", "features/features.safetensors"),
    *("checkpoints/last.safetensors", "checksums.jsonl", "probe.json"),
)


@pytest.mark.usefixtures("no_page")
def test_damaged_runs_are_trained_again(finished, tmp_path, trained, capsys):
    """A file of another kind in each of as many runs, and those alone."""
    folder = copy(finished[0], tmp_path)
    roots = dict(zip(DAMAGED, sorted((folder / "out" / "runs").iterdir()), strict=False))
    titles = [Run(root).read_recipe_values()["title"] for root in roots.values()]
    for name, root in roots.items():
        (root / "notes.txt").write_text("mine")
        (root / name).write_bytes((root / name).read_bytes()[: (root / name).stat().st_size // 2])
    result = run(folder, seeds=2, progress=True)
    errors = capsys.readouterr().err
    assert len(titles) == len(DAMAGED) and sorted(trained) == sorted(titles)
    for name, root in roots.items():
        assert name == "checksums.jsonl" or f"{root / name} has changed since mscon wrote it" in errors
        assert (root / "notes.txt").read_text() == "mine"
        assert not one_run.damage(root)
    assert result.frame.equals(finished[1].frame)


def test_a_folder_that_is_no_run_is_not_readmitted(tmp_path):
    write_table(tmp_path)
    folders.readmit(tmp_path)
    assert not (tmp_path / "run.json").exists()


@pytest.mark.usefixtures("no_page")
def test_another_run_to_start_from_or_another_teacher_is_another_comparison(finished, tmp_path, trained):
    folder = copy(finished[0], tmp_path)
    start = next((folder / "out" / "runs").glob("mscon-seed0-*"))
    other_start = next((folder / "out" / "runs").glob("mscon-seed1-*"))
    shutil.copytree(start, folder / "start")
    np.save(folder / "teacher.npy", np.load(folder / "vectors.npy"))
    parts = '{column="colour"}, {column="teacher", name="teacher", of="teacher.npy"}'
    settings = {
        "methods": ("supcon",),
        "held_out": [],
        "overrides": [f"encoder.start_from={folder / 'start'}", f"similarity=[{parts}]"],
    }
    run(folder, **settings)
    run(folder, **settings)
    assert len(trained) == 2
    trained.clear()
    np.save(folder / "teacher.npy", np.load(folder / "vectors.npy")[:, ::-1])
    run(folder, **settings)
    assert trained == ["this recipe (mine)"]
    trained.clear()
    shutil.rmtree(folder / "start")
    shutil.copytree(other_start, folder / "start")
    run(folder, **settings)
    assert len(trained) == 2
    trained.clear()
    shutil.rmtree(folder / "start")
    with pytest.raises(RecipeError, match="start_from"):
        run(folder, **settings)
    assert not trained


@pytest.mark.usefixtures("no_page")
def test_a_run_that_breaks_down_is_a_row_with_its_reason(finished, tmp_path, monkeypatch, capsys):
    folder = copy(finished[0], tmp_path)
    really = one_run.train_and_probe

    def train_and_probe(planned: Planned, table: Path) -> str:
        if planned.recipe.title == "SimCLR":
            raise RunError("epoch 1, step 3: the loss is not finite.\n  Lower it.")
        return really(planned, table)

    monkeypatch.setattr(one_run, "train_and_probe", train_and_probe)
    result = run(folder, methods=(*FEW, "simclr"), seeds=2)
    assert "SimCLR: broke down. epoch 1, step 3: the loss is not finite." in result.text
    assert "SimCLR" not in result.frame["method"]
    assert set(json.loads((folder / "out" / "compare.json").read_text())["broken_down"].values()) == {
        "epoch 1, step 3: the loss is not finite.\n  Lower it."
    }
    monkeypatch.setattr(one_run, "is_finished", lambda *_: False)
    monkeypatch.setattr(one_run, "train_and_probe", lambda planned, _: (_ for _ in ()).throw(RunError("no")))
    with pytest.raises(RunError, match="no run came to its end"):
        run(folder, seeds=2)


@pytest.mark.usefixtures("no_page")
def test_recipes_of_also_are_compared_under_their_titles(finished, tmp_path, trained):
    folder = copy(finished[0], tmp_path)
    (folder / "plain.toml").write_text(RECIPE.replace('title = "mine"', "").replace("uncertainty", "equal"))
    also = [f"short={folder / 'mine.toml'}", folder / "plain.toml"]
    result = run(folder, seeds=2, held_out=["make"], also=also)
    assert {"short", "plain"} <= set(result.frame["method"])
    assert trained.count("short") == trained.count("plain") == 4  # two seeds, with make and without
    assert trained.count("MSCon") == 0


@pytest.mark.usefixtures("no_page")
def test_another_recipe_that_is_not_trained_is_no_frozen_start(finished, tmp_path, monkeypatch):
    folder = copy(finished[0], tmp_path)
    starts: list[str] = []
    really = shell.verdict
    monkeypatch.setattr(
        shell,
        "verdict",
        lambda scores, start, *more, **how: starts.extend(start) or really(scores, start, *more, **how),
    )
    run(folder, methods=("start",), held_out=[], also=other(folder, ("epochs = 2", "epochs = 0")))
    assert starts == ["frozen start", "frozen start, 6 components"]


def test_a_column_without_scores_is_named_with_the_reason(tmp_path):
    """No class of its test rows is among those of training; and a name that reads like a level is a name."""
    g = np.random.default_rng(2)
    other = [f"{'ab' if split != 'test' else 'cd'}"[k] for split, k in zip(SPLIT, g.integers(2, size=180), strict=True)]
    write_table(tmp_path, split=SPLIT, other=other, **{"make, level a": [f"m{k}" for k in g.integers(2, size=180)]})
    settings = ['similarity=[{column="colour"}, {column="make, level a"}, {column="other"}]']
    result = run(tmp_path, overrides=settings, held_out=["make, level a", "other"], methods=("start", "supcon"))
    reason = "Column 'other' is in no table and no mean: "
    assert reason in result.text and reason in (tmp_path / "out" / "table.md").read_text("utf-8")
    assert reason in " ".join(json.loads((tmp_path / "out" / "compare.json").read_text("utf-8"))["notes"])
    roles = result.frame.filter(pl.col("column") == "make, level a", pl.col("measure") == "accuracy")["role"]
    assert set(roles) == {"trained on", "held out"}


def test_groups_of_rows_are_drawn_together(tmp_path):
    write_table(tmp_path)
    settings = {"held_out": [], "methods": ("start",)}
    by_rows = run(tmp_path, **settings, overrides=["data.split_seed=1"])
    numbers = json.loads((tmp_path / "out" / "compare.json").read_text())
    assert numbers["grouped_by"] is None
    grouped = run(tmp_path, **settings, overrides=["data.split_by=product"])
    assert json.loads((tmp_path / "out" / "compare.json").read_text())["grouped_by"] == "product"
    assert "drawn together" in (tmp_path / "out" / "report.html").read_text("utf-8")
    assert by_rows.frame.columns == grouped.frame.columns


def test_one_label_column_is_not_held_out_and_a_frame_is_a_table(tmp_path, capsys):
    path = write_table(tmp_path)
    frame = pl.read_csv(path).with_columns(vector=pl.Series(np.load(tmp_path / "vectors.npy").tolist()))
    recipe = recipes.parse(RECIPE, ['similarity=[{column="colour"}]', "data.vectors=vector"])
    result = mscon.compare(recipe, frame, tmp_path / "out", methods=["start"], seeds=1, jobs=1)
    assert "There is one label column, so none is held out." in capsys.readouterr().err
    assert set(result.frame["role"]) == {"mean", "trained on", "not trained on", "nearest neighbours"}
    assert (tmp_path / "out" / "table.parquet").is_file()


@pytest.mark.usefixtures("no_page")
def test_the_terminal_ends_with_one_table_and_three_sentences(finished, capsys):
    folder, result = finished
    arguments = ["compare", f"{folder}/mine.toml", "--table", f"{folder}/mine.csv", "--out", f"{folder}/out"]
    assert main([*arguments, "--methods", *FEW, "--seeds", "2", "--jobs", "1"]) == 0
    printed = capsys.readouterr()
    lines = printed.out.splitlines()
    table = lines[: lines.index("")]
    assert len(table) <= 25 and table == result.text.splitlines()
    assert lines[len(table) + 1 : len(table) + 4] == list(result.verdict)
    assert "All 14 runs are there already." in printed.err


def test_a_quick_try_recommends_nothing_and_says_so_in_every_file(finished, tmp_path, trained, capsys):
    """Its runs are there already, and so is what a real comparison recommended."""
    folder = copy(finished[0], tmp_path)
    arguments = ["compare", f"{folder}/mine.toml", "--table", f"{folder}/mine.csv", "--out", f"{folder}/out"]
    assert (folder / "out" / "recommended.toml").is_file()
    assert main([*arguments, "--methods", *FEW, "--quick", "--jobs", "1"]) == 0
    printed = capsys.readouterr().out
    sentence = (
        "This was a quick try (--quick: one seed, two epochs): its scores mean nothing, and no recipe is recommended."
    )
    for text in (printed, *((folder / "out" / name).read_text("utf-8") for name in ("table.md", "report.html"))):
        assert sentence in text and "Take “" not in text
    assert json.loads((folder / "out" / "compare.json").read_text("utf-8"))["verdict"][2] == sentence
    assert not (folder / "out" / "recommended.toml").exists()
    assert printed.splitlines()[-1] == f"{folder}/out: report.html, table.md"
    assert not trained


@pytest.mark.usefixtures("no_page")
def test_a_killed_comparison_goes_on(tmp_path):
    write_table(tmp_path)
    settings = ("--methods", "start", "--held-out", "none", "--seeds", "2", "--jobs", "1")
    started = start("compare", "mine.toml", "--table", "mine.csv", "--out", "out", *settings, cwd=tmp_path)
    until = time.monotonic() + 120
    while not list(tmp_path.glob("out/runs/this-recipe*/log.jsonl")):
        assert started.process.is_alive() and time.monotonic() < until
        time.sleep(0.01)
    started.process.kill()
    assert started.wait().status == -signal.SIGKILL
    there = {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/runs/frozen*/probe.json")}
    assert len(there) == 2
    result = run(tmp_path, methods=("start",), held_out=[], seeds=2)
    assert there.items() <= {path: path.stat().st_mtime_ns for path in tmp_path.glob("out/runs/*/probe.json")}.items()
    assert set(result.frame["seeds"]) == {1, 2}  # of the start there is one run


# Bad input ----------------------------------------------------------------------------------------


def bad(change: Callable[[Path], object] | None = None, words: str = "", error=MSConError, **settings: object):
    return pytest.param(change, words, error, settings, id=words[:40])


def write_mine(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("mine")


def other(folder: Path, *changes: tuple[str, str]) -> list[str]:
    text = RECIPE
    for old, new in changes:
        text = text.replace(old, new)
    (folder / "other.toml").write_text(text)
    return [f"other={folder / 'other.toml'}"]


@pytest.mark.parametrize(
    ("change", "words", "error", "settings"),
    [
        bad(
            words="there is no method 'mcson' to compare with. Did",
            error=RecipeError,
            methods=["mcson"],
        ),
        bad(words="seeds must be 1 or more", error=ValueError, seeds=0),
        bad(words="jobs must be 1 or more", error=ValueError, jobs=-1),
        bad(words="--quick trains with one seed, so it cannot", error=RecipeError, quick=True, seeds=2),
        bad(words="--held-out colr: no such label column", error=RecipeError, held_out=["colr"]),
        bad(
            words="--held-out make: it is the only label column",
            error=RecipeError,
            held_out=["make"],
            overrides=['similarity=[{column="make"}]'],
        ),
        bad(words="is 'identity': training does not change", error=RecipeError, overrides=["encoder.name=identity"]),
        bad(words="train.epochs is 0", error=RecipeError, overrides=["train.epochs=0"]),
        bad(words="reads a label column", error=RecipeError, overrides=['similarity=[{name="same_row"}]']),
        bad(lambda folder: write_table(folder, 60), "has a label in 12 test rows; an interval needs 20", TableError),
        bad(
            lambda folder: write_table(folder, split=SPLIT, season=["a", "b", "a", "a"] * 45),
            "column 'season' has one value only, 'a', in all test rows",
            TableError,
        ),
        bad(
            lambda folder: write_table(folder, shop=[f"s{row % 3}" for row in range(180)]),
            "are of 1 group of 'shop' ([data] split_by); an interval needs 10. Set [data] split_shares with more",
            TableError,
            overrides=["data.split_by=shop"],
        ),
        bad(lambda folder: np.save(folder / "vectors.npy", np.zeros((3, 2), np.float32)), "180 rows", TableError),
        *(
            bad(
                lambda folder, value=value: np.save(folder / "t.npy", np.full((180, 3), value, np.float32)),
                words,
                TableError,
                overrides=['similarity=[{column="make"}, {column="t", name="teacher", of="t.npy"}]'],
            )
            for value, words in ((1, "are the same in all training rows"), (np.nan, "are missing in all training rows"))
        ),
        bad(
            lambda folder: write_mine(folder / "out/table.md"),
            "table.md",
            RunError,
        ),
    ],
)
def test_a_mistake_is_one_message_before_anything_is_trained(tmp_path, trained, change, words, error, settings):
    write_table(tmp_path)
    if change is not None:
        change(tmp_path)
    with pytest.raises(error) as raised:
        run(tmp_path, **settings)
    assert words in str(raised.value)
    assert not trained and not (tmp_path / "out" / "runs").exists()


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        (
            'vectors = "vectors.npy"',
            'vectors = "vectors.npy"\nsplit_seed = 3',
            "other values of split_seed under [data]",
        ),
        (
            'column = "make"',
            'column = "make"\nname = "multi_label"',
            "is read as 'categorical'",
        ),
    ],
)
def test_recipes_that_cannot_be_compared_row_by_row_are_refused(tmp_path, trained, old, new, words):
    write_table(tmp_path)
    with pytest.raises(RecipeError) as raised:
        run(tmp_path, also=other(tmp_path, (old, new)))
    assert words in str(raised.value) and "'other' of --also (" in str(raised.value)
    assert str(tmp_path / "other.toml") in str(raised.value)
    assert not trained


def test_a_mistake_of_a_recipe_of_also_names_its_file(tmp_path):
    write_table(tmp_path)
    with pytest.raises(RecipeError, match=r"method 'other' \(.*other.toml\): "):
        run(tmp_path, also=other(tmp_path, ('name = "mlp"', 'name = "mlp"\nlora = 3')))


def test_two_recipes_of_one_title_are_refused(tmp_path, trained):
    write_table(tmp_path)
    with pytest.raises(RecipeError, match="two methods are titled 'other'"):
        run(tmp_path, also=other(tmp_path) * 2)


def test_a_mistake_has_status_2_on_the_command_line(tmp_path, capsys):
    write_table(tmp_path)
    arguments = ["compare", f"{tmp_path}/mine.toml", "--table", f"{tmp_path}/none.csv", "--out", f"{tmp_path}/out"]
    assert main(arguments) == 2
    assert "none.csv" in capsys.readouterr().err
    assert main([*arguments[:3], f"{tmp_path}/mine.csv", *arguments[4:], "--held-out", "none", "make"]) == 2
    assert "--held-out none: no such label column" in capsys.readouterr().err
    assert main([*arguments[:3], f"{tmp_path}/mine.csv", *arguments[4:], "--quick", "--seeds", "2"]) == 2
    assert "cannot be combined with --seeds. Leave out one of them." in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_two_processes_do_not_compare_in_one_folder(tmp_path, capsys, trained):
    write_table(tmp_path)
    arguments = ["compare", f"{tmp_path}/mine.toml", "--table", f"{tmp_path}/mine.csv", "--out", f"{tmp_path}/out"]
    with folders.locked(tmp_path / "out"):
        assert main(arguments) == 2
    assert "another process compares in" in capsys.readouterr().err
    assert not trained


def test_a_table_of_somebody_else_is_not_replaced_by_a_frame(tmp_path, trained):
    frame = pl.read_csv(write_table(tmp_path)).with_columns(
        vector=pl.Series(np.load(tmp_path / "vectors.npy").tolist())
    )
    recipe = recipes.parse(RECIPE, ["data.vectors=vector"])
    out = tmp_path / "out"
    out.mkdir()
    (out / "table.parquet").write_text("mine")
    with pytest.raises(RunError, match=r"table\.parquet"):
        compare(recipe, frame, out, progress=False)
    assert (out / "table.parquet").read_text() == "mine" and not trained


def test_results_of_the_command_are_replaced_and_other_files_are_not(finished, tmp_path):
    folder = copy(finished[0], tmp_path)
    (folder / "out" / "table.md").write_text("edited")
    run(folder, seeds=2)
    assert (folder / "out" / "table.md").read_text("utf-8") != "edited"
    (folder / "out" / shell.RESULTS).unlink()
    with pytest.raises(RunError, match="not written by this command"):
        run(folder, seeds=2)


def test_every_kind_of_column_is_compared_and_held_out(tmp_path):
    g = np.random.default_rng(1)
    tags = [";".join(sorted({f"t{k}" for k in g.integers(4, size=2)})) for _ in range(180)]
    paths = [f"top{k // 2}/low{k}" for k in g.integers(4, size=180)]
    sizes = [("small", "medium", "large")[k] for k in g.integers(3, size=180)]
    write_table(tmp_path, tags=tags, path=paths, size=sizes, price=g.normal(size=180).round(3))
    entries = [
        '{column="path", name="hierarchical"}',
        '{column="tags", name="multi_label"}',
        '{column="size", name="ordinal", levels=["small", "medium", "large"]}',
        '{column="price", name="continuous", width=0.5}',
        '{column="fine", name="hierarchical", under=["colour"]}',
    ]
    settings = [f"similarity=[{', '.join(entries)}]".replace('"fine"', '"make"')]
    result = run(tmp_path, overrides=settings, methods=("start", "cross_entropy", "mscon"))
    held_out = result.frame.filter(pl.col("role") == "held out", pl.col("method") == "MSCon")
    leading = {"accuracy", "mean_average_precision", "level_error", "r2"}
    assert held_out.filter(pl.col("measure").is_in(leading))["column"].to_list() == [
        *("path, level 1 of 2", "path, level 2 of 2", "tags", "size", "price"),
        *("make, level 1 of 2", "make, level 2 of 2"),
    ]
    assert not held_out["trained"].any()
    assert "XEnt" not in result.text  # no column of classes
    assert len(result.frame.filter(pl.col("role") == "mean", pl.col("method") == "MSCon")) == 2


def test_judged_labels_that_do_not_fit_are_refused_before_anything_is_trained(tmp_path, trained, monkeypatch):
    def refuse(*_):
        raise RecipeError("[doubt] run 'judged': 3 of 180 judged labels differ")

    monkeypatch.setattr("mscon.comparison.assembler.judged_labels", refuse)
    write_table(tmp_path)
    with pytest.raises(RecipeError, match="3 of 180 judged labels differ"):
        run(tmp_path)
    assert not trained and not (tmp_path / "out" / "runs").exists()
