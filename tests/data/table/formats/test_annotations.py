"""Boxes as COCO, Label Studio and CVAT export them; what is left out, and what is refused."""

from __future__ import annotations

import contextlib
import copy
import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mscon.data.inputs.boxes import image_path
from mscon.data.table.rows import left_out
from mscon.data.table.table import read_table
from mscon.errors import TableError
from mscon.run.recipe import Data

COCO = {
    "images": [
        {"id": 7, "file_name": "a/1.jpg", "width": 640, "height": 480},
        {"id": 8, "file_name": "2.jpg", "width": 100, "height": 50},
    ],
    "categories": [{"id": 1, "name": "shoe", "supercategory": "wear"}, {"id": 2, "name": "hat", "supercategory": ""}],
    "annotations": [
        {
            "id": 1,
            "image_id": 7,
            "category_id": 1,
            "bbox": [10, 20.5, 30, 40],
            "iscrowd": 0,
            "attributes": {"colour": "red", "worn": True},
        },
        {
            "id": 2,
            "image_id": 7,
            "category_id": 2,
            "bbox": [600, 440, 80, 60],
            "iscrowd": 0,
            "attributes": {"image": 3},
        },
        {"id": 3, "image_id": 8, "category_id": 1, "bbox": [40, 10, 20, 30], "attributes": {"rotation": 90.0}},
        {
            "id": 4,
            "image_id": 8,
            "category_id": 1,
            "bbox": [0, 0, 9, 9],
            "iscrowd": 1,
            "segmentation": {"counts": [], "size": [50, 100]},
        },
        {"id": 5, "image_id": 8, "category_id": 1, "bbox": [3, 3, 0, 9]},
        {"id": 6, "image_id": 8, "category_id": 1, "bbox": [100, 3, 9, 9]},
        {"id": 7, "image_id": 8, "category_id": 1, "segmentation": [[1, 2, 3, 4]]},
    ],
}

CVAT = """<?xml version="1.0" encoding="utf-8"?>
<annotations><version>1.1</version><meta><task><labels/></task></meta>
<image id="0" name="a/1.jpg" width="640" height="480">
<box label="shoe" occluded="0" xtl="10" ytl="20.5" xbr="40" ybr="60.5" z_order="0">
<attribute name="colour">red</attribute><attribute name="worn"> </attribute></box>
<polygon label="shoe" points="1,2;3,4;5,6"/><tag label="indoors"/>
<box label="hat" xtl="600" ytl="440" xbr="680" ybr="500"><attribute name="image">3</attribute></box></image>
<image id="1" name="2.jpg" width="100" height="50">
<box label="shoe" xtl="40" ytl="10" xbr="60" ybr="40" rotation="90"/>
<box label="shoe" xtl="40" ytl="60" xbr="60" ybr="80"/></image></annotations>"""


def studio(region: str, value: dict, kind: str = "rectanglelabels", name: str = "label") -> dict:
    percent = {"x": 10, "y": 20, "width": 30, "height": 40, "rotation": 0}
    return {
        "id": region, "type": kind, "from_name": name, "to_name": "image", "original_width": 200,
        "original_height": 100, "image_rotation": 0, "value": {**percent, **value},
    }  # fmt: skip


STUDIO = [
    {
        "id": 1,
        "data": {"image": "/data/upload/7/ab12-1.jpg"},
        "annotations": [
            {"was_cancelled": True, "result": [studio("z", {"rectanglelabels": ["hat"]})]},
            {
                "was_cancelled": False,
                "result": [
                    studio("a", {"rectanglelabels": ["shoe"]}),
                    studio("a", {"choices": ["red", "blue"]}, "choices", "colour"),
                    studio("a", {"rating": 4}, "rating", "worth"),
                    studio("b", {"rectanglelabels": ["hat"], "x": 90}),
                    studio("c", {"rectanglelabels": ["hat"], "x": 50, "rotation": 90}),
                    {"id": "d", "type": "choices", "from_name": "scene", "value": {"choices": ["indoors"]}},
                ],
            },
            {"result": [studio("e", {"rectanglelabels": ["other"]})]},
        ],
    },
    {"id": 2, "data": {"photo": "/data/local-files/?d=shoes/2.jpg"}, "annotations": [{"result": [studio("f", {})]}]},
    {"id": 3, "data": {"image": "s3://bucket/3.jpg"}, "annotations": [{"result": [studio("g", {})]}]},
    {"id": 4, "data": {"image": "/data/upload/7/4.jpg"}, "annotations": []},
]


def write(folder: Path, content: object, name: str = "boxes.json") -> Path:
    path = folder / name
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


def test_boxes_of_coco_are_rows(tmp_path):
    table = read_table(write(tmp_path, COCO))
    nothing = {"supercategory": None, "colour": None, "worn": None, "image attribute": None}
    shoe = {"category": "shoe", "supercategory": "wear"}
    assert table.frame.to_dicts() == [
        {
            **nothing, **shoe, "image": "a/1.jpg#xywh=10,20.5,30,40", "photo": "a/1.jpg", "colour": "red",
            "worn": "true",
        },
        {
            **nothing, "image": "a/1.jpg#xywh=600,440,40,40", "photo": "a/1.jpg", "category": "hat",
            "image attribute": "3",
        },
        # Turned by 90 degrees around its middle, 20 x 30 is 30 x 20.
        {**nothing, **shoe, "image": "2.jpg#xywh=35,15,30,20", "photo": "2.jpg"},
    ]  # fmt: skip
    assert list(table.lines) == [1, 2, 3] and table.place(2) == "boxes.json, row 3"
    assert set(table.notes) == {
        "boxes.json: 1 annotation of 7 clipped to their image.",
        "boxes.json: 1 annotation of 7 turned; the upright boxes around them are taken.",
        "boxes.json: 1 annotation of 7 left out: crowds.",
        "boxes.json: 1 annotation of 7 left out: without area.",
        "boxes.json: 1 annotation of 7 left out: outside of their image.",
        "boxes.json: 1 annotation of 7 left out: without a box.",
    }
    assert table.folder == tmp_path
    assert left_out(table.frame.with_columns(line=1), table).startswith("boxes.json: 1 annotation of 7 ")


@pytest.mark.parametrize("form", ["coco", "cvat", "studio"])
def test_an_attribute_does_not_replace_the_class(tmp_path, form):
    if form == "coco":
        image, kind = {"id": 1, "file_name": "1.jpg"}, {"id": 1, "name": "shoe", "supercategory": "wear"}
        attributes = {"category": "x", "supercategory": "y"}
        box = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4], "attributes": attributes}
        path = write(tmp_path, {"images": [image], "categories": [kind], "annotations": [box]})
    elif form == "cvat":
        box = '<box label="shoe" xtl="1" ytl="2" xbr="4" ybr="6"><attribute name="category">x</attribute></box>'
        image = f'<image id="0" name="1.jpg" width="9" height="9">{box}</image>'
        path = write(tmp_path, f"<annotations>{image}</annotations>", "boxes.xml")
    else:
        label = studio("a", {"rectanglelabels": ["shoe"]})
        choice = studio("a", {"choices": ["x"]}, "choices", "category")
        task = {"id": 1, "data": {"image": "/data/upload/7/1.jpg"}, "annotations": [{"result": [label, choice]}]}
        path = write(tmp_path, [task])
    row = read_table(path).frame.to_dicts()[0]
    assert (row["category"], row["category attribute"]) == ("shoe", "x")
    assert form != "coco" or (row["supercategory"], row["supercategory attribute"]) == ("wear", "y")


def test_boxes_of_cvat_are_rows(tmp_path):
    table = read_table(write(tmp_path, CVAT, "boxes.xml"))
    coco = read_table(write(tmp_path, COCO))
    assert table.frame["image"].to_list() == coco.frame["image"].to_list()
    assert table.frame["category"].to_list() == ["shoe", "hat", "shoe"]
    assert table.frame["colour"].to_list() == ["red", None, None] and table.frame["worn"].null_count() == 3
    assert table.frame["image attribute"].to_list() == [None, "3", None]
    assert set(table.notes) == {
        "boxes.xml: 1 annotation of 6 clipped to their image.",
        "boxes.xml: 1 annotation of 6 turned; the upright boxes around them are taken.",
        "boxes.xml: 1 annotation of 6 left out: outside of their image.",
        "boxes.xml: 2 annotations of 6 left out: labels of whole images, or shapes that are no boxes.",
    }


def test_boxes_of_label_studio_are_rows(tmp_path):
    table = read_table(write(tmp_path, STUDIO))
    assert table.frame["image"].to_list() == [
        "ab12-1.jpg#xywh=20,20,60,40",
        "ab12-1.jpg#xywh=180,20,20,40",  # clipped
        "ab12-1.jpg#xywh=60,20,40,60",  # turned around its upper left corner, (100, 20)
        "shoes/2.jpg#xywh=20,20,60,40",
        "s3://bucket/3.jpg#xywh=20,20,60,40",
    ]
    assert table.frame["category"].to_list() == ["shoe", "hat", "hat", None, None]
    assert table.frame["colour"].to_list()[:2] == ["red;blue", None] and table.frame["worth"].to_list()[0] == "4"
    assert sum("left out" in note for note in table.notes) == 1


def changed(**values: object) -> dict:
    coco = copy.deepcopy(COCO)
    for key, value in values.items():
        coco["annotations"][1].pop(key, None) if value is None else coco["annotations"][1].update({key: value})
    return coco


BOMB = "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b 'bbbb'><!ENTITY c '&b;&b;'>]><annotations>&c;</annotations>"
FILE = "<?xml version='1.0'?><!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><annotations>&b;</annotations>"


@pytest.mark.parametrize(
    ("content", "name", "message"),
    [
        (changed(image_id=99), "x.json", r"x.json, row 2: an annotation lacks its image.*\n  1 of 7 rows has"),
        (changed(category_id=None), "x.json", "row 2: an annotation lacks"),
        (changed(bbox=[1, 2, 3]), "x.json", "row 2: an annotation lacks"),
        (changed(bbox=["a", 2, 3, 4]), "x.json", "row 2"),
        (changed(bbox=[float("nan"), 2, 3, 4]), "x.json", "row 2"),
        (changed(bbox=[10**400, 2, 3, 4]), "x.json", "row 2"),
        ([{"data": {"image": "a"}, "annotations": [1]}], "x.json", "annotations of task 1 of 1 have another form"),
        (changed(attributes={"a": {"b": 1}}), "x.json", "row 2"),
        (changed(attributes=[1]), "x.json", "row 2"),
        ({**COCO, "annotations": [3, None, "a"]}, "x.json", "3 of 3 rows have"),
        ({**COCO, "images": [{"file_name": "a"}]}, "x.json", "has no id"),
        ({**COCO, "annotations": COCO["annotations"][3:5]}, "x.json", r"could be a row.\nx.json: 1 annotation of 2"),
        ({**COCO, "annotations": []}, "x.json", "no box that could be a row"),
        ([{"data": {}, "annotations": [{"result": [{"id": 1, "value": 3}]}]}], "x.json", "row 1: an annotation"),
        ({"a": 1}, "x.json", "no annotations of a known form. Those that are read are COCO"),
        ([1, 2], "x.json", "no annotations of a known form"),
        ("{", "x.json", "not valid JSON"),
        ("[" * 100_000, "x.json", "nested more than 64 deep"),
        ("<annotations>", "x.xml", "not valid XML"),
        ("", "x.xml", "not valid XML"),
        ("<html/>", "x.xml", "no annotations of a known form"),
        ("<annotations><track id='0'/></annotations>", "x.xml", "tracks of a video. Export it from CVAT as"),
        (CVAT.replace('xtl="600"', ""), "x.xml", "row 4: an annotation lacks"),
        (CVAT.replace('xtl="600"', 'xtl="far"'), "x.xml", "row 4: an annotation lacks"),
        (BOMB, "x.xml", "document type declaration"),
        (FILE, "x.xml", "document type declaration"),
        (BOMB.replace("?>", " encoding='utf-16'?>", 1), "x.xml", "document type declaration|not valid XML"),
    ],
)  # fmt: skip
def test_what_is_no_annotation_is_one_message(tmp_path, content, name, message):
    with pytest.raises(TableError, match=message):
        read_table(write(tmp_path, content, name))


ODD = st.sampled_from([None, "", "é", -1, 0, 3.5, float("nan"), 10**400, True, [], [1], {}, {"id": [1]}, [[]]])


def places(value: object, path: tuple = ()):
    yield path
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ():
        yield from places(inner, (*path, key))


@pytest.mark.parametrize("export", [COCO, STUDIO], ids=["coco", "label studio"])
@settings(max_examples=150)
@given(data=st.data())
def test_whatever_an_export_holds_is_rows_or_one_message(tmp_path_factory, export, data):
    odd = copy.deepcopy(export)
    *path, last = data.draw(st.sampled_from([path for path in places(export) if path]))
    inner = odd
    for key in path:
        inner = inner[key]
    inner[last] = data.draw(ODD)
    with contextlib.suppress(TableError):
        table = read_table(write(tmp_path_factory.getbasetemp(), odd))
        assert all(image_path(cell).box.fault((10**6, 10**6)) == "" for cell in table.frame["image"])


def test_deep_xml_is_read_or_refused(tmp_path):
    with pytest.raises(TableError):
        read_table(
            write(tmp_path, "<annotations>" + "<image>" * 100_000 + "</image>" * 100_000 + "</annotations>", "x.xml")
        )


def test_annotations_are_a_table_for_every_verb(tmp_path, capsys):
    """`mscon check` reads them as they are, and says what was left out."""
    import numpy as np
    from PIL import Image

    from mscon.cli import main

    coco = copy.deepcopy(COCO)
    coco["annotations"] = [
        {"image_id": image, "category_id": kind, "bbox": [x, 5 * kind, 12, 12]}
        for image in (7, 8) for kind in (1, 2) for x in range(1, 41, 3 + kind)
    ] + COCO["annotations"][3:5]  # fmt: skip
    (tmp_path / "a").mkdir()
    for name, size in (("a/1.jpg", (640, 480)), ("2.jpg", (100, 50))):
        Image.fromarray(np.random.default_rng(0).integers(0, 256, size[::-1], dtype=np.uint8)).save(tmp_path / name)
    (tmp_path / "r.toml").write_text('similarity = [{ column = "category" }]\ndata = { image_size = 16 }\n')
    assert Data().image == "image"
    main(["check", str(tmp_path / "r.toml"), "--table", str(write(tmp_path, coco))])
    text = "".join(capsys.readouterr())
    print(text)
    assert "1 annotation of 38 left out: crowds." in text and "category" in text
