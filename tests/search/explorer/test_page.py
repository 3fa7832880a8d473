"""What is written: sizes, escapes, samples, and messages."""

from __future__ import annotations

import base64
import hashlib
import html
import json
import re

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mscon.cli import main
from mscon.data.table.label_columns import LabelColumn, LabelColumns
from mscon.errors import RunError
from mscon.evaluate.metrics.nearest import CosineNeighbours
from mscon.method.similarities.categorical import Categorical
from mscon.method.similarities.continuous import Continuous
from mscon.method.similarities.hierarchical import Hierarchical
from mscon.method.similarities.multi_label import MultiLabel
from mscon.method.similarities.ordinal import Ordinal
from mscon.run import checksums
from mscon.run.recipe import Data
from mscon.search.explorer import label_errors as doubts
from mscon.search.explorer import maps, page
from mscon.search.explorer.columns import read_columns
from mscon.search.explorer.payload import gather, quantised, sample
from mscon.search.explorer.thumbnails import thumbnails

from .conftest import HOSTILE


@given(st.lists(st.text()))
def test_no_text_can_leave_its_island(texts):
    text = page.island({"texts": texts})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text)["texts"] == texts
    text.encode("utf-8")


def test_a_half_letter_is_written_and_read():
    assert json.loads(page.island(["\ud800</script>"])) == ["\ud800</script>"]


@given(st.integers(0, 10_000))
def test_eight_bits_keep_directions(seed):
    vectors = np.random.default_rng(seed).normal(size=(2, 5, 32)) * 0.01
    narrow = quantised(vectors).astype(float)
    cosines = (narrow * vectors).sum(-1) / np.linalg.norm(narrow, axis=-1) / np.linalg.norm(vectors, axis=-1)
    assert cosines.min() > 0.9999


def test_a_vector_of_zeros_stays_zeros():
    assert not quantised(np.zeros((1, 2, 4), dtype=np.float32)).any()


def test_policy_and_hashes_allow_this_page_and_nothing_else(fresh_run):
    run = fresh_run("policy")
    text = page.render(gather(run, seconds=0.0))
    message = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', text)[1])
    assert message.startswith("default-src 'none'; img-src data:; ")
    for tag in ("style", "script"):
        inside = re.search(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)[1]
        digest = base64.b64encode(hashlib.sha256(inside.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in message
    assert "unsafe" not in message and "http" not in message
    assert HOSTILE not in text
    assert not re.search(r"\son\w+=\"|style=\"", text)


def test_the_verb_writes_and_replaces_and_says_where(fresh_run, capsys):
    run = fresh_run("verb")
    assert main(["explore", str(run.root), "--no-open"]) == 0
    path = run.root / "explorer.html"
    assert capsys.readouterr().out.strip() == str(path)
    first = path.read_bytes()
    assert main(["explore", str(run.root), "--no-open", "--rows", "20"]) == 0
    assert len(path.read_bytes()) < len(first)
    assert "20 of 60 rows, drawn evenly over splits and labels" in path.read_text("utf-8")


def test_an_explorer_replaces_an_earlier_one_and_no_other_file(fresh_run, tmp_path, capsys):
    run, path = fresh_run("replaces"), tmp_path / "page.html"
    arguments = ["explore", str(run.root), "--no-open", "--no-images", "--rows", "20", "--out", str(path)]
    assert main(arguments) == main(arguments) == 0
    page = path.read_bytes()
    for content in (b"mine", page.replace(b'content="mscon explorer ', b'content="mscon report ', 1)):
        path.write_bytes(content)
        assert main(arguments) == 2
        assert "page.html' exists and was not written by this command: not replaced." in capsys.readouterr().err
        assert path.read_bytes() == content
    assert main([*arguments, "--overwrite"]) == 0
    assert path.read_bytes() == page
    folder = run.root.parent / "replaces-images"
    (folder / "00001.png").rename(folder / "00001.html")
    run.write_rows(
        run.read_rows().with_columns(image=run.read_rows().get_column("image").str.replace("00001.png", "00001.html"))
    )
    before = (folder / "00001.html").read_bytes()
    assert main([*arguments[:-1], str(folder / "00001.html"), "--overwrite"]) == 2
    assert "00001.html' is a file that is read here: not written." in capsys.readouterr().err
    assert (folder / "00001.html").read_bytes() == before


@pytest.mark.parametrize(
    ("how", "words"),
    [
        (["--rows", "20001"], "at most 20,000 rows"),
        (["--out", "nowhere/page.html"], "is no folder"),
        (["--images", "nowhere"], "does not exist"),
    ],
)
def test_one_message_and_nothing_written(fresh_run, capsys, tmp_path, monkeypatch, how, words):
    monkeypatch.chdir(tmp_path)
    run = fresh_run(f"refused{how[0]}")
    assert main(["explore", str(run.root), "--no-open", *how]) == 2
    message = capsys.readouterr().err
    assert words in message and "Traceback" not in message
    assert not (run.root / "explorer.html").exists()
    assert list(tmp_path.iterdir()) == []


def test_images_that_moved_are_counted_and_the_first_is_named(fresh_run, capsys):
    run = fresh_run("moved")
    folder = run.root.parent / "moved-images"
    for number in (9, 20, 31):
        (folder / f"{number:05d}.png").unlink()
    (folder / "00040.png").write_bytes(b"no image")
    assert main(["explore", str(run.root), "--no-open"]) == 2
    message = capsys.readouterr().err
    assert "4 images of 60 cannot be read" in message
    assert "'00009.png', does not exist" in message
    assert "--images DIR" in message and "--no-images" in message
    assert main(["explore", str(run.root), "--no-open", "--no-images"]) == 0


def test_images_may_lie_elsewhere(fresh_run):
    run = fresh_run("elsewhere")
    folder = run.root.parent / "elsewhere-images"
    other = folder.rename(run.root.parent / "elsewhere-now")
    with pytest.raises(RunError, match="does not exist"):
        gather(run, seconds=0.0)
    assert len(gather(run, images=other, seconds=0.0).pictures) == 60


def test_a_run_that_was_not_probed_says_what_to_do(fresh_run):
    run = fresh_run("unprobed", probed=False)
    with pytest.raises(RunError, match="mscon probe"):
        gather(run)


def test_projections_of_another_checkpoint_are_refused(fresh_run):
    run = fresh_run("older")
    folder = run.root / "checkpoints"
    folder.mkdir()
    (folder / "last.safetensors").write_bytes(b"one")
    checksums.record(run.root, "checkpoints/last.safetensors")
    with pytest.raises(
        RunError, match=r"not computed with \S*checkpoints/last\.safetensors as it is now[\s\S]*mscon probe"
    ):
        gather(run)
    run.write_features(run.read_features(), run.read_projections())
    assert gather(run, seconds=0.0).total == 60


def test_projections_of_other_rows_or_similarities_are_refused(fresh_run):
    run = fresh_run("others")
    run.write_features(np.zeros((59, 3), np.float32), np.zeros((5, 59, 3), np.float32))
    with pytest.raises(RunError, match=r"shape \[5, 59, 3\], but there are 5 similarities and 60 rows"):
        gather(run)


def test_a_sample_has_each_split_and_label_in_proportion():
    generator = np.random.default_rng(0)
    rows = pl.DataFrame(
        {
            "split": generator.choice(["train", "test"], 5_000, p=[0.9, 0.1]).tolist(),
            "kind": generator.choice(["a", "b", "c"], 5_000, p=[0.8, 0.15, 0.05]).tolist(),
        }
    )
    sampled = sample(rows, ["kind", "nothing"], 500)
    assert len(set(sampled.tolist())) == 500 and (np.diff(sampled) > 0).all()
    groups = rows.group_by("split", "kind").len()
    few = rows[sampled.tolist()].group_by("split", "kind").len()
    both = groups.join(few, on=["split", "kind"], suffix="_taken")
    assert both.height == groups.height
    assert ((both["len"] / 10 - both["len_taken"]).abs() <= 1).all()
    assert np.array_equal(sampled, sample(rows, ["kind", "nothing"], 500))
    assert sample(rows, [], 5_000).tolist() == list(range(5_000))


def test_kinds_of_columns_are_read_as_they_compare(fresh_run):
    run = fresh_run("kinds")
    columns = read_columns(LabelColumns(run.read_rows(), run.read_recipe_values(), run.read_similarities()))
    assert [(c.kind, c.space) for c in columns] == [
        ("category", 0), ("labels", 1), ("levels", 2), ("path", 3), ("number", 4),
        ("category", None), ("category", None),
    ]  # fmt: skip
    kind, closure, size, shape, heel, _, split = columns
    assert split.name == "split"
    assert kind.codes[5] == closure.codes[4] == -1 and np.isnan(heel.values[7])
    assert size.labels == ("small", "middle", "large")
    assert shape.parts == (("boots", "ankle"), ("boots", "knee"), ("sandals",))
    assert [closure.labels[i] for i in closure.sets[closure.codes[0]]] == ["buckle", "zip"]
    assert kind.alike.is_equality and heel.alike.width == 1.0
    assert size.alike.table.tolist() == [[1, 0.5, 0], [0.5, 1, 0.5], [0, 0.5, 1]]
    assert [c.note for c in columns] == [""] * 7


def test_untrained_columns_are_read_as_check_proposes():
    rows = pl.DataFrame(
        {
            "price": [str(i * 1.5) for i in range(50)],
            "grade": [str(i % 10) for i in range(50)],
            "closure": [["zip", "zip;buckle", "laces"][i % 3] for i in range(50)],
            "name": [f"thing {i}" for i in range(50)],
            "empty": [None] * 50,
            "split": ["train"] * 50,
        },
        schema_overrides={"empty": pl.String},
    )
    columns = read_columns(LabelColumns(rows, {}))
    assert [c.kind for c in columns] == ["number", "category", "labels", "name", "name", "category"]
    assert columns[1].labels == tuple(str(i) for i in range(10))


def labelled(similarity, cells) -> LabelColumn:
    return LabelColumn(
        similarity.column,
        pl.DataFrame({similarity.column: cells}, schema={similarity.column: pl.String}),
        similarity,
        0,
    )


def test_levels_of_several_columns_leave_unknown_what_is_empty():
    rows = pl.DataFrame({"genus": ["a", "a", None], "species": ["x", None, "x"], "split": ["train"] * 3})
    state = {"column": "species", "paths": [["a", "x"]], "separator": "/", "under": ["genus"]}
    column = read_columns(LabelColumns(rows, {}, [{"name": "hierarchical", "state": state}]))[0]
    assert column.parts == (("a",), ("a", "x"))
    assert column.codes.tolist() == [1, 0, -1]
    assert column.alike.levels.tolist() == [[0, -1], [0, 0]]


@given(st.integers(0, 1_000))
def test_nearest_rows_are_those_of_the_plain_sort(seed):
    vectors = np.random.default_rng(seed).normal(size=(30, 6)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = vectors @ vectors.T
    np.fill_diagonal(cosines, -np.inf)
    assert np.array_equal(CosineNeighbours(vectors).nearest(4)[0], np.argsort(-cosines, axis=1)[:, :4])


def test_doubt_in_closed_form():
    near = np.array([[1, 2], [0, 2], [0, 1]])
    kind = doubts.doubt(labelled(Categorical("c", ("a", "b")), ["a", "a", None]), near)
    assert kind.share[:2].tolist() == [0, 0] and np.isnan(kind.share[2])
    assert kind.known.tolist() == [1, 1, 0] and np.isnan(kind.apart).all()
    assert doubts.doubt(labelled(Ordinal("c", ("s", "m", "l")), ["s", "m", "l"]), near).share.tolist() == [
        0.75,
        0.5,
        0.75,
    ]
    number = doubts.doubt(labelled(Continuous("c", 3.0, 0.0), ["1", None, "4"]), near)
    np.testing.assert_equal(number.apart, [3.0, np.nan, 3.0])
    np.testing.assert_allclose(number.share, [1 - np.exp(-0.5), np.nan, 1 - np.exp(-0.5)], rtol=1e-6)
    sets = doubts.doubt(labelled(MultiLabel("c", ("a", "b")), ["a", "a;b", "b"]), near)
    assert sets.share.tolist() == [0.75, 0.5, 0.75]
    path = doubts.doubt(labelled(Hierarchical("c", (("a", "x"), ("b",))), ["a/x", "a", "b"]), near)
    assert path.share.tolist() == [1, 1, 1] and path.known.tolist() == [1, 1, 2]


def test_a_lone_row_has_no_neighbours():
    assert CosineNeighbours(np.ones((1, 3), dtype=np.float32)).nearest(4)[0].shape == (1, 0)


def test_maps_are_in_the_unit_square_and_the_same_each_time():
    generator = np.random.default_rng(0)
    centre = np.eye(4, 8)[np.arange(60) % 4]
    vectors = centre + generator.normal(0, 0.05, (60, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True))[None].astype(np.float32)
    (first,), (again,) = maps.draw_maps(vectors), maps.draw_maps(vectors)
    for drawn in (first.flat, first.near):
        assert drawn.min() >= -1e-9 and drawn.max() <= 1 + 1e-9
        assert np.isclose((drawn.max(axis=0) - drawn.min(axis=0)).max(), 1)
    assert np.array_equal(first.near, again.near)
    assert 0.5 < first.share < 1
    assert maps.draw_maps(vectors, seconds=0.0)[0].near is None
    assert maps.draw_maps(vectors[:, :5])[0].near is None


def test_rows_beyond_the_landmarks_lie_among_those_like_them():
    generator = np.random.default_rng(0)
    group = np.arange(200) % 4
    vectors = np.eye(4, 8)[group] + generator.normal(0, 0.05, (200, 8))
    vectors = (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
    places = maps.neighbourhoods(vectors, most=60)
    assert places.shape == (200, 2)
    apart = np.linalg.norm(places[:, None] - places[None], axis=2)
    np.fill_diagonal(apart, np.inf)
    assert (group[apart.argmin(axis=1)] == group).mean() > 0.95


def test_equal_rows_lie_in_the_middle():
    assert maps.framed(np.ones((3, 2))).tolist() == [[0.5, 0.5]] * 3
    (drawn,) = maps.draw_maps(np.ones((1, 3, 1), dtype=np.float32))
    assert drawn.share == 0 and drawn.flat.tolist() == [[0.5, 0.5]] * 3


def test_thumbnails_keep_to_their_budget(fresh_run, tmp_path):
    run = fresh_run("budget", images=False)
    noise = np.random.default_rng(0).integers(0, 255, (8, 200, 240, 3), dtype=np.uint8)
    for number, pixels in enumerate(noise):
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
    names = [f"{number}.png" for number in range(8)]
    small, large = (thumbnails(run, names, tmp_path, Data(), budget) for budget in (900, 50_000))
    assert np.mean([len(uri) for uri in small]) <= 900 < np.mean([len(uri) for uri in large])
    assert all(uri.startswith("data:image/webp;base64,") for uri in small)


@pytest.mark.parametrize("most", [0, 20_001])
def test_a_page_of_no_rows_or_too_many_is_a_mistake_of_the_caller(fresh_run, most):
    with pytest.raises(ValueError, match=f"got {most:,}"):
        gather(fresh_run(f"most{most}"), most=most)
