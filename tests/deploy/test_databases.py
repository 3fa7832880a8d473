"""Vectors in databases: every row with its cells, exact search by any mix, and nothing lost or replaced."""

from __future__ import annotations

import json
import re
import resource
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import unquote

import numpy as np
import polars as pl
import pytest
from PIL import Image

import mscon
import postgres
from mscon.cli import main
from mscon.data.table.table import read_table
from mscon.deploy.databases import ENGINES, export
from mscon.deploy.databases.database import open_database
from mscon.deploy.databases.export import export_vectors
from mscon.deploy.databases.exported import open_export
from mscon.deploy.databases.pgvector import PgVector
from mscon.deploy.embedder import Embedder
from mscon.deploy.packed import pack
from mscon.errors import RunError, TableError
from mscon.evaluate.features import extract
from mscon.model.model import build_model
from mscon.run import recipe as recipes
from mscon.train.fit import fit
from vector_table import RECIPE, ROWS, points, write_table

DOCUMENT = Path(__file__).parents[2] / "docs" / "databases.md"
# Names and cells of the user's that would end a statement, or fill a template, if they were not quoted.
SHADE = "sha'de); DROP TABLE mine; --"
MOOD = 'mo"od"); DROP TABLE mine; -- %s {} {0}'
CELL = "'); DROP TABLE mine; --"
SPACES = ["features", "projection_kind", f"projection_{SHADE}", "mix"]

Place = Callable[[str], str]


@pytest.fixture(scope="module")
def things(tmp_path_factory) -> SimpleNamespace:
    """A run of two similarities on a table of 72 vectors, of which names and cells are hostile."""
    folder = tmp_path_factory.mktemp("things")
    table = write_table(folder)
    header, *lines = table.read_text().splitlines()
    names = [{"shade": SHADE, "mood": MOOD}.get(name, name).replace('"', '""') for name in header.split(",")]
    cells = [line.replace(",g,", f",{CELL},") for line in lines]
    table.write_text("\n".join([",".join(f'"{name}"' for name in names), *cells]) + "\n")
    run = fit(recipes.parse(RECIPE.replace('"shade"', json.dumps(SHADE))), read_table(table), folder / "run")
    extract(run, progress=False)
    return SimpleNamespace(table=table, run=run)


@pytest.fixture
def model(things):
    return mscon.load(things.run.root)


@pytest.fixture(scope="module")
def server():
    with postgres.server() as at:
        yield at


@pytest.fixture(params=ENGINES)
def engine(request) -> str:
    package = {"qdrant": "qdrant_client", "pgvector": "psycopg"}.get(request.param, request.param)
    pytest.importorskip(package, reason=f"the extra '{request.param}' is not installed")
    return request.param


@pytest.fixture
def place(request, tmp_path) -> Place:
    """Address of an empty database of an engine."""

    def of(engine: str) -> str:
        if engine != "pgvector":
            return str(tmp_path / engine)
        import psycopg

        at = request.getfixturevalue("server")
        with psycopg.connect(at, autocommit=True) as connection:
            connection.execute("DROP SCHEMA public CASCADE")
            connection.execute("CREATE SCHEMA public")
        return at

    return of


@pytest.fixture
def at(engine, place) -> str:
    return place(engine)


def examples() -> dict[str, Any]:
    """The functions that docs/databases.md shows."""
    names: dict[str, Any] = {}
    for block in re.findall(r"```python\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL):
        exec(block, names)
    return names


def nearest(engine: str, *arguments: Any) -> list[int]:
    """By the example of the document."""
    return examples()[f"nearest_in_{'postgresql' if engine == 'pgvector' else engine}"](*arguments)


def stored(engine: str, at: str, name: str = "mine") -> pl.DataFrame:
    """All that a database holds, by line, read by its own library."""
    if engine == "lancedb":
        import lancedb

        frame = pl.DataFrame(lancedb.connect(at).open_table(name).to_arrow())
    elif engine == "qdrant":
        from qdrant_client import QdrantClient

        client = QdrantClient(path=at)
        found, _ = client.scroll(name, limit=1_000, with_vectors=True)
        client.close()
        assert all(point.id == point.payload["line"] for point in found)
        frame = pl.DataFrame([{**point.payload, **point.vector} for point in found], infer_schema_length=None)
    elif engine == "pgvector":
        import psycopg
        from pgvector.psycopg import register_vector
        from psycopg.rows import dict_row

        with psycopg.connect(at, row_factory=dict_row) as connection:
            register_vector(connection)
            rows = connection.execute(f'SELECT * FROM "{name}"').fetchall()
        arrays = [{k: v.to_list() if hasattr(v, "to_list") else v for k, v in row.items()} for row in rows]
        frame = pl.DataFrame(arrays, infer_schema_length=None)
    else:
        frame = pl.read_parquet(Path(at, name, "rows.parquet"))
        vectors = []
        for path in sorted(Path(at, name).glob(f"*.{engine}")):
            if engine == "faiss":
                import faiss

                index = faiss.read_index(str(path))
                vectors.append(pl.Series(path.stem, index.reconstruct_n(0, index.ntotal)))
            else:
                from usearch.index import Index

                vectors.append(pl.Series(path.stem, Index.restore(str(path)).get(np.arange(frame.height))))
        frame = frame.with_columns(vectors).rename(unquote)
    return frame.sort("line")


def test_every_row_has_its_line_its_cells_and_its_vectors(things, model, engine, at):
    written = export_vectors(model, things.table, engine, at, "mine", batch_size=7)
    frame, expected = stored(engine, at), read_table(things.table).frame
    assert written.columns == tuple(expected.columns) == ("split", "kind", SHADE, MOOD, "height", "weight")
    assert list(written.spaces) == SPACES and sorted(frame.columns) == sorted(["line", *written.columns, *SPACES])
    assert frame["line"].to_list() == list(range(2, ROWS + 2))
    for column in ("split", "kind", SHADE, MOOD):
        assert frame[column].to_list() == expected[column].to_list()
    assert CELL in frame[MOOD] and None in frame[SHADE]
    for column in ("height", "weight"):
        assert frame[column].to_list() == [float(cell) for cell in expected[column]]
    for space, vectors in model.embed_all(points()).columns.items():
        if space == "features" and engine == "faiss":
            vectors = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
        np.testing.assert_allclose(np.array(frame[space].to_list()), vectors, atol=1e-5)


@pytest.mark.parametrize("mix", [{"kind": 1, SHADE: 0.25}, {SHADE: 3}, {"kind": 1e300, SHADE: 1e300}], ids=str)
def test_the_query_of_the_document_finds_what_mscon_finds(things, model, engine, at, mix):
    export_vectors(model, things.table, engine, at, "mine")
    index = mscon.open_index(things.run, dtype="float32")
    for row in (0, 17, 44):
        query = examples()["query_of"](things.run.root, engine, at, "mine", points()[row : row + 1], mix)
        expected = [hit.line for hit in index.search(row, mix=mix, k=9)]  # which leaves the row itself out
        assert nearest(engine, at, "mine", query) == [row + 2, *expected]


def counted(model, fails_after: int | None = None) -> SimpleNamespace:
    """Let a model count the rows that it encodes, and stop after some."""
    count, encode_all = SimpleNamespace(rows=0), type(model).encode_all

    def encode(inputs):
        if fails_after is not None and count.rows + len(inputs) > fails_after:
            raise KeyboardInterrupt
        count.rows += len(inputs)
        return encode_all(model, inputs)

    model.encode_all = encode
    return count


def test_a_stopped_export_goes_on_behind_what_is_stored(things, model, engine, at, monkeypatch):
    monkeypatch.setattr(export, "ROWS", 16)
    count = counted(model, fails_after=40)
    with pytest.raises(KeyboardInterrupt):
        export_vectors(model, things.table, engine, at, "mine", batch_size=8)
    assert count.rows == 40  # two batches of 16 are stored, half of the third is lost
    count = counted(model)
    export_vectors(model, things.table, engine, at, "mine", overwrite=True)  # nothing to replace: it goes on as well
    assert count.rows == ROWS - 32
    export_vectors(model, things.table, engine, at, "whole")
    assert stored(engine, at).equals(stored(engine, at, "whole"))


def change_nothing(things, model, tmp_path): ...


def change_table(things, model, tmp_path):
    text = things.table.read_text()
    things.table = tmp_path / "things.csv"
    things.table.write_text(text.replace("a,x", "a,y", 1))
    np.save(tmp_path / "points.npy", points())


def change_vectors(things, model, tmp_path):
    changed = points()
    changed[-1] += 1
    text = things.table.read_text()
    things.table = tmp_path / "things.csv"
    things.table.write_text(text)
    np.save(tmp_path / "points.npy", changed)


def change_model(things, model, tmp_path):
    next(iter(model.model.parameters())).data += 0.01
    del model.digest


@pytest.mark.parametrize(
    ("change", "settings", "words"),
    [
        (change_nothing, {}, "exists and is complete"),
        (change_table, {}, "with other rows or inputs"),
        (change_vectors, {}, "with other rows or inputs"),
        (change_nothing, {"columns": ["kind"]}, "with other columns"),
        (change_nothing, {"spaces": ["mix"]}, "with other spaces"),
        (
            change_model,
            {},
            r"holds vectors of another model \(its hash is [0-9a-f]{12}, that of this one [0-9a-f]{12}\)",
        ),
    ],
)
def test_what_is_there_is_replaced_on_request_only(things, model, engine, at, tmp_path, change, settings, words):
    things = SimpleNamespace(**vars(things))
    export_vectors(model, things.table, engine, at, "mine")
    before = stored(engine, at)
    change(things, model, tmp_path)
    with pytest.raises(RunError, match=rf"'mine' in .*{words}.* Choose another --name, or pass --overwrite"):
        export_vectors(model, things.table, engine, at, "mine", **settings)
    assert stored(engine, at).equals(before)
    written = export_vectors(model, things.table, engine, at, "mine", overwrite=True, **settings)
    assert open_export(engine, at, "mine") == written
    after = stored(engine, at)
    assert after.height == ROWS and (after.columns == before.columns) == (not settings)


def test_an_unfinished_export_of_another_model_is_not_continued(things, model, engine, at, tmp_path, monkeypatch):
    monkeypatch.setattr(export, "ROWS", 16)
    counted(model, fails_after=40)
    with pytest.raises(KeyboardInterrupt):
        export_vectors(model, things.table, engine, at, "mine", batch_size=8)
    change_model(things, model, tmp_path)
    count = counted(model)
    with pytest.raises(RunError, match="holds vectors of another model"):
        export_vectors(model, things.table, engine, at, "mine")
    assert count.rows == 0
    export_vectors(model, things.table, engine, at, "mine", overwrite=True)
    assert count.rows == ROWS


def make_foreign(engine: str, at: str) -> None:
    """A table of the user's that is called "mine"."""
    if engine == "lancedb":
        import lancedb

        lancedb.connect(at).create_table("mine", [{"customer": 1}])
    elif engine == "qdrant":
        from qdrant_client import QdrantClient, models

        client = QdrantClient(path=at)
        client.create_collection("mine", models.VectorParams(size=2, distance=models.Distance.DOT))
        client.close()
    elif engine == "pgvector":
        import psycopg

        with psycopg.connect(at) as connection:
            connection.execute("CREATE TABLE mine AS SELECT 1 AS customer")
    else:
        Path(at, "mine").mkdir(parents=True)
        Path(at, "mine", "record.json").write_text('{"customer": 1}')


def test_a_table_that_mscon_did_not_write_is_never_replaced(things, model, engine, at):
    make_foreign(engine, at)
    for overwrite in (False, True):
        with pytest.raises(
            RunError, match=r"exists and was not written by `mscon export`: not replaced. Choose another"
        ):
            export_vectors(model, things.table, engine, at, "mine", overwrite=overwrite)
    with pytest.raises(RunError, match="was not written by `mscon export`"):
        open_export(engine, at, "mine")
    make_foreign_again = {"lancedb": ValueError, "qdrant": ValueError, "pgvector": Exception}.get(engine, OSError)
    with pytest.raises(make_foreign_again):  # it is still there
        make_foreign(engine, at)


def test_what_does_not_answer_is_one_message(things, model, engine, tmp_path):
    (tmp_path / "file").write_text("mine")
    at = {"qdrant": "http://127.0.0.1:1", "pgvector": "postgresql://me:hush@127.0.0.1:1/x"}.get(engine)
    count = counted(model)
    with pytest.raises(RunError) as caught:
        export_vectors(model, things.table, engine, at or str(tmp_path / "file" / "x"), "mine")
    assert re.match(r"(LanceDB table|Qdrant collection|PostgreSQL table|.*file)", message := str(caught.value))
    assert "hush" not in message and count.rows == 0
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def test_a_password_is_in_no_message():
    for at in ("postgresql://me:hush@h/x", "host=h password=hush user=me", "host=h password='hu sh' user=me"):
        text = str(PgVector(at, "mine"))
        assert text.startswith("PostgreSQL table 'mine' in ") and "hu" not in text and "sh" not in text


# Names ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["", "../mine", "a b", "a'b", "x" * 61, ".hidden", "a/b", "é"])
def test_a_name_is_letters_and_digits(things, model, tmp_path, name):
    with pytest.raises(RunError, match=r"--name .*: a name has up to 60 of the letters"):
        export_vectors(model, things.table, "faiss", str(tmp_path), name)
    assert not list(tmp_path.iterdir())


def test_spaces_and_columns_that_there_are_not_are_named(things, model, tmp_path):
    settings = {"to": "faiss", "at": str(tmp_path / "x")}
    with pytest.raises(RunError, match=r"no space 'mixx'. Did you mean 'mix'\?\n.*no space 'kind'.*\n  Spaces: 'featu"):
        export_vectors(model, things.table, **settings, spaces=["mixx", "kind", "mix"])
    with pytest.raises(TableError, match=r"no column 'knd'. Did you mean 'kind'\?(.|\n)*no column 'moods'"):
        export_vectors(model, things.table, **settings, columns=["knd", "kind", "moods"])
    with pytest.raises(RunError, match=r"no engine 'qdrnt'. Did you mean 'qdrant'\?"):
        export_vectors(model, things.table, "qdrnt", "x")
    assert not list(tmp_path.iterdir())


def test_columns_that_are_called_as_what_mscon_adds_are_named(things, model, tmp_path):
    frame = read_table(things.table).frame.with_columns(line=pl.lit("x"), mix=pl.lit("y"), z=pl.lit("z"))
    frame.write_csv(table := tmp_path / "new.csv")
    vectors = {"images": things.table.parent, "to": "faiss", "at": str(tmp_path / "x")}
    with pytest.raises(RunError, match=r"names that the export needs: 'line', 'mix'. Rename them, or"):
        export_vectors(model, table, **vectors)
    assert export_vectors(model, table, **vectors, columns=["z"], spaces=["mix"]).columns == ("z",)


@pytest.mark.parametrize("name", ["a.b", "a`b", "_rowid", "_distance"])
def test_names_that_lancedb_does_not_take_are_named(tmp_path, name):
    pytest.importorskip("lancedb")
    refuse_name("lancedb", tmp_path, {name: pl.String})


@pytest.mark.parametrize("name", ['a"b', "a/b", "a:b", "\x1f", "é" * 101])
def test_names_of_vectors_that_qdrant_does_not_take_are_named(tmp_path, name):
    pytest.importorskip("qdrant_client")
    refuse_name("qdrant", tmp_path, {name: pl.Array(pl.Float32, 2)})


def refuse_name(engine: str, at: Path, schema: dict[str, Any]) -> None:
    (name,) = schema
    words = rf"cannot have columns or vectors of the names {re.escape(repr(name))}\. Leave them out"
    with open_database(engine, str(at), "mine") as database:
        with pytest.raises(RunError, match=words):
            database.create(pl.DataFrame(schema={"line": pl.Int64, **schema}), "{}")
        assert database.record() is None


@pytest.mark.parametrize("engine", ["faiss", "usearch"])
@pytest.mark.parametrize("space", ["../../x", "..", "/etc/x", "a\\b:c", "é\n"])
def test_no_space_leaves_the_folder_of_its_files(tmp_path, engine, space):
    pytest.importorskip(engine)
    rows = pl.DataFrame({"line": [1], space: pl.Series([[1.0, 2.0]], dtype=pl.Array(pl.Float32, 2))})
    with open_database(engine, str(tmp_path / "at"), "mine") as database:
        database.create(rows[:0], "{}")
        database.add(rows)
        database.finish()
    assert [path.name for path in tmp_path.iterdir()] == ["at"] and [p.name for p in (tmp_path / "at").iterdir()] == [
        "mine"
    ]
    assert len(list((tmp_path / "at" / "mine").iterdir())) == 3
    assert stored(engine, str(tmp_path / "at"))[space].to_list() == [[1.0, 2.0]]


def test_cells_are_numbers_where_all_of_them_are(things, model, tmp_path):
    cells = {
        "whole": ["-3", "0", "12"],
        "number": ["-0.5", "1e3", "7"],
        "code": ["007", "12", "13"],
        "long": ["12345678901234567890", "1", "2"],
        "word": ["nan", "1", "2"],
        "plus": ["+1", "2", "3"],
    }
    frame = read_table(things.table).frame
    columns = {name: [*values, *[None] * (ROWS - 3)] for name, values in cells.items()}
    frame.with_columns(pl.Series(n, v) for n, v in columns.items()).write_csv(table := tmp_path / "new.csv")
    export_vectors(model, table, "faiss", str(tmp_path), "mine", images=things.table.parent, columns=[*cells])
    rows = pl.read_parquet(tmp_path / "mine" / "rows.parquet").head(3)
    expected = {**cells, "whole": [-3, 0, 12], "number": [-0.5, 1000.0, 7.0]}
    assert rows.select(*cells).to_dict(as_series=False) == expected


# Queries -------------------------------------------------------------------------------------------


def test_a_query_that_does_not_fit_is_refused(things, model, tmp_path):
    pytest.importorskip("faiss")
    at, one = str(tmp_path), points()[:1]
    export_vectors(model, things.table, "faiss", at, "mine")
    written = open_export("faiss", at, "mine")
    kind = model.embed(one, "kind")[0]
    expected = np.concatenate([kind, np.zeros(model.width(SHADE))])
    np.testing.assert_allclose(written.query_vector(model, one, {"kind": 2.0}), expected, atol=1e-6)
    with pytest.raises(RunError, match=r"no similarity 'knd'. Did you mean 'kind'\?\n  Similarities here: 'kind', "):
        written.query_vector(model, one, {"knd": 1.0})
    for mix in ({"kind": -1.0}, {"kind": float("nan")}, {"kind": 0.0}, {}):
        with pytest.raises(RunError, match="weights must be finite and 0 or above"):
            written.query_vector(model, one, mix)
    with pytest.raises(ValueError, match="a query is one row, got 2"):
        written.query_vector(model, points()[:2], {"kind": 1.0})
    kind_only = export_vectors(model, things.table, "faiss", at, "kind", spaces=["projection_kind"])
    with pytest.raises(
        RunError, match=r"needs the space 'mix', which was not exported. Exported are 'projection_kind'"
    ):
        kind_only.query_vector(model, one, {"kind": 1.0})
    change_model(things, model, tmp_path)
    with pytest.raises(RunError, match="is not the model whose vectors were exported"):
        written.query_vector(model, one, {"kind": 1.0})
    with pytest.raises(
        RunError, match=r"FAISS folder 'other' in .* does not exist. `mscon export RUN --to faiss` writes"
    ):
        open_export("faiss", at, "other")


# The disk, images, cells, the command line -----------------------------------------------------------


@pytest.mark.parametrize("engine", ["lancedb", "qdrant", "faiss", "usearch"])
def test_a_disk_that_refuses_is_one_message_and_the_same_command_goes_on(things, model, engine, place, monkeypatch):
    pytest.importorskip("qdrant_client" if engine == "qdrant" else engine)
    monkeypatch.setattr(export, "ROWS", 16)
    arguments = model, things.table, engine, place(engine), "mine"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (25_000 if engine == "qdrant" else 5_000, limits[1]))
    try:
        with pytest.raises(RunError, match=r"'mine' in .*\n  Rows that are stored there stay. Run the same command"):
            export_vectors(*arguments)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    export_vectors(*arguments)
    assert stored(engine, arguments[3])["line"].to_list() == list(range(2, ROWS + 2))


def test_cells_that_postgresql_cannot_hold_are_one_message(things, model, place, tmp_path):
    at, table, settings = place("pgvector"), tmp_path / "new.csv", {"images": things.table.parent}
    table.write_text(things.table.read_text().replace("train,a", "tr\0ain,a", 1).replace("test,b", "te\0st,b", 1))
    with pytest.raises(RunError, match=r"no zero byte in a text, but cells of 'split' have one, in lines 2, 63\. Take"):
        export_vectors(model, table, "pgvector", at, "mine", **settings)
    export_vectors(model, table, "pgvector", at, "mine", **settings, columns=["kind"])
    table.write_text(things.table.read_text().replace('"split"', '"spl\0it"'))
    with pytest.raises(RunError, match=r"cannot have columns or vectors of the names 'spl\\x00it'"):
        export_vectors(model, table, "pgvector", at, "other", **settings)
    assert export_vectors(model, table, "pgvector", at, "other", **settings, columns=[]).columns == ()


@pytest.fixture
def pictures(tmp_path) -> SimpleNamespace:
    """A table of ten pictures, of which two cannot be read, and a model of them that nobody trained."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(10):
        Image.new("L", (20, 16), 20 * number).save(folder / f"{number}.png")
    (folder / "3.png").write_bytes(b"no image")
    (folder / "9.png").write_bytes((folder / "1.png").read_bytes()[:40])
    table = folder / "t.csv"
    table.write_text("photo,kind\n" + "".join(f"{n}.png,{'ab'[n % 2]}\n" for n in range(10)))
    text = '[[similarity]]\ncolumn = "kind"\n[data]\nimage = "photo"\nimage_size = 16\n[encoder]\nwidth = 4\n'
    recipe = recipes.parse(text)
    model = Embedder(build_model(recipe, recipe.similarities), recipe, "model")
    return SimpleNamespace(table=table, model=model, at=str(tmp_path / "at"))


def test_rows_without_a_readable_image_are_named_or_left_out(pictures, monkeypatch, capfd):
    pytest.importorskip("faiss")
    monkeypatch.setattr(export, "ROWS", 2)
    arguments = pictures.model, pictures.table, "faiss", pictures.at, "mine"
    count = counted(pictures.model)
    with pytest.raises(TableError, match=r"line 5: image '3.png' (.|\n)*2 of 10 rows .*lines 5, 11(.|\n)*drop"):
        export_vectors(*arguments)
    assert count.rows == 2  # the batch before; the rest was only tried
    export_vectors(*arguments, missing_images="drop")
    assert "2 rows of 10 left out, whose image cannot be read (lines 5, 11)" in capfd.readouterr().err
    rows = pl.read_parquet(Path(pictures.at, "mine", "rows.parquet"))
    assert rows.columns == ["line", "image", "kind"] and rows["line"].to_list() == [2, 3, 4, 6, 7, 8, 9, 10]
    assert rows["image"].to_list() == [f"{n}.png" for n in (0, 1, 2, 4, 5, 6, 7, 8)]
    expected = pictures.model.embed_all([pictures.table.parent / name for name in rows["image"]])
    np.testing.assert_allclose(np.array(stored("faiss", pictures.at)["mix"].to_list()), expected.mix, atol=1e-5)
    with pytest.raises(RunError, match="exists and is complete"):
        export_vectors(*arguments, missing_images="drop")


def test_a_changed_picture_ends_an_export_that_was_stopped(pictures, monkeypatch):
    pytest.importorskip("faiss")
    monkeypatch.setattr(export, "ROWS", 2)
    arguments = pictures.model, pictures.table, "faiss", pictures.at, "mine"
    with pytest.raises(TableError):
        export_vectors(*arguments)
    Image.new("L", (20, 16), 7).save(pictures.table.parent / "0.png")
    with pytest.raises(RunError, match="holds an export of this model with other rows or inputs"):
        export_vectors(*arguments, missing_images="drop")


def test_where_no_image_can_be_read_nothing_is_exported(pictures):
    pytest.importorskip("faiss")
    for number in range(10):
        (pictures.table.parent / f"{number}.png").write_bytes(b"no image")
    with pytest.raises(TableError, match="10 of 10 rows have this problem"):
        export_vectors(pictures.model, pictures.table, "faiss", pictures.at, "mine", missing_images="drop")
    assert not Path(pictures.at, "mine").exists()


def test_a_table_among_the_files_of_an_export_is_not_removed(things, model, tmp_path):
    pytest.importorskip("faiss")
    arguments = model, things.table, "faiss", str(tmp_path), "mine"
    export_vectors(*arguments)
    rows = tmp_path / "mine" / "rows.parquet"
    before = rows.read_bytes()
    with pytest.raises(RunError, match=r"rows.parquet' is a file that is read here.* Choose another --name"):
        export_vectors(*arguments, overwrite=True, reads=[rows])
    (tmp_path / "mine" / "notes.txt").write_text("mine")
    with pytest.raises(RunError, match=r"also holds notes.txt. Move that, or choose another --name"):
        export_vectors(*arguments, overwrite=True)
    assert rows.read_bytes() == before and len(list((tmp_path / "mine").iterdir())) == 7


def test_an_engine_that_is_not_installed_is_named_with_its_extra(things, model, engine, at, monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(RunError, match=rf'--to {engine} needs .*: pip install "mscon\[{engine}\]"'):
        export_vectors(model, things.table, engine, at)


def test_the_command_line_exports_once_and_then_refuses(things, tmp_path, capsys):
    pytest.importorskip("faiss")
    command = ["export", str(things.run.root), "--to", "faiss", "--table", str(things.table), "--at", str(tmp_path)]
    assert main([*command, "--spaces", "mix", "--columns", "kind"]) == 0
    assert capsys.readouterr().out == "vectors: mix\n"
    assert {p.name for p in (tmp_path / "vectors").iterdir()} == {"record.json", "rows.parquet", "mix.faiss"}
    assert pl.read_parquet(tmp_path / "vectors" / "rows.parquet").columns == ["line", "kind"]
    assert main(command) == 2
    errors = capsys.readouterr().err
    assert errors.startswith("mscon: FAISS folder 'vectors' in ") and "Traceback" not in errors
    assert main([*command, "--overwrite"]) == 0
    pack(things.run, tmp_path / "m.safetensors")
    command[1] = str(tmp_path / "m.safetensors")
    assert main([*command, "--name", "packed"]) == 0
    assert stored("faiss", str(tmp_path), "packed").equals(stored("faiss", str(tmp_path), "vectors"))


def test_options_that_do_not_go_together_are_named_at_once(things, tmp_path, capsys):
    command = ["export", str(things.run.root), "--to"]
    assert main([*command, "qdrant", "--out", "x", "--projections", "--include", "predictors"]) == 2
    assert capsys.readouterr().err.splitlines() == [
        "mscon: --out goes with --to onnx or safetensors, not with --to qdrant.",
        "--projections goes with --to onnx, not with --to qdrant.",
        "--include goes with --to safetensors, not with --to qdrant.",
        "--to qdrant needs --table.",
        "--to qdrant needs --at.",
    ]
    assert main([*command, "safetensors", "--table", "t.csv", "--tolerance", "0.1"]) == 2
    errors = capsys.readouterr().err
    assert "--to safetensors needs --out." in errors and "--tolerance goes with --to onnx, not" in errors
    assert "--table goes with --to lancedb or qdrant or pgvector or faiss or usearch, not" in errors


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_a_qdrant_server_is_spoken_to_as_it_wants(things, model, monkeypatch):
    pytest.importorskip("qdrant_client")
    import qdrant_server

    monkeypatch.setattr(export, "ROWS", 16)
    monkeypatch.setattr("mscon.deploy.databases.qdrant._NUMBERS_OF_A_REQUEST", 500)  # a few rows each
    with qdrant_server.server() as url:
        arguments = model, things.table, "qdrant", url, "mine"
        with pytest.raises(RunError, match=r"Qdrant collection 'mine' in 'http://.*API key"):
            export_vectors(*arguments)
        monkeypatch.setenv("QDRANT_API_KEY", qdrant_server.KEY)
        counted(model, fails_after=40)
        with pytest.raises(KeyboardInterrupt):
            export_vectors(*arguments, batch_size=8)
        count = counted(model)
        export_vectors(*arguments)
        assert count.rows == ROWS - 32
        with pytest.raises(RunError, match="exists and is complete"):
            export_vectors(*arguments)
        mix = {"kind": 1, SHADE: 0.25}
        query = open_export("qdrant", url, "mine").query_vector(model, points()[17:18], mix)
        expected = [hit.line for hit in mscon.open_index(things.run, dtype="float32").search(17, mix=mix, k=9)]
        assert nearest("qdrant", url, "mine", query) == [19, *expected]
        export_vectors(*arguments, overwrite=True, columns=["kind"])
        assert open_export("qdrant", url, "mine").columns == ("kind",)
