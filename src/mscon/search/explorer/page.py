"""The page: one HTML file that holds everything it shows, computes by itself, and makes no network request."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Shaped

from mscon import __version__
from mscon.errors import RunError, counted
from mscon.evaluate.page import frame
from mscon.evaluate.page.colours import COLOURS
from mscon.method.agreement import DIFFERENT, SAME
from mscon.run import atomic, outputs
from mscon.run.run import Run
from mscon.search.explorer.columns import Alike, Column
from mscon.search.explorer.label_errors import NEAREST, Doubt
from mscon.search.explorer.maps import Maps
from mscon.search.explorer.payload import MOST_ROWS, Gathered, gather

_PACKAGE = "mscon.search.explorer"

_IMPORT = re.compile(r'^import (?:[^"]*? from )?"\./([^"]+)";\n', re.MULTILINE)
_EXPORT = re.compile(r"^export (?=const|let|function|async function|class)", re.MULTILINE)

# A place on a map as two numbers of 16 bits.
_GRID = 65_535


def build_explorer(
    run: Run,
    out: str | Path,
    *,
    most: int = MOST_ROWS,
    images: str | Path | None = None,
    with_images: bool = True,
    name_column: str | None = None,
    seconds: float = 60.0,
    overwrite: bool = False,
) -> Path:
    """Write the explorer of a run.

    Args:
        run: trained and probed.
        out: the HTML file to write, or a folder to write `explorer.html` into; the folder must exist. An
            explorer that is there is replaced.
        most, images, with_images, name_column, seconds: see `gather`.
        overwrite: also replace a file that is no explorer; never one of the run's.

    Returns:
        Path of the HTML file.

    Raises:
        RunError: see `gather`; also if the folder does not exist, a file is in the way, or it cannot be written.
    """
    out, images = Path(out), None if images is None else Path(images)
    path = out if out.suffix.lower() in (".html", ".htm") else out / "explorer.html"
    if not path.parent.is_dir():
        raise RunError(
            f"'{path.parent}' is no folder, so '{path.name}' cannot be written into it. Choose another --out."
        )
    outputs.need_free(
        [path],
        reads=run.files,
        images=run.images,
        is_ours=lambda there: outputs.is_page(there, "explorer"),
        overwrite=overwrite,
    )
    page = render(
        gather(run, most=most, images=images, with_images=with_images, name_column=name_column, seconds=seconds)
    )
    with outputs.writing(path):
        atomic.write_text(path, page)
    return path


def render(gathered: Gathered, served: Mapping[str, Any] | None = None) -> str:
    """The whole page as text.

    Args:
        gathered: what it shows.
        served: what it must know to ask a server for all that it does not hold; None for a page that holds
            everything. It has "columns", with what the page needs of each beyond `gathered`.
    """
    css, script = frame.file_text(_PACKAGE, "explorer.css"), joined_script()
    content = payload(gathered)
    if served is not None:
        content["columns"] = [
            column | dict(more) for column, more in zip(content["columns"], served["columns"], strict=True)
        ]
        content["server"] = {name: value for name, value in served.items() if name != "columns"}
    return (
        frame.environment(_PACKAGE)
        .get_template("explorer.html.j2")
        .render(
            version=__version__,
            policy=frame.content_policy(css, script, served is not None),
            css=frame.trusted(css),
            script=frame.trusted(script),
            data=frame.trusted(island(content)),
            title=gathered.title,
            table=gathered.table,
            rows=counted(gathered.total if served else len(gathered.ids), "row"),
            served=served,
            spaces=len(gathered.spaces),
            note=gathered.note,
            nearest=NEAREST,
        )
    )


def served_policy() -> str:
    """For the header of a page that is served, where it may also forbid to be put into another page."""
    css, script = frame.file_text(_PACKAGE, "explorer.css"), joined_script()
    return frame.content_policy(css, script, served=True) + "; frame-ancestors 'none'"


def island(value: Any) -> str:
    """JSON that can stand inside a script element: nothing in it can end the element or begin a comment."""
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    if any("\ud800" <= sign <= "\udfff" for sign in text):  # half a letter has no UTF-8, but JSON can spell it
        text = json.dumps(value, allow_nan=False, separators=(",", ":"))
    for sign in "<>&\u2028\u2029":
        text = text.replace(sign, f"\\u{ord(sign):04x}")
    return text


def payload(gathered: Gathered) -> dict[str, Any]:
    """What the page's script reads, as JSON values. Arrays are base64 of little-endian numbers."""
    return {
        "rows": len(gathered.ids),
        "total": gathered.total,
        "ids": _packed(gathered.ids, "<i4"),
        "lines": _packed(gathered.lines, "<i4"),
        "names": list(gathered.names),
        "spaces": list(gathered.spaces),
        "dim": int(gathered.vectors.shape[2]),
        "vectors": [_packed(space, "i1") for space in gathered.vectors],
        "columns": [
            _column(column, gathered.doubts.get(number), is_split=number == len(gathered.columns) - 1)
            for number, column in enumerate(gathered.columns)
        ],
        "maps": [_maps(maps) for maps in gathered.maps],
        "pictures": list(gathered.pictures),
        "texts": list(gathered.texts),
        "input": gathered.input,
        "name": gathered.name_column,
        "colours": list(COLOURS),
        "nearest": NEAREST,
        "words": {"same": SAME, "different": DIFFERENT},
    }


def _column(column: Column, doubt: Doubt | None, is_split: bool) -> dict[str, Any]:
    record: dict[str, Any] = {
        "name": column.name,
        "kind": column.kind,
        "space": column.space,
        "split": is_split,
        "labels": list(column.labels),
        "line": column.is_line,
        "alike": None if column.alike is None else _alike(column.alike),
    }
    if column.kind == "number":
        record["values"] = _packed(column.values, "<f8")
    elif column.kind == "name":
        record["texts"] = list(column.texts)
    else:
        record["codes"] = _packed(column.codes, "<i4")
    if column.kind == "path":
        record["parts"] = [list(parts) for parts in column.parts]
    if column.kind == "labels":
        record["sets"] = [list(numbers) for numbers in column.sets]
    if doubt is not None:
        record["doubt"] = _packed(doubt.share, "<f4")
        record["known"] = _packed(doubt.known, "u1")
        record["apart"] = _packed(doubt.apart, "<f4")
        if doubt.predicted:
            record["predicted"] = list(doubt.predicted)
    return record


def _alike(alike: Alike) -> dict[str, Any]:
    if alike.is_equality:
        return {"equal": True}
    if alike.width is not None:
        return {"width": alike.width}
    if alike.sets is not None:
        return {"sets": [list(numbers) for numbers in alike.sets[0]], "by": alike.sets[1]}
    if alike.levels is not None:
        return {"depth": alike.levels.shape[1], "levels": _packed(alike.levels, "<i4")}
    assert alike.table is not None
    # From 0 to 254 hundred-and-so-manieths, which keep "same" and "different" apart from all between; 255 is unknown.
    between = np.clip(np.rint(254 * alike.table), 1, 253)
    steps = np.select([np.isnan(alike.table), alike.table >= SAME, alike.table < DIFFERENT], [255, 254, 0], between)
    return {"size": len(alike.table), "table": _packed(steps, "u1"), "values": alike.values.tolist()}


def _maps(maps: Maps) -> dict[str, Any]:
    return {
        "pca": _packed(np.rint(maps.flat * _GRID), "<u2"),
        "share": round(maps.share, 3),
        "tsne": None if maps.near is None else _packed(np.rint(maps.near * _GRID), "<u2"),
        "landmarks": maps.landmarks,
    }


def _packed(values: Shaped[np.ndarray, "values ..."], kind: str) -> str:
    return base64.b64encode(np.ascontiguousarray(values).astype(kind).tobytes()).decode("ascii")


def joined_script() -> str:
    """The modules of the script as one, in the order of their imports: a module stands behind those it imports."""
    modules: dict[str, str] = {}

    def add(name: str) -> None:
        if name in modules:
            return
        modules[name] = ""  # modules that import each other: the first to be met stands last
        text = frame.file_text(_PACKAGE, f"js/{name}")
        for imported in _IMPORT.findall(text):
            add(imported)
        del modules[name]
        modules[name] = _EXPORT.sub("", _IMPORT.sub("", text)).strip()

    add("main.mjs")
    return '"use strict";\n(() => {\n' + "\n\n".join(modules.values()) + "\n})();\n"
