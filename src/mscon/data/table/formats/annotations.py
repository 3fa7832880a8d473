"""Annotations: boxes as tools for labelling export them, a row each: COCO, Label Studio, and CVAT for images.

Sources: https://cocodataset.org/#format-data, object detection; https://labelstud.io/guide/export, JSON with rectangle
labels; https://docs.cvat.ai/docs/dataset_management/formats/format-cvat, CVAT for images 1.1.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from xml.etree.ElementTree import Element, TreeBuilder
from xml.parsers import expat

import polars as pl

from mscon.data.inputs.boxes import Box
from mscon.data.table.formats.typed import SEPARATOR, number
from mscon.data.table.table import Table, at_lines
from mscon.data.table.table_size import check_size
from mscon.errors import TableError, counted
from mscon.run.parsing import parse_json

_KNOWN = (
    "Those that are read are COCO (an object with images, annotations and categories), JSON of Label Studio (a list of "
    "tasks), and XML of CVAT for images."
)

Pair = tuple[float, float]


@dataclass(frozen=True, slots=True)
class _Region:
    """A box of an image.

    Attributes:
        photo: the image, as the file names it.
        box: where it is, before it is turned.
        labels: its class, and what class that belongs to, by column.
        attributes: its other cells, by the name that a person gave them.
        size: width and height of the image in pixels; None where the file does not say.
        turn: degrees clockwise.
        pivot: the point around which it is turned; None for its centre.
    """

    photo: str
    box: Box
    labels: Mapping[str, str | None]
    attributes: Mapping[str, str | None]
    size: Pair | None = None
    turn: float = 0.0
    pivot: Pair | None = None

    @property
    def upright(self) -> Box:
        """The smallest box without a turn that holds it."""
        if not self.turn % 360:
            return self.box
        box, angle = self.box, math.radians(self.turn)
        x, y = self.pivot or (box.left + box.width / 2, box.top + box.height / 2)
        across, down = zip(
            *(
                (x + dx * math.cos(angle) - dy * math.sin(angle), y + dx * math.sin(angle) + dy * math.cos(angle))
                for dx in (box.left - x, box.left + box.width - x)
                for dy in (box.top - y, box.top + box.height - y)
            ),
            strict=True,
        )
        return Box(min(across), min(down), max(across) - min(across), max(down) - min(down))


class _LeftOut(Exception):
    """An annotation that makes no row, and why."""


# Annotations, and what reads one of them.
_Annotations = tuple[Sequence[Any], Callable[[Any], _Region]]


def read(path: Path) -> Table:
    """A row for each box. `image` names image and box, `photo` the image alone; the other columns are its labels.

    Boxes are clipped to their image where its size is known; of a turned box the upright one around it is taken.
    Crowds, other shapes, boxes without area and boxes outside their image are left out. Notes of the table count these.

    Raises:
        TableError: for a file of another kind, for annotations that lack something, with their numbers, or if no box is
            left.
        OSError: if the file cannot be read.
    """
    entries, region_of = _annotations(path)
    rows: list[dict[str, str | None]] = []
    lines: list[int] = []
    malformed: list[int] = []
    notes: Counter[str] = Counter()
    for line, entry in enumerate(entries, start=1):
        try:
            region = region_of(entry)
            box = region.upright
            if not all(map(math.isfinite, (box.left, box.top, box.width, box.height))):
                raise ValueError(box)
            if min(box.width, box.height) <= 0:
                raise _LeftOut("without area")
            part = box if region.size is None else box.within(region.size)
            if not (part.width and part.height):
                raise _LeftOut("outside of their image")
        except _LeftOut as why:
            notes[f"left out: {why}"] += 1
        except _MALFORMED:
            malformed.append(line)
        else:
            notes["turned; the upright boxes around them are taken"] += bool(region.turn % 360)
            notes["clipped to their image"] += part != box
            row = {"image": f"{region.photo}{part}", "photo": region.photo, **region.labels}
            rows.append(
                row
                | {f"{name} attribute" if name in _RESERVED else name: cell for name, cell in region.attributes.items()}
            )
            lines.append(line)
    if malformed:
        what = "an annotation lacks its image, its box or its label, or has another form."
        raise TableError(at_lines(path.name, malformed, len(entries), what, "Export the annotations again."))
    sentences = tuple(
        f"{path.name}: {counted(n, 'annotation')} of {len(entries):,} {why}." for why, n in notes.items() if n
    )
    if not rows:
        raise TableError("\n".join([f"{path.name} has no box that could be a row.", *sentences]))
    columns = list(dict.fromkeys(name for row in rows for name in row))
    check_size(path, len(rows), len(columns))
    frame = pl.DataFrame({name: pl.Series([row.get(name) for row in rows], dtype=pl.String) for name in columns})
    return Table(path, frame, lines, notes=sentences)


# Columns of a row that an attribute of the same name must not replace.
_RESERVED = ("image", "photo", "line", "category", "supercategory")

# What reading an annotation of another form raises.
_MALFORMED = (KeyError, TypeError, ValueError, AttributeError, IndexError, OverflowError, StopIteration)


def _annotations(path: Path) -> _Annotations:
    content = path.read_bytes()
    if path.suffix.lower() == ".xml":
        return _of_cvat(_parse_xml(content, path.name), path.name)
    try:
        plain = parse_json(content)
    except ValueError as error:
        raise TableError(f"{path.name} is not valid JSON: {error}.") from None
    if isinstance(plain, dict) and all(isinstance(plain.get(key), list) for key in ("images", "annotations")):
        return _of_coco(plain)
    if isinstance(plain, list) and all(isinstance(task, dict) and isinstance(task.get("data"), dict) for task in plain):
        return _of_label_studio(plain)
    raise TableError(f"{path.name} holds no annotations of a known form. {_KNOWN}")


def _cell(value: Any) -> str | None:
    """A label as text; None where it is missing. Raises TypeError for an object."""
    if isinstance(value, list):
        return SEPARATOR.join(filter(None, map(_cell, value))) or None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return number(value)
    if value is None or isinstance(value, str | int):
        return None if value is None else str(value).strip() or None
    raise TypeError(value)


# COCO ---------------------------------------------------------------------------------------------


def _of_coco(plain: Mapping[str, Any]) -> _Annotations:
    try:
        images = {image["id"]: image for image in plain["images"]}
        categories = {category["id"]: category for category in plain.get("categories", ())}
    except (KeyError, TypeError):
        raise TableError("an entry of images or categories of the COCO file has no id. Export it again.") from None

    def region_of(annotation: Any) -> _Region:
        if annotation.get("iscrowd"):
            raise _LeftOut("crowds")
        if not annotation.get("bbox"):
            raise _LeftOut("without a box")
        image, category = images[annotation["image_id"]], categories[annotation["category_id"]]
        left, top, width, height = map(float, annotation["bbox"])
        attributes = dict(annotation.get("attributes") or {})
        turn = float(attributes.pop("rotation", None) or 0)
        cells = {str(name): _cell(value) for name, value in attributes.items()}
        labels = {"category": _cell(category["name"])}
        if kind := category.get("supercategory"):
            labels["supercategory"] = _cell(kind)
        size = (float(image["width"]), float(image["height"])) if {"width", "height"} <= set(image) else None
        return _Region(str(image["file_name"]), Box(left, top, width, height), labels, cells, size, turn)

    return plain["annotations"], region_of


# Label Studio -------------------------------------------------------------------------------------


def _of_label_studio(tasks: Sequence[Mapping[str, Any]]) -> _Annotations:
    regions: list[tuple[Mapping[str, Any], Sequence[Any]]] = []
    for place, task in enumerate(tasks, start=1):
        try:
            complete = [one for one in task.get("annotations") or () if not one.get("was_cancelled")]
            by_region: dict[Any, list[Any]] = {}
            for result in complete[0].get("result", ()) if complete else ():  # of several annotators the first
                by_region.setdefault(result.get("id"), []).append(result)
        except _MALFORMED:
            raise TableError(f"the annotations of task {place} of {len(tasks):,} have another form. {_KNOWN}") from None
        regions += [(task, results) for results in by_region.values()]

    def region_of(region: tuple[Mapping[str, Any], Sequence[Any]]) -> _Region:
        task, results = region
        outlines = [result for result in results if {"x", "y", "width", "height"} <= set(result["value"])]
        if not outlines:
            raise _LeftOut("labels of whole images, or shapes that are no boxes")
        outline = outlines[0]
        if outline.get("image_rotation"):
            raise _LeftOut("on images that were turned in the tool")
        value, size = outline["value"], (float(outline["original_width"]), float(outline["original_height"]))
        left, width = (float(value[name]) * size[0] / 100 for name in ("x", "width"))
        top, height = (float(value[name]) * size[1] / 100 for name in ("y", "height"))
        labels: dict[str, str | None] = {}
        attributes: dict[str, str | None] = {}
        for result in results:  # its value holds the labels under its type
            if (label := result["value"].get(result["type"])) is None:
                continue
            if result["type"] == "rectanglelabels":
                labels["category"] = _cell(label)
            else:
                attributes[str(result["from_name"])] = _cell(label)
        box, turn = Box(left, top, width, height), float(value.get("rotation") or 0)
        return _Region(_photo_of(task["data"]), box, labels, attributes, size, turn, pivot=(left, top))

    return regions, region_of


def _photo_of(data: Mapping[str, Any]) -> str:
    """The image of a task: the path below the folder that Label Studio serves, or an address as it stands."""
    address = str(
        data["image"] if "image" in data else next(value for value in data.values() if isinstance(value, str))
    )
    parts = urlsplit(address)
    if parts.scheme:
        return address
    if files := parse_qs(parts.query).get("d"):  # /data/local-files/?d=shoes/1.jpg
        return files[0]
    upload = parts.path.removeprefix("/data/upload/")  # /data/upload/7/ab12-1.jpg, of project 7
    return upload.partition("/")[2] if upload != parts.path else parts.path


# CVAT ---------------------------------------------------------------------------------------------


def _parse_xml(content: bytes, name: str) -> Element:
    """The root of an XML text that declares nothing: entities can make a short text fill the memory, or read files."""
    builder, parser = TreeBuilder(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise TableError(f"{name} has a document type declaration, which exports of CVAT do not have. It is not read.")

    parser.StartDoctypeDeclHandler = refuse
    parser.StartElementHandler, parser.EndElementHandler = builder.start, builder.end
    parser.CharacterDataHandler = builder.data
    try:
        parser.Parse(content, True)
        return builder.close()
    except (expat.ExpatError, ValueError) as error:
        raise TableError(f"{name} is not valid XML: {error}.") from None


def _of_cvat(root: Element, name: str) -> _Annotations:
    if root.tag != "annotations":
        raise TableError(f"{name} holds no annotations of a known form. {_KNOWN}")
    if root.find("track") is not None:
        raise TableError(f"{name} holds tracks of a video. Export it from CVAT as 'CVAT for images 1.1'.")
    shapes = [(image, shape) for image in root.iter("image") for shape in image]

    def region_of(entry: tuple[Element, Element]) -> _Region:
        image, shape = entry
        if shape.tag != "box":
            raise _LeftOut("labels of whole images, or shapes that are no boxes")
        left, top, right, bottom = (float(shape.attrib[side]) for side in ("xtl", "ytl", "xbr", "ybr"))
        labels = {"category": _cell(shape.attrib["label"])}
        attributes = {attribute.attrib["name"]: _cell(attribute.text) for attribute in shape.iter("attribute")}
        size = (float(image.attrib["width"]), float(image.attrib["height"]))
        turn = float(shape.get("rotation", 0))
        box = Box(left, top, right - left, bottom - top)
        return _Region(image.attrib["name"], box, labels, attributes, size, turn)

    return shapes, region_of
