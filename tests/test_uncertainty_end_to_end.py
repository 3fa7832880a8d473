"""The uncertainty of rows, from probe to embedding, search and report: on vectors with rows of a new kind."""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path

import numpy as np
import polars as pl
import pytest

import mscon
from mscon.cli import main
from mscon.data.table.label_columns import LabelColumns
from mscon.errors import RunError
from mscon.evaluate.report.page import build_report
from mscon.model.stored_uncertainty import read_uncertainty
from mscon.run.run import Run
from mscon.search.explorer.answers import Answers
from mscon.search.explorer.columns import UNCERTAINTY, read_columns
from mscon.search.explorer.payload import gather, sample
from vector_table import RECIPE, points, write_table

pytestmark = pytest.mark.usefixtures("short_probes")

NEW = 8


@pytest.fixture(scope="module")
def things(tmp_path_factory) -> Path:
    """A table of vectors, some rows of which are of a kind that training never sees; and a run that was probed."""
    folder = tmp_path_factory.mktemp("things")
    table = write_table(folder)
    vectors = points()
    new = -vectors[:NEW]  # in directions that no training row lies in
    np.save(folder / "points.npy", np.concatenate([vectors, new]))
    with table.open("a", encoding="utf-8") as file:
        file.writelines(f"unseen,{'ab'[n % 2]},x,g,0,0\n" for n in range(NEW))
    (folder / "recipe.toml").write_text(RECIPE)
    arguments = [str(folder / "recipe.toml"), "--table", str(table), "--out", str(folder / "run")]
    assert main(["train", *arguments]) == 0
    return folder


@pytest.fixture
def run(things: Path, tmp_path: Path) -> Run:
    shutil.copytree(things / "run", tmp_path / "run")
    return Run.open(tmp_path / "run")


def test_probe_writes_the_uncertainty_of_every_row_and_what_it_is_worth(things):
    run = Run.open(things / "run")
    stored = read_uncertainty(run, "last")
    assert stored is not None
    uncertainty, of_rows = stored
    split = run.read_rows()["split"].to_numpy()
    assert [column.column for column in uncertainty.columns] == ["kind", "shade"]
    assert of_rows.shape == split.shape and 0 <= of_rows.min() <= of_rows.max() <= 1
    assert of_rows[split == "validation"].mean() == pytest.approx(0.5, abs=0.01)
    assert of_rows[split == "unseen"].mean() > 0.75
    scores = run.read_probe()["uncertainty"]
    (summary,) = scores["summary"]
    assert summary["trained"] and summary["columns"] == ["kind", "shade"]
    assert summary["accuracy"][-1][1] == pytest.approx(
        np.mean([one["accuracy"]["value"] for one in run.read_probe()["linear"] if one["trained"]])
    )
    assert scores["unseen"]["rows"] == NEW and scores["unseen"]["auroc"]["value"] > 0.6


def test_embed_writes_the_same_numbers(things, tmp_path):
    model, run = mscon.load(things / "run"), Run.open(things / "run")
    held_out = np.flatnonzero(run.read_rows()["split"].to_numpy() != "train")
    for suffix in ("parquet", "npz"):
        out = tmp_path / f"all.{suffix}"
        assert main(["embed", str(things / "run"), "--table", str(things / "things.csv"), "--out", str(out)]) == 0
    frame, arrays = pl.read_parquet(tmp_path / "all.parquet"), np.load(tmp_path / "all.npz")
    assert frame.columns == ["line", "features", "uncertainty"]
    of_rows = read_uncertainty(run, "last")[1]
    np.testing.assert_allclose(frame["uncertainty"].to_numpy()[held_out], of_rows[held_out], atol=0.1)
    assert np.array_equal(frame["uncertainty"].to_numpy(), arrays["uncertainty"])
    vectors = np.load(things / "points.npy")
    np.testing.assert_allclose(model.uncertainty(vectors), arrays["uncertainty"], atol=0.1)
    kind = model.uncertainty(vectors, "kind")
    out = tmp_path / "kind.parquet"
    arguments = ["--table", str(things / "things.csv"), "--out", str(out), "--similarity", "kind"]
    assert main(["embed", str(things / "run"), *arguments]) == 0
    np.testing.assert_allclose(pl.read_parquet(out)["uncertainty"].to_numpy(), kind, atol=0.1)
    assert not np.allclose(kind, arrays["uncertainty"], atol=0.1)


def test_the_column_may_be_left_out(things, tmp_path):
    arguments = ["--table", str(things / "things.csv"), "--out", str(tmp_path / "v.parquet"), "--no-uncertainty"]
    assert main(["embed", str(things / "run"), *arguments]) == 0
    assert pl.read_parquet(tmp_path / "v.parquet").columns == ["line", "features"]


def test_shards_of_a_model_without_uncertainty_are_not_used_again(things, run, tmp_path):
    """Probed again, or with the file taken away, the same weights give other files."""
    (run.root / "uncertainty.safetensors").unlink()
    checksums = run.root / "checksums.jsonl"
    lines = [line for line in checksums.read_text().splitlines() if "uncertainty" not in line]
    checksums.write_text("\n".join(lines) + "\n")
    outputs = []
    for root in (run.root, things / "run"):
        arguments = ["--table", str(things / "things.csv"), "--out", str(tmp_path / "v.parquet"), "--shard-rows", "50"]
        assert main(["embed", str(root), *arguments]) == 0
        files = sorted((tmp_path / "v.parquet.shards").glob("*.parquet"))
        outputs.append([pl.read_parquet(path).columns for path in files])
    assert outputs == [[["line", "features"]] * 2, [["line", "features", "uncertainty"]] * 2]


def test_a_model_that_does_not_know_says_so(things, tmp_path):
    assert main(["export", str(things / "run"), "--to", "safetensors", "--out", str(tmp_path / "m.safetensors")]) == 0
    packed = mscon.load(tmp_path / "m.safetensors")
    with pytest.raises(RunError, match="does not know how uncertain rows are"):
        packed.uncertainty(points())
    with pytest.raises(RunError, match="has no similarity 'mood'"):
        mscon.load(things / "run").uncertainty(points(), "mood")


def test_hits_say_how_uncertain_rows_are(things, capsys):
    index = mscon.open_index(things / "run")
    of_rows = read_uncertainty(index.run, "last")[1]
    hits = index.search("3", k=5)
    assert [hit.uncertainty for hit in hits] == pytest.approx([of_rows[hit.row] for hit in hits])
    assert main(["search", str(things / "run"), "--query", "3", "-k", "5"]) == 0
    printed = {line.split()[0]: line.split() for line in capsys.readouterr().out.splitlines() if line.split()}
    assert printed["row"][:8] == ["row", "line", "score", "by", "kind", "by", "shade", "uncertainty"]
    place = 5  # behind row, line and three scores
    assert [printed[str(hit.row)][place] for hit in hits] == [f"{hit.uncertainty:.2f}" for hit in hits]
    assert f"{of_rows[3]:.2f}" in printed["3"]
    assert main(["search", str(things / "run"), "--query", "3", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["hits"][0]["uncertainty"] == pytest.approx(hits[0].uncertainty)


def test_vectors_keep_their_uncertainty_when_the_checkpoint_is_gone(run):
    (run.root / "checkpoints" / "last.safetensors").unlink()
    again = Run.open(run.root)
    assert again.read_uncertainty("last") is not None
    shape = np.ones((again.read_rows().height, 4), np.float32)
    again.write_features(shape, np.ones((2, len(shape), 2), np.float32))
    assert again.read_uncertainty("last") is None


def test_the_uncertainty_of_another_checkpoint_is_none(run):
    arrays, columns = run.read_uncertainty("last")
    assert "rows" in arrays and [one["column"] for one in columns] == ["kind", "shade"]
    tensors, state = run.read_checkpoint("last")
    run.write_checkpoint("last", {**tensors, "more": tensors[next(iter(tensors))]}, state)
    assert run.read_uncertainty("last") is None
    assert mscon.load(run.root, checkpoint="best" if run.has_checkpoint("best") else None).row_uncertainty is None


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda arrays, columns: arrays.pop("rows"), "'rows' must hold a number from 0 to 1 for each of 80 rows"),
        (lambda arrays, columns: arrays.update(rows=np.full(80, 2.0, np.float32)), "'rows' must hold a number"),
        (lambda arrays, columns: arrays.update(rows=np.full(3, 0.5, np.float32)), "for each of 80 rows"),
        (lambda arrays, columns: arrays.pop("features"), "'features' is missing"),
        (lambda arrays, columns: columns[0].update(column="mood"), "a column 'mood', which is no similarity"),
        (lambda arrays, columns: columns[0].update(space=7), "which is no similarity"),
        (lambda arrays, columns: columns[0].update(temperature=0.0), "temperature"),
        (lambda arrays, columns: columns[0].update(space="first"), "space"),
    ],
)
def test_a_file_that_mscon_did_not_write_is_refused(run, change, complaint):
    arrays, columns = run.read_uncertainty("last")
    change(arrays, columns)
    run.write_uncertainty(arrays, columns, "last")
    for use in (mscon.load, lambda root: mscon.open_index(root).search("3")):
        with pytest.raises(RunError, match="does not hold what mscon writes into it") as refusal:
            use(run.root)
        assert complaint in str(refusal.value) and "mscon probe" in str(refusal.value)


@pytest.mark.parametrize("name", ["features", "0/projections"])
def test_a_file_of_vectors_of_another_width_is_refused(run, name):
    arrays, columns = run.read_uncertainty("last")
    run.write_uncertainty({**arrays, name: arrays[name][:, :-1]}, columns, "last")
    with pytest.raises(RunError, match=r"uncertainty\.safetensors is not of its model"):
        mscon.load(run.root)


def test_without_validation_rows_the_probe_says_why_there_is_none(tmp_path, capsys):
    table = write_table(tmp_path)
    table.write_text(table.read_text().replace("validation,", "test,"))
    (tmp_path / "recipe.toml").write_text(RECIPE)
    arguments = [str(tmp_path / "recipe.toml"), "--table", str(table), "--out", str(tmp_path / "run")]
    assert main(["train", *arguments]) == 0
    run = Run.open(tmp_path / "run")
    assert not (run.root / "uncertainty.safetensors").exists()
    skipped = [one for one in run.read_probe()["skipped"] if one["probe"] == "uncertainty"]
    assert [one["reason"] for one in skipped] == ["uncertainty is a rank among validation rows, and there are none"]
    assert mscon.open_index(run).search("3")[0].uncertainty is None
    assert main(["embed", str(run.root), "--table", str(table), "--out", str(tmp_path / "v.parquet")]) == 0
    assert pl.read_parquet(tmp_path / "v.parquet").columns == ["line", "features"]


def test_the_report_says_what_it_is_worth_in_a_sentence_and_a_chart(things, tmp_path):
    scores = Run.open(things / "run").read_probe()["uncertainty"]
    page = build_report(things / "run", tmp_path / "report.html", with_maps=False).read_text("utf-8")
    (summary,) = scores["summary"]
    gained = [f"{100 * summary[name]['value']:+.1f} (" for name in ("accuracy_gain", "precision_at_10_gain")]
    section = page[page.index('id="uncertainty"') : page.index('id="confusion"')]
    assert f"by {gained[0]}" in section and f"points in accuracy and {gained[1]}" in section
    assert f"in {100 * scores['unseen']['auroc']['value']:.0f} % of pairs" in section
    (points,) = re.findall(r'<polyline class="line d0" points="([^"]*)"', section)
    heights = [-float(point.split(",")[1]) for point in points.split()]
    assert len(heights) == len(summary["accuracy"])
    # Drawn to scale: the chart is as high as the accuracies are far apart.
    drawn = (np.array(heights) - heights[-1]) / (max(heights) - min(heights))
    accuracy = np.array(summary["accuracy"])[:, 1]
    np.testing.assert_allclose(drawn, (accuracy - accuracy[-1]) / (accuracy.max() - accuracy.min()), atol=0.01)


def test_a_report_of_an_older_run_has_no_such_section(run, tmp_path):
    probe = {name: value for name, value in run.read_probe().items() if name != "uncertainty"}
    run.write_probe(probe, run.read_predictions())
    page = build_report(run, tmp_path / "report.html", with_maps=False).read_text("utf-8")
    assert 'id="uncertainty"' not in page and 'href="#uncertainty"' not in page


def test_the_explorer_has_it_as_a_column_to_colour_and_filter_by(things):
    run = Run.open(things / "run")
    of_rows = read_uncertainty(run, "last")[1]
    *others, column, split = gather(run, with_images=False, most=40, seconds=0.0).columns
    assert (column.name, column.kind, split.name) == (UNCERTAINTY, "number", "split")
    assert UNCERTAINTY not in [other.name for other in others]
    drawn = sample(run.read_rows(), ("kind", "shade"), 40)
    np.testing.assert_allclose(column.values, of_rows[drawn], atol=5e-4)
    answers = Answers(run, seconds=0.0)
    filters = [{"column": UNCERTAINTY, "low": 0.9}]
    request = {"mix": {"kind": 1}, "like": [3], "filters": filters, "count": 80}
    hits = answers.search(json.dumps(request).encode())
    expected = np.flatnonzero(of_rows.astype(np.float64).round(3) >= 0.9)
    assert sorted(hits["rows"]) == sorted(set(expected.tolist()) - {3})


def test_a_column_of_the_table_of_that_name_stays_what_it_is():
    rows = pl.DataFrame({"line": [2, 3], "split": ["train", "test"], UNCERTAINTY: ["a", "b"]})
    columns = read_columns(LabelColumns(rows, {}, ()), uncertainty=np.array([0.1, 0.9], np.float32))
    assert [(column.name, column.kind) for column in columns] == [(UNCERTAINTY, "name"), ("split", "category")]
