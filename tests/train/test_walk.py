"""The walk from a table to the first batch: what is done once is done once."""

from __future__ import annotations

import hashlib
import io
import sys
import threading
from collections import Counter
from pathlib import Path
from types import FrameType

import polars as pl
import pytest

import mscon
from mscon import cli
from mscon.data.batches.dataset import Dataset
from mscon.data.inputs import decoding
from mscon.data.table.table import read_table
from mscon.train.fit import fit
from sample_images import pattern


@pytest.fixture
def decoded(monkeypatch) -> Counter[tuple[int, int]]:
    """How often images of each size were decoded."""
    counts: Counter[tuple[int, int]] = Counter()
    pixels = decoding._pixels

    def counting(image, *settings):
        counts[image.size] += 1
        return pixels(image, *settings)

    monkeypatch.setattr(decoding, "_pixels", counting)
    return counts


@pytest.mark.parametrize(("missing", "damaged"), [("error", 0), ("drop", 0), ("drop", 2)])
def test_an_image_is_decoded_once(recipe_with, tmp_path, decoded, missing, damaged):
    """Also where those that cannot be read are looked for first. Each file has a size of its own, to be told by."""
    lines = ["image,split,shape,shade"]
    for number in range(16):
        pattern(number, 20 + number).save(tmp_path / f"{number}.png")
        split = ["train", "train", "validation", "test"][number // 2 % 4]
        lines.append(f"{number}.png,{split},{'ab'[number % 2]},{'cd'[number % 2]}")
    for number in range(damaged):
        (tmp_path / f"{number}.png").write_text("no image")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    recipe = recipe_with("train.batch_size=4", f'data.missing_images="{missing}"')
    fit(recipe, read_table(tmp_path / "t.csv"), tmp_path / "run", progress=False, dry_run=True)
    assert decoded == Counter((20 + n, 20 + n) for n in range(damaged, 16))


@pytest.fixture
def with_images(tmp_path) -> tuple[pl.DataFrame, set[bytes]]:
    """A table with its images in it, and what they are."""
    pictures = []
    for number in range(16):
        buffer = io.BytesIO()
        pattern(number).save(buffer, "png")
        pictures.append(buffer.getvalue())
    split = [["train", "train", "validation", "test"][number // 2 % 4] for number in range(16)]
    labels = {"shape": [*"ab"] * 8, "shade": [*"cd"] * 8}
    return pl.DataFrame({"image": pictures, "split": split, **labels}), set(pictures)


@pytest.fixture
def hashed(with_images, monkeypatch) -> Counter[bytes]:
    """How often each image of the table was hashed as it stands there."""
    counts: Counter[bytes] = Counter()
    sha256, pictures = hashlib.sha256, with_images[1]

    def counting(content: bytes = b"", **options: bool):
        if content in pictures:
            counts[content] += 1
        return sha256(content, **options)

    monkeypatch.setattr(hashlib, "sha256", counting)
    return counts


def once(hashed: Counter[bytes]) -> bool:
    return len(hashed) == 16 and set(hashed.values()) == {1}


def test_the_way_to_the_first_batch_enters_few_files(recipe, table, tmp_path, monkeypatch):
    """Files of which a function is called, from the call of `fit` to its first batch (decisions 20 to 61)."""

    class FirstBatch(BaseException):
        pass

    entered: set[str] = set()
    source = str(Path(mscon.__file__).parent)

    def enter(frame: FrameType, event: str, argument: object) -> None:
        code = frame.f_code
        if event == "call" and code.co_filename.startswith(source) and code.co_name != "<module>":
            entered.add(str(Path(code.co_filename).relative_to(source)))

    def stop(*arguments: object) -> None:
        raise FirstBatch

    monkeypatch.setattr(Dataset, "batch", stop)
    threading.setprofile(enter)
    sys.setprofile(enter)
    try:
        with pytest.raises(FirstBatch):
            fit(recipe, table, tmp_path / "run", progress=False)
    finally:
        sys.setprofile(None)
        threading.setprofile(None)
    rooms = Counter(name.partition("/")[0] for name in entered)
    assert {"data/table/rows.py", "data/inputs/image_files.py", "train/fit.py", "run/run.py"} <= entered
    assert rooms["data"] <= 18
    assert rooms["train"] <= 22
    assert len(entered) <= 71


def test_an_image_within_a_table_is_hashed_once(recipe_with, with_images, hashed, tmp_path):
    table = read_table(with_images[0])
    assert fit(recipe_with("train.batch_size=4", "train.epochs=1"), table, tmp_path / "run", progress=False) is not None
    assert once(hashed)


def test_check_hashes_an_image_within_a_table_once(recipe, with_images, hashed, tmp_path, capsys):
    with_images[0].write_parquet(tmp_path / "t.parquet")
    (tmp_path / "r.toml").write_text(recipe.to_toml())
    assert cli.main(["check", str(tmp_path / "r.toml"), "--table", str(tmp_path / "t.parquet")]) in (0, None)
    assert once(hashed)
    assert "16 rows" in capsys.readouterr().out
