"""Searching a run: queries of every form, what a hit says, and what is refused."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

import mscon
from mscon.cli import main
from mscon.deploy.vectors import query_vector
from mscon.errors import MSConError, RunError, TableError
from mscon.run import checksums
from mscon.search.composition import together
from mscon.search.example import Example
from mscon.search.spaces import unit


def rows_of(hits) -> list[int]:
    return [hit.row for hit in hits]


def by_hand(run, query, mix, left_out) -> list[int]:
    """Rows by their score, from the projections as the run keeps them."""
    shares = np.array(mix) / sum(mix)
    score = np.einsum("crd,cd,c->r", unit(run.read_projections().astype(np.float64)), query, shares)
    return [row for row in np.argsort(-score, kind="stable").tolist() if row not in left_out]


def test_a_row_finds_the_rows_of_highest_score_and_not_itself(run):
    index = mscon.open_index(run.root, dtype="float32")
    query = unit(run.read_projections()[:, 5].astype(np.float64))
    hits = index.search(5, mix="kind=1,heel=3", k=23)
    assert rows_of(hits) == by_hand(run, query, [1, 0, 3], [5])
    assert hits.searched == 23


def test_a_search_by_first_dimensions_is_by_these_alone(run, pictures, capsys):
    index = mscon.open_index(run.root, dtype="float32", truncate_dim=3)
    first = unit(run.read_projections()[:, :, :3].astype(np.float64))
    scores = np.einsum("crd,cd,c->r", first, first[:, 5], [0.25, 0, 0.75])
    expected = [row for row in np.argsort(-scores, kind="stable").tolist() if row != 5]
    hits = index.search(5, mix="kind=1,heel=3", k=23)
    assert rows_of(hits) == expected and index.spaces.dim == 3
    np.testing.assert_allclose([hit.score for hit in hits], scores[expected], atol=1e-6)
    assert index.search(pictures / "5.png", k=1)[0].row == 5  # a new image is compared so, too
    arguments = ["search", str(run.root), "--query", "5", "--mix", "kind=1,heel=3", "--json", "--dimensions"]
    assert main([*arguments, "3"]) == 0
    found = json.loads(capsys.readouterr().out)["hits"]  # by vectors kept as float16
    np.testing.assert_allclose([hit["score"] for hit in found], scores[expected[:20]], atol=1e-3)
    assert main([*arguments, "7"]) == 2
    assert "its projections have 6 dimensions, so that 7 of them cannot be kept" in capsys.readouterr().err


def test_the_score_of_a_hit_is_one_inner_product_with_the_mix_vectors_of_embed(run, pictures):
    index, model = mscon.open_index(run.root, dtype="float32"), mscon.load(run.root)
    rows, query = (
        model.embed_all([pictures / name for name in names]) for names in ([f"{n}.png" for n in range(24)], ["5.png"])
    )
    mix = {"heel": 3.0, "kind": 1.0}
    vectors = dict(zip(query.similarities, query.projections[:, 0], strict=True))
    scores = rows.mix @ query_vector(vectors, mix)
    hits = index.search(5, mix=mix, k=23)
    np.testing.assert_allclose([hit.score for hit in hits], [scores[hit.row] for hit in hits], atol=1e-5)


def test_the_score_of_a_hit_is_the_mean_of_its_scores_by_the_mix(shared_index):
    for hit in shared_index.search(5, mix={"kind": 1.0, "heel": 3}):
        assert hit.score == pytest.approx(hit.scores["kind"] / 4 + 3 * hit.scores["heel"] / 4)
        assert -1 <= hit.score <= 1


def test_a_hit_says_what_its_row_says(index, run):
    hit = index.search(5, k=1)[0]
    row = run.read_rows().row(hit.row, named=True)
    assert (hit.line, hit.image, hit.split) == (row["line"], row["image"], row["split"])
    assert hit.labels == {name: row[name] for name in index.labels.names}


def test_a_row_a_line_and_an_image_of_the_table_are_one_query(index, pictures):
    expected = index.search(5)
    for query in ("5", "row:5", "line:7", "5.png", Path("5.png"), np.int64(5)):
        assert index.search(query).hits == expected.hits


def test_a_new_image_that_is_a_copy_of_a_row_finds_that_row(index, pictures, tmp_path):
    shutil.copy(pictures / "9.png", tmp_path / "new.png")
    for query in (str(tmp_path / "new.png"), tmp_path / "new.png", Image.open(pictures / "9.png")):
        hit = index.search(query, k=1)[0]
        assert hit.row == 9
        assert min(hit.scores.values()) > 0.999
        assert set(hit.agreement.values()) == {"unknown"}


def test_a_file_that_looks_like_something_else_can_be_named(index, pictures, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(pictures / "9.png", tmp_path / "5")
    shutil.copy(pictures / "9.png", tmp_path / "kind=boots")
    assert index.search("file:5", k=1)[0].row == 9
    assert index.search("./5", k=1)[0].row == 9
    assert index.search("5").query == "row 5"
    assert "the mean of" in index.search("label:kind=boots").query


def test_a_label_is_the_middle_of_its_rows_which_may_be_found(run):
    index = mscon.open_index(run, dtype="float32")
    boots = [row for row, kind in enumerate(run.read_rows()["kind"]) if kind == "boots"]
    query = unit(unit(run.read_projections().astype(np.float64))[:, boots].mean(axis=1))
    for query_form in ("kind=boots", {"kind": "boots"}):
        hits = index.search(query_form, k=24)
        assert rows_of(hits) == by_hand(run, query, [1, 1, 1], [])
        assert "the mean of 6 rows with kind=boots" in hits.query


def test_agreement_with_a_label_is_whether_the_row_carries_it(shared_index):
    for hit in shared_index.search("shape=wide", k=24):
        shape = hit.labels["shape"]
        expected = "unknown" if shape is None else "same" if shape.startswith("wide") else "different"
        assert hit.agreement["shape"] == expected
        assert hit.agreement["kind"] == "unknown"


def test_agreement_with_rows_is_with_what_all_of_them_say(shared_index):
    for hit in shared_index.search([0, 4], k=24):  # both are boots, of other genders
        kind = hit.labels["kind"]
        assert hit.agreement["kind"] == ("unknown" if kind is None else "same" if kind == "boots" else "different")
        assert hit.agreement["closure"] == "unknown"


def test_several_examples_are_their_mean_less_that_of_the_others(run):
    index = mscon.open_index(run, dtype="float32")
    x = unit(run.read_projections().astype(np.float64))
    query = unit(x[:, [1, 2]].mean(axis=1) - x[:, [7]].mean(axis=1))
    hits = index.search([1, 2], unlike=7, k=24)
    assert rows_of(hits) == by_hand(run, query, [1, 1, 1], [1, 2, 7])
    assert "unlike row 7" in hits.query


def test_every_example_counts_once_also_the_middle_of_many():
    a, b = np.eye(2)[:, None, :]
    assert together([Example("", lambda: a), Example("", lambda: b)], []) == pytest.approx(
        np.array([[0.5**0.5, 0.5**0.5]])
    )


def test_examples_that_cancel_out_are_refused(shared_index):
    with pytest.raises(RunError, match="no direction in 'kind' and 'closure' and 'heel'"):
        shared_index.search(3, unlike=3)


def test_filters_hold_for_every_hit(shared_index):
    hits = shared_index.search(5, filters=["gender=women", "heel>=1"], k=24)
    assert len(hits) == hits.searched > 0
    assert all(hit.labels["gender"] == "women" and float(hit.labels["heel"]) >= 1 for hit in hits)
    assert rows_of(shared_index.search(5, filters={"gender": "women", "heel": (1, None)}, k=24)) == rows_of(hits)


def test_filters_that_leave_the_example_only_are_told(index):
    index.labels.rows.replace_column(index.rows.columns.index("gender"), index.rows["image"].alias("gender"))
    with pytest.raises(RunError, match="leave the examples only"):
        index.search(5, filters="gender=5.png")


def test_all_mistakes_are_told_at_once(shared_index):
    with pytest.raises(RunError) as caught:
        shared_index.search([77, "no.png"], unlike="kin=boots", mix="hel=1", filters=["gendr=men"])
    for words in ("no row 77", "'no.png'", "'kin'", "'hel'", "'gendr'"):
        assert words in str(caught.value)


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("99", "there is no row 99 in run '.*': rows go from 0 to 23"),
        ("line:1", "line 1 of the table is no row .* lines 2 to 25"),
        ("line:x", "'x' is no number of a line"),
        ("5.pgn", r"the file does not exist. Did you mean '5.png'"),
        ("boots", "is nothing that run"),
        ("kind=bots", "Did you mean 'boots'"),
        ("knd=boots", "no label column 'knd'. Did you mean 'kind'"),
        ("", "is nothing that run"),
        ("line:" + "9" * 40, "is no row"),
        ("9" * 40, "there is no row 9999"),
        ("x" * 5_000, "is nothing that run"),
        ("a\0b", "is nothing that run"),
        ("x" * 5_000 + ".png", "does not exist"),
    ],
)
def test_a_query_that_is_nothing_is_told(shared_index, query, words):
    with pytest.raises(RunError, match=words):
        shared_index.search(query)


def test_a_query_that_is_no_image_is_told(shared_index, tmp_path):
    (tmp_path / "text.png").write_text("not an image")
    with pytest.raises(TableError, match=r"text.png' is not an image"):
        shared_index.search(tmp_path / "text.png")
    with pytest.raises(RunError, match="is a folder"):
        shared_index.search(tmp_path)


def test_no_hits_are_asked_for_in_vain(shared_index):
    with pytest.raises(ValueError, match="got 0"):
        shared_index.search(5, k=0)
    with pytest.raises(ValueError, match="at least one example"):
        shared_index.search([])


# Runs that cannot be searched ---------------------------------------------------------------------


def test_a_run_that_was_not_probed_is_told_what_to_do(make_run):
    run = make_run(features=False)
    with pytest.raises(RunError, match=r"has no features/features\.safetensors: `mscon probe"):
        mscon.open_index(run)


def test_projections_of_another_checkpoint_are_refused(run):
    with (run.root / "checkpoints" / "last.safetensors").open("ab") as file:
        file.write(b" ")
    checksums.record(run.root, "checkpoints/last.safetensors")
    with pytest.raises(
        RunError, match=r"not computed with \S*checkpoints/last\.safetensors as it is now.*\n.*`mscon probe"
    ):
        mscon.open_index(run)


def test_a_run_without_a_checkpoint_is_told_which_verb_writes_it(run):
    (run.root / "checkpoints" / "last.safetensors").unlink()
    with pytest.raises(RunError, match="`mscon train` wrote it"):
        mscon.open_index(run)


def test_projections_of_other_rows_are_refused(run):
    run.write_features(run.read_features()[:5], run.read_projections()[:, :5])
    with pytest.raises(RunError, match=r"shape \[3, 5, 6\], but there are 3 similarities and 24 rows"):
        mscon.open_index(run)


def test_what_is_no_run_is_told(tmp_path):
    with pytest.raises(RunError, match="not a run directory"):
        mscon.open_index(tmp_path)


def test_without_heads_there_is_nothing_to_mix(make_run):
    index = mscon.open_index(make_run("heads.name=identity"))
    assert len(index.search(3, k=4)) == 4
    with pytest.raises(RunError, match="share one space"):
        index.search(3, mix="kind=1")


def test_masks_are_spaces_like_others(make_run, pictures):
    run = make_run("heads.name=masks", "heads.masks=disjoint", "heads.output_dim=9", name="masked")
    index = mscon.open_index(run)
    hits = index.search(3, mix="heel=1", k=24)
    assert [hit.score for hit in hits] == [hit.scores["heel"] for hit in hits]
    assert index.search(str(pictures / "4.png"), mix="heel=1", k=1)[0].row == 4


def test_a_model_with_classes_from_elsewhere_is_not_run_unless_trusted(run, pictures):
    recipe = run.root / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('name = "small_cnn"', 'name = "nowhere.at:All"'), "utf-8")
    checksums.record(run.root, recipe.name)
    index = mscon.open_index(run.root)
    assert len(index.search(3)) == 20  # rows need no model
    with pytest.raises(MSConError, match="trust"):
        index.search(str(pictures / "4.png"))


def test_a_space_that_a_mask_shuts_scores_0(run):
    projections = run.read_projections().copy()
    projections[1] = 0
    run.write_features(run.read_features(), projections)
    index = mscon.open_index(run)
    assert {hit.scores["closure"] for hit in index.search(3)} == {0.0}
    with pytest.raises(RunError, match="no direction in 'closure'"):
        index.search(3, mix="closure=1")


# The command line ---------------------------------------------------------------------------------


def test_the_command_line_prints_hits_with_signs(run, capsys):
    assert main(["search", str(run.root), "--query", "5", "-k", "3", "--filter", "split=train"]) == 0
    printed = capsys.readouterr().out
    assert "mix kind=1,closure=1,heel=1; among 17 rows, split=train" in printed
    rows = [line for line in printed.splitlines() if ".png" in line]
    assert ["query" in row for row in rows] == [True, False, False, False]
    assert "≠" in printed or "= " in printed


def test_the_command_line_prints_json(run, capsys):
    argv = ["--query", "kind=boots", "--unlike", "5", "--mix", "heel=2", "-k", "2", "--json"]
    assert main(["search", str(run.root), *argv]) == 0
    output = json.loads(capsys.readouterr().out)
    assert output == mscon.open_index(run).search("kind=boots", unlike=5, mix="heel=2", k=2).to_json()
    assert output["mix"] == {"kind": 0.0, "closure": 0.0, "heel": 2.0} and len(output["hits"]) == 2


def test_names_are_no_markup_and_do_not_steer_the_terminal(run, capsys):
    rows = run.read_rows()
    rows.replace_column(2, rows["image"].str.replace("png", "[red]\x1b[2J").alias("image"))
    run.write_rows(rows)
    assert main(["search", str(run.root), "--query", "5", "-k", "2"]) == 0
    printed = capsys.readouterr().out
    assert "[red]\\x1b[2J" in printed and "\x1b[2J" not in printed


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["--query", "5", "--mix", "closur=1"], "Did you mean 'closure'"),
        (["--query", "5", "--mix", "closure=0"], "every weight is 0"),
        (["--query", "5", "--mix", "closure=-1"], "negative"),
        (["--query", "5", "--mix", "closure=nan"], "not finite"),
        (["--query", "5", "--mix", "closure"], "has no weight"),
        (["--query", "nothing"], "is nothing that run"),
        (["--query", "no.png"], "does not exist"),
        (["--query", "recipe.toml"], "does not exist"),
        (["--query", "5", "--filter", "gender=wmen"], "Did you mean 'women'"),
        (["--query", "5", "--unlike", "5"], "no direction"),
    ],
)
def test_a_users_mistake_is_one_message_and_status_2(run, capsys, argv, words):
    assert main(["search", str(run.root), *argv]) == 2
    output = capsys.readouterr()
    assert words in output.err and output.err.startswith("mscon: ") and "Traceback" not in output.err
    assert not output.out


def test_a_row_finds_the_same_whatever_the_threads(shared_index):
    hits = shared_index.search(5).hits
    torch.set_num_threads(2)
    try:
        assert shared_index.search(5).hits == hits
    finally:
        torch.set_num_threads(1)
