"""A package of a registry: downloaded once, checked, and never unpacked. The registry is a server of this test."""

from __future__ import annotations

import base64
import hashlib
import io
import tarfile
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from mscon.errors import RunError, TableError
from mscon_paper.npm_package import NpmPackage

NAME = "test-set-1.2.3.tgz"


def archive() -> bytes:
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as tar:
        for name, text in {"package/a.txt": b"one", "package/deep/b.txt": b"two", "../../out.txt": b"out"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(text)
            tar.addfile(member, io.BytesIO(text))
        link = tarfile.TarInfo("package/link")
        link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(link)
    return content.getvalue()


ARCHIVE = archive()
PACKAGE = NpmPackage("@test/set", "1.2.3", base64.b64encode(hashlib.sha512(ARCHIVE).digest()).decode(), len(ARCHIVE))


class Registry:
    """A server that sends one body for each path, and remembers what it was asked for."""

    def __init__(self) -> None:
        self.body, self.paths, registry = ARCHIVE, list[str](), self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                registry.paths.append(self.path)
                self.send_response(200 if registry.body else 404)
                self.send_header("Content-Length", str(len(registry.body)))
                self.end_headers()
                self.wfile.write(registry.body)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.host = f"127.0.0.1:{self.server.server_port}"


@pytest.fixture
def registry(monkeypatch) -> Iterator[Registry]:
    one = Registry()
    thread = threading.Thread(target=one.server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    monkeypatch.setenv("npm_config_registry", f"http://{one.host}/npm/")
    yield one
    one.server.shutdown()
    thread.join()
    one.server.server_close()


def test_it_is_downloaded_once_from_the_registry_that_npm_is_set_up_to_use(tmp_path, registry, capsys):
    files = PACKAGE.fetch(tmp_path / "new")
    assert (files["a.txt"], files["deep/b.txt"]) == (b"one", b"two")
    assert registry.paths == ["/npm/@test/set/-/set-1.2.3.tgz"]
    assert f"downloading http://{registry.host}/npm/@test/set/-/set-1.2.3.tgz" in capsys.readouterr().err
    assert (tmp_path / "new" / NAME).read_bytes() == ARCHIVE
    assert PACKAGE.fetch(tmp_path / "new") == files
    assert len(registry.paths) == 1


def test_nothing_is_unpacked_and_links_are_left_out(tmp_path, registry):
    assert "link" not in PACKAGE.fetch(tmp_path / "a" / "b")
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == [NAME]


def test_without_a_setting_it_is_npms_registry(monkeypatch):
    for name in ("npm_config_registry", "NPM_CONFIG_REGISTRY"):
        monkeypatch.delenv(name, raising=False)
    assert PACKAGE.address.startswith("https://registry.npmjs.org/@test/set/")
    monkeypatch.setenv("NPM_CONFIG_REGISTRY", "https://mirror.example/npm")
    assert PACKAGE.address == "https://mirror.example/npm/@test/set/-/set-1.2.3.tgz"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "HTTP Error 404"),
        (ARCHIVE[:-1], f"{len(ARCHIVE) - 1} bytes instead of {len(ARCHIVE)}"),
        (ARCHIVE + b"x" * 10**6, f"more than {len(ARCHIVE)} bytes instead of {len(ARCHIVE)}"),
        (ARCHIVE[:-1] + b"x", "its sha512 is another one"),
    ],
    ids=["not there", "cut off", "too long", "exchanged"],
)
def test_what_is_not_the_published_archive_is_refused_and_not_kept(tmp_path, registry, body, why):
    registry.body = body
    with pytest.raises(TableError) as caught:
        PACKAGE.fetch(tmp_path)
    assert why in str(caught.value)
    assert "npm pack @test/set@1.2.3" in str(caught.value) and f"save it as '{tmp_path / NAME}'" in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_no_more_is_read_than_the_archive_has(tmp_path, monkeypatch):
    class Endless(io.BytesIO):
        def read(self, amount: int | None = -1, /) -> bytes:
            assert amount is not None and 0 < amount <= len(ARCHIVE) + 1
            return b"x" * amount

    monkeypatch.setattr(urllib.request, "urlopen", lambda *_, **__: Endless())
    with pytest.raises(TableError, match="more than"):
        PACKAGE.fetch(tmp_path)


@pytest.mark.parametrize(
    ("registry_address", "why"),
    [
        ("http://user:secret@127.0.0.1:1", r"from http://127\.0\.0\.1:1/"),
        ("file:///etc", "must begin with https:// or http://"),
        ("no address", "must begin with https:// or http://"),
    ],
)
def test_without_a_network_the_message_says_which_file_to_put_where(tmp_path, monkeypatch, registry_address, why):
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.delenv("NPM_CONFIG_REGISTRY", raising=False)
    monkeypatch.setenv("npm_config_registry", registry_address)
    with pytest.raises(TableError, match=why) as caught:
        PACKAGE.fetch(tmp_path)
    assert f"save it as '{tmp_path / NAME}'" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("content", [ARCHIVE[:-1], ARCHIVE[:-1] + b"x", ARCHIVE + b"x"])
def test_a_damaged_archive_is_named_and_not_replaced(tmp_path, registry, content):
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(
        TableError, match=rf"{NAME}' is not @test/set 1\.2\.3 as it was published(?s:.*)Remove that file"
    ):
        PACKAGE.fetch(tmp_path)
    assert (tmp_path / NAME).read_bytes() == content
    assert registry.paths == []


def test_a_folder_in_its_place_is_one_message(tmp_path, registry):
    (tmp_path / NAME).mkdir()
    with pytest.raises(TableError, match=f"{NAME}' cannot be read"):
        PACKAGE.fetch(tmp_path)


def test_a_folder_that_cannot_be_made_is_told_before_the_download(tmp_path, registry):
    (tmp_path / "file").write_text("")
    with pytest.raises((RunError, TableError), match="file"):
        PACKAGE.fetch(tmp_path / "file")
    assert registry.paths == []
