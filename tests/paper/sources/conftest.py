"""Miniature trees of data sets that cannot be had here, in their documented layouts, as real image files."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pytest
from PIL import Image


@pytest.fixture(autouse=True)
def cache(tmp_path_factory, monkeypatch):
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path_factory.mktemp("cache")))


def picture(
    seed: int, colour: tuple[int, int, int] = (120, 120, 120), size: tuple[int, int] = (136, 102)
) -> Image.Image:
    """A coloured picture that no other seed gives."""
    noise = np.random.default_rng(seed).integers(-40, 40, (size[1], size[0], 3))
    return Image.fromarray((np.array(colour) + noise).clip(0, 255).astype(np.uint8))


# UT-Zap50K ----------------------------------------------------------------------------------------

CATEGORIES = ("Shoes", "Boots", "Sandals", "Slippers")
CLOSURES = ("Lace up", "Slip-On", "Buckle", "Hook and Loop", "Pull-on")
GENDERS = ("Men", "Women", "Boys", "Girls")
HEIGHTS = ("Flat", "Under 1in", "1in - 1 3/4in", "2in - 2 3/4in", "3in - 3 3/4in", "4in - 4 3/4in", "5in & over")
BRANDS = ("Bostonian", "Clarks", "Kid Co%2E")
META = ("CID", "Category", "SubCategory", "HeelHeight", "Insole", "Closure", "Gender", "Material", "ToeStyle")


@dataclass
class Shoes:
    """UT-Zap50K as it is unpacked: Category/SubCategory/Brand/100627.72.jpg beside ut-zap50k-data/meta-data.csv."""

    root: Path
    images: str = "ut-zap50k-images"
    rows: list[dict[str, str]] = field(default_factory=list)

    def fill(self, products: int = 24) -> None:
        """So many products in two colours each, without a quirk."""
        for number in range(products):
            for colour in (7, 72):
                self.add(f"{100_000 + number}-{colour}", number)

    def add(self, cid: str, number: int = 0, *, brand: str = "", image: bool = True, **cells: str) -> Path:
        """A row, and its image; `number` decides what is not given."""
        category = cells.get("Category") or CATEGORIES[number % 4]
        row = dict.fromkeys(META, "")
        row |= {"CID": cid, "Category": category, "SubCategory": "Oxfords", "HeelHeight": HEIGHTS[number % 7]}
        row |= {"Closure": CLOSURES[number % 5], "Gender": GENDERS[number // 4 % 4], "Material": "Leather;Suede"}
        self.rows.append(row | cells)
        path = self.folder / category / "Oxfords" / (brand or BRANDS[number % 3]) / f"{cid.replace('-', '.')}.jpg"
        if image:
            self.save(path, len(self.rows), number)
        return path

    def save(self, path: Path, seed: int, number: int = 0) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(seed, (60 * (number % 4), 200 - 30 * (number % 5), 40 * (number // 4 % 4))).save(path, "JPEG")

    @property
    def folder(self) -> Path:
        return self.root / self.images

    @property
    def meta(self) -> Path:
        return self.root / "ut-zap50k-data" / "meta-data.csv"

    def write(self, *, start: str = "", line_end: str = "\n") -> Path:
        """The file with the labels; the whole is then complete."""
        text = io.StringIO(newline="")
        writer = csv.DictWriter(text, META, lineterminator=line_end)
        writer.writeheader()
        writer.writerows(self.rows)
        self.meta.parent.mkdir(parents=True, exist_ok=True)
        self.meta.write_bytes((start + text.getvalue()).encode())
        return self.root


@pytest.fixture
def shoes(tmp_path) -> Shoes:
    tree = Shoes(tmp_path / "zappos")
    tree.fill()
    return tree


# MEDIC --------------------------------------------------------------------------------------------

SEVERITIES = ("little_or_none", "mild", "severe")
TYPES = ("earthquake", "fire", "flood", "hurricane", "landslide", "not_disaster", "other_disaster")
KINDS = (
    "affected_injured_or_dead_people",
    "infrastructure_and_utility_damage",
    "not_humanitarian",
    "rescue_volunteering_or_donation_effort",
)
TSV = ("image_id", "event_name", "image_path", "damage_severity", "informative", "humanitarian", "disaster_types")
FOLDERS = (
    "aidr_disaster_types/flood",
    "ASONAM17_Damage_Image_Dataset/ecuador_eq",
    "crisismmd/data_image/hurricane_irma",
)


@dataclass
class Disasters:
    """MEDIC as its archive unpacks: three TSV files beside `data`."""

    root: Path
    rows: dict[str, list[dict[str, str]]] = field(default_factory=lambda: {"train": [], "dev": [], "test": []})
    names: Mapping[str, str] = field(default_factory=dict)

    def fill(self) -> None:
        for split, count in (("train", 42), ("dev", 8), ("test", 14)):
            for number in range(count):
                self.add(split, number)

    def add(self, split: str, number: int = 0, *, path: str = "", image: bool = True, **cells: str) -> Path:
        """A row, and its image; `number` decides what is not given."""
        seed = sum(map(len, self.rows.values()))
        folder = FOLDERS[number % 3]
        path = path or f"data/{folder}/{seed}.jpg"
        # In this source's rows the two first fields stand the wrong way round.
        about = ("ASONAM2017", f"{seed}.jpg") if "ASONAM" in folder else (f"90{seed}_0", "hurricane_irma")
        row = {"image_id": about[0], "event_name": about[1], "image_path": path}
        row |= {
            "damage_severity": SEVERITIES[number % 3],
            "informative": ("informative", "not_informative")[number % 2],
        }
        row |= {"humanitarian": KINDS[number % 4], "disaster_types": TYPES[number % 7]}
        self.rows[split].append(row | cells)
        target = self.root / path
        if image:
            target.parent.mkdir(parents=True, exist_ok=True)
            picture(seed, (80 * (number % 3), 200 * (number % 2), 30 * (number % 7)), (60, 48)).save(target, "JPEG")
        return target

    def write(self, *, columns: Sequence[str] = TSV, start: str = "", line_end: str = "\n") -> Path:
        self.root.mkdir(parents=True, exist_ok=True)
        for split, rows in self.rows.items():
            text = io.StringIO(newline="")
            writer = csv.DictWriter(text, columns, delimiter="\t", lineterminator=line_end, extrasaction="ignore")
            writer.writeheader()
            writer.writerows(rows)
            (self.root / self.names.get(split, f"MEDIC_{split}.tsv")).write_bytes((start + text.getvalue()).encode())
        return self.root


@pytest.fixture
def disasters(tmp_path) -> Disasters:
    tree = Disasters(tmp_path / "MEDIC")
    tree.fill()
    return tree
