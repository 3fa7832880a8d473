"""export, embed, card and push: they replace what they made themselves, and nothing that they read."""

from __future__ import annotations

import json
import os

import numpy as np
import polars as pl
import pytest

import mscon
from exports import needs_onnx
from mscon.cli import main
from mscon.data.table.table import read_table
from mscon.deploy.shards import embed_table
from mscon.errors import RunError


def contents(folder) -> dict:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def refused(capsys, *arguments) -> str:
    assert main([str(argument) for argument in arguments]) == 2
    errors = capsys.readouterr().err
    assert "Traceback" not in errors and "--overwrite" not in errors
    return errors


def refused_although_told(capsys, *arguments) -> str:
    return refused(capsys, *arguments, "--overwrite")


@pytest.mark.parametrize("name", ["m.json", "m.safetensors"])
def test_an_export_replaces_an_earlier_one_and_nothing_else(run, tmp_path, capsys, name):
    out = tmp_path / "m.safetensors"
    arguments = ["export", run.root, "--to", "safetensors", "--out", out]
    assert main([str(a) for a in arguments]) == 0
    first = mscon.load(out).digest
    assert main([str(a) for a in [*arguments, "--checkpoint", "best"]]) == 0
    assert mscon.load(out).digest != first
    (tmp_path / name).write_text('{"mine": true}')
    before = contents(tmp_path)
    assert f"{name}' exists and was not written by this command: not replaced." in refused(capsys, *arguments)
    assert contents(tmp_path) == before
    assert main([str(a) for a in [*arguments, "--overwrite"]]) == 0
    assert mscon.load(out).digest == first
    assert json.loads((tmp_path / "m.json").read_text())["format"] == "mscon model"


@needs_onnx
def test_a_graph_replaces_an_earlier_one_and_nothing_else(run, tmp_path, capsys):
    out = tmp_path / "m.onnx"
    out.write_bytes(b"mine")
    arguments = ["export", run.root, "--to", "onnx", "--out", out]
    assert "was not written by this command" in refused(capsys, *arguments)
    assert out.read_bytes() == b"mine"
    assert main([str(a) for a in [*arguments, "--overwrite"]]) == 0
    assert main([str(a) for a in arguments]) == 0


@pytest.mark.parametrize("name", ["run", "vectors", "inputs", "checkpoints/last", "features/features"])
def test_no_export_goes_where_a_run_keeps_a_file(run, capsys, name):
    before, out = contents(run.root), run.root / f"{name}.safetensors"
    errors = refused_although_told(capsys, "export", run.root, "--to", "safetensors", "--out", out)
    assert "that a run keeps: not written. Choose another --out." in errors
    assert contents(run.root) == before


def test_the_table_that_a_run_was_trained_on_is_never_replaced_by_its_model(run, pictures, capsys):
    facts = run.read_facts()
    facts["table"]["path"] = str(pictures / "shoes.json")
    run.write_facts(facts)
    (pictures / "shoes.json").write_text("[]")
    out = pictures / "shoes.safetensors"
    arguments = ["export", run.root, "--to", "safetensors", "--out", out]
    assert "is a file that is read here" in refused_although_told(capsys, *arguments)
    assert (pictures / "shoes.json").read_text() == "[]" and not out.exists()


@pytest.mark.parametrize("link", [False, True])
def test_the_table_is_never_replaced_by_its_vectors(run, tmp_path, pictures, capsys, link):
    table = pictures / "new.parquet"
    pl.DataFrame({"image": [f"{n}.png" for n in range(12)]}).write_parquet(table)
    before, out = contents(tmp_path), table
    if link:
        out = tmp_path / "link.parquet"
        out.symlink_to(table)
    errors = refused_although_told(capsys, "embed", run.root, "--table", table, "--out", out)
    assert "is a file that is read here" in errors
    assert table.read_bytes() == before[table] and not (pictures / "new.parquet.shards").exists()


def test_an_image_and_the_rows_of_a_run_are_never_replaced_by_vectors(run, tmp_path, pictures, capsys):
    (pictures / "0.png").rename(pictures / "0.npz")
    table = pictures / "new.csv"
    table.write_text(table.read_text().replace("0.png", "0.npz", 1))
    before = contents(tmp_path)
    for out in (pictures / "0.npz", run.root / "rows.parquet"):
        errors = refused_although_told(capsys, "embed", run.root, "--table", table, "--out", out)
        assert "is a file that is read here" in errors
    assert contents(tmp_path) == before


def test_a_file_of_vectors_and_a_packed_model_are_never_replaced_by_what_is_made_of_them(run, tmp_path, pictures):
    model, out = mscon.load(run.root), tmp_path / "model.npz"
    out.write_bytes(b"a model")
    with pytest.raises(RunError, match="is a file that is read here"):
        embed_table(model, read_table(pictures / "new.csv"), out, overwrite=True, reads=[out])
    assert out.read_bytes() == b"a model"


def test_a_table_among_the_shards_is_not_swept_out(run, tmp_path, pictures):
    model = mscon.load(run.root)
    folder = embed_table(model, read_table(pictures / "new.csv"), tmp_path / "new.parquet", shard_rows=12)
    (shard,) = folder.glob("*.parquet")
    before = contents(folder)
    with pytest.raises(RunError, match=f"{shard.name}' is a file that is read here"):
        embed_table(model, read_table(shard), tmp_path / "new.parquet", images=pictures)
    assert contents(folder) == before


def test_an_index_of_the_users_is_kept(run, tmp_path, pictures):
    index = tmp_path / "new.npz.shards" / "index.json"
    index.parent.mkdir()
    index.write_text("mine")
    for rows in (None, 5):
        with pytest.raises(RunError, match=r"index\.json' exists and was not written by this command"):
            embed_table(mscon.load(run.root), read_table(pictures / "new.csv"), tmp_path / "new.npz", shard_rows=rows)
    assert [path.read_text() for path in index.parent.iterdir()] == ["mine"]


def test_no_card_goes_where_something_is_read(run, tmp_path, pictures, capsys):
    before = contents(tmp_path)
    for out in (run.root / "recipe.toml", run.root / "probe.json", pictures / "1.png", pictures / "new.csv"):
        assert "is a file that is read here" in refused_although_told(capsys, "card", run.root, "--out", out)
    assert "is not a folder" in refused(capsys, "card", run.root, "--out", pictures / "1.png" / "card.md")
    assert "it is a folder" in refused(capsys, "card", run.root, "--out", pictures)
    assert contents(tmp_path) == before
    (run.root / "README.md").mkdir()
    assert "cannot be written" in refused(capsys, "card", run.root)


@pytest.mark.parametrize("where", ["file", "under a file", "link to nowhere"])
def test_a_dry_run_says_where_nothing_can_be_laid_out(run, tmp_path, capsys, where):
    (tmp_path / "notes.txt").write_text("mine")
    folder = tmp_path / ("notes.txt" if where == "file" else "notes.txt/deep/up")
    if where == "link to nowhere":
        folder = tmp_path / "up"
        folder.symlink_to(tmp_path / "gone")
    assert "Choose another folder." in refused(capsys, "push", run.root, "owner/bars", "--dry-run", folder)
    assert (tmp_path / "notes.txt").read_text() == "mine"


# shards -------------------------------------------------------------------------------------------


def empty(path):
    path.write_bytes(b"")


def cut(path):
    path.write_bytes(path.read_bytes()[:-40])


def flip(path):
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("suffix", [".parquet", ".npz"])
@pytest.mark.parametrize("damage", [empty, cut, flip])
@pytest.mark.parametrize("again", [5, None])
def test_a_damaged_shard_is_made_anew_and_told(run, tmp_path, pictures, capsys, monkeypatch, suffix, damage, again):
    monkeypatch.setattr("mscon.deploy.shards.ROWS", 5)
    model, table, out = mscon.load(run.root), read_table(pictures / "new.csv"), tmp_path / f"new{suffix}"
    folder = embed_table(model, table, out, shard_rows=5)
    before = contents(folder)
    sound = {path: path.stat().st_ino for path in folder.iterdir()}
    shard = sorted(folder.glob(f"0*{suffix}"))[1]
    damage(shard)
    path = embed_table(model, table, out, shard_rows=again)
    errors = capsys.readouterr().err
    assert errors.count("\n") == 1 and "1 file damaged" in errors and shard.name in errors and "written again" in errors
    if again:
        assert {p: c for p, c in contents(folder).items() if p.name != "checksums.jsonl"} == {
            p: c for p, c in before.items() if p.name != "checksums.jsonl"
        }
        others = [p for p in sound if p not in (shard, folder / "index.json")]
        assert all(p.stat().st_ino == sound[p] for p in others)
    else:
        assert not folder.exists()
        whole = embed_table(model, table, tmp_path / f"whole{suffix}")
        assert path.read_bytes() == whole.read_bytes()


def test_shards_whose_checksums_are_gone_are_made_anew(run, tmp_path, pictures, capsys):
    model, table, out = mscon.load(run.root), read_table(pictures / "new.csv"), tmp_path / "new.npz"
    folder = embed_table(model, table, out, shard_rows=5)
    empty(folder / "checksums.jsonl")
    embed_table(model, table, out, shard_rows=5)
    assert "3 files damaged" in capsys.readouterr().err
    embed_table(model, table, out, shard_rows=5)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize("damage", [empty, cut, flip])
def test_a_damaged_index_or_account_of_rows_left_out_is_made_anew(run, tmp_path, pictures, damage):
    (pictures / "7.png").write_bytes(b"no image")
    model, table, out = mscon.load(run.root), read_table(pictures / "new.csv"), tmp_path / "new.npz"
    folder = embed_table(model, table, out, shard_rows=5, missing_images="drop")
    before = json.loads((folder / "index.json").read_text())
    damage(folder / "index.json")
    (account,) = folder.glob("*-partial.json")
    damage(account)
    embed_table(model, table, out, shard_rows=5, missing_images="drop")
    assert json.loads((folder / "index.json").read_text()) == before


def test_a_shard_that_is_damaged_while_others_are_made_is_not_put_together(run, tmp_path, pictures, monkeypatch):
    """As by another process, or a disk at fault, after this one had looked."""
    from mscon.deploy import shards

    monkeypatch.setattr(shards, "ROWS", 5)
    wait = shards._wait

    def spoil(folder, *arguments):
        flip(sorted(folder.glob("0*.npz"))[0])
        wait(folder, *arguments)

    monkeypatch.setattr(shards, "_wait", spoil)
    out = tmp_path / "new.npz"
    with pytest.raises(RunError, match=r"1 file damaged; '00000-.*Run the same command again"):
        embed_table(mscon.load(run.root), read_table(pictures / "new.csv"), out)
    assert not out.exists()
    monkeypatch.setattr(shards, "_wait", wait)
    embed_table(mscon.load(run.root), read_table(pictures / "new.csv"), out)
    assert len(np.load(out)["line"]) == 12


def test_another_image_of_the_same_size_and_time_is_seen(run, tmp_path, pictures):
    """A tar with fixed times unpacks such images; they may even take the place of the old ones."""
    model, table, out = mscon.load(run.root), read_table(pictures / "new.csv"), tmp_path / "new.npz"
    path = pictures / "1.png"
    size = max((pictures / name).stat().st_size for name in ("1.png", "3.png"))
    for name in ("1.png", "3.png"):
        content = (pictures / name).read_bytes()
        (pictures / name).write_bytes(content + bytes(size - len(content)))
    os.utime(path, ns=(0, 0))
    folder = embed_table(model, table, out, shard_rows=12)
    first = contents(folder)
    path.write_bytes((pictures / "3.png").read_bytes())
    os.utime(path, ns=(0, 0))
    embed_table(model, table, out, shard_rows=12)
    assert not {p for p in first if p.suffix == ".npz"} & set(contents(folder))


# packed models ------------------------------------------------------------------------------------


def test_one_flipped_bit_of_a_packed_model_is_noticed(run, tmp_path):
    out = tmp_path / "m.safetensors"
    mscon.deploy.packed.pack(run, out)
    content = out.read_bytes()
    length = int.from_bytes(content[:8], "little")
    description = content.index(b"recipe")
    for place in (description, *range(8 + length, len(content), len(content) // 20), len(content) - 1):
        for bit in (0, 6):
            spoilt = bytearray(content)
            spoilt[place] ^= 1 << bit
            out.write_bytes(spoilt)
            with pytest.raises(RunError, match=r"m\.safetensors' is damaged"):
                mscon.load(out)
    for place in range(8, 8 + length, max(1, length // 150)):  # the header, where some bits make it no safetensors file
        spoilt = bytearray(content)
        spoilt[place] ^= 1
        out.write_bytes(spoilt)
        with pytest.raises(RunError):
            mscon.load(out)
    out.write_bytes(content)
    mscon.load(out)


def test_a_packed_model_without_a_checksum_is_to_be_written_anew(run, tmp_path):
    from safetensors import safe_open
    from safetensors.torch import save_file

    out = tmp_path / "m.safetensors"
    mscon.deploy.packed.pack(run, out)
    with safe_open(out, "pt") as file:
        tensors, metadata = {key: file.get_tensor(key) for key in file.keys()}, file.metadata()  # noqa: SIM118
    save_file(tensors, out, metadata={"format": "pt", "mscon": metadata["mscon"]})
    with pytest.raises(RunError, match=r"has no checksum: an older mscon wrote it. Write it again with `mscon export`"):
        mscon.load(out)


def test_the_digest_is_of_names_types_shapes_and_bytes_and_of_no_order():
    import torch

    from mscon.model.digest import digest

    one = {"a": torch.arange(4.0), "b": torch.tensor(1)}
    known = digest("x", one)
    assert digest("x", dict(reversed(one.items()))) == known
    others = [
        digest("y", one),
        digest("x", {"a": one["a"], "c": one["b"]}),
        digest("x", {**one, "a": one["a"].reshape(2, 2)}),
        digest("x", {**one, "a": one["a"].view(torch.int32)}),
        digest("x", {**one, "a": one["a"] + 1}),
        digest("x", {**one, "a": one["a"].bfloat16()}),
        digest("x", {**one, "e": torch.zeros(0)}),
    ]
    assert len({known, *others}) == 1 + len(others)
