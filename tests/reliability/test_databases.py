"""Killed while it stores rows, an export into a database ends as ever when it is started again."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import polars as pl
import pytest

import postgres
from process import call, mscon
from reliability.jobs import ROWS, write_job

IS_FULL = os.environ.get("MSCON_RELIABILITY") == "full"
ENGINES = ("lancedb", "qdrant", "pgvector") if IS_FULL else ("lancedb",)
# A batch takes milliseconds; some of the kills come between two of them.
_SECONDS = 0.02


@pytest.fixture(scope="module", params=ENGINES)
def database(request, tmp_path_factory) -> Iterator[tuple[str, str]]:
    """An engine, and the address of an empty database of it."""
    pytest.importorskip("qdrant_client" if request.param == "qdrant" else "lancedb")
    if request.param != "pgvector":
        yield request.param, str(tmp_path_factory.mktemp("database") / "at")
        return
    with postgres.server() as at:
        yield "pgvector", at


def _export(argument: tuple[str, str, str, int, float]) -> int:
    """In batches of four rows; at batch `number`, or so many seconds later, it ends as by kill -9."""
    from mscon.cli import main
    from mscon.deploy.databases import ENGINES as CLASSES
    from mscon.deploy.databases import export

    engine, at, name, number, seconds = argument
    export.ROWS = 4
    kind = getattr(import_module(f"mscon.deploy.databases.{engine}"), CLASSES[engine])
    add, left = kind.add, iter(range(number, -1, -1))

    def counted(database: object, rows: pl.DataFrame) -> None:
        if next(left, -1) == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.setitimer(signal.ITIMER_REAL, seconds)
        add(database, rows)

    if seconds:
        kind.add = counted
    return main(["export", "run", "--to", engine, "--table", "t.csv", "--at", at, "--name", name])


def test_a_killed_export_goes_on_to_the_same_rows(database, tmp_path: Path, full, counts: Counter[str]):
    engine, at = database
    job = write_job(tmp_path / "job")
    assert mscon(*job.train("run"), cwd=job.folder).status == 0
    draw = random.Random(engine)
    assert call(_export, (engine, at, "whole", 0, 0.0), cwd=job.folder).wait().status == 0
    expected = call(_print, (engine, at, "whole"), cwd=job.folder).wait().out
    assert expected.count("\n") == ROWS
    for kill in range(12 if full else 1):
        name = f"killed{kill}"
        ended = call(_export, (engine, at, name, draw.randrange(15), draw.uniform(1e-4, _SECONDS)), cwd=job.folder)
        status = ended.wait().status
        assert status in (-signal.SIGALRM, 0)  # 0 where it was quicker
        again = call(_export, (engine, at, name, 0, 0.0), cwd=job.folder).wait()
        assert again.status == 0 or (again.is_one_message and "exists and is complete" in again.err), again
        assert call(_print, (engine, at, name), cwd=job.folder).wait().out == expected
        counts["exports killed"] += status != 0


def _print(argument: tuple[str, str, str]) -> int:
    """The rows of a table, a line each, in the order of their lines."""
    engine, at, name = argument
    if engine == "lancedb":
        import lancedb

        frame = pl.DataFrame(lancedb.connect(at).open_table(name).to_arrow())
    elif engine == "qdrant":
        from qdrant_client import QdrantClient

        found, _ = QdrantClient(path=at).scroll(name, limit=1_000, with_vectors=True)
        frame = pl.DataFrame([{**point.payload, **point.vector} for point in found])
    else:
        import psycopg

        with psycopg.connect(at) as connection:
            rows = connection.execute(f"SELECT * FROM {name}").fetchall()
        frame = pl.DataFrame([(row[0], str(row)) for row in rows], schema=["line", "row"], orient="row")
    for row in frame.sort("line").iter_rows():
        print(row)
    return 0
