"""The server over real sockets: what it answers, what it refuses, and that nobody else gets anything out of it."""

from __future__ import annotations

import base64
import contextlib
import http.client
import io
import json
import signal
import socket
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from PIL import Image

from mscon.cli import main
from mscon.errors import RunError
from mscon.run import checksums
from mscon.run.run import Run
from mscon.search.explorer import server as servers
from mscon.search.explorer.answers import Answers
from mscon.search.explorer.server import ExplorerServer

from .conftest import HOSTILE, make_run

Serving = Callable[..., ExplorerServer]
KINDS = ("kind", "closure", "size", "shape", "heel")
EQUAL = dict.fromkeys(KINDS, 1)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def content(self):
        return json.loads(self.body)

    @property
    def message(self) -> str:
        assert self.headers["Content-Type"] == "application/json"
        assert set(self.content) == {"message"}
        return self.content["message"]


def ask(server: ExplorerServer, method: str, path: str, body: bytes | None = None, **headers: str | None) -> Answer:
    """A request; headers by their names with _ for -, None to leave one out."""
    fields: dict[str, str | None] = {"Host": f"127.0.0.1:{server.port}"}
    if body is not None:
        fields |= {"Content-Length": str(len(body)), "Content-Type": "application/json"}
    if method == "POST":
        fields["Origin"] = f"http://127.0.0.1:{server.port}"
    fields |= {name.replace("_", "-"): value for name, value in headers.items()}
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", server.port, timeout=20)) as connection:
        connection.putrequest(method, path, skip_host=True, skip_accept_encoding=True)
        for name, value in fields.items():
            if value is not None:
                connection.putheader(name, value)
        connection.endheaders()
        if body:
            connection.send(body)
        response = connection.getresponse()
        return Answer(
            response.status, {name.title(): value for name, value in response.headers.items()}, response.read()
        )


def get(server: ExplorerServer, place: str, **headers: str | None) -> Answer:
    return ask(server, "GET", f"/{server.token}/{place}", **headers)


def post(server: ExplorerServer, place: str, content: object, **headers: str | None) -> Answer:
    return ask(server, "POST", f"/{server.token}/{place}", json.dumps(content).encode(), **headers)


def upload(server: ExplorerServer, data: bytes, **headers: str | None) -> Answer:
    kind = {"Content_Type": "application/octet-stream"}
    return ask(server, "POST", f"/{server.token}/upload", data, **{**kind, **headers})


def raw(server: ExplorerServer, sent: bytes, half_close: bool = True) -> bytes:
    """All that comes back."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(sent)
        if half_close:
            connection.shutdown(socket.SHUT_WR)
        response = b""
        with contextlib.suppress(ConnectionError):
            while part := connection.recv(65_536):
                response += part
    return response


def island(page: Answer):
    text = page.body.decode().partition('id="data">')[2].partition("</script>")[0]
    return json.loads(text)


@pytest.fixture(scope="module")
def answers(shoes: Run) -> Answers:
    return Answers(shoes, seconds=0.0)


@pytest.fixture(scope="module")
def glyph_answers(glyph_run: Run) -> Answers:
    return Answers(glyph_run, seconds=0.0)


@pytest.fixture
def server(serving: Serving, answers: Answers) -> ExplorerServer:
    return serving(answers)


def png(side: int = 24) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (side, side, 3), dtype=np.uint8)).save(file, "png")
    return file.getvalue()


# What it answers ------------------------------------------------------------------------------------


def test_the_page_holds_the_rows_of_the_map_and_neither_vectors_nor_pictures(server):
    page = get(server, "")
    assert page.status == 200 and page.headers["Content-Type"] == "text/html; charset=utf-8"
    content = island(page)
    assert content["rows"] == content["total"] == 60
    assert set(content["vectors"]) == {""} and content["pictures"] == []
    assert content["server"]["uploads"] is True and content["server"]["pictures"] is True
    kind = next(column for column in content["columns"] if column["name"] == "kind")
    assert sum(kind["counts"]) == 59 and kind["blank"] == 1
    assert HOSTILE.encode() not in page.body


def test_every_answer_is_kept_by_nobody_and_is_only_what_it_says(server):
    for answer in (get(server, ""), get(server, "thumbnail/3"), post(server, "browse", {}), get(server, "nothing")):
        content = answer.headers
        assert content["Cache-Control"] == "no-store" and content["X-Content-Type-Options"] == "nosniff"
        assert content["X-Frame-Options"] == "DENY" and content["Cross-Origin-Resource-Policy"] == "same-origin"
        assert content["Referrer-Policy"] == "same-origin" and content["Connection"] == "close"
        assert content["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert "frame-ancestors 'none'" in content["Content-Security-Policy"]
        assert "unsafe" not in content["Content-Security-Policy"] and "http" not in content["Content-Security-Policy"]
        assert not [name for name in content if name.startswith("Access-Control")]
        assert content["Server"] == "mscon" and "Python" not in str(content)


def test_a_search_is_the_definition(server, shoes):
    vectors = shoes.read_projections().astype(np.float64)
    vectors /= np.linalg.norm(vectors, axis=2, keepdims=True)
    mix = {"kind": 20, "closure": 70, "heel": 100}
    goal = vectors[:, [3, 40]].mean(axis=1) - vectors[:, 17]
    goal /= np.linalg.norm(goal, axis=1, keepdims=True)
    shares = np.array([20, 70, 0, 0, 100]) / 190
    by_space = np.einsum("sd,srd->sr", goal, vectors)
    score = shares @ by_space
    score[[3, 40, 17]] = -np.inf
    content = post(server, "search", {"mix": mix, "like": [3, 40], "unlike": [17], "count": 12}).content
    np.testing.assert_allclose(content["scores"], np.sort(score)[::-1][:12], atol=2e-3)
    np.testing.assert_allclose(content["parts"], by_space[:, content["rows"]], atol=2e-3)
    assert content["passing"] == 57
    assert content["lines"] == [row + 2 for row in content["rows"]]
    assert content["names"] == [f"{row:05d}.png" for row in content["rows"]]


def test_the_middle_of_a_label_is_one_example_and_its_rows_are_answers(server, shoes):
    content = island(get(server, ""))
    column = next(column for column in content["columns"] if column["name"] == "kind")
    code = column["labels"].index("boots")
    question = {"mix": {"kind": 1}, "middle": {"column": "kind", "codes": [code]}, "count": 10}
    nearest = post(server, "search", question).content
    assert [shoes.read_rows()["kind"][row] for row in nearest["rows"]] == ["boots"] * 10
    assert nearest["passing"] == 60


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        ([{"column": "heel", "low": 3, "high": 6.5}], lambda row: row["heel"] and 3 <= float(row["heel"]) <= 6.5),
        ([{"column": "heel", "high": 1, "blank": True}], lambda row: not row["heel"] or float(row["heel"]) <= 1),
        ([{"column": "kind", "blank": True}], lambda row: row["kind"] is None),
        ([{"column": "kind", "codes": [1]}, {"column": "heel", "low": 6}], lambda row: row["kind"] == "boots"
         and float(row["heel"] or -1) >= 6),
        ([{"column": "split", "codes": [0]}], lambda row: row["split"] == "test"),
    ],
)  # fmt: skip
def test_filters_let_through_what_they_say(server, shoes, filters, expected):
    content = post(server, "browse", {"filters": filters, "count": 240}).content
    goal = {n for n, row in enumerate(shoes.read_rows().iter_rows(named=True)) if expected(row)}
    assert set(content["rows"]) == goal and content["passing"] == len(goal) > 0
    searched = post(server, "search", {"mix": EQUAL, "like": [0], "filters": filters, "count": 240}).content
    assert set(searched["rows"]) == goal - {0}


def test_rows_within_a_selection(server):
    content = post(server, "search", {"mix": EQUAL, "like": [5], "within": [5, 9, 11]}).content
    assert set(content["rows"]) == {9, 11}
    assert post(server, "search", {"mix": EQUAL, "like": [5], "within": [5]}).content["rows"] == []
    assert post(server, "browse", {"within": []}).content["passing"] == 0


def test_browsing_goes_on_where_it_was(server):
    few, more = (post(server, "browse", {"count": count}).content["rows"] for count in (24, 48))
    assert more[:24] == few and len(set(more)) == 48 and few != sorted(few)


def test_a_thumbnail_is_a_webp_of_that_row(server):
    answer = get(server, "thumbnail/3")
    assert (answer.status, answer.headers["Content-Type"]) == (200, "image/webp")
    image = Image.open(io.BytesIO(answer.body), formats=("WEBP",)).convert("RGB")
    assert image.size == (32, 32)
    assert np.asarray(image)[:, :, 0].min() > 200, "row 3 is red"


def test_pictures_that_are_gone_or_outside_are_told_and_nothing_of_them_is_read(shoes, serving, tmp_path):
    run = make_run(tmp_path / "run")
    run.write_checkpoint("last", {}, {"epoch": 1})
    run.write_features(run.read_features(), run.read_projections())
    pictures = tmp_path / "run-images"
    secret = tmp_path / "secret.png"
    secret.write_bytes(png())
    (pictures / "00001.png").unlink()
    (pictures / "00002.png").unlink()
    (pictures / "00002.png").symlink_to(secret)
    (pictures / "00003.png").write_bytes(b"no image")
    server = serving(Answers(run, seconds=0.0))
    for row in (1, 2, 3):
        assert "no picture" in get(server, f"thumbnail/{row}").message
    assert get(server, "thumbnail/4").status == 200
    for file in pictures.iterdir():
        file.unlink()
    with pytest.raises(RunError, match=r"12 images that were tried none can be read"):
        Answers(run, seconds=0.0)
    assert island(get(serving(Answers(run, with_images=False, seconds=0.0)), ""))["server"]["pictures"] is False


def test_an_uploaded_glyph_finds_its_letter(serving, glyph_answers, glyph_run):
    server = serving(glyph_answers)
    rows = glyph_run.read_rows()
    row = int(np.flatnonzero((rows["split"] == "test").to_numpy())[7])
    data = (glyph_answers._pictures.folder / rows["image"][row]).read_bytes()
    content = upload(server, data).content
    assert content["picture"].startswith("data:image/webp;base64,")
    nearest = post(server, "search", {"mix": {"character": 1}, "new": [content["new"]], "count": 10}).content
    assert row in nearest["rows"] and nearest["scores"][0] > 0.999
    same = [rows["character"][hit] == rows["character"][row] for hit in nearest["rows"]]
    assert sum(same) >= 8
    both = {"mix": {"character": 1}, "new": [content["new"]], "like": [0], "unlike": [5], "count": 1}
    assert post(server, "search", both).status == 200


def test_uploads_are_kept_in_memory_and_only_the_last_of_them(serving, glyph_answers, glyph_run, monkeypatch):
    from mscon.search.explorer import new_examples as module

    monkeypatch.setattr(module, "_MOST", 2)
    server = serving(glyph_answers)
    before = sorted(glyph_run.root.rglob("*"))
    names = [upload(server, png(20 + n)).content["new"] for n in range(3)]
    question = {"mix": {"character": 1}, "count": 1}
    assert post(server, "search", {**question, "new": names[1:]}).status == 200
    assert "1 new row of the query" in post(server, "search", {**question, "new": names}).message
    assert sorted(glyph_run.root.rglob("*")) == before


# Whom it refuses --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "path",
    [
        "/", "/{token}", "/{token}/index.html", "/{token}/../", "/{token}//", "/{token}/?a=1", "/{token}/search/",
        "/{token}/thumbnail/", "/{token}/thumbnail/60", "/{token}/thumbnail/-1", "/{token}/thumbnail/1.png",
        "/{token}/thumbnail/../../../../etc/passwd", "/{token}/thumbnail/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/{token}/thumbnail//etc/passwd", "/{token}/thumbnail/00000.png", "/{token}/thumbnail/1%00", "/etc/passwd",
        "/{token}/thumbnail/%D9%A3", "/{token}/thumbnail/99999999999999999999", "/{token}/recipe.toml",
        "/../../etc/passwd",
        "//{token}/search", "/{token}/run.json", "/{token}/%2e%2e/recipe.toml", "/{token}\\..\\recipe.toml",
        "http://127.0.0.1/{token}/", "/{wrong}/", "/{wrong}/thumbnail/1", "*", "/{token}/rows", "/{token}/upload",
    ],
)  # fmt: skip
def test_an_address_that_is_not_on_the_list_is_nowhere(server, path):
    path = path.format(token=server.token, wrong=server.token[:-1] + ("A" if server.token[-1] != "A" else "B"))
    host = f"127.0.0.1:{server.port}"
    response = raw(server, f"GET {path} HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
    head, _, body = response.partition(b"\r\n\r\n")
    assert head.split()[1] == b"404", response
    assert set(json.loads(body)) == {"message"}
    assert b"root:" not in response and b"title" not in response


@pytest.mark.parametrize("method", ["HEAD", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PATCH", "PROPFIND", "get"])
def test_other_methods_are_nowhere(server, method):
    for place in ("", "search", "thumbnail/1"):
        assert ask(server, method, f"/{server.token}/{place}").status == 404
    assert ask(server, "POST", f"/{server.token}/", b" " * 3_000_000).status == 404  # told, though nobody reads on
    assert ask(server, "POST", f"/{server.token}/thumbnail/1", b"{}").status == 404


@pytest.mark.parametrize(
    "host",
    ["evil.example", "evil.example:80", "127.0.0.1.evil.example", "localhost.evil.example", "[::1]", "0.0.0.0", "",
     "127.0.0.1:80:80", "127.0.0.1:x", "user@127.0.0.1", "127.1"],
)  # fmt: skip
def test_a_name_that_is_not_this_machines_gets_nothing(server, host):
    """DNS rebinding: a page elsewhere lets its own name point here."""
    assert "127.0.0.1 and localhost only" in get(server, "", Host=host).message
    assert ask(server, "POST", f"/{server.token}/search", b"{}", Host=host, Origin=f"http://{host}").status == 403


@pytest.mark.parametrize("hosts", ["Host: 127.0.0.1\r\nHost: evil.example\r\n", ""], ids=["two", "none"])
def test_two_hosts_and_none_get_nothing(server, hosts):
    """Neither is HTTP/1.1."""
    assert raw(server, f"GET /{server.token}/ HTTP/1.1\r\n{hosts}\r\n".encode()).startswith(b"HTTP/1.1 400 ")
    assert raw(server, f"GET /{server.token}/ HTTP/1.0\r\n{hosts}\r\n".encode()).startswith(b"HTTP/1.1 40")


@pytest.mark.parametrize(
    "origin",
    ["http://evil.example", "null", "https://127.0.0.1:{port}", "http://127.0.0.1:1", "http://localhost:{port}"],
)
def test_a_page_of_another_site_gets_nothing(server, origin):
    origin = origin.format(port=server.port)
    for method, place, body in (("POST", "search", b"{}"), ("POST", "browse", b"{}"), ("GET", "thumbnail/1", None)):
        answer = ask(server, method, f"/{server.token}/{place}", body, Origin=origin)
        assert answer.status == 403 and "another site" in answer.message


def test_what_asks_for_another_site_gets_nothing_but_a_link_may_lead_here(server):
    for site in ("cross-site", "same-site"):
        assert get(server, "thumbnail/1", Sec_Fetch_Site=site).status == 403
        assert get(server, "", Sec_Fetch_Site=site, Sec_Fetch_Dest="iframe").status == 403
        assert get(server, "", Sec_Fetch_Site=site, Sec_Fetch_Dest="document").status == 200
    assert get(server, "thumbnail/1", Sec_Fetch_Site="same-origin").status == 200


def test_a_question_without_an_origin_gets_nothing(server):
    assert "says its Origin" in post(server, "browse", {}, Origin=None).message


def test_a_tunnel_from_another_port_is_this_machine(server):
    answer = post(server, "browse", {}, Host="localhost:9000", Origin="http://localhost:9000")
    assert answer.status == 200


def test_it_listens_to_this_machine_only(server):
    assert server._socket.getsockname() == ("127.0.0.1", server.port)
    assert server.url.startswith(f"http://127.0.0.1:{server.port}/")
    assert len(server.token) >= 32


# What it does not take ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"mix": {"kind": -1}}, "weight of 'kind' is negative"),
        ({"mix": {"kind": 0, "heel": 0}}, "every weight is 0"),
        ({"mix": {"knid": 1}}, "no similarity 'knid'. Did you mean 'kind'"),
        ({"mix": {"kind": "much"}}, "no number"),
        ({"mix": {"kind": [1]}}, "no number"),
        ({"mix": {}}, "empty"),
        ({"mix": "kind=1"}, "'mix' must be an object"),
        ({"mix": None}, "'mix' must be an object"),
        ({}, "'mix' is missing"),
        ({"mix": {"kind": 1}}, "no example to be like"),
        ({"mix": EQUAL, "like": [60]}, "no row 60 ('like'): rows go from 0 to 59"),
        ({"mix": EQUAL, "like": [-1]}, "no row -1"),
        ({"mix": EQUAL, "like": [10**400]}, "no row 1000"),
        ({"mix": EQUAL, "like": [1.5]}, "whole numbers"),
        ({"mix": EQUAL, "like": [True]}, "whole numbers"),
        ({"mix": EQUAL, "like": "3"}, "whole numbers"),
        ({"mix": EQUAL, "like": [3] * 101}, "at most 100"),
        ({"mix": EQUAL, "like": [3], "unlike": [3]}, "cancel out"),
        ({"mix": EQUAL, "like": [3], "count": 0}, "from 1 to 240, got 0"),
        ({"mix": EQUAL, "like": [3], "count": 241}, "from 1 to 240"),
        ({"mix": EQUAL, "like": [3], "count": 2.0}, "from 1 to 240"),
        ({"mix": EQUAL, "new": ["0" * 16]}, "no longer kept"),
        ({"mix": EQUAL, "new": [3]}, "names that new rows"),
        ({"mix": EQUAL, "new": ["x"] * 17}, "at most 16"),
        ({"mix": EQUAL, "like": [3], "within": [99]}, "no row 99 ('within')"),
        ({"mix": EQUAL, "like": [3], "path": "/etc/passwd"}, "a request has no 'path'"),
        ({"mix": EQUAL, "middle": {"column": "heel"}}, "no label to take the mean of"),
        ({"mix": EQUAL, "middle": {"column": "kind", "codes": []}}, "no row has this label"),
        ({"mix": EQUAL, "middle": {"column": "kind", "codes": [3]}}, "whole numbers from 0 to 2"),
        ({"mix": EQUAL, "middle": ["kind"]}, "must be an object"),
        ({"mix": EQUAL, "like": [3], "filters": {}}, "'filters' must be a list of objects"),
        ({"mix": EQUAL, "like": [3], "filters": [7]}, "must be a list of objects"),
        ({"mix": EQUAL, "like": [3], "filters": [{"column": "knid"}]}, "no column 'knid'. Did you mean 'kind'"),
        ({"mix": EQUAL, "like": [3], "filters": [{"column": "line"}]}, "no column 'line'"),
        ({"mix": EQUAL, "like": [3], "filters": [{"column": "kind", "low": 1}]}, "column 'kind' has no 'low'"),
        ({"mix": EQUAL, "like": [3], "filters": [{"column": "kind", "codes": [-1]}]}, "a list of whole"),
        ({"mix": EQUAL, "like": [3], "filters": [{"column": "heel", "low": "1"}]}, "must be a finite number"),
        ({"mix": EQUAL, "like": [3], "filters": [{"column": "heel", "low": 10**400}]}, "finite number"),
        ({"mix": EQUAL, "like": [3], "filters": [{"column": "heel", "blank": 1}]}, "true or false"),
        ({"mix": EQUAL, "like": [3], "filters": [{"column": "kind"}] * 99}, "'filters' has 99"),
        ({"mix": EQUAL, "like": "\ud800"}, "'like' must be a list of at most 100 whole numbers"),
    ],
)  # fmt: skip
def test_a_question_that_cannot_be_meant_is_one_message(server, content, words):
    answer = post(server, "search", content)
    assert answer.status == 400
    assert words in answer.message


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[]", "must be a JSON object"),
        (b'{"mix": {"kind": NaN}}', "NaN is no number"),
        (b'{"mix": {"kind": -Infinity}}', "-Infinity is no number"),
        (b'{"mix": {"kind": 1e999}}', "not finite"),
        (b"[" * 200_000, "not JSON"),
        (b'{"mix": {"kind": ' + b"9" * 5000 + b"}}", "not JSON"),
    ],
)
def test_what_is_no_json_is_one_message(server, body, words):
    answer = ask(server, "POST", f"/{server.token}/search", body)
    assert answer.status == 400 and words in answer.message


def test_all_mistakes_are_told_at_once_and_no_message_is_long(server):
    content = {"mix": {"kind": -1}, "like": [99], "count": 0, "x" * 5000: 1}
    message = post(server, "search", content).message
    for words in ("negative", "no row 99", "from 1 to 240", "a request has no 'xxx"):
        assert words in message
    assert len(message) <= 2_000
    assert "Known: rows, lines" in post(server, "rows", {"row": [1]}).message
    assert post(server, "rows", {}).content["rows"] == []


def test_lengths_and_kinds_that_are_not_said_are_refused(server):
    path = f"/{server.token}/search"
    assert ask(server, "POST", path, b"{}", Content_Length=None).status == 411
    assert ask(server, "POST", path, b"", Content_Length=None, Transfer_Encoding="chunked").status == 411
    for length in ("-1", "1e3", "0x10", "1 1", "+2"):
        assert ask(server, "POST", path, b"{}", Content_Length=length).status == 400, length
    assert ask(server, "POST", path, b"{}", Content_Length="9" * 13).status == 413
    assert ask(server, "POST", path, b"2\r\n{}\r\n0\r\n\r\n", Transfer_Encoding="chunked").status == 411  # and a length
    for kind in ("text/plain", "application/x-www-form-urlencoded", None):
        assert ask(server, "POST", path, b"{}", Content_Type=kind).status == 415
    assert upload(server, png(), Content_Type="image/png").status == 415
    host = "Host: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\nContent-Type: application/json\r\n"
    twice = f"POST {path} HTTP/1.1\r\n{host}Content-Length: 2\r\nContent-Length: 3\r\n\r\n{{}}"
    assert raw(server, twice.encode()).startswith(b"HTTP/1.1 400 ")


def test_too_many_bytes_are_refused_before_they_are_read_and_that_is_told(server):
    answer = ask(server, "POST", f"/{server.token}/search", b" " * 1_000_001)
    assert answer.status == 413 and "at most 1 MB" in answer.message
    start = time.monotonic()
    answer = upload(server, b"x", Content_Length="20000001")  # none of them ever come
    assert answer.status == 413 and "at most 20 MB" in answer.message
    assert time.monotonic() - start < 5


def test_a_body_that_is_cut_off_or_does_not_come_is_given_up(serving, answers):
    server = serving(answers, seconds=0.6)
    head = f"POST /{server.token}/browse HTTP/1.1\r\nHost: 127.0.0.1\r\nOrigin: http://127.0.0.1\r\n"
    head += "Content-Type: application/json\r\nContent-Length: 10\r\n\r\n"
    cut = raw(server, head.encode() + b"{}")
    assert cut.startswith(b"HTTP/1.1 400 ") and b"ends after 2 bytes of 10" in cut
    start = time.monotonic()
    slow = raw(server, head.encode() + b"{}", half_close=False)
    assert slow.startswith(b"HTTP/1.1 408 ")
    assert raw(server, b"GET / HT", half_close=False) == b""
    assert raw(server, b"", half_close=False) == b""
    assert time.monotonic() - start < 8


def test_a_byte_now_and_then_does_not_hold_a_connection(serving, answers):
    server = serving(answers, seconds=0.8)
    start = time.monotonic()
    address = ("127.0.0.1", server.port)
    with socket.create_connection(address, timeout=10) as connection, contextlib.suppress(OSError):
        while time.monotonic() - start < 6:
            connection.sendall(b"G")
            time.sleep(0.05)
    assert time.monotonic() - start < 5


def is_open(connection: socket.socket) -> bool:
    """Whether the server has not closed a connection that it has sent nothing to."""
    connection.setblocking(False)
    try:
        return connection.recv(1) != b""
    except BlockingIOError:
        return True
    except ConnectionError:
        return False


def test_connections_are_bounded_and_come_back(serving, answers):
    server = serving(answers, seconds=1.5)
    many = [socket.create_connection(("127.0.0.1", server.port), timeout=10) for _ in range(100)]
    end = time.monotonic() + 1.2
    while sum(map(is_open, many)) > servers.CONNECTIONS and time.monotonic() < end:
        time.sleep(0.05)
    assert 0 < sum(map(is_open, many)) <= servers.CONNECTIONS
    for connection in many:
        connection.close()
    end = time.monotonic() + 5
    while True:
        with contextlib.suppress(OSError, http.client.HTTPException):
            if get(server, "").status == 200:
                break
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_client_that_does_not_read_its_answer_is_cut(serving, shoes):
    answers = Answers(shoes, seconds=0.0)
    answers.page = b"x" * 30_000_000  # more than the system itself keeps for it
    server = serving(answers, seconds=0.4)
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(f"GET /{server.token}/ HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
        time.sleep(0.3)
        assert len(server._server.server_state.connections) == 1
        end = time.monotonic() + 10
        while server._server.server_state.connections:
            assert time.monotonic() < end
            time.sleep(0.05)


@pytest.mark.parametrize(
    "sent",
    [b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n", b"GET /\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"x" * 9_000 + b"\r\n\r\n",
     b"GET / HTTP/1.1\r\n" + b"A: b\r\n" * 500 + b"\r\n", b"GET / HTTP/1.1\r\nA: " + b"b" * 70_000 + b"\r\n\r\n",
     b"<script> <script> <script>\r\n\r\n", "GET /\u0663 HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()],
)  # fmt: skip
def test_what_is_no_http_is_no_fault(server, sent):
    response = raw(server, sent)
    assert response == b"" or response.startswith(b"HTTP/1.1 4") or response.startswith(b"HTTP/1.1 5")
    assert b"script" not in response and b"Traceback" not in response
    assert get(server, "").status == 200


def test_others_are_asked_to_come_again_while_a_search_takes_long(server, monkeypatch):
    from mscon.search.explorer import turns as module

    monkeypatch.setattr(module, "_PATIENCE", 0.1)
    with server.answers._busy:
        answer = post(server, "browse", {})
    assert answer.status == 503 and "ask again" in answer.message
    assert post(server, "browse", {}).status == 200


def test_a_fault_of_ours_tells_the_client_nothing(server, monkeypatch, capsys):
    def broken(body: bytes):
        raise KeyError("a secret")

    monkeypatch.setattr(server.answers, "browse", broken)
    answer = post(server, "browse", {})
    assert answer.status == 500 and "secret" not in answer.message
    end = time.monotonic() + 5
    content = ""
    while "a secret" not in content and time.monotonic() < end:
        content += capsys.readouterr().err
    assert "a secret" in content


def test_uploads_that_are_no_images_are_one_message_each(serving, glyph_answers):
    server = serving(glyph_answers)
    whole = png(64)
    for data, words in (
        (b"", "no picture of a kind"),
        (b"GIF89a", "picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "no picture of a kind"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "no picture of a kind"),
        (whole[: len(whole) // 2], "cut off"),
    ):
        answer = upload(server, data)
        assert answer.status == 400 and words in answer.message


def test_a_run_without_weights_or_of_other_things_takes_no_new_image(server, serving, fresh_run):
    answer = upload(server, png())
    assert answer.status == 400 and "checkpoint" in answer.message
    run = fresh_run("columns", images=False)
    recipe = run.root / "recipe.toml"
    recipe.write_text(recipe.read_text().replace('input = "image"', 'input = "columns"'))
    checksums.record(run.root, recipe.name)
    run.write_checkpoint("last", {}, {"epoch": 1})
    run.write_features(run.read_features(), run.read_projections())
    answers = Answers(run, seconds=0.0)
    other = serving(answers)
    assert "was trained on columns of a table" in upload(other, png()).message
    assert b'id="upload-button"' not in answers.page
    assert get(other, "thumbnail/1").status == 404
    assert len(post(other, "browse", {"count": 3}).content["cells"]) == 3


def test_many_at_once_get_what_each_asked_for(server, answers):
    wrong = []

    def ask_often(first: int) -> None:
        for row in range(first, 60, 8):
            body = {"mix": EQUAL, "like": [row], "filters": [{"column": "heel", "low": row / 10}], "count": 3}
            if post(server, "search", body).content != answers.search(json.dumps(body).encode()):
                wrong.append(row)
            if get(server, f"thumbnail/{row}").body != answers.thumbnail(row):
                wrong.append(row)

    threads = [threading.Thread(target=ask_often, args=(first,)) for first in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


# Size -------------------------------------------------------------------------------------------------------


def test_sixty_thousand_rows_answer_within_bounds(serving, tmp_path):
    count = 60_000
    run = make_run(tmp_path / "large", count, images=False)
    run.write_checkpoint("last", {}, {"epoch": 1})
    run.write_features(run.read_features(), run.read_projections())
    answers = Answers(run, with_images=False, seconds=0.0)
    assert len(answers.page) < 2_000_000
    server = serving(answers)
    page = island(get(server, ""))
    assert (page["rows"], page["total"]) == (5_000, count)
    assert "are on the map" in answers.page.decode()
    vectors = run.read_projections().astype(np.float64)
    score = np.einsum("sd,srd->r", vectors[:, 59_999], vectors) / 5
    score[59_999] = -np.inf
    tracemalloc.start()
    nearest = post(server, "search", {"mix": EQUAL, "like": [59_999], "count": 240})
    browsed = post(server, "browse", {"count": 240, "filters": [{"column": "heel", "low": 6}]})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 8_000_000
    assert len(nearest.body) < 100_000 and len(browsed.body) < 100_000
    assert browsed.content["passing"] > 29_000
    np.testing.assert_allclose(nearest.content["scores"], np.sort(score)[::-1][:240], atol=2e-3)
    outside = sorted(set(range(count)) - set(np.frombuffer(base64.b64decode(page["ids"]), "<i4").tolist()))
    known = post(server, "rows", {"rows": outside[:3]}).content
    assert known["rows"] == outside[:3] and known["names"] == [f"{row:05d}.png" for row in outside[:3]]


# The verb ---------------------------------------------------------------------------------------------------


def test_the_verb_prints_the_address_and_ends_at_ctrl_c(shoes):
    command = [sys.executable, "-m", "mscon", "explore", str(shoes.root), "--serve", "--no-open", "--rows", "15"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            url, content = process.stdout.readline().strip(), process.stdout.readline()
            port = int(url.split(":")[2].split("/")[0])
            with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=10)) as connection:
                connection.request("GET", "/" + url.split("/", 3)[3])
                assert b"15, drawn evenly" in connection.getresponse().read()
            process.send_signal(signal.SIGINT)
            rest, printed = process.communicate(timeout=20)
        finally:
            process.kill()
    assert process.returncode == 0
    assert "Ctrl-C ends it" in content and "The server has ended." in rest
    assert printed == ""


def test_without_the_extra_one_message_says_how_to_install_it(shoes, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    monkeypatch.delitem(sys.modules, "mscon.search.explorer.server")
    assert main(["explore", str(shoes.root), "--serve", "--no-open"]) == 2
    content = capsys.readouterr().err
    assert 'pip install "mscon[serve]"' in content and "Traceback" not in content


def test_a_port_that_is_taken_is_one_message(server, shoes, capsys):
    assert main(["explore", str(shoes.root), "--serve", "--no-open", "--port", str(server.port)]) == 2
    assert f"port {server.port} of this machine cannot be had" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--serve", "--out", "x.html"], "--serve writes no file"),
        (["--port", "8000"], "--port needs --serve"),
        (["--serve", "--rows", "20001"], "at most 20,000"),
    ],
)
def test_what_cannot_be_meant_together_is_told(shoes, capsys, arguments, words):
    assert main(["explore", str(shoes.root), "--no-open", *arguments]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("port", ["0", "65536", "-1", "http", "\u0663"])
def test_a_port_is_a_number(shoes, port):
    with pytest.raises(SystemExit):
        main(["explore", str(shoes.root), "--serve", "--port", port])


def test_a_run_that_was_not_probed_is_told(fresh_run, capsys):
    run = fresh_run("unprobed-served", probed=False)
    assert main(["explore", str(run.root), "--serve", "--no-open"]) == 2
    assert "mscon probe" in capsys.readouterr().err
