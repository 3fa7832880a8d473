"""Icons of 1,512 objects in 6 weights: weight and categories; unseen while training: section, family, direction.

Phosphor Icons by Helena Zhang and Tobias Fried, https://phosphoricons.com, as published in the npm package
`@phosphor-icons/core`. Licence: MIT. The package (1.4 MB) is downloaded once and checked against its published hash;
npm is not needed. `pip install "mscon[icons]"` brings what draws the pictures.
"""

from __future__ import annotations

import importlib.metadata
import io
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import PIL
from PIL import Image

from mscon.data.table.split import draw_split
from mscon.errors import TableError, counted, first_few
from mscon.run.progress import ProgressBar
from mscon_paper.icon_catalogue import Icon, read_catalogue
from mscon_paper.npm_package import NpmPackage
from mscon_paper.rendered import Rendered

PACKAGE = NpmPackage(
    name="@phosphor-icons/core",
    version="2.1.1",
    sha512="v4ARvrip4qBCImOE5rmPUylOEK4iiED9ZyKjcvzuezqMaiRASCHKcRIuvvxL/twvLpkfnEODCOJp5dM4eZilxQ==",
    size=1_443_064,
)
WEIGHTS = ("thin", "light", "regular", "bold", "fill", "duotone")
COLUMNS = ("image", "split", "object", "weight", "categories", "section", "family", "direction", "style", "tags")

# Counts up with every change of what is drawn or written, so that older folders are made anew.
_VERSION = 1
_STYLES = {"fill": "fill", "duotone": "duotone"}  # the others are outlines
_SHARES = (0.7, 0.1, 0.2)


def prepare(root: Path, *, size: int = 64, seed: int = 0, unseen_share: float = 0.15) -> Path:
    """Draw the icons, unless they are there already, and return the table's path.

    Writes the package's archive, `icons.csv` (the columns of COLUMNS, a row an image), a folder with the images, and
    last `icons.json` with the settings and versions they were made with. A later call that finds the same settings
    and versions there returns at once. One that finds the archive downloads nothing. Nothing else in `root` is touched.

    An icon is drawn black on white; a duotone has grey areas. Of the images that are equal pixel by pixel (an object
    whose weights look alike) none is kept: their labels contradict each other. How many is said on standard error.

    Cells of `categories` and `tags` are sets, separated by ";". `categories` are those of the set's website, `section`
    is the one category in the designers' own library. `family` is the first word of the object's name. `direction`
    (up, down, left, right) is read from the name, and is missing where that has none, or two. `style` (outline, fill,
    duotone) follows from the weight.

    All images of an object are in one split. Whole families are held out as split `unseen`; the other objects are 70 %
    train, 10 % validation, 20 % test. The choice is the same on every machine.

    Args:
        root: folder to write to; made if it is not there.
        size: side of the images in pixels.
        seed: of the splits.
        unseen_share: share of the objects that are held out.

    Raises:
        TableError: if the extra is not installed, or the package cannot be downloaded, or is not the published one.
        RunError: if files of another making lie where these go.
        ValueError: if a setting makes no sense.
    """
    if not 16 <= size <= 512 or not 0 <= unseen_share <= 0.5:
        raise ValueError(f"size must be from 16 to 512 and unseen_share from 0 to 0.5, got {size} and {unseen_share}.")
    record = {
        "version": _VERSION,
        "settings": {"size": size, "seed": seed, "unseen_share": unseen_share},
        "package": f"{PACKAGE.name} {PACKAGE.version}",
        "sha512": PACKAGE.sha512,
        "resvg": _renderer_version(),
        "pillow": PIL.__version__,
    }
    rendered = Rendered("icons", root, COLUMNS, record)
    if not rendered.is_there():
        rendered.need_free()
        files = PACKAGE.fetch(root)
        icons = read_catalogue(files)
        drawn = {_path(icon, weight): image for icon, weight, image in _draw(icons, files, size)}
        copies = Counter(image.tobytes() for image in drawn.values())
        images = {path: image for path, image in drawn.items() if copies[image.tobytes()] == 1}
        rendered.write(images, _rows(icons, images, _splits(icons, unseen_share, seed)))
        equal = [path for path in drawn if path not in images]
        print(
            f"icons: {counted(len(icons), 'object')} in {len(WEIGHTS)} weights, {counted(len(images), 'image')}; "
            f"{len(equal)} left out because they are equal to another" + (f": {first_few(equal)}" if equal else ""),
            file=sys.stderr,
        )
    return rendered.table


def _renderer_version() -> str:
    try:
        return importlib.metadata.version("resvg_py")
    except importlib.metadata.PackageNotFoundError:
        raise TableError('icons are drawn by resvg-py. Install it with: pip install "mscon[icons]"') from None


def _path(icon: Icon, weight: str) -> str:
    """Inside the folder of images."""
    return f"{weight}/{icon.name}.png"


def _draw(icons: Sequence[Icon], files: Mapping[str, bytes], size: int) -> Iterator[tuple[Icon, str, Image.Image]]:
    import resvg_py

    with ProgressBar("drawing icons", len(icons)) as bar:
        for icon in icons:
            for weight in WEIGHTS:
                suffix = "" if weight == "regular" else f"-{weight}"
                png = resvg_py.svg_to_bytes(
                    svg_string=files[f"assets/{weight}/{icon.name}{suffix}.svg"].decode(),
                    background="white",
                    width=size,
                    height=size,
                    skip_system_fonts=True,
                )
                yield icon, weight, Image.open(io.BytesIO(png)).convert("L")
            bar.advance()


def _splits(icons: Sequence[Icon], unseen_share: float, seed: int) -> dict[str, str]:
    """Object -> split."""
    by_family = draw_split(len(icons), (1 - unseen_share, 0.0, unseen_share), seed, [icon.family for icon in icons])
    splits = {icon.name: "unseen" for icon, split in zip(icons, by_family, strict=True) if split != "train"}
    others = [icon.name for icon in icons if icon.name not in splits]
    return splits | dict(zip(others, draw_split(len(others), _SHARES, seed, others), strict=True))


def _rows(icons: Sequence[Icon], images: Mapping[str, Image.Image], splits: Mapping[str, str]) -> list[tuple[str, ...]]:
    return [
        (
            *(_path(icon, weight), splits[icon.name], icon.name, weight, ";".join(icon.categories), icon.section),
            *(icon.family, icon.direction, _STYLES.get(weight, "outline"), ";".join(icon.tags)),
        )
        for icon in icons
        for weight in WEIGHTS
        if _path(icon, weight) in images
    ]
