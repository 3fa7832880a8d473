"""Boxes: what is cut out of an image, wherever images are decoded, and what is said of a box that cannot be."""

from __future__ import annotations

import json
import tarfile
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

import mscon
from mscon.data.inputs.boxes import Box, image_path
from mscon.data.inputs.decoding import Refused, decode_one, decode_with_fingerprint, quiet_pillow, side_and_mode
from mscon.data.inputs.image_files import decode_some, find_images, fingerprint_some
from mscon.errors import TableError
from mscon.run.recipe import Data
from mscon.search.explorer.thumbnails import thumbnails
from shapes import unchecked_shapes

SIDE = 12


@pytest.fixture(scope="module")
def photo(tmp_path_factory):
    """A picture of 60 x 40 pixels, noise, so that no two parts are alike."""
    path = tmp_path_factory.mktemp("photos") / "photo.png"
    pixels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def decoded(cell: str, size: int = SIDE):
    with quiet_pillow():
        return decode_one(image_path(cell), size, 3)


@pytest.mark.parametrize(
    ("box", "square"),
    [
        ("10,20,12,12", (10, 20, 22, 32)),
        ("10,20,12,6", (10, 17, 22, 29)),  # as large as the longer side, around the middle
        ("0,0,4,12", (0, 0, 12, 12)),  # moved into the image
        ("55,28,5,12", (48, 28, 60, 40)),
        ("-6,-6,18,18", (0, 0, 12, 12)),  # what lies outside is clipped
        ("pixel:10.4,20.4,12,12", (10, 20, 22, 32)),
    ],
)
def test_the_square_around_a_box_is_cut_out(photo, box, square):
    expected = np.asarray(Image.open(photo).crop(square)).transpose(2, 0, 1)
    np.testing.assert_array_equal(decoded(f"{photo}#xywh={box}"), expected)
    assert side_and_mode(image_path(f"{photo}#xywh={box}")) == (12, "RGB")


@given(*[st.floats(-50, 100)] * 2, *[st.floats(0.01, 200)] * 2, st.integers(1, 90), st.integers(1, 90))
def test_a_square_lies_in_its_image_and_around_its_box(left, top, width, height, across, down):
    box = Box(left, top, width, height)
    if box.fault((across, down)):
        part = box.within((across, down))
        assert not (part.width and part.height)
        return
    x, y, right, bottom = box.square((across, down))
    assert 0 <= x < right <= across and 0 <= y < bottom <= down and right - x == bottom - y
    part = box.within((across, down))
    if max(part.width, part.height) <= min(across, down):  # then nothing of it is lost, but for what rounding takes
        assert x <= part.left + 1 and y <= part.top + 1
        assert right >= part.left + part.width - 1 and bottom >= part.top + part.height - 1


@pytest.mark.parametrize("ending", ["png", "tiff", "webp"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_box_is_of_the_picture_as_it_is_shown(photo, tmp_path, ending, orientation):
    """A camera that was turned writes the picture as its sensor lay, and says how."""
    exif, upright = Image.Exif(), Image.open(photo)
    exif[274] = orientation
    path = tmp_path / f"turned.{ending}"
    in_file = upright.transpose(_BACK[orientation]) if orientation in _BACK else upright
    in_file.save(path, exif=exif, lossless=True)
    for box in ("10,20,12,12", "40,0,20,30"):
        np.testing.assert_array_equal(decoded(f"{path}#xywh={box}"), decoded(f"{photo}#xywh={box}"))
        with quiet_pillow():
            side, _ = side_and_mode(image_path(f"{path}#xywh={box}"))
        assert side == side_and_mode(image_path(f"{photo}#xywh={box}"))[0]


# From the picture as it is shown to what lies in a file of each orientation.
_BACK = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


@pytest.mark.parametrize("mode", ["I;16", "CMYK", "RGBA", "P", "L"])
def test_boxes_of_pictures_of_every_form(photo, tmp_path, mode):
    grey = np.asarray(Image.open(photo).convert("L")).astype(np.uint16) * 257
    picture = Image.fromarray(grey) if mode == "I;16" else Image.open(photo).convert(mode)
    picture.save(tmp_path / "whole.tiff")
    picture.crop((10, 20, 22, 32)).save(tmp_path / "part.tiff")
    expected = decoded(str(tmp_path / "part.tiff"))
    np.testing.assert_array_equal(decoded(f"{tmp_path / 'whole.tiff'}#xywh=10,20,12,12"), expected)


def test_a_picture_to_look_at_shows_the_box_too(tmp_path):
    large = Image.fromarray(np.random.default_rng(0).integers(0, 256, (800, 800, 3), dtype=np.uint8))
    large.save(tmp_path / "large.jpg")
    with quiet_pillow():
        path = image_path(f"{tmp_path / 'large.jpg'}#xywh=600,600,64,64")
        np.testing.assert_array_equal(decode_one(path, 32, 3, to_look_at=True), decode_one(path, 32, 3))


@pytest.mark.parametrize(
    ("box", "fault"),
    [
        ("60,0,5,5", r"lies outside of its image \(of 60 x 40 pixels\)"),
        ("-9,0,5,5", "lies outside of its image"),
        ("10,10,0,5", "is no box: it must end in #xywh=x,y,width,height"),
        ("10,10,-3,5", "is no box"),
        ("nan,10,3,5", "is no box"),
        ("10,10,inf,5", "is no box"),
        ("10,10,3", "is no box"),
        ("percent:1,2,3,4", "is no box"),
        ("", "is no box"),
    ],
)
def test_what_cannot_be_cut_out_is_refused(photo, box, fault):
    with pytest.raises(Refused, match=fault):
        decoded(f"{photo}#xywh={box}")
    with quiet_pillow(), pytest.raises(Refused, match=fault):
        side_and_mode(image_path(f"{photo}#xywh={box}"))


def test_a_fingerprint_tells_boxes_apart(photo):
    with quiet_pillow():
        prints = [
            decode_with_fingerprint(image_path(f"{photo}{box}"), SIDE, 3)[1].tobytes()
            for box in ("", "#xywh=0,0,9,9", "#xywh=0,0,9,8", "#xywh=0,0,9.0,8")
        ]
    assert len(set(prints)) == 3 and prints[2] == prints[3]
    paths = [image_path(f"{photo}{box}") for box in ("", "#xywh=0,0,9,9", "#xywh=0,0,9,8")]
    assert [digest.tobytes() for digest in fingerprint_some(paths, "")[0]] == prints[:3]


def test_a_box_of_an_image_in_a_shard(photo, tmp_path):
    with tarfile.open(tmp_path / "0.tar", "w") as tar:
        tar.add(photo, "a/photo.png")
    cells = ["tar://a/photo.png::0.tar", "tar://a/photo.png::0.tar#xywh=10,20,12,12"]
    pixels, faults = decode_some(find_images(tmp_path, cells, Data()), SIDE, 3)
    assert not faults
    np.testing.assert_array_equal(pixels[1], decoded(f"{photo}#xywh=10,20,12,12"))
    np.testing.assert_array_equal(pixels[0], decoded(str(photo)))


@pytest.fixture(scope="module")
def boxes(tmp_path_factory):
    """A folder with 4 photographs of 8 things each, bright or dark, and a table of the things."""
    folder = tmp_path_factory.mktemp("boxes")
    generator = np.random.default_rng(0)
    rows = []
    for number in range(4):
        pixels = generator.integers(0, 40, (40, 80), dtype=np.uint8)
        for thing in range(8):
            left, top, is_bright = thing % 4 * 20, thing // 4 * 20, (thing + number) % 2
            pixels[top : top + 20, left : left + 20] += 160 * is_bright
            rows.append((f"{number}.png", [left, top, 20, 20], "bright" if is_bright else "dark"))
        Image.fromarray(pixels).save(folder / f"{number}.png")
    return folder, pl.DataFrame(rows, schema=["image", "box", "shade"], orient="row")


RECIPE = """
similarity = [{ column = "shade", name = "categorical" }]
data = { image_size = 16, channels = 1, box = "box", split_by = "photo" }
encoder = { width = 4 }
heads = { output_dim = 4 }
train = { epochs = 1, batch_size = 8 }
"""


@pytest.mark.usefixtures("short_probes")
def test_things_in_photographs_are_rows_from_training_to_search(boxes, tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    folder, frame = boxes
    frame = frame.with_columns(photo=pl.col("image"))
    with unchecked_shapes():
        run = mscon.fit(frame, mscon.recipe.parse(RECIPE), tmp_path / "run", images=folder, progress=False)
        run.probe(progress=False)
        rows = run.read_rows()
        assert rows["image"][1] == "0.png#xywh=20,0,20,20" and "box" not in rows.columns
        assert rows.group_by("image").len()["len"].max() == 1
        of_photo = rows.group_by("photo").agg(pl.col("split").n_unique())
        assert of_photo["split"].max() == 1  # things of one photograph stay together
        assert {path.name for path in run.images} == {f"{n}.png" for n in range(4)}  # which no output may replace
        # Pixels of a row are those of its part of the photograph, here and wherever it is embedded.
        part = Image.open(folder / "0.png").crop((20, 0, 40, 20))
        alone = run.embed([part])
        np.testing.assert_allclose(run.read_features()[1], alone[0], rtol=1e-5)
        np.testing.assert_array_equal(run.embed([f"{folder}/0.png#xywh=20,0,20,20"]), alone)
        table = tmp_path / "new.csv"
        frame.with_columns(pl.col("box").list.eval(pl.element().cast(pl.String)).list.join(" ")).write_csv(table)
        from mscon.deploy.shards import embed_table

        embed_table(
            mscon.load(run.root), mscon.read_table(table), tmp_path / "new.parquet", images=folder, progress=False
        )
        written = pl.read_parquet(tmp_path / "new.parquet")
        assert written["image"].to_list() == rows["image"].to_list()
        coco = {
            "images": [{"id": 0, "file_name": "0.png", "width": 80, "height": 40}],
            "categories": [{"id": 1, "name": "thing"}],
            "annotations": [{"image_id": 0, "category_id": 1, "bbox": [20, 0, 20, 20]}] * 2,
        }
        coco["annotations"][1] = {**coco["annotations"][1], "iscrowd": 1}
        (tmp_path / "coco.json").write_text(json.dumps(coco))
        run_of_cells = mscon.load(run.root)
        run_of_cells.recipe = replace(run_of_cells.recipe, data=replace(run_of_cells.recipe.data, box=""))
        embed_table(run_of_cells, mscon.read_table(tmp_path / "coco.json"), tmp_path / "coco.parquet", images=folder)
        assert "1 annotation of 2 left out: crowds." in capsys.readouterr().err
        np.testing.assert_allclose(pl.read_parquet(tmp_path / "coco.parquet")["features"].to_numpy(), alone, rtol=1e-5)
        hits = run.search(f"{folder}/0.png#xywh=20,0,20,20", k=3)
        assert hits.hits[0].image == "0.png#xywh=20,0,20,20" and hits.hits[0].score > 0.999
        pictures = thumbnails(run, rows["image"].to_list(), None, run.read_recipe().data, 10_000)
        assert len(set(pictures)) == 32


def test_faults_of_boxes_are_one_message_before_training(boxes, tmp_path):
    folder, frame = boxes
    wrong = frame.with_columns(
        photo=pl.col("image"), box=pl.Series([[90, 0, 20, 20], [0, 0, 0, 5], *frame["box"].to_list()[2:]])
    )
    recipe = mscon.recipe.parse(RECIPE)
    with pytest.raises(TableError) as caught:
        mscon.fit(wrong, recipe, tmp_path / "run", images=folder, progress=False)
    message = str(caught.value)
    assert "image '0.png#xywh=90,0,20,20' lies outside of its image (of 80 x 40 pixels)." in message
    assert "image '0.png#xywh=0,0,0,5' is no box" in message and "1 of 32 rows has this problem" in message
    with pytest.raises(TableError, match="there is no column 'box'"):
        mscon.fit(
            frame.drop("box").with_columns(photo="image"), recipe, tmp_path / "run", images=folder, progress=False
        )
    twice = pl.concat([frame, frame.head(1)]).with_columns(photo=pl.col("image"))
    with pytest.raises(TableError, match="stands in row 1 already"):
        mscon.fit(twice, recipe, tmp_path / "run", images=folder, progress=False)
    assert not (tmp_path / "run").exists()


def test_a_row_without_a_box_is_of_the_whole_image(boxes, tmp_path):
    folder, frame = boxes
    frame = frame.with_columns(photo=pl.col("image"), box=pl.Series([None, *frame["box"].to_list()[1:]]))
    from mscon.data.table.rows import select_rows

    recipe = mscon.recipe.parse(RECIPE)
    rows = select_rows(mscon.read_table(frame), recipe.data, recipe.similarities, folder)
    assert rows["image"].to_list()[:2] == ["0.png", "0.png#xywh=20,0,20,20"]
