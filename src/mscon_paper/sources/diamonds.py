"""Diamonds, 53,940 rows of columns: cut, colour and clarity; unseen while training: size and price per carat.

The data set `diamonds` of ggplot2 (Wickham 2016, https://ggplot2.tidyverse.org/reference/diamonds.html), as the
package `plotnine` carries it. Licence: MIT, of both. `pip install "mscon[diamonds]"` brings it. Only this file of the
package is read, so `pip install --no-deps plotnine` is enough.
"""

from __future__ import annotations

import csv
import hashlib
import importlib.metadata
import io
import sys
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

from mscon.data.table.split import draw_split
from mscon.errors import TableError, counted
from mscon.run import atomic, outputs
from mscon_paper.prepared import csv_line, table_path

LEVELS: Mapping[str, tuple[str, ...]] = {
    "cut": ("Fair", "Good", "Very Good", "Premium", "Ideal"),
    "color": ("J", "I", "H", "G", "F", "E", "D"),
    "clarity": ("I1", "SI2", "SI1", "VS2", "VS1", "VVS2", "VVS1", "IF"),
    "size": ("below half", "half to one", "one to one and a half", "one and a half or more"),
}
"""Columns that are ordered, and their levels, the worst or smallest first."""

COLUMNS = (
    *("stone", "split", "carat", "depth", "table", "x", "y", "z", "price"),
    *("cut", "color", "clarity", "size", "price_per_carat"),
)

_PACKAGE = "plotnine"
_FILE = "plotnine/data/diamonds.csv"
_SHA256 = "9574730b03aba241d899c4a97511c5061b19358fab89510774fb6c24168345c4"
_MEASURES = ("carat", "depth", "table", "x", "y", "z")
_LENGTHS = ("x", "y", "z")
_BOUNDS = (0.5, 1.0, 1.5)  # carats at which `size` goes up a level
_SHARES = (0.7, 0.1, 0.2)
_INSTALL = 'Install it with: pip install "mscon[diamonds]"'


def prepare(root: Path, *, seed: int = 0) -> Path:
    """Write the table `diamonds.csv` into `root`, and say on standard error what became of rows and cells.

    Columns: what is measured of a stone, `carat` (0.2 g), `x`, `y`, `z` (mm), `depth` (z in % of the mean of x and y),
    `table` (width of the top in % of the widest point), and `price` (US dollars); how it is graded, `cut`, `color` and
    `clarity`; and two that follow from these, `size` (levels of carat) and `price_per_carat`. LEVELS holds the orders.
    No colour, cut or clarity can be read off one measure, and the colour hardly off all of them: it shows in the price.

    A length of 0 mm is not possible, so that cell is left empty. Stones whose measures are all equal, be it one that is
    listed twice, share a number in the column `stone` and lie in one split: 70 % of the rows are train, 10 % validation
    and 20 % test, the same on every machine. All rows stay.

    Args:
        root: folder to write to; made if it is not there.
        seed: of the split.

    Raises:
        TableError: if the package is not installed, or holds another table.
        RunError: if a diamonds.csv of another making is there, or it cannot be written.
    """
    path = table_path("diamonds", root, COLUMNS, "")
    stones = list(csv.DictReader(io.StringIO(_content().decode("utf-8"))))
    number_of: dict[tuple[str, ...], int] = {}
    numbers = [number_of.setdefault(tuple(s[m] for m in _MEASURES), len(number_of) + 1) for s in stones]
    splits = draw_split(len(stones), _SHARES, seed, [str(number) for number in numbers])
    lines = [csv_line(COLUMNS)]
    for stone, number, split in zip(stones, numbers, splits, strict=True):
        carat = float(stone["carat"])
        cells = stone | {"stone": str(number), "split": split}
        cells |= {name: "" for name in _LENGTHS if float(stone[name]) == 0}
        cells["size"] = LEVELS["size"][sum(carat >= bound for bound in _BOUNDS)]
        cells["price_per_carat"] = f"{float(stone['price']) / carat:.2f}"
        lines.append(csv_line([cells[column] for column in COLUMNS]))
    with outputs.writing(path, "Name another folder than ROOT."):
        atomic.write_bytes(path, "".join(lines).encode("utf-8"))
    shared = sum(count for count in Counter(numbers).values() if count > 1)
    impossible = sum(any(float(stone[name]) == 0 for name in _LENGTHS) for stone in stones)
    print(
        f"diamonds: {counted(len(stones), 'row')}; {shared:,} share all measures with another row, and a split; "
        f"{impossible} with a length of 0 mm, which is left empty",
        file=sys.stderr,
    )
    return path


def _content() -> bytes:
    """The file, found without importing its package."""
    try:
        distribution = importlib.metadata.distribution(_PACKAGE)
        content = Path(str(distribution.locate_file(_FILE))).read_bytes()
    except (importlib.metadata.PackageNotFoundError, OSError):
        raise TableError(
            f"diamonds are a table in the package '{_PACKAGE}', which is not installed. {_INSTALL}"
        ) from None
    if hashlib.sha256(content).hexdigest() != _SHA256:
        raise TableError(
            f"the table of diamonds in the package '{_PACKAGE}' {distribution.version} is not the published one "
            f"(its sha256 is another one). Versions 0.12.4 to 0.15.9 hold it: pip install --force-reinstall --no-deps "
            f"{_PACKAGE}==0.15.9"
        )
    return content
