"""Remote images: only where they are allowed, each part fetched once, within a bounded cache; and words for faults."""

from __future__ import annotations

import http.server
import socket
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import fsspec
import numpy as np
import polars as pl
import pytest

from image_shards import encoded, parquet, tar
from mscon.data.inputs import remote_files
from mscon.data.inputs.images import open_store, unreadable
from mscon.data.inputs.remote_files import RemoteFile, stamp
from mscon.data.table.image_column import unusable_images
from mscon.data.table.table import read_table
from mscon.errors import TableError
from mscon.run.cache import caches
from mscon.run.recipe import Data
from sample_images import pattern

IMAGES = [encoded(pattern(i)) for i in range(6)]
SMALL = Data(image_size=16, channels=3, remote=("memory://bucket/",))


@pytest.fixture(autouse=True)
def cache(tmp_path, monkeypatch) -> Path:
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(remote_files, "_PAUSE", 0.0)
    monkeypatch.setattr(remote_files, "_silent", {})
    return tmp_path / "cache"


@pytest.fixture
def bucket(tmp_path) -> Iterator[Any]:
    files = fsspec.filesystem("memory")
    files.pipe("/bucket/a.tar", tar({f"img/{i}.png": IMAGES[i] for i in range(3)}))
    files.pipe("/bucket/b.parquet", parquet(tmp_path / "b.parquet", IMAGES, group=2).read_bytes())
    files.pipe("/bucket/5.png", IMAGES[5])
    yield files
    files.store.clear()


MIXED = (
    "memory://bucket/5.png",
    "tar://img/1.png::memory://bucket/a.tar",
    "parquet://image/3::memory://bucket/b.parquet",
)


def rows(*names: str) -> pl.DataFrame:
    return pl.DataFrame({"line": [2 + i for i in range(len(names))], "image": list(names)})


def pixels(*numbers: int) -> np.ndarray:
    return np.stack([np.asarray(pattern(i)).transpose(2, 0, 1) for i in numbers])


def refused(folder: Path, *names: str, data: Data = SMALL) -> str:
    with pytest.raises(TableError) as refusal:
        open_store(rows(*names), folder, data, "t.csv")
    return str(refusal.value)


def checked(folder: Path, *cells: str, data: Data = SMALL) -> set[int]:
    path = folder / "t.csv"
    path.write_text("image\n" + "\n".join(cells) + "\n")
    return unusable_images(read_table(path), data, folder)


@pytest.mark.parametrize("decode", ["once", "always"])
def test_remote_files_and_members_of_remote_shards_are_decoded(bucket, tmp_path, decode):
    assert checked(tmp_path, *MIXED) == set()
    store = open_store(rows(*MIXED), tmp_path, replace(SMALL, decode=decode), "t.csv")
    assert np.array_equal(store[[2, 0, 1]], pixels(3, 5, 1))


def test_a_remote_shard_is_fetched_once_whatever_is_read_of_it(bucket, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, "_BLOCK", 700)
    ranges: list[tuple[str, int, int]] = []
    fetch = type(bucket).cat_file

    def counted(files: Any, path: str, start: int, end: int) -> bytes:
        ranges.append((path, start, end))
        return fetch(files, path, start, end)

    monkeypatch.setattr(type(bucket), "cat_file", counted)
    names = [f"tar://img/{i}.png::memory://bucket/a.tar" for i in (2, 0, 1)]
    always = replace(SMALL, decode="always")
    store = open_store(rows(*names), tmp_path, always, "t.csv")
    for _ in range(3):
        assert np.array_equal(store[[1, 2, 0]], pixels(0, 1, 2))
    size = bucket.size("/bucket/a.tar")
    assert len(ranges) == len(set(ranges))
    assert {end - start for _, start, end in ranges} <= {700, size % 700}
    assert open_store(rows(*names), tmp_path, SMALL, "t.csv")[[0]].shape == (1, 3, 16, 16)
    assert len(ranges) == len(set(ranges))


def test_a_file_that_changes_is_fetched_anew(bucket, tmp_path):
    assert np.array_equal(open_store(rows(MIXED[0]), tmp_path, SMALL, "t.csv")[[0]], pixels(5))
    bucket.pipe("/bucket/5.png", IMAGES[4])
    assert np.array_equal(open_store(rows(MIXED[0]), tmp_path, SMALL, "t.csv")[[0]], pixels(4))


# The cache ---------------------------------------------------------------------------------------------


def blocks(cache: Path) -> list[Path]:
    return [path for path in (cache / "remote").rglob("*") if path.is_file()]


def test_the_cache_stays_below_its_limit_and_what_was_used_last_stays(bucket, cache, monkeypatch):
    starts: list[int] = []
    fetch = type(bucket).cat_file

    def counted(files: Any, path: str, start: int, end: int) -> bytes:
        starts.append(start)
        return fetch(files, path, start, end)

    monkeypatch.setattr(type(bucket), "cat_file", counted)
    monkeypatch.setattr(remote_files, "_BLOCK", 1_000)
    monkeypatch.setattr(remote_files, "_new_bytes", {})
    content = np.random.default_rng(0).bytes(50_000)
    bucket.pipe("/bucket/large", content)
    file = RemoteFile("memory://bucket/large", stamp("memory://bucket/large"), most=20_000)
    largest = 0
    for start in range(0, 50_000, 1_000):
        file.seek(0)
        assert file.read(10) == content[:10]  # used all the time
        file.seek(start)
        assert file.read(1_000) == content[start : start + 1_000]
        largest = max(largest, sum(path.stat().st_size for path in blocks(cache)))
        time.sleep(0.002)  # so that times of use differ
    assert 15_000 < largest <= 20_000
    assert starts == [*range(0, 50_000, 1_000)]  # the first was never removed
    names = {path.name for path in blocks(cache)}
    assert "0" in names and "49" in names and "5" not in names
    bucket.pipe("/bucket/other", content)
    RemoteFile("memory://bucket/other", stamp("memory://bucket/other"), most=20_000).read()
    assert len([*(cache / "remote").iterdir()]) == 1  # no empty folder stays
    assert [cached.size for cached in caches() if cached.folder.name == "remote"] == [
        sum(path.stat().st_size for path in blocks(cache))
    ]


def test_blocks_are_whole_or_fetched_again(bucket, cache, tmp_path):
    open_store(rows(MIXED[0]), tmp_path, SMALL, "t.csv")
    (block,) = blocks(cache)
    block.write_bytes(b"torn")
    grey = replace(SMALL, channels=1)
    assert open_store(rows(MIXED[0]), tmp_path, grey, "t.csv")[[0]].any()
    assert blocks(cache) == [block]
    assert block.read_bytes() == IMAGES[5]


# What is allowed ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        "memory://other/5.png",
        "memory://bucket2/5.png",
        "memory://bucket/../other/5.png",
        "memory://bucket/%2e%2E/other/5.png",
        "memory://bucket/..%2Fother/5.png",
        "tar://img/1.png::memory://other/a.tar",
        "https://bucket/5.png",
    ],
)
def test_addresses_are_refused_unless_the_recipe_allows_them(bucket, tmp_path, address, monkeypatch):
    monkeypatch.setattr(remote_files, "_file_system", None)  # nobody is asked
    for missing in ("error", "drop"):
        with pytest.raises(TableError) as refusal:
            checked(tmp_path, address, MIXED[0], data=replace(SMALL, missing_images=missing))
        text = str(refusal.value)
        assert f"t.csv, line 2: image '{address}' is an address that [data] remote does not allow." in text
        host = address.rpartition("::")[2].split("/")[2]
        assert f'[data] remote = ["{address.rpartition("::")[2].split(":")[0]}://{host}/"]' in text
    assert "does not allow" in refused(tmp_path, address)
    assert "does not allow" in refused(tmp_path, address, data=replace(SMALL, remote=("memory://bucket",)))
    assert "does not allow" in refused(tmp_path, MIXED[0], data=replace(SMALL, remote=()))


@pytest.mark.parametrize(
    "address", ["file:///etc/passwd", "local:///etc/passwd", "ssh://host/x", "simplecache::memory://bucket/5.png"]
)
def test_other_kinds_of_addresses_are_never_read(bucket, tmp_path, address):
    text = refused(tmp_path, address)
    assert "is an address of a kind that is not read here" in text or "does not exist" in text
    assert (
        "is an address of a kind that is not read here" in refused(tmp_path, f"tar://x::{address}") or "::" in address
    )


def test_a_prefix_without_a_host_is_no_bound():
    for prefix in ("https://", "s3:///", "file:///data/", "bucket/", "https"):
        with pytest.raises(ValueError, match="beginnings of addresses with a host or bucket"):
            Data(remote=(prefix,))


def test_no_row_is_left_out_because_a_host_does_not_answer(bucket, tmp_path, monkeypatch):
    def no_answer(*_: object, **__: object) -> None:
        raise ConnectionResetError("connection reset by peer")

    drop = replace(SMALL, missing_images="drop")
    words = (
        r"(?s)t\.csv, line 2: image 'memory://bucket/5.png' cannot be fetched .memory://bucket: ConnectionResetError: "
    )
    with monkeypatch.context() as silence:
        silence.setattr(type(bucket), "info", no_answer)
        with pytest.raises(TableError, match=rf"{words}connection reset by peer.*3 of 3 rows.*Run the command again"):
            checked(tmp_path, *MIXED, data=drop)
    remote_files._silent.clear()
    assert checked(tmp_path, *MIXED, "memory://bucket/gone.png", data=drop) == {3}


# Hosts of HTTP -----------------------------------------------------------------------------------------


class Host(http.server.BaseHTTPRequestHandler):
    """Sends an image; by its path with parts or without, after some failures, or not at all."""

    failures = 0
    requests = 0

    def do_HEAD(self) -> None:
        self.answer(None)

    def do_GET(self) -> None:
        self.answer(self.headers.get("Range") if self.path == "/parts.png" else None)

    def answer(self, part: str | None) -> None:
        type(self).requests += 1
        status = {"/gone.png": 404, "/secret.png": 403, "/broken.png": 500}.get(self.path, 200)
        if self.path == "/flaky.png" and type(self).failures:
            type(self).failures -= 1
            status = 503
        content = IMAGES[0] if status == 200 else b""
        if part is not None:
            start, end = map(int, part.removeprefix("bytes=").split("-"))
            content, status = content[start : end + 1], 206
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def host() -> Iterator[str]:
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Host)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def test_hosts_that_send_parts_or_all_or_fail_now_and_then(host, tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, "_BLOCK", 400)
    allowed = Data(image_size=16, channels=3, remote=(host,))
    Host.failures = 2
    names = [f"{host}/{name}.png" for name in ("parts", "all", "flaky")]
    assert np.array_equal(open_store(rows(*names), tmp_path, allowed, "t.csv")[[0, 1, 2]], pixels(0, 0, 0))
    assert Host.failures == 0


def test_what_a_host_refuses_is_told_in_one_message(host, tmp_path):
    allowed = Data(image_size=16, channels=3, remote=(host,))
    text = refused(tmp_path, *(f"{host}/{name}.png" for name in ("parts", "gone", "secret", "broken")), data=allowed)
    assert f"t.csv, line 3: image '{host}/gone.png' is at an address where there is no file." in text
    assert f"t.csv, line 4: image '{host}/secret.png' may not be read with the credentials of this machine (" in text
    assert f"t.csv, line 5: image '{host}/broken.png' cannot be fetched ({host}: ClientResponseError: 500" in text
    assert "line 2" not in text


def test_a_host_that_is_not_there_is_tried_for_one_file_only(tmp_path, monkeypatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"http://127.0.0.1:{free.getsockname()[1]}"
    allowed = Data(image_size=16, channels=3, remote=(address,))
    asked_of: list[str] = []
    look = remote_files._file_system
    monkeypatch.setattr(remote_files, "_file_system", lambda *key: (asked_of.append(key[0]), look(*key))[1])
    monkeypatch.setattr("mscon.data.inputs.image_files._MOST_WORKERS", 1)
    text = refused(tmp_path, *(f"{address}/{i}.png" for i in range(50)), data=allowed)
    assert f"t.csv, line 2: image '{address}/0.png' cannot be fetched ({address}: ClientConnectorError" in text
    assert "50 of 50 rows have this problem" in text
    assert len(asked_of) == 1


def test_a_host_that_says_nothing_is_given_up_in_time(tmp_path, monkeypatch):
    monkeypatch.setattr(remote_files, "_TO_READ", 0.2)
    remote_files._file_system.cache_clear()
    with socket.socket() as mute:
        mute.bind(("127.0.0.1", 0))
        mute.listen()
        address = f"http://127.0.0.1:{mute.getsockname()[1]}"
        start = time.monotonic()
        assert "cannot be fetched" in refused(tmp_path, f"{address}/0.png", data=Data(remote=(address,)))
        assert time.monotonic() - start < 10
    remote_files._file_system.cache_clear()


# S3 ----------------------------------------------------------------------------------------------------


@pytest.fixture
def s3(monkeypatch) -> Iterator[Any]:
    """A server of S3 in this process, with a bucket, found as every user's is: by variables of the environment."""
    servers = pytest.importorskip("moto.server", reason="moto is not installed")
    pytest.importorskip("s3fs", reason="s3fs is not installed")
    server = servers.ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*server.get_host_and_port()))
    for name, value in (("ACCESS_KEY_ID", "id"), ("SECRET_ACCESS_KEY", "key"), ("DEFAULT_REGION", "us-east-1")):
        monkeypatch.setenv(f"AWS_{name}", value)
    remote_files._file_system.cache_clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    files = fsspec.filesystem("s3")
    files.mkdir("photos")
    yield files
    server.stop()
    remote_files._file_system.cache_clear()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_shards_in_s3(s3, tmp_path, monkeypatch):
    s3.pipe("photos/a.tar", tar({f"{i}.png": IMAGES[i] for i in range(3)}))
    s3.pipe("photos/5.png", IMAGES[5])
    allowed = Data(image_size=16, channels=3, remote=("s3://photos",))
    names = ["s3://photos/5.png", "tar://2.png::s3://photos/a.tar", "tar://0.png::s3://photos/a.tar"]
    for decode in ("once", "always"):
        store = open_store(rows(*names), tmp_path, replace(allowed, decode=decode), "t.csv")
        assert np.array_equal(store[[0, 1, 2]], pixels(5, 2, 0))
    text = refused(tmp_path, *names, "s3://photos/gone.png", "tar://9.png::s3://photos/a.tar", data=allowed)
    assert "t.csv, line 5: image 's3://photos/gone.png' is at an address where there is no file." in text
    assert unreadable(tmp_path, [*names, "s3://photos/gone.png"], allowed) == [3]
    s3.pipe("photos/a.tar", tar({f"{i}.png": IMAGES[i + 3] for i in range(3)}))
    assert np.array_equal(open_store(rows(*names), tmp_path, allowed, "t.csv")[[0, 1, 2]], pixels(5, 5, 3))
    for name in ("ACCESS_KEY_ID", "SECRET_ACCESS_KEY"):
        monkeypatch.delenv(f"AWS_{name}")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    remote_files._file_system.cache_clear()
    type(s3).clear_instance_cache()
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "another"))
    assert "may not be read with the credentials of this machine (" in refused(tmp_path, names[0], data=allowed)
