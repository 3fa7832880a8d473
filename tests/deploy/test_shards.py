"""mscon embed: a table of any length to vectors with their keys, whole or not at all, and never twice."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import polars as pl
import pytest

import mscon
from mscon.cli import main
from mscon.data.table.table import read_table
from mscon.deploy import shards
from mscon.deploy.shards import embed_table
from mscon.errors import RunError, TableError
from process import together


@pytest.fixture
def table(pictures):
    return pictures / "new.csv"


class Counting:
    """An embedder that counts the images it encodes, and may break down."""

    def __init__(self, embedder, fails_after: int | None = None):
        self.embedder, self.fails_after, self.count = embedder, fails_after, 0
        self.recipe, self.known, self.name = embedder.recipe, embedder.known, embedder.name
        self.similarities = embedder.similarities

    @property
    def digest(self):
        return self.embedder.digest

    def width(self, similarity=None):
        return self.embedder.width(similarity)

    @property
    def uncertainty_digest(self):
        return self.embedder.uncertainty_digest

    def rates(self, similarity=None):
        return self.embedder.rates(similarity)

    def encode_all(self, pixels):
        self._count(pixels)
        return self.embedder.encode_all(pixels)

    def encode_rated(self, pixels, similarity=None):
        self._count(pixels)
        return self.embedder.encode_rated(pixels, similarity)

    def _count(self, pixels):
        if self.fails_after is not None and self.count + len(pixels) > self.fails_after:
            raise KeyboardInterrupt
        self.count += len(pixels)


def read(path) -> dict[str, np.ndarray]:
    if path.suffix == ".npz":
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    frame = pl.read_ipc(path) if path.suffix == ".arrow" else pl.read_parquet(path)
    return {name: frame.get_column(name).to_numpy() for name in frame.columns}


@pytest.mark.parametrize("suffix", [".parquet", ".arrow", ".npz"])
@pytest.mark.parametrize("similarity", [None, "colour"])
def test_every_row_has_its_line_its_image_and_its_vector(run, table, tmp_path, suffix, similarity):
    model = mscon.load(run.root)
    out = embed_table(model, read_table(table), tmp_path / f"new{suffix}", similarity=similarity, batch_size=5)
    arrays = read(out)
    assert list(arrays) == ["line", "image", "features" if similarity is None else "projection"]
    assert arrays["line"].tolist() == list(range(2, 14))
    assert arrays["image"].tolist() == [f"{n}.png" for n in range(12)]
    expected = model.embed([table.parent / f"{n}.png" for n in range(12)], similarity)
    vectors = arrays["features" if similarity is None else "projection"]
    assert vectors.dtype == np.float32
    np.testing.assert_allclose(vectors, expected, rtol=1e-5, atol=1e-6)
    assert not (tmp_path / f"new{suffix}.shards").exists()


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
@pytest.mark.parametrize("rows", [1, 5, 12, 100])
def test_shards_put_together_are_what_no_shards_give(run, table, tmp_path, monkeypatch, suffix, rows):
    whole = read(embed_table(mscon.load(run.root), read_table(table), tmp_path / f"whole{suffix}"))
    monkeypatch.setattr(shards, "ROWS", rows)
    parts = read(embed_table(mscon.load(run.root), read_table(table), tmp_path / f"parts{suffix}"))
    assert whole["image"].tolist() == parts["image"].tolist()
    np.testing.assert_allclose(parts["features"], whole["features"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_asked_for_shards_stay_and_an_index_names_them(run, table, tmp_path, suffix):
    folder = embed_table(mscon.load(run.root), read_table(table), tmp_path / f"new{suffix}", shard_rows=5)
    assert folder == tmp_path / f"new{suffix}.shards"
    index = json.loads((folder / "index.json").read_text())
    assert [shard["rows"] for shard in index["shards"]] == [5, 5, 2]
    assert index["rows"] == 12 and index["columns"] == {"features": 16}
    names = [shard["file"] for shard in index["shards"]]
    assert {p.name for p in folder.iterdir()} == {"index.json", "checksums.jsonl", *names}
    for shard in index["shards"]:
        content = (folder / shard["file"]).read_bytes()
        assert (shard["bytes"], shard["sha256"]) == (len(content), hashlib.sha256(content).hexdigest())
    lines = np.concatenate([read(folder / shard["file"])["line"] for shard in index["shards"]])
    assert lines.tolist() == list(range(2, 14))
    assert not (tmp_path / f"new{suffix}").exists()


def test_a_stopped_job_goes_on_and_loses_one_shard(run, table, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "ROWS", 4)
    out = tmp_path / "new.parquet"
    model = mscon.load(run.root)
    first = Counting(model, fails_after=10)
    with pytest.raises(KeyboardInterrupt):
        embed_table(first, read_table(table), out, batch_size=2)
    assert first.count == 10
    assert not out.exists()
    second = Counting(model)
    embed_table(second, read_table(table), out, batch_size=2)
    assert second.count == 4
    assert read(out)["line"].tolist() == list(range(2, 14))


def change_nothing(run, table): ...


def change_weights(run, table):
    tensors, state = run.read_checkpoint("best")
    run.write_checkpoint("last", tensors, state)


def change_image(run, table):
    path = table.parent / "1.png"
    path.write_bytes((table.parent / "3.png").read_bytes())


def change_order(run, table):
    lines = table.read_text().splitlines()
    lines[1], lines[2] = lines[2], lines[1]
    table.write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize(
    ("change", "again"), [(change_nothing, 0), (change_weights, 12), (change_image, 4), (change_order, 4)]
)
def test_finished_shards_are_known_by_weights_rows_and_images(run, table, tmp_path, change, again):
    out = tmp_path / "new.parquet"
    folder = embed_table(mscon.load(run.root), read_table(table), out, shard_rows=4)
    change(run, table)
    counting = Counting(mscon.load(run.root))
    assert embed_table(counting, read_table(table), out, shard_rows=4) == folder
    assert counting.count == again
    index = json.loads((folder / "index.json").read_text())
    assert len(list(folder.iterdir())) == 2 + len(index["shards"]) == 5


def test_a_file_of_the_users_is_never_swept_away(run, table, tmp_path):
    folder = tmp_path / "new.npz.shards"
    folder.mkdir()
    (folder / "notes.txt").write_text("mine")
    (folder / "00000-0123456789abcdef.npz").write_text("of an earlier job")
    embed_table(mscon.load(run.root), read_table(table), tmp_path / "new.npz")
    assert [p.name for p in folder.iterdir()] == ["notes.txt"]


# images at fault ----------------------------------------------------------------------------------


def test_missing_images_are_told_at_once_and_nothing_is_written(run, table, tmp_path):
    (table.parent / "2.png").unlink()
    (table.parent / "7.png").unlink()
    table.write_text(table.read_text() + "../out.png,x\n,y\n")
    counting = Counting(mscon.load(run.root))
    with pytest.raises(
        TableError, match=r"new.csv, line 4: image '2.png' does not exist.*\n.*4 of 14 rows.*lines 4, 9, 14, 15"
    ):
        embed_table(counting, read_table(table), tmp_path / "new.npz")
    assert counting.count == 0
    assert not (tmp_path / "new.npz").exists()
    assert not (tmp_path / "new.npz.shards").exists()


def test_images_that_cannot_be_decoded_are_told_by_line_and_cost_only_their_shard(run, table, tmp_path, monkeypatch):
    monkeypatch.setattr(shards, "ROWS", 4)
    good = (table.parent / "5.png").read_bytes()
    (table.parent / "5.png").write_bytes(good[:60])
    (table.parent / "11.png").write_bytes(b"no image")
    out, model = tmp_path / "new.npz", mscon.load(run.root)
    with pytest.raises(TableError, match=r"line 7: image '5.png' is \w+\.\n.*2 of 12 rows.*lines 7, 13(.|\n)*drop"):
        embed_table(model, read_table(table), out)
    assert not out.exists()
    (table.parent / "5.png").write_bytes(good)
    (table.parent / "11.png").write_bytes(good)
    counting = Counting(model)
    embed_table(counting, read_table(table), out)
    assert counting.count == 8
    assert len(read(out)["line"]) == 12


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
def test_rows_may_be_left_out_on_purpose_and_are_told(run, table, tmp_path, monkeypatch, capsys, suffix):
    monkeypatch.setattr(shards, "ROWS", 2)
    for name in ("4.png", "5.png"):  # a whole shard
        (table.parent / name).write_bytes(b"no image")
    (table.parent / "8.png").unlink()
    out = tmp_path / f"new{suffix}"
    embed_table(mscon.load(run.root), read_table(table), out, missing_images="drop")
    arrays = read(out)
    assert arrays["line"].tolist() == [2, 3, 4, 5, 8, 9, 11, 12, 13]
    assert arrays["features"].shape == (9, 16)
    assert "3 rows of 12 left out, whose image cannot be read (lines 6, 7, 10)" in capsys.readouterr().err


def test_what_was_left_out_once_is_no_excuse_later(run, table, tmp_path):
    (table.parent / "5.png").write_bytes(b"no image")
    out = tmp_path / "new.parquet"
    model = mscon.load(run.root)
    folder = embed_table(model, read_table(table), out, missing_images="drop", shard_rows=4)
    index = json.loads((folder / "index.json").read_text())
    assert index["rows"] == 11
    assert [left["line"] for left in index["left_out"]] == [7]
    before = {path: path.read_bytes() for path in folder.iterdir() if path.name != "checksums.jsonl"}
    with pytest.raises(TableError, match=r"line 7: image '5.png' is not an image"):
        embed_table(model, read_table(table), out, shard_rows=4)
    assert {path: path.read_bytes() for path in folder.iterdir() if path.name != "checksums.jsonl"} == before
    counting = Counting(model)
    embed_table(counting, read_table(table), out, missing_images="drop", shard_rows=4)
    assert counting.count == 0
    assert json.loads((folder / "index.json").read_text()) == index


def test_images_may_lie_elsewhere(run, table, tmp_path):
    elsewhere = tmp_path / "elsewhere.csv"
    elsewhere.write_text(table.read_text())
    model = mscon.load(run.root)
    with pytest.raises(TableError, match=r"does not exist \(looked in .*--images DIR|--images DIR"):
        embed_table(model, read_table(elsewhere), tmp_path / "new.npz")
    embed_table(model, read_table(elsewhere), tmp_path / "new.npz", images=table.parent)


# the command --------------------------------------------------------------------------------------


def test_the_command_writes_what_the_function_does(run, table, tmp_path, capsys):
    out = tmp_path / "new.npz"
    arguments = ["embed", str(run.root), "--table", str(table), "--out", str(out)]
    assert main(arguments) == 0
    assert capsys.readouterr().out == f"{out}\n"
    before = out.read_bytes()
    assert main(arguments) == 2
    assert capsys.readouterr().err == f"mscon: '{out}' exists. Choose another --out.\n"
    assert out.read_bytes() == before
    assert main([*arguments, "--overwrite", "--similarity", "kind"]) == 0
    assert read(out)["projection"].shape == (12, 6)


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"--out": "new.csv"}, "must end in .parquet, .arrow or .npz"),
        ({"--similarity": "knd"}, "Did you mean 'kind'"),
        ({"--table": "none.csv"}, "table 'none.csv' does not exist"),
        ({"--out": "pictures/new.csv/new.npz"}, "cannot be written"),
    ],
)
def test_a_mistake_is_said_and_leaves_nothing(run, table, tmp_path, monkeypatch, capsys, changed, words):
    monkeypatch.chdir(tmp_path)
    before = set(tmp_path.iterdir())
    arguments = {"--table": str(table), "--out": "new.npz"} | changed
    assert main(["embed", str(run.root), *(word for pair in arguments.items() for word in pair)]) == 2
    assert words in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


def test_a_table_without_the_image_column_names_the_nearest(run, table, tmp_path):
    table.write_text("imge\n1.png\n")
    with pytest.raises(TableError, match=r"no column 'image'.*Did you mean 'imge'"):
        embed_table(mscon.load(run.root), read_table(table), tmp_path / "new.npz")


def test_an_output_of_another_kind_is_refused(run, table, tmp_path):
    (tmp_path / "new.npz").mkdir()
    with pytest.raises(RunError, match=r"it is a folder. Choose another --out\.$"):
        embed_table(mscon.load(run.root), read_table(table), tmp_path / "new.npz", overwrite=True)


def test_two_processes_share_the_shards(run, table, tmp_path):
    """Each encodes its own; the first puts them together and speaks."""
    out = tmp_path / "new.parquet"
    processes = together("embed", run.root, "--table", table, "--out", out, "--shard-rows", 3, cwd=tmp_path)
    assert processes.status == 0, processes
    assert processes.out.count("new.parquet.shards") == 1
    folder = tmp_path / "new.parquet.shards"
    frame = pl.read_parquet(folder / "*.parquet")
    assert frame.get_column("line").to_list() == list(range(2, 14))
    assert not list(folder.glob("done-*"))
    expected = mscon.load(run.root).embed([table.parent / f"{n}.png" for n in range(12)])
    np.testing.assert_allclose(frame.get_column("features").to_numpy(), expected, rtol=1e-5, atol=1e-6)


def test_of_several_processes_each_does_its_part_only(run, table, tmp_path):
    model, out = mscon.load(run.root), tmp_path / "new.npz"
    second = Counting(model)
    assert embed_table(second, read_table(table), out, shard_rows=5, process=(1, 2)) is None
    assert second.count == 5
    first = Counting(model)
    folder = embed_table(first, read_table(table), out, shard_rows=5, process=(0, 2))
    assert first.count == 7
    assert json.loads((folder / "index.json").read_text())["rows"] == 12


def test_shards_go_that_a_process_left_which_was_killed_after_its_last_file(run, table, tmp_path, monkeypatch):
    model, out = mscon.load(run.root), tmp_path / "v.parquet"
    with monkeypatch.context() as patched:
        patched.setattr(shards, "remove_swept", lambda folder: None)
        embed_table(model, read_table(table), out)
    folder = tmp_path / "v.parquet.shards"
    assert list(folder.glob("*.parquet"))
    content = out.read_bytes()
    with pytest.raises(RunError, match=r"v.parquet' exists\."):
        embed_table(model, read_table(table), out)
    assert out.read_bytes() == content
    assert not folder.exists()


def test_shards_stay_for_an_output_that_is_not_made_of_them(run, table, tmp_path):
    counting, out = Counting(mscon.load(run.root), fails_after=8), tmp_path / "v.parquet"
    with pytest.raises(KeyboardInterrupt):
        embed_table(counting, read_table(table), out, shard_rows=4, batch_size=4)
    out.write_text("of the user")
    files = sorted(path.name for path in (tmp_path / "v.parquet.shards").iterdir())
    with pytest.raises(RunError, match=r"v.parquet' exists\."):
        embed_table(mscon.load(run.root), read_table(table), out)
    assert sorted(path.name for path in (tmp_path / "v.parquet.shards").iterdir()) == files


def test_what_a_process_left_that_was_killed_while_it_wrote_stands_in_nobodys_way(run, table, tmp_path):
    model, out = mscon.load(run.root), tmp_path / "v.parquet"
    folder = embed_table(model, read_table(table), out, shard_rows=5)
    (first, *_) = sorted(folder.glob("*.parquet"))
    first.unlink()
    (folder / f".{first.name}.00c0ffee.parquet").mkdir()
    (folder / f".{first.name}.00c0ffee.parquet" / first.name).write_text("half")
    embed_table(model, read_table(table), out, shard_rows=5)
    assert first.is_file()
    assert not list(folder.glob(".*"))
