"""Glyphs of 60 font families: character, slant, weight; unseen while training: family and category.

Rendered here from the packages `fontpkg-<family>`, which carry the font files of Google Fonts unchanged.
Licence: each family has its own, SIL Open Font License 1.1 or (a few) Apache 2.0, in its package; both
allow rendering text and passing the pictures on. `pip install "mscon[fonts]"` brings them.
"""

from __future__ import annotations

import functools
import hashlib
import json
import string
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import PIL
from PIL import Image, ImageDraw, ImageFont, features

from mscon.errors import TableError
from mscon_paper.font_families import FontFamily, choose
from mscon_paper.rendered import Rendered

COLUMNS = ("image", "split", "character", "slant", "weight", "weight_number", "category", "family")
WEIGHT_BINS = {300: "light", 500: "regular", 700: "bold", 900: "black"}
"""The word of a weight is that of the first bound it does not exceed: light 100 to 300, regular 400 and
500, bold 600 and 700, black 800 and 900."""

# Counts up with every change of what is drawn or chosen, so that older folders are made anew.
_VERSION = 1
# The size of the letters, and where they stand, as shares of the image's side. Ascenders reach 0.75 em
# above the line and descenders 0.25 em below it in most faces, so this leaves equal margins.
_EM, _LINE = 0.85, 0.72
_SHARES = {"train": 0.7, "validation": 0.1}  # the rest is test
_NO_CHARACTER = "\U0010ffff"  # assigned to nothing, so drawn with a face's "missing" box


@dataclass(frozen=True, slots=True)
class _Glyph:
    """One image and what is known about it."""

    family: FontFamily
    slant: str
    weight: int
    character: str
    image: Image.Image

    @property
    def path(self) -> str:
        """Inside the folder of images. By number, since files called a.png and A.png may be one."""
        return f"{self.family.slug}/{self.slant}-{self.weight}-u{ord(self.character):04x}.png"


def prepare(
    root: Path,
    *,
    size: int = 24,
    characters: str = string.ascii_lowercase,
    per_family: int = 200,
    seed: int = 0,
    families: Sequence[str] | None = None,
    unseen_families: int = 13,
) -> Path:
    """Render the glyphs, unless they are there already, and return the table's path.

    Writes `glyphs.csv` (the columns of COLUMNS, a row an image), a folder with the images, and last
    `glyphs.json` with the settings and versions they were made with. A later call that finds the same
    settings and versions there returns at once. Nothing else in `root` is touched.

    A glyph is drawn black on white, anti-aliased, at 0.85 em on one line for all, centred from left to
    right: so weight is the thickness of its strokes, slant their direction, and x-height and descenders
    are kept. What would stick out is moved inside, and made smaller only where it would not fit at all.
    A variable font gives the multiples of 100 on its weight axis, its other axes at their defaults.

    Of the images that are equal pixel by pixel (the two cases of caps-only fonts) none is kept: their
    labels contradict each other. A family then keeps at most `per_family` images. Whole families are
    held out as split `unseen`, going round the categories, none of which loses its last family; the
    images of all others are 70 % train, 10 % validation, 20 % test. All choices go by a hash of the
    seed and of what is chosen from, so that they are the same on every machine.

    Args:
        root: folder to write to; made if it is not there.
        size: side of the images in pixels.
        characters: which ones; a face without one of them is left out for it.
        per_family: most images a family may have.
        seed: of all choices.
        families: packages without "fontpkg-", such as "roboto"; by default those of the extra `fonts`.
        unseen_families: how many families to hold out.

    Raises:
        TableError: if families are not installed, or too few to hold so many out.
        RunError: if a glyphs.csv or glyphs.json of another making is there.
        ValueError: if a setting makes no sense.
    """
    if not 8 <= size <= 512 or per_family < 1 or unseen_families < 0:
        raise ValueError(
            f"size must be from 8 to 512, per_family at least 1 and unseen_families at least 0, "
            f"got {size}, {per_family} and {unseen_families}."
        )
    if not characters or len(set(characters)) < len(characters):
        raise ValueError(f"characters must be some, each once, got {characters!r}.")
    selected = choose(families)
    unseen = _hold_out(selected, unseen_families, seed)
    record = {
        "version": _VERSION,
        "settings": {
            "size": size,
            "characters": characters,
            "per_family": per_family,
            "seed": seed,
            "unseen": unseen,
        },
        "families": {family.slug: family.version for family in selected},
        "pillow": PIL.__version__,
        "freetype": features.version("freetype2"),
    }
    rendered = Rendered("glyphs", root, COLUMNS, record)
    if not rendered.is_there():
        rendered.need_free()
        glyphs = _draw(selected, size, characters, per_family, seed)
        rendered.write({glyph.path: glyph.image for glyph in glyphs}, _rows(glyphs, unseen, seed))
    return rendered.table


def _lot(seed: int, *words: object) -> bytes:
    """A random number that belongs to `words`: the same on every machine, whatever else is chosen from."""
    return hashlib.sha256(json.dumps([seed, *map(str, words)]).encode()).digest()


def _hold_out(families: Sequence[FontFamily], number: int, seed: int) -> list[str]:
    """Slugs of the families that no training sees: one from each category in turn, the largest first."""
    sizes = Counter(family.category for family in families)
    queues = {
        category: sorted(
            (f.slug for f in families if f.category == category), key=lambda slug: _lot(seed, "unseen", slug)
        )[: sizes[category] - 1]
        for category in sorted(sizes, key=lambda category: (-sizes[category], category))
    }
    available = sum(map(len, queues.values()))
    if available < number:
        raise TableError(
            f"{number} font families are to be held out, but of the {len(families)} chosen only {available} can be, "
            "since every category keeps one. Choose more families, or hold out fewer."
        )
    turns = [queue[turn] for turn in range(number) for queue in queues.values() if turn < len(queue)]
    return sorted(turns[:number])


# Drawing ------------------------------------------------------------------------------------------


def _draw(families: Sequence[FontFamily], size: int, characters: str, per_family: int, seed: int) -> list[_Glyph]:
    """All glyphs to keep, by family, face and character."""
    drawn = [glyph for family in families for glyph in _draw_family(family, size, characters)]
    copies = Counter(glyph.image.tobytes() for glyph in drawn)
    glyphs = []
    for family in families:
        unique = [g for g in drawn if g.family is family and copies[g.image.tobytes()] == 1]
        of_family = sorted(unique, key=lambda g: _lot(seed, "kept", g.path))[:per_family]
        glyphs += sorted(of_family, key=lambda g: g.path)
    return glyphs


def _draw_family(family: FontFamily, size: int, characters: str) -> Iterator[_Glyph]:
    for file in family.files:
        slant = "italic" if file["style"] == "italic" else "upright"
        least, most = family.weight_range
        weights = [w for w in range(100, 1000, 100) if least <= w <= most] if file["variable"] else [file["weight"]]
        for weight in weights:
            path, axis = family.folder / file["path"], weight if file["variable"] else None
            font_at = functools.cache(functools.partial(_open_font, path, axis))
            missing = _draw_character(font_at, _NO_CHARACTER, size)
            for character in characters:
                image = _draw_character(font_at, character, size)
                if image is not None and (missing is None or image.tobytes() != missing.tobytes()):
                    yield _Glyph(family, slant, weight, character, image)


def _open_font(path: Path, weight: int | None, em: float) -> ImageFont.FreeTypeFont:
    """A face at `em` pixels; of a variable font the one of that weight."""
    # The basic layout is the one that every build of Pillow has.
    font = ImageFont.truetype(str(path), em, layout_engine=ImageFont.Layout.BASIC)
    if weight is not None:
        axes = font.get_variation_axes()
        font.set_variation_by_axes([weight if axis["name"] == b"Weight" else axis["default"] or 0 for axis in axes])
    return font


def _draw_character(
    font_at: Callable[[float], ImageFont.FreeTypeFont], character: str, size: int
) -> Image.Image | None:
    """Black on white, or None if there is nothing to see."""
    em = _EM * size
    while True:
        # Drawn with room on all sides first: fonts do not tell reliably where their ink ends.
        room = Image.new("L", (4 * size, 4 * size))
        ImageDraw.Draw(room).text((2 * size, 2 * size), character, fill=255, font=font_at(em), anchor="ls")
        box = room.getbbox()
        if box is None:
            return None
        left, top, right, bottom = box
        longest = max(right - left, bottom - top)
        if longest <= size:
            break
        em *= 0.97 * size / longest
    x = (size - (right - left)) // 2
    y = min(max(round(_LINE * size) + top - 2 * size, 0), size - (bottom - top))
    image = Image.new("L", (size, size), 255)
    image.paste(0, (x, y, x + right - left, y + bottom - top), room.crop(box))
    return image


# Table --------------------------------------------------------------------------------------------


def _rows(glyphs: Sequence[_Glyph], unseen: Sequence[str], seed: int) -> list[tuple[object, ...]]:
    paths = sorted((g.path for g in glyphs if g.family.slug not in unseen), key=lambda path: _lot(seed, "split", path))
    train, validation = (round(share * len(paths)) for share in _SHARES.values())
    splits = dict.fromkeys(paths, "test")
    splits |= dict.fromkeys(paths[:train], "train") | dict.fromkeys(paths[train : train + validation], "validation")
    rows: list[tuple[object, ...]] = []
    for g in glyphs:
        word = next(word for bound, word in WEIGHT_BINS.items() if g.weight <= bound)
        split = splits.get(g.path, "unseen")
        rows.append((g.path, split, g.character, g.slant, word, g.weight, g.family.category, g.family.name))
    return rows
