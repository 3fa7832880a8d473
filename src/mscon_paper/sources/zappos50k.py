"""UT-Zap50K, 50,025 shoes: category, closure, gender, heel height; unseen while training: the 20 largest brands.

From http://vision.cs.utexas.edu/projects/finegrained/utzap50k: unpack ut-zap50k-data.zip and ut-zap50k-images.zip
(136 x 102 pixels, the paper's) or ut-zap50k-images-square.zip (136 x 136) into one folder. Licence: for academic,
non-commercial use only; cite Yu and Grauman, "Fine-Grained Visual Comparisons with Local Learning", CVPR 2014.
"""

from __future__ import annotations

import re
import sys
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal
from urllib.parse import unquote

from mscon.data.table.split import draw_split
from mscon.data.table.table import Table, no_column, read_table
from mscon.errors import TableError, counted, first_few
from mscon_paper.prepared import (
    Label,
    Prepared,
    equal_files,
    faults,
    plain,
    read_label,
    shown,
    table_path,
)
from mscon_paper.zappos_files import CATEGORIES, Images, Place, find_place, index_images

CLASSES: Mapping[str, tuple[str, ...]] = {
    "category": CATEGORIES,
    "closure": ("buckle", "hook and loop", "lace up", "pull on", "slip on"),
    "gender": ("boys", "girls", "men", "women"),
}
"""The classes of the paper's three similarities. Closure has some ten more in the data; the paper names these."""

COLUMNS = ("image", "split", "product", *CLASSES, "brand", "heel_height")

PUBLISHED_ROWS = 50_025

_READ = ("CID", "Category", "SubCategory", "HeelHeight", "Closure", "Gender")
_SHARES = (0.7, 0.1, 0.2)


def prepare(
    root: Path,
    *,
    rule: Literal["mask", "strict"] = "mask",
    split_by: Literal["image", "product"] = "image",
    split_seed: int = 0,
    brands: int = 20,
    images: str = "",
    table: str = "",
) -> Path:
    """Write the table of UT-Zap50K, and say on standard error what became of its rows and cells.

    The table names images where they are; none is copied. Columns: `image` (relative to the folder that holds
    the images' folder), `split`, `product` (the CID up to its dash; colours of one shoe share it), the label
    columns `category`, `closure`, `gender`, `brand`, and `heel_height` in inches: the middle of the range that the
    data gives (flat 0, under 1 in 0.5, 1 to 1 3/4 in 1.375, ..., 5 in and over 5.5).

    An image is found by its CID, with "." for "-", wherever it lies. Its brand is the name of its folder, with "."
    for "%2E", since folders of brands that end in a period are stored so. A label counts if its cell has exactly
    one value and that is among CLASSES. Rows whose image is not there or cannot be decoded are left out.

    Args:
        root: folder with the unpacked archives, or one of the two folders in it.
        rule: for rows without a label that counts: "mask" leaves that cell empty, so that the row is unknown in
            that column; "strict" keeps only rows with all of category, closure and gender. Brand and heel height
            never cost a row.
        split_by: what is drawn for the splits of 70, 10 and 20 %: each image, as the paper, or each product, so that
            no shoe is tested in another colour than it was trained in.
        split_seed: of that draw, after the rule.
        brands: keep this many largest brands, by images in the table; of others the cell is empty. 0 keeps all.
        images: name of the images' folder, where there are several; by default not the square ones.
        table: where the table is written, by default zappos50k.csv beside the images' folder. Elsewhere the
            other verbs need --images.

    Raises:
        TableError: if files are missing or are not what they should be; nothing is then written.
        RunError: if a file that is no such table lies where it goes, or it cannot be written.
        ValueError: if a setting makes no sense.
    """
    if rule not in ("mask", "strict") or split_by not in ("image", "product") or brands < 0:
        raise ValueError(
            f"rule must be 'mask' or 'strict', split_by 'image' or 'product', brands 0 or more, "
            f"got {rule!r}, {split_by!r} and {brands}."
        )
    place = find_place(root, images)
    path = table_path("zappos50k", place.base, COLUMNS, table)
    prepared = _prepare(place, rule, split_by, split_seed, brands)
    prepared.write(path)
    print(prepared.report(), file=sys.stderr)
    return path


# From rows to rows --------------------------------------------------------------------------------


def _prepare(place: Place, rule: str, split_by: str, split_seed: int, brands: int) -> Prepared:
    meta = read_table(place.meta)
    cells = _columns(meta)
    index = index_images(place.folder)
    files = sum(map(len, index.by_stem.values()))
    prepared = Prepared("zappos50k", place.base, COLUMNS)
    prepared.sources.append(
        f"zappos50k: {counted(len(meta), 'row')} in {place.meta} (published: {PUBLISHED_ROWS:,}), "
        f"{counted(files, 'image')} in {place.folder}"
    )
    image_of = _matched(prepared, meta, cells, index, place.folder)
    paths = {row: (Path(place.folder.name) / path).as_posix() for row, path in image_of.items()}
    rows = list(image_of)
    for number, why in faults(place.base, [paths[row] for row in rows]).items():
        row = rows[number]
        prepared.leave_out(why, _where(meta, row, cells["CID"][row]))
        del image_of[row]
    labels = {row: _labels({name: column[row] for name, column in cells.items()}) for row in image_of}
    if rule == "strict":
        for row in list(image_of):
            if without := [name for name in CLASSES if labels[row][name].fault]:
                # By the first only, so that the numbers of the reasons sum to that of the rows.
                prepared.leave_out(f"without a label in {without[0]}", _where(meta, row, cells["CID"][row]))
                del image_of[row]
    brand = {row: _brand(path) for row, path in image_of.items()}
    sizes = Counter(brand.values())
    largest = sorted(sizes, key=lambda name: (-sizes[name], name))[: brands or None]
    product = {row: _stem(cells["CID"][row] or "").partition(".")[0] for row in image_of}
    keys = [product[row] if split_by == "product" else _stem(cells["CID"][row] or "") for row in image_of]
    split = draw_split(len(image_of), _SHARES, split_seed, keys)
    for (row, _), name in zip(image_of.items(), split, strict=True):
        brand_label = Label(brand[row]) if brand[row] in largest else Label("", "of a smaller brand", brand[row])
        prepared.add(
            _where(meta, row, cells["CID"][row]),
            (paths[row], name, product[row]),
            {
                **{name: labels[row][name] for name in CLASSES},
                "brand": brand_label,
                "heel_height": labels[row]["heel_height"],
            },
        )
    prepared.notes += _notes(place, index, cells["CID"])
    return prepared


def _columns(meta: Table) -> dict[str, list[str | None]]:
    """The columns that are read, by their published names, however they are capitalised."""
    known = {plain(name): name for name in meta.frame.columns}
    if absent := [name for name in _READ if plain(name) not in known]:
        raise TableError("\n".join(f"{meta.path}: {no_column(name, meta.frame.columns)}" for name in absent))
    return {name: meta.cells(known[plain(name)]) for name in _READ}


def _stem(cid: str) -> str:
    return cid.replace("-", ".")


def _where(meta: Table, row: int, cid: str | None) -> str:
    return f"line {meta.lines[row]} ({shown(cid or 'no CID')})"


def _matched(
    prepared: Prepared, meta: Table, cells: Mapping[str, Sequence[str | None]], index: Images, folder: Path
) -> dict[int, Path]:
    """Row -> its image, relative to the images' folder, for rows that have one of their own."""
    image_of: dict[int, Path] = {}
    matched: set[str] = set()
    for row, cid in enumerate(cells["CID"]):
        where = _where(meta, row, cid)
        if cid is None:
            prepared.leave_out("without a CID", where)
            continue
        candidates = index.by_stem.get(_stem(cid), [])
        path = _the_one(candidates, folder, (cells["Category"][row], cells["SubCategory"][row]))
        if _stem(cid) in matched:
            prepared.leave_out("whose CID stands in an earlier row", where)
        elif not candidates:
            prepared.leave_out("whose image is not there", where)
        elif path is None:
            prepared.leave_out("whose image could be one of several that differ", where)
        else:
            matched.add(_stem(cid))
            image_of[row] = path
    return image_of


def _the_one(candidates: Sequence[Path], folder: Path, kinds: tuple[str | None, str | None]) -> Path | None:
    """Of images of one stem that in the folders of the row's own kinds; the first if all are equal; else None."""
    if len(candidates) < 2:
        return candidates[0] if candidates else None
    named = {plain(kind) for kind in kinds if kind}
    in_folders = [path for path in candidates if named <= {plain(part) for part in path.parts[:-1]}]
    left = in_folders or candidates
    alike = len(left) == 1 or [len(left)] == [len(group) for group in equal_files(folder, [str(p) for p in left])]
    return left[0] if alike else None


def _labels(cells: Mapping[str, str | None]) -> dict[str, Label]:
    published = {"category": "Category", "closure": "Closure", "gender": "Gender"}
    labels = {name: read_label(cells[published[name]], classes, ";") for name, classes in CLASSES.items()}
    return {**labels, "heel_height": heel_height(cells["HeelHeight"])}


def _brand(path: Path) -> str:
    return unicodedata.normalize("NFC", unquote(path.parent.name))


_RANGE = re.compile(r"(\d+) ?in ?[-–] ?(\d+)(?: (\d)/([1-9]))? ?in")  # 1in - 1 3/4in
_OVER = re.compile(r"(\d+) ?in (?:&|and) over")  # 5in & over
_WORDS = {"flat": "0", "under 1in": "0.5"}


def heel_height(cell: str | None) -> Label:
    """Inches as text: the middle of the range that a cell names. "1in - 1 3/4in" is 1.375, "5in & over" 5.5."""
    label = read_label(cell, (), ";")
    if label.fault != "of another class":  # no class is known here, so that is what a single value gets
        return label
    words = " ".join(label.cell.casefold().split())
    if words in _WORDS:
        return Label(_WORDS[words])
    if match := _OVER.fullmatch(words):
        return Label(f"{int(match[1]) + 0.5:g}")
    if match := _RANGE.fullmatch(words):
        most = int(match[2]) + (int(match[3]) / int(match[4]) if match[4] else 0)
        return Label(f"{(int(match[1]) + most) / 2:g}")
    return Label("", "of no known range", label.cell)


def _notes(place: Place, index: Images, cids: Sequence[str | None]) -> list[str]:
    named = {_stem(cid) for cid in cids if cid}
    without = [shown(path.as_posix()) for stem, paths in index.by_stem.items() if stem not in named for path in paths]
    notes = []
    if without:
        notes.append(f"{counted(len(without), 'image')} without a row, not used: {first_few(without)}")
    if index.unnameable:
        listed = first_few(index.unnameable)
        notes.append(f"{counted(len(index.unnameable), 'image')} whose name is not UTF-8, not used: {listed}")
    if place.others:
        listed = first_few([repr(folder.name) for folder in place.others])
        notes.append(f"images are taken from '{place.folder.name}', not from {listed} (--set images=NAME)")
    return notes
