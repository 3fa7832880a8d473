"""Search requests of strangers: to the index in Python, to the reader of requests, and raw bytes to the server."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from mscon.errors import MSConError, RunError
from mscon.search.explorer.answers import Answers
from mscon.search.explorer.server import ExplorerServer
from mscon.search.index import Index, open_index
from reliability.fuzz.hostile import Edit, changed, changes, edited, edits, json_texts, leaves, numbers, values, words
from reliability.fuzz.surface import Surface
from search.conftest import COLUMNS, build_run, fit_run

_KNOWN = st.sampled_from(
    (
        *COLUMNS,
        "line",
        "image",
        "split",
        "kind=boots",
        "heel>=2",
        "line:3",
        "row:1",
        "0.png",
        "17",
        "height",
        "make",
        "text:a",
        "[1, 2, 3, 4, 5, 6]",
        '{"height": 1, "make": "x"}',
        "file:0.png",
        "heel=higher",
        "price=lower",
    )
)
_texts = words | _KNOWN | st.tuples(_KNOWN, st.sampled_from(("=", ">", "<=", "..", ":", "=..")), words).map("".join)
_rows = st.dictionaries(_KNOWN, values, max_size=2) | st.lists(numbers, min_size=5, max_size=7).map(np.array)
_queries = leaves | _texts | _rows
_weighted = _queries | st.tuples(_queries, leaves)
_moves = st.dictionaries(_KNOWN, values | st.tuples(leaves, leaves), max_size=2) | st.lists(_texts, max_size=2) | leaves


def _mostly(usual: tuple[Any, ...], odd: SearchStrategy[Any]) -> SearchStrategy[Any]:
    """Requests of which one part is odd, and seldom all."""
    return st.integers(0, 3).flatmap(lambda number: odd if not number else st.sampled_from(usual))


class Searches(Surface):
    """`Index.search`: a mistake of whoever calls it in Python is a ValueError or a TypeError that says so."""

    tries, share = 800, 30
    refusals = (MSConError, ValueError)

    def cases(self) -> SearchStrategy[Any]:
        mix = words | st.dictionaries(_KNOWN | words, leaves, max_size=3) | leaves
        filters = _texts | st.lists(_texts, max_size=3) | st.dictionaries(_KNOWN, values, max_size=2) | leaves
        return st.tuples(
            st.sampled_from(("image", "image", "vectors", "columns")),
            _mostly(
                (1, "line:3", [2, "0.png"], {"kind": "boots"}, "closure=zip"),
                _queries | st.lists(_weighted, max_size=3),
            ),
            _mostly(([], 5, [(7, 0.5)]), st.lists(_weighted, max_size=2)),
            _mostly((None, "kind=shoes", {"heel": "higher"}, {"heel": (3, 0.5)}), _moves),
            _mostly((None, "kind=1,heel=2", {"closure": 1e-300, "heel": 1e300}), mix),
            _mostly((1, 3, 100), numbers),
            _mostly((None, [], ["heel>=1", "kind=boots"], {"heel": (1, None), "gender": ["women", "men"]}), filters),
        )

    def prepare(self, folder: Path) -> dict[str, Index]:
        around = folder / "around"
        runs = {"image": build_run(around)} | {kind: fit_run(around, kind) for kind in ("vectors", "columns")}
        return {kind: open_index(run) for kind, run in runs.items()}

    def attempt(self, scene: dict[str, Index], case: Any, folder: Path) -> None:
        kind, query, unlike, towards, mix, k, filters = case
        hits = scene[kind].search(query, unlike=unlike, towards=towards, mix=mix, k=k, filters=filters)
        assert 1 <= len(hits) <= len(scene[kind])
        assert all(np.isfinite(hit.score) and -1.001 <= hit.score <= 1.001 for hit in hits)


@dataclass(frozen=True)
class Served:
    server: ExplorerServer
    answers: Answers


_REQUEST = {
    "mix": {"kind": 1, "heel": 0.5},
    "like": [1],
    "unlike": [2],
    "new": [],
    "weights": {"1": 2, "2": 0.5},
    "towards": [{"column": "heel", "near": 3, "amount": 0.5}, {"column": "kind", "codes": [1], "amount": 1}],
    "middle": {"column": "kind", "codes": [0]},
    "filters": [{"column": "heel", "low": 0.5, "high": 9}, {"column": "closure", "codes": [0, 1], "blank": True}],
    "within": [0, 1, 2, 3, 4, 5, 6, 7],
    "text": "boots",
    "count": 3,
}
_PLACES = (
    "search",
    "browse",
    "rows",
    "upload",
    "encode",
    "thumbnail/1",
    "",
    "../x",
    "%2e%2e/",
    "thumbnail/99999999",
    "x" * 9_000,
)
_HEADS = (
    "Host: evil.example", "Host: 127.0.0.1:1", "Origin: http://evil.example", "Origin: null",
    "Transfer-Encoding: chunked",
    "Content-Length: 99999999999", "Content-Length: -1", "Content-Length: 1e3", "Content-Length: 5, 6",
    "X: " + "y" * 17_000,
    "Expect: 100-continue", "Upgrade: websocket", "Cookie: \xff", "Sec-Fetch-Site: cross-site", ":", "", "a b: c",
    "Range: bytes=0-1", "Content-Encoding: gzip", "Content-Type: text/plain",
)  # fmt: skip


class Requests(Surface):
    """The server over its socket: it answers with a status of 2xx, or refuses with one of 4xx, and goes on."""

    tries, share = 150, 15
    causes = frozenset({"socket.connect"})

    def cases(self) -> SearchStrategy[Any]:
        usual = st.just(json.dumps(_REQUEST))
        body = changes.map(lambda what: json.dumps(changed(json.loads(json.dumps(_REQUEST)), what))) | json_texts
        return st.tuples(
            st.sampled_from(("POST",) * 9 + ("GET", "PUT", "HEAD", "OPTIONS", "\x16\x03\x01", "PRI")),
            st.sampled_from(("search",) * 9 + _PLACES),
            usual | body | values.map(lambda row: json.dumps({"row": row}, default=str)),
            st.just([]) | st.just([]) | st.lists(st.sampled_from(_HEADS), max_size=2),
            st.just([]) | st.just([]) | edits,
        )

    def prepare(self, folder: Path) -> Served:
        answers = Answers(open_index(build_run(folder / "around")).run, seconds=0.0)
        server = ExplorerServer(answers, seconds=3.0)
        threading.Thread(target=server.run, daemon=True).start()
        return Served(server, answers)

    def attempt(self, scene: Served, case: Any, folder: Path) -> None:
        method, place, body, heads, what = case
        if place in ("search", "browse", "rows", "encode"):
            _answered(scene.answers, place, body.encode("utf-8", "surrogatepass"))
        reply = _exchange(scene.server, _request(scene.server, method, place, body, heads, what))
        status = reply.removeprefix(b"HTTP/1.1 100 Continue\r\n\r\n").split(b" ", 2)[1:2]
        assert not status or status[0][:1] in b"24", reply[:300]
        alive = _exchange(scene.server, _request(scene.server, "GET", "thumbnail/1", "", [], []))
        assert alive.startswith(b"HTTP/1.1 200"), alive[:300]
        if status != [b"200"]:
            raise RunError(f"status {status}")


def _answered(answers: Answers, place: str, body: bytes) -> None:
    with contextlib.suppress(MSConError):
        json.dumps(getattr(answers, place)(body), allow_nan=False)


def _request(server: ExplorerServer, method: str, place: str, body: str, heads: list[str], what: list[Edit]) -> bytes:
    content = body.encode("utf-8", "surrogatepass")
    usual = {
        "Host": f"127.0.0.1:{server.port}",
        "Origin": f"http://127.0.0.1:{server.port}",
        "Content-Type": "application/octet-stream" if place == "upload" else "application/json",
        "Content-Length": str(len(content)),
    }
    named = {head.partition(":")[0] for head in heads}
    lines = [f"{name}: {value}" for name, value in usual.items() if name not in named] + heads
    head = f"{method} /{server.token}/{place} HTTP/1.1\r\n" + "\r\n".join(lines) + "\r\n\r\n"
    return edited(head.encode("latin-1", "replace") + content, what)


def _exchange(server: ExplorerServer, sent: bytes) -> bytes:
    reply = b""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", server.port), timeout=8) as connection:
        connection.sendall(sent)
        connection.shutdown(socket.SHUT_WR)
        while part := connection.recv(65_536):
            reply += part
    return reply
