"""Wrong labels that were planted are found, in columns of every kind, and what is written says so."""

from __future__ import annotations

import numpy as np
import polars as pl
import pytest
from tests.planted_labels import Planted, cells, planted_run, trained

import mscon
from mscon import cli
from mscon.errors import RunError
from mscon.evaluate.label_quality import doubt as judging
from mscon.evaluate.report.label_quality import sentences
from mscon.run import recipe as recipes
from mscon.run.contents import doubt_schema
from mscon.run.run import Run


@pytest.fixture(scope="module")
def planted(tmp_path_factory) -> Planted:
    return planted_run(tmp_path_factory.mktemp("planted"))


COLUMNS = ("kind", "size", "tags", "path", "grade")


@pytest.mark.parametrize("column", COLUMNS)
def test_planted_errors_are_found_and_counted(planted, column):
    wrong = planted.wrong_lines(column)
    labels = planted.run.read_judged_labels().filter(pl.col("column") == column)
    least = set(labels["line"].head(len(wrong)).to_list())
    assert len(least & wrong) >= (0.6 if column == "size" else 0.85) * len(wrong)
    (record,) = [r for r in planted.run.read_doubt()["columns"] if r["column"] == column]
    assert record["share"]["low"] - 0.02 <= len(wrong) / record["rows"] <= record["share"]["high"] + 0.02
    # Numbers that no model can tell apart within a kind, and levels that go wrong at unequal rates, are harder: of the
    # ranges of numbers a sixth is predicted, and shares of 1 and of 6 % are about as likely.
    tolerance = {"size": 0.06, "grade": 0.05}.get(column, 0.02)
    assert record["share"]["value"] == pytest.approx(len(wrong) / record["rows"], abs=tolerance)
    assert record["issues"] == labels["is_label_issue"].sum() <= round(record["share"]["value"] * record["rows"]) + 1


def test_predictions_are_the_right_labels(planted):
    labels = planted.run.read_judged_labels()
    for column in ("kind", "path", "grade", "tags"):
        issues = labels.filter((pl.col("column") == column) & pl.col("is_label_issue"))
        right = [planted.right[column][line - 2] for line in issues["line"]]
        assert np.mean([a == b for a, b in zip(issues["predicted_label"], right, strict=True)]) > 0.8
    numbers = labels.filter((pl.col("column") == "size") & pl.col("is_label_issue"))
    right_numbers = np.array([float(planted.right["size"][line - 2]) for line in numbers["line"]])
    assert np.median(np.abs(numbers["predicted_label"].cast(pl.Float64).to_numpy() - right_numbers)) < 1


def test_neighbours_have_the_predicted_label(planted):
    labels = planted.run.read_judged_labels().filter((pl.col("column") == "kind") & pl.col("is_label_issue"))
    cell_of = dict(enumerate(planted.frame["kind"].to_list(), start=2))
    for line, predicted, neighbours in labels.select("line", "predicted_label", "neighbours").iter_rows():
        assert neighbours and line not in neighbours
        assert {cell_of[other] for other in neighbours} == {predicted}


def test_the_frame_has_the_documented_columns_and_order(planted):
    labels = planted.run.read_judged_labels()
    assert dict(labels.schema) == doubt_schema()
    for _, of_column in labels.group_by("column"):
        assert of_column["label_score"].is_sorted()
    assert labels.height == 5 * 300


def test_a_column_that_repeats_another_does_not_vouch_for_its_errors(planted):
    """Where path and kind are one, errors of one are errors of the other, and no model must learn them from there."""
    by_column = {record["column"]: record for record in planted.run.read_doubt()["columns"]}
    assert "path" in by_column["kind"]["witnesses"]  # their errors are different ones here
    vectors, _, noisy = cells()
    repeated = {"kind": noisy["kind"], "copy": [f"copy of {cell}" for cell in noisy["kind"]]}
    from mscon.evaluate.label_quality.witnesses import others
    from mscon.evaluate.targets import ProbeTarget

    kind, copy = (ProbeTarget(name, values, None, True, None) for name, values in repeated.items())
    finer = ProbeTarget("finer", [f"{cell}{n % 9}" for n, cell in enumerate(noisy["kind"])], None, True, None)
    names = ProbeTarget("names", [str(n) for n in range(len(vectors))], None, True, None)
    assert others(kind, [kind, copy, finer, names]) == [names]
    assert others(finer, [kind, copy]) == [kind, copy]  # the coarser one says nothing of the finer class's own errors


def test_witnesses_help_where_features_do_not(tmp_path):
    vectors, _, noisy = cells()
    vectors[:, :4] += np.random.default_rng(5).normal(size=(300, 4)).astype(np.float32) * 2
    vectors[:, 5:] = 0
    run = trained(tmp_path, {name: noisy[name] for name in ("kind", "grade", "size")}, vectors, epochs=0)
    wrong = {n + 2 for n, (a, b) in enumerate(zip(noisy["kind"], cells()[1]["kind"], strict=True)) if a != b}
    hits = []
    for witnesses in (False, True):
        labels = mscon.doubt(run, witnesses=witnesses, progress=False).filter(pl.col("column") == "kind")
        hits.append(len(wrong & set(labels["line"].head(len(wrong)).to_list())))
    assert hits[1] > hits[0]


def test_what_cannot_be_judged_is_counted_and_not_called_right(tmp_path):
    vectors, _, noisy = cells()
    kind = [*noisy["kind"][:-1], "alone"]
    kind[0] = None
    one = ["other" if n == 295 else "same" for n in range(300)]
    run = trained(tmp_path, {"kind": kind, "grade": noisy["grade"], "one": one}, vectors)
    labels = mscon.doubt(run, progress=False)
    record = run.read_doubt()
    (of_kind,) = [r for r in record["columns"] if r["column"] == "kind"]
    assert (of_kind["missing"], of_kind["too_rare"], of_kind["rows"]) == (1, 1, 298)
    assert not set(labels.filter(pl.col("column") == "kind")["line"]) & {2, 301}
    assert [s["column"] for s in record["skipped"]] == ["one"] and "two are needed" in record["skipped"][0]["reason"]
    text = "\n".join(sentences(record))
    assert "1 label cannot be judged" in text and "one: not judged" in text


def test_a_row_without_the_coarsest_of_several_columns_has_no_label(tmp_path):
    """Its finer label is not called too rare."""
    vectors, right, _ = cells()
    coarse: list[str | None] = ["ab" if kind in "ab" else "cd" for kind in right["kind"]]
    coarse[:7] = [None] * 7
    np.save(tmp_path / "points.npy", vectors)
    split = ["train" if n % 5 < 3 else "validation" if n % 5 < 4 else "test" for n in range(len(vectors))]
    table = pl.DataFrame({"split": split, "coarse": coarse, "fine": right["kind"]})
    table.write_csv(tmp_path / "things.csv")
    recipe = recipes.Recipe(
        similarities=(recipes.similarity_part("fine", "hierarchical", {"under": ["coarse"]}),),
        data=recipes.Data(input="vectors", vectors="points.npy"),
        encoder=recipes.Encoder(name="identity"),
        train=recipes.Train(epochs=0),
    )
    run = mscon.fit(recipe, tmp_path / "things.csv", tmp_path / "run", progress=False)
    mscon.doubt(run, progress=False)
    (record,) = run.read_doubt()["columns"]
    assert (record["rows"], record["missing"], record["too_rare"]) == (293, 7, 0)


def test_rows_of_a_group_do_not_judge_each_other(tmp_path, monkeypatch):
    """Copies of a row with the same wrong label would call it right."""
    vectors, right, noisy = cells()
    repeated = {name: noisy[name] + 2 * noisy[name][:100] for name in ("kind", "grade")}
    run = trained(tmp_path, repeated, np.concatenate([vectors, vectors[:100], vectors[:100]]), epochs=0)
    wrong = [n % 100 for n in range(100) if noisy["kind"][n] != right["kind"][n]]
    lines = [n + start for n in wrong for start in (2, 302, 402)]

    def found() -> int:
        labels = mscon.doubt(run, progress=False, witnesses=False).filter(pl.col("column") == "kind")
        return labels.filter(pl.col("line").is_in(lines) & pl.col("is_label_issue")).height

    together = found()
    monkeypatch.setattr(judging, "groups_of", lambda features, groups: np.arange(len(features)))
    assert together >= 0.7 * len(lines) and found() < together


def test_doubt_of_a_run_that_was_trained_on_since_is_not_shown(planted):
    assert planted.run.has_doubt
    record = planted.run.read_doubt()
    labels = planted.run.read_judged_labels()
    try:
        planted.run._write_json("doubt.json", {**record, "checkpoint_sha256": "of another"})
        assert not planted.run.has_doubt
    finally:
        planted.run.write_doubt(
            labels, {k: v for k, v in record.items() if not k.startswith("checkpoint")}, checkpoint="last"
        )
    assert planted.run.has_doubt


@pytest.mark.parametrize(
    "change",
    [
        lambda frame: frame.drop("neighbours"),
        lambda frame: frame.with_columns(label_score=pl.lit(2.0)),
        lambda frame: frame.with_columns(line=pl.lit(None, dtype=pl.Int64)),
        lambda frame: frame.with_columns(line=pl.lit("one")),
    ],
)
def test_a_file_that_mscon_did_not_write_is_refused(planted, tmp_path, change):
    (tmp_path / "recipe.toml").write_text(planted.run.read_recipe_text())
    change(planted.run.read_judged_labels()).write_parquet(tmp_path / "doubt.parquet")
    with pytest.raises(RunError, match=r"doubt\.parquet does not hold what mscon writes"):
        Run(tmp_path).read_judged_labels()


def test_the_same_run_gives_the_same_files(planted):
    before = planted.run.read_judged_labels()
    again = mscon.doubt(planted.run.root, progress=False)
    assert again.equals(before)


# The command line ----------------------------------------------------------------------------


def test_the_verb_prints_shares_and_writes_a_corrected_copy(planted, tmp_path, capsys):
    out, table = tmp_path / "corrected.csv", planted.table.read_bytes()
    assert cli.main(["doubt", str(planted.run.root), "--corrected", str(out), "--at-least", "0.8"]) == 0
    text = capsys.readouterr().out
    share = planted.run.read_doubt()["columns"][0]["share"]["value"]
    assert f"kind: about {100 * share:.1f} % of the labels look wrong (" in text and "labels replaced" in text
    assert planted.table.read_bytes() == table
    corrected, original = (pl.read_csv(path, infer_schema=False) for path in (out, planted.table))
    assert corrected.columns == original.columns and corrected["size"].equals(original["size"])
    right = pl.Series(planted.right["kind"])
    assert (corrected["kind"] != right).sum() < 0.5 * (original["kind"] != right).sum()
    labels = planted.run.read_judged_labels().filter(pl.col("column") == "kind")
    changed = {n + 2 for n in np.flatnonzero((corrected["kind"] != original["kind"]).to_numpy())}
    sure = labels.filter(pl.col("is_label_issue") & (pl.col("confidence") >= 0.8))
    assert changed == set(sure["line"].to_list())


def test_a_corrected_copy_never_replaces_a_file(planted, capsys, tmp_path):
    for out in (planted.table, planted.run.root / "doubt.csv", tmp_path):
        if out == planted.run.root / "doubt.csv":
            out.write_text("mine")
        assert cli.main(["doubt", str(planted.run.root), "--corrected", str(out)]) == 2
        assert "Choose another --corrected." in capsys.readouterr().err
    assert (planted.run.root / "doubt.csv").read_text() == "mine"
    (planted.run.root / "doubt.csv").unlink()


def test_a_corrected_copy_is_csv_whatever_it_is_called(planted, capsys, tmp_path):
    out = tmp_path / "corrected.parquet"
    assert cli.main(["doubt", str(planted.run.root), "--corrected", str(out)]) == 2
    assert f"--corrected '{out}': its name must end in .csv" in capsys.readouterr().err and not out.exists()


def test_of_a_long_label_the_beginning_is_printed(tmp_path, capsys):
    vectors, _, noisy = cells()
    run = trained(tmp_path, {"kind": [cell + "z" * 5_000 for cell in noisy["kind"]], "grade": noisy["grade"]}, vectors)
    assert cli.main(["doubt", str(run.root)]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) < 300 and any("zzz…" in line for line in lines)


def test_a_table_with_other_labels_is_not_corrected(planted, tmp_path, capsys):
    other = pl.read_csv(planted.table, infer_schema=False).with_columns(kind=pl.lit("z"))
    other.write_csv(tmp_path / "other.csv")
    command = ["doubt", str(planted.run.root), "--corrected", str(tmp_path / "out.csv")]
    assert cli.main([*command, "--table", str(tmp_path / "other.csv")]) == 2
    message = capsys.readouterr().err
    assert "other.csv, column 'kind': 300 labels of 300 are not what the run was trained on (lines 2, 3" in message
    assert not (tmp_path / "out.csv").exists()


def test_a_run_of_a_frame_needs_its_table_for_a_corrected_copy(planted, tmp_path):
    from mscon.evaluate.label_quality.corrections import need_table

    facts = planted.run.read_facts()
    run = Run(tmp_path)
    (tmp_path / "recipe.toml").write_text(planted.run.read_recipe_text())
    run.write_facts({**facts, "table": {**facts["table"], "path": None}})
    with pytest.raises(RunError, match=r"was trained on a DataFrame\. Pass --table"):
        need_table(run, tmp_path / "out.csv")
