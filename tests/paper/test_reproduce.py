"""Reproduce: which runs are made, which are not made again, and what is read off them."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mscon.cli import main
from mscon.comparison import planned as one_run
from mscon.comparison.planned import Planned, is_finished
from mscon.errors import RunError
from mscon.evaluate.report import page
from mscon.run import atomic
from mscon.run.run import Run
from mscon_paper import figures, reproduce
from mscon_paper.files import find
from mscon_paper.results import last_weights, read
from mscon_paper.sources import glyphs
from mscon_paper.table import result_json, result_text
from report.runs import make_rows

CLASSES = {
    "character": ["a", "b", "c", "d"],
    "slant": ["upright", "italic"],
    "weight": ["light", "bold"],
    "family": ["f", "g", "h"],
    "category": ["sans", "serif"],
}
ROWS = make_rows(CLASSES)
HASH = "0" * 64


def leave_run(planned: Planned, skill: float = 0.8, table_hash: str = HASH) -> None:
    """What training and probing would have left of a planned run, made of seeded numbers."""
    recipe = planned.recipe
    generator = np.random.default_rng([recipe.train.seed, round(1_000 * skill), len(recipe.title)])
    run = Run.create(planned.out, overwrite=True)
    run.write_recipe(recipe)
    run.write_facts({"table": {"name": "glyphs.csv", "sha256": table_hash}})
    columns = {**CLASSES, **{d.column: CLASSES[d.of] for d in recipe.derived}}
    rows = ROWS.with_columns(**{d.column: ROWS[d.of] for d in recipe.derived})
    run.write_rows(rows)
    for epoch in (1, 2):
        weight = {c: epoch * (i + 1.0) for i, c in enumerate(recipe.columns)}
        run.append_log({"kind": "step", "epoch": epoch, "step": epoch, "weight": weight})
        run.append_log({"kind": "validation", "epoch": epoch, "step": epoch, "relative_excess": weight})
    split = np.array(rows["split"].to_list())
    linear, arrays = [], {}
    for i, column in enumerate(recipe.probe.columns):
        code = np.array([-1 if v is None else columns[column].index(v) for v in rows[column]])
        test = np.flatnonzero((split == "test") & (code >= 0))
        wrong = generator.random(len(test)) >= skill
        linear.append(
            {
                "column": column,
                "trained": column in recipe.columns,
                "classes": columns[column],
                "majority": 0.3,
                "validation_accuracy": skill + 0.1 * (recipe.train.learning_rate == 0.006),
            }
        )
        predicted = np.where(wrong, (code[test] + 1) % len(columns[column]), code[test])
        arrays |= {f"linear/{i}/row": test, f"linear/{i}/true": code[test], f"linear/{i}/predicted": predicted}
    run.write_features(
        generator.normal(size=(rows.height, 8)).astype(np.float32),
        generator.normal(size=(len(recipe.columns), rows.height, 4)).astype(np.float32),
    )
    run.write_probe({"checkpoint": "last", "linear": linear, "neighbours": [], "skipped": []}, arrays)


def leave_all(name: str, pool: Path, seeds: int = 3, skills: dict[str, float] | None = None):
    one = find(name)
    planned = one.plan(seeds)
    for run in {p.name: p for p in planned}.values():
        leave_run(Planned(run.recipe, pool / run.name), (skills or {}).get(run.row.method.name, 0.7))
    return one, planned


# What is run --------------------------------------------------------------------------------------


def test_a_finished_run_is_known_by_its_whole_recipe_and_table(tmp_path):
    (first, *_) = find("glyphs/table3").plan(1)
    planned = Planned(first.recipe, tmp_path / first.name)
    assert not is_finished(planned, HASH)
    leave_run(planned)
    assert is_finished(planned, HASH)
    assert not is_finished(planned, "1" * 64)
    other = replace(first.recipe, train=replace(first.recipe.train, learning_rate=1e-4))
    assert not is_finished(Planned(other, planned.out), HASH)


@pytest.fixture
def trained(tmp_path, monkeypatch) -> list[str]:
    """Names of the runs that were trained; nothing is."""
    table = tmp_path / "glyphs.csv"
    table.write_text("image\n")
    names: list[str] = []

    def train_and_probe(planned: Planned, table: Path) -> str:
        leave_run(planned, table_hash=hashlib.sha256(table.read_bytes()).hexdigest())
        names.append(planned.out.name)
        return planned.out.name

    monkeypatch.setattr(glyphs, "prepare", lambda root: table)
    monkeypatch.setattr(page, "build_report", lambda runs, out, **_: atomic.write_text(out, f"{len(runs)} runs"))
    monkeypatch.setattr(figures, "_saved", lambda figure: {"svg": b"<svg/>", "png": b"pixels"})
    monkeypatch.setattr(one_run, "train_and_probe", train_and_probe)
    return names


def test_a_stopped_experiment_goes_on_and_loses_only_what_was_under_way(trained, tmp_path, monkeypatch, capsys):
    out = tmp_path / "out"
    to_its_end = one_run.train_and_probe

    def killed(planned: Planned, table: Path) -> str:
        if len(trained) == 4:
            Run.create(planned.out).write_recipe(planned.recipe)  # begun, and not finished
            raise KeyboardInterrupt
        return to_its_end(planned, table)

    monkeypatch.setattr(one_run, "train_and_probe", killed)
    with pytest.raises(KeyboardInterrupt):
        reproduce.reproduce("glyphs/ablation", quick=True, jobs=1, out=out)
    assert len(trained) == 4
    monkeypatch.setattr(one_run, "train_and_probe", to_its_end)
    folder = reproduce.reproduce("glyphs/ablation", quick=True, jobs=1, out=out)
    assert len(trained) == len(set(trained)) == 5
    assert "4 runs of 5 are there already" in capsys.readouterr().out
    assert folder == out / "glyphs" / "ablation-quick"
    names = {path.name for path in folder.iterdir()}
    pictures = {"figure.svg", "figure.png", "curves.svg", "curves.png"}
    assert names == {"table.md", "results.json", "report.html"} | pictures


def test_results_replace_earlier_ones_and_no_other_file(trained, tmp_path, capsys):
    folder = tmp_path / "out" / "glyphs" / "ablation-quick"
    folder.mkdir(parents=True)
    arguments = ["reproduce", "glyphs/ablation", "--quick", "--jobs", "1", "--out", str(tmp_path / "out")]
    for name in ("table.md", "results.json", "report.json", "curves.png"):
        (folder / name).write_text("mine")
        assert main(arguments) == 2
        assert f"{name}' exists and was not written by this command: not replaced." in capsys.readouterr().err
        assert not trained and [path.read_text() for path in folder.iterdir()] == ["mine"]
        (folder / name).unlink()
    assert main(arguments) == main(arguments) == 0


@pytest.mark.parametrize("files", [0, 1, 2, 3])
def test_a_call_that_is_killed_between_two_results_can_be_made_again(trained, tmp_path, monkeypatch, files):
    write, left = atomic.write_bytes, ["a file"] * files

    def killed(path, content):
        if not left:
            raise KeyboardInterrupt
        left.pop()
        write(path, content)

    with monkeypatch.context() as patch:
        patch.setattr(atomic, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            reproduce.reproduce("glyphs/ablation", quick=True, jobs=1, out=tmp_path / "out")
    folder = reproduce.reproduce("glyphs/ablation", quick=True, jobs=1, out=tmp_path / "out")
    assert (folder / "report.html").is_file()


def test_the_page_of_a_curve_is_of_its_figure_and_not_of_its_runs(trained, tmp_path):
    """Its runs differ in more than their seed, so there is nothing to compare row by row."""
    folder = reproduce.reproduce("glyphs/figure4_epochs", quick=True, jobs=1, out=tmp_path / "out")
    assert trained
    assert (folder / "report.html").read_text() == "0 runs"
    assert not (folder / "curves.svg").exists()
    folder = reproduce.reproduce("glyphs/ablation", quick=True, jobs=1, out=tmp_path / "out")
    assert (folder / "report.html").read_text() == "5 runs"


def test_experiments_share_runs_and_a_second_call_makes_none(trained, tmp_path):
    out = tmp_path / "out"
    reproduce.reproduce("glyphs/table1", quick=True, jobs=1, out=out)
    before = len(trained)
    reproduce.reproduce("glyphs/table3", quick=True, jobs=1, out=out)
    reproduce.reproduce("glyphs/ablation", quick=True, jobs=1, out=out)
    assert len(trained) == before


def test_training_that_breaks_down_is_a_reason_and_not_the_end(trained, tmp_path, monkeypatch, capsys):
    to_its_end = one_run.train_and_probe

    def breaks(planned: Planned, table: Path) -> str:
        if planned.recipe.weighting.name == "exact":
            raise RunError("epoch 1, step 3: training broke down: the loss is not finite.\n  Try a lower one.")
        return to_its_end(planned, table)

    monkeypatch.setattr(one_run, "train_and_probe", breaks)
    folder = reproduce.reproduce("glyphs/ablation", quick=True, jobs=1, out=tmp_path / "out")
    text = (folder / "table.md").read_text("utf-8")
    assert "MSCon, exact weights: epoch 1, step 3: training broke down" in text
    readings = json.loads((folder / "results.json").read_text("utf-8"))["readings"]
    assert all((r["ours"] is None) == (r["row"] == "MSCon, exact weights") for r in readings)


# What is read -------------------------------------------------------------------------------------


def test_the_papers_number_stands_beside_ours(tmp_path):
    """Table 3 of the shoes, on runs that say what they would say."""
    one = find("glyphs/table3")
    shoes = find("zappos50k/table3")
    one, planned = leave_all("glyphs/table3", tmp_path, skills={"mscon": 0.9, "xent_multi": 0.5})
    renamed = {row: {"family": cells["brand"]} for row, cells in shoes.numbers.items()}
    result = read(replace(one, numbers=renamed), planned, tmp_path, {})
    lines = result_text(result).splitlines()
    header = next(line for line in lines if line.startswith("| method"))
    assert [cell.strip() for cell in header.split("|")[3:5]] == ["family, paper", "family, ours"]
    row = next(line for line in lines if line.startswith("| MSCon, paper's weights "))
    cells = [cell.strip() for cell in row.split("|")]
    assert cells[2:4] == ["3", "42.62 (1.52)"]
    assert cells[4].startswith("**9") or cells[4].startswith("9") or cells[4].startswith("8")
    assert not list(result.without_ours())


def test_a_difference_is_paired_and_the_papers_stands_beside_it(tmp_path):
    one, planned = leave_all("glyphs/table3", tmp_path, skills={"mscon": 0.95, "xent_multi": 0.5})
    result = read(one, planned, tmp_path, {})
    (gap,) = (
        d
        for d in result.differences
        if (d.better, d.worse, d.column) == ("MSCon, paper's weights", "XEnt multi-task", "family")
    )
    assert 0.2 < gap.ours.low < gap.ours.value < gap.ours.high < 0.7
    assert "+10.5 brand" in result_text(result)


def test_a_published_number_without_ours_is_listed(tmp_path):
    shoes = find("zappos50k/table3")
    one, planned = leave_all("glyphs/table3", tmp_path, seeds=1)
    result = read(replace(one, numbers=shoes.numbers), planned, tmp_path, {})
    assert {(row, column) for row, column, _ in result.without_ours()} == {
        ("XEnt multi-task", "brand"),
        ("MSCon", "brand"),
    }
    assert "Published, without a number of ours" in result_text(result)


def test_where_nothing_was_run_the_papers_numbers_stand_alone_and_the_reason_once(tmp_path):
    shoes = find("zappos50k/table1")
    planned = shoes.plan(1)
    text = result_text(read(shoes, planned, tmp_path, {run.name: "the shoes are not here" for run in planned}))
    assert text.count("the shoes are not here") == 1
    for number in ("96.64 (0.34)", "69.10 (0.84)", "85.98 (0.56)"):
        assert number in text
    row = next(line for line in text.splitlines() if line.startswith("| CSN"))
    assert [cell.strip() for cell in row.split("|")[2:-1:2]] == ["83.33 (0.32)", "72.12 (0.36)", "69.21 (0.60)"]
    assert [cell.strip() for cell in row.split("|")[3:-1:2]] == ["-", "-", "-"]


def test_table_4_reads_each_column_off_the_run_that_never_saw_it(tmp_path):
    one, planned = leave_all("glyphs/table4", tmp_path, seeds=1)
    result = read(one, planned, tmp_path, {})
    assert {r.column for r in result.readings} == {"category", "character", "slant", "weight"}
    for reading in result.readings:
        (name,) = reading.runs
        assert reading.column not in Run(tmp_path / name).read_recipe().columns
    assert all(r.case == "" for r in result.readings)


def test_figure_3_reads_weights_and_accuracies_along_its_axis(tmp_path):
    one, planned = leave_all("glyphs/figure3", tmp_path, seeds=2)
    result = read(one, planned, tmp_path, {})
    assert result.measured == (
        ("weight", "weight_noisy"),
        ("accuracy", "weight_noisy"),
        ("accuracy", "weight"),
        ("accuracy", "character"),
        ("accuracy", "slant"),
        ("accuracy", "family"),
        ("accuracy", "category"),
    )
    weights = [r for r in result.readings if r.measure == "weight" and r.row == "MSCon, paper's weights"]
    assert [r.x for r in weights] == [0.0, 0.25, 0.5, 0.75, 1.0]
    # The last epoch says 2, 4, 6 for three columns: the third has one and a half times the mean.
    assert all(r.ours.value == pytest.approx(1.5) for r in weights)
    dropped = [r for r in result.readings if r.row == "MSCon, column dropped"]
    assert {r.x for r in dropped} == {0.0}
    assert {r.column for r in dropped} == {"weight", "character", "slant", "family", "category"}
    assert {d.case for d in result.differences if d.better == "MSCon, column dropped"} == {
        "0",
        "0.25",
        "0.5",
        "0.75",
        "1",
    }


def test_redundant_columns_are_set_against_the_table_as_it_is(tmp_path):
    one, planned = leave_all("glyphs/redundant", tmp_path, seeds=1)
    result = read(one, planned, tmp_path, {})
    pairs = {(d.better, d.worse) for d in result.differences}
    assert ("MSCon, equal weights, twice", "MSCon, equal weights, as it is") in pairs
    assert len(result.differences) == len(one.methods) * 2 * len(one.probed)
    weights = {(r.case, r.column) for r in result.readings if r.measure == "weight"}
    assert ("twice", "weight_again") in weights
    assert ("as it is", "weight_again") not in weights


def test_points_of_a_curve_are_set_against_the_usual_one(tmp_path):
    one, planned = leave_all("glyphs/figure4_temperature", tmp_path, seeds=1)
    result = read(one, planned, tmp_path, {})
    gaps = {(d.better, d.worse): d for d in result.differences if d.column == "family"}
    assert len(gaps) == len(one.methods) * (len(one.cases) - 1)
    assert ("MSCon, equal weights, temperature 1", "MSCon, equal weights, temperature 0.1") in gaps
    assert "temperature 0.1 - " not in result_text(result)


def test_tuning_chooses_by_validation_rows_and_says_what(tmp_path):
    one, planned = leave_all("glyphs/tuning", tmp_path, seeds=1)
    result = read(one, planned, tmp_path, {})
    assert set(result.best_rates) == {method.name for method in one.methods}
    assert set(result.best_rates.values()) == {0.006}
    broken = next(run.name for run in planned if run.row.method.name == "csn" and run.case.x == 0.006)
    result = read(one, planned, tmp_path, {broken: "broke down"})
    assert result.best_rates["csn"] != 0.006
    assert result_json(result)["chosen"]["simclr"] == 0.006


def test_views_ask_every_space_about_every_column(tmp_path):
    one, planned = leave_all("glyphs/views", tmp_path, seeds=1)
    result = read(one, planned, tmp_path, {})
    assert result.rows == ("space of character", "space of slant", "space of weight", "space of features")
    assert {r.column for r in result.readings} == set(one.probed)


def test_transfer_is_drawn_over_the_number_of_labels(tmp_path):
    one, planned = leave_all("glyphs/transfer", tmp_path, seeds=2)
    for run in {p.name for p in planned}:
        accuracy = [[0.1 * (at + 1)] * 10 for at in range(6)]
        curves = [{"column": c, "classes": 3, "train_rows": [1.0] * 6, "accuracy": accuracy} for c in one.out_of_domain]
        numbers = one.transfer["rows_a_class"]
        Run(tmp_path / run).write_transfer({"rows_a_class": numbers, "draws": 10, "curves": curves})
    result = read(one, planned, tmp_path, {})
    mine = [r for r in result.readings if r.row == "SimCLR" and r.column == "family"]
    assert [(r.x, round(r.ours.value, 3)) for r in mine] == [
        (1, 0.1),
        (2, 0.2),
        (5, 0.3),
        (10, 0.4),
        (20, 0.5),
        (50, 0.6),
    ]


def test_weights_are_those_of_the_last_epoch_with_a_mean_of_1():
    log = [
        {"kind": "step", "epoch": 1, "weight": {"a": 9.0, "b": 1.0}},
        {"kind": "step", "epoch": 2, "weight": {"a": 1.0, "b": None}},
        {"kind": "step", "epoch": 2, "weight": {"a": 3.0, "b": 6.0}},
        {"kind": "validation", "epoch": 2},
    ]
    assert last_weights(log) == {"a": 0.5, "b": 1.5}
    assert last_weights([]) == {}


# The command --------------------------------------------------------------------------------------


def test_without_a_name_all_experiments_are_listed_with_their_size(capsys):
    assert main(["reproduce"]) == 0
    printed = capsys.readouterr().out
    assert "glyphs/table3" in printed
    assert "needs --data" in printed
    line = next(line for line in printed.splitlines() if line.startswith("glyphs/ablation"))
    assert line.split()[1:3] == ["15", "360"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["glyphs/tabel3"], ["Did you mean 'glyphs/table3'"]),
        (["zappos50k/table1"], ["UT-Zap50K", "--data ROOT", "mscon prepare zappos50k"]),
        (["medic/table2", "--data", "nowhere"], ["'nowhere' does not exist", "MEDIC"]),
        (["glyphs/table1", "--set", "train.epoch=3"], ["Did you mean 'epochs'"]),
        (["glyphs/table1", "--quick", "--seeds", "2"], ["--quick trains with one seed", "combined with --seeds"]),
    ],
)
def test_what_is_missing_is_named_with_what_to_do(arguments, words, capsys):
    assert main(["reproduce", *arguments]) == 2
    errors = capsys.readouterr().err
    for word in words:
        assert word in errors, word
