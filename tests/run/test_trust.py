"""What a run names from outside mscon is imported only if its user trained it here, or says to trust it."""

from __future__ import annotations

import hashlib
import html
import json
import os
import shutil
import subprocess
import sys
import threading
import tomllib
from pathlib import Path

import numpy as np
import pytest
import tomli_w

import mscon
from exports import needs_onnx
from mscon.cli import main
from mscon.comparison import planned as runs
from mscon.data.table.table import read_table
from mscon.deploy import hub
from mscon.deploy.onnx import export_onnx
from mscon.deploy.packed import pack
from mscon.deploy.transformer import EmbeddingTransformer
from mscon.errors import RunError
from mscon.evaluate.features import extract
from mscon.evaluate.probe import probe
from mscon.model.model import load_model
from mscon.run import checksums, trust
from mscon.run import recipe as recipes
from mscon.run.run import Run
from mscon.train.fit import fit, resume

RECIPE = """
[[similarity]]
column = "kind"
name = "categorical"
[data]
input = "vectors"
vectors = "clip.npy"
[encoder]
name = "linear"
settings = { units = 8 }
[weighting]
name = "uncertainty"
[train]
epochs = 1
batch_size = 8
precision = "float32"
schedule = "constant"
[probe]
draws = 100
"""

# Each works in place of the part of mscon that the recipe has.
EVIL = """
from pathlib import Path
Path({mark!r}).touch()
from torch import nn
from mscon.model.heads.mlp import MLP
from mscon.method.objectives.supcon import SupCon
from mscon.method.similarities.categorical import Categorical
from mscon.method.weightings.uncertainty import Uncertainty
class Kind(Categorical): pass
class Heads(MLP): pass
class Objective(SupCon): pass
class Weighting(Uncertainty): pass
class Encoder(nn.Linear):
    def __init__(self): super().__init__(6, 8)
"""

PLACES = (
    "similarity", "similarities.json", "encoder", "heads", "objective", "weighting",
    "own objective", "own objective with settings", "own heads", "kind", "kind with settings",
)  # fmt: skip


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    folder = tmp_path_factory.mktemp("table")
    np.save(folder / "clip.npy", np.random.default_rng(0).standard_normal((20, 6)).astype(np.float32))
    rows = [f"{'ab'[n % 2]},{'xy'[n // 2 % 2]},{'train' if n < 14 else 'test'}" for n in range(20)]
    (folder / "new.csv").write_text("\n".join(["kind,make,split", *rows]) + "\n")
    return folder / "new.csv"


@pytest.fixture(scope="module")
def trained(table, tmp_path_factory):
    run = fit(recipes.parse(RECIPE), read_table(table), tmp_path_factory.mktemp("trained") / "run", progress=False)
    probe(run, progress=False)
    return run


@pytest.fixture
def mark(tmp_path, monkeypatch):
    """A file that is there once `evilmod`, which can be imported, has been."""
    folder = tmp_path / "modules"
    folder.mkdir()
    (folder / "evilmod.py").write_text(EVIL.format(mark=str(tmp_path / "imported")))
    monkeypatch.syspath_prepend(str(folder))
    monkeypatch.delitem(sys.modules, "evilmod", raising=False)
    yield tmp_path / "imported"
    sys.modules.pop("evilmod", None)


def is_imported(mark):
    """Whether it was since this was asked last."""
    was = mark.exists()
    mark.unlink(missing_ok=True)
    sys.modules.pop("evilmod", None)
    return was


def sent(trained, root, *places):
    """A run as someone may send it, with a signature of this user's in it, that names code of theirs in some places."""
    shutil.copytree(trained.root, root)
    values = tomllib.loads((root / "recipe.toml").read_text())
    states = json.loads((root / "similarities.json").read_text())
    values["train"]["epochs"] = 2  # so that something is left to resume
    for place in places:
        if place == "similarity":
            values["similarity"][0]["name"] = "evilmod:Kind"
        elif place == "similarities.json":
            states[0]["name"] = "evilmod:Kind"
        elif place.startswith("own "):
            part = place.split()[1]
            name = f"evilmod:{part.capitalize()}"
            values["similarity"][0][part] = {"name": name} if "with settings" in place else name
        elif place == "encoder":
            values["encoder"] |= {"name": "evilmod:Encoder", "settings": {}}
        elif place in ("kind", "kind with settings"):
            kind = "evilmod:Kind" if place == "kind" else {"name": "evilmod:Kind"}
            values["probe"] |= {"columns": ["make"], "kinds": {"make": kind}}
        elif place == "text_model":
            values["data"] |= {"text_model": "someone/theirs"}
        else:
            values[place] |= {"name": f"evilmod:{place.capitalize()}"}
    rewrite(root / "recipe.toml", tomli_w.dumps(values).encode())
    rewrite(root / "similarities.json", json.dumps(states).encode())
    return Run.open(root)


def rewrite(path, content):
    """As someone would who does not want it to be noticed."""
    path.write_bytes(content)
    checksums.record(path.parent, path.name)


def arguments(verb, root, table, out):
    return {
        "probe": ["probe", root],
        "resume": ["resume", root],
        "export": ["export", root, "--to", "safetensors", "--out", out / "model.safetensors"],
        "export to onnx": ["export", root, "--to", "onnx", "--out", out / "model.onnx"],
        "push": ["push", root, "owner/name", "--dry-run", out / "upload"],
        "embed": ["embed", root, "--table", table, "--out", out / "new.npz"],
        "predict": ["predict", root, "--table", table, "--out", out / "new.csv"],
    }[verb]


VERBS = ("probe", "resume", "export", pytest.param("export to onnx", marks=needs_onnx), "push", "embed", "predict")


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file() and "modules" not in path.parts}


@pytest.mark.parametrize("place", [*PLACES, "text_model"])
@pytest.mark.parametrize("verb", VERBS)
def test_a_run_of_somebody_else_imports_nothing(trained, table, mark, tmp_path, capsys, verb, place):
    run = sent(trained, tmp_path / "theirs", place)
    before = contents(tmp_path)
    assert main([*map(str, arguments(verb, run.root, table, tmp_path))]) == 2
    assert not is_imported(mark)
    message = capsys.readouterr().err
    assert message.startswith(f"mscon: run '{run.root}' names code from outside mscon: '")
    assert ("evilmod:" in message or "someone/theirs" in message) and "--trust" in message
    assert message.count("mscon: ") == 1 + message.count("outside mscon: ") == 2
    assert contents(tmp_path) == before


@pytest.mark.parametrize(
    ("verb", "place"),
    [
        *(("resume", place) for place in PLACES[:-2]),
        *(("probe", place) for place in PLACES if place != "similarities.json"),
        ("export", "heads"),
        pytest.param("export to onnx", "heads", marks=needs_onnx),
        ("push", "heads"),
        ("embed", "heads"),
        ("predict", "heads"),
    ],
)
def test_it_does_once_it_is_trusted(trained, table, mark, tmp_path, verb, place):
    run = sent(trained, tmp_path / "theirs", place)
    shutil.rmtree(run.root / "features")  # else a probe needs no encoder
    assert main([*map(str, arguments(verb, run.root, table, tmp_path)), "--trust"]) == 0
    assert is_imported(mark)


FUNCTIONS = {
    "recipe": lambda run, out: run.read_recipe(),
    "probe": lambda run, out: probe(run, progress=False),
    "extract": lambda run, out: extract(run, progress=False, force=True),
    "resume": lambda run, out: resume(run, progress=False),
    "load_model": lambda run, out: load_model(run),
    "load": lambda run, out: mscon.load(run.root, trust=run.trust),
    "transformer": lambda run, out: EmbeddingTransformer(run.root, trust=run.trust).fit([]),
    "pack": lambda run, out: pack(run, out / "model.safetensors"),
    "lay_out": lambda run, out: hub.lay_out(run, "", out / "upload"),
}


@pytest.mark.parametrize("function", FUNCTIONS)
def test_functions_ask_for_trust_as_verbs_do(trained, mark, tmp_path, function):
    run = sent(trained, tmp_path / "theirs", "heads")
    with pytest.raises(RunError, match="code from outside mscon: 'evilmod:Heads'"):
        FUNCTIONS[function](run, tmp_path)
    assert not is_imported(mark)
    FUNCTIONS[function](Run.open(run.root, trust=True), tmp_path)
    assert is_imported(mark)


@needs_onnx
def test_what_exports_or_sends_asks_before_all_else(trained, mark, tmp_path):
    run = sent(trained, tmp_path / "theirs", "objective")
    with pytest.raises(RunError, match="code from outside mscon"):
        export_onnx(run, tmp_path / "model.onnx")
    with pytest.raises(RunError, match="code from outside mscon"):
        hub.push(run, "owner/name", "")
    assert not is_imported(mark)


def test_a_packed_model_has_no_signature_and_asks(trained, mark, tmp_path):
    run = sent(trained, tmp_path / "theirs", "encoder", "heads")
    pack(Run.open(run.root, trust=True), tmp_path / "model.safetensors")
    assert is_imported(mark)
    with pytest.raises(RunError, match="'evilmod:Encoder', 'evilmod:Heads'"):
        mscon.load(tmp_path / "model.safetensors")
    assert not is_imported(mark)
    mscon.load(tmp_path / "model.safetensors", trust=True)
    assert is_imported(mark)


def test_one_run_of_several_is_told_before_any_is_probed(trained, mark, tmp_path):
    signed_run = shutil.copytree(trained.root, tmp_path / "own")
    run, before = sent(trained, tmp_path / "theirs", "heads"), contents(tmp_path)
    assert main(["probe", str(signed_run), str(run.root)]) == 2
    assert contents(tmp_path) == before


# What needs no trust ------------------------------------------------------------------------------


def test_what_only_reads_imports_nothing(trained, mark, tmp_path):
    run = sent(trained, tmp_path / "theirs", *PLACES, "text_model")
    root, out = str(run.root), str(tmp_path / "page.html")
    assert main(["report", root, "--out", out]) == 0
    assert main(["card", root]) == 0
    assert main(["explore", root, "--no-open"]) == 0
    assert main(["search", root, "--query", "0"]) == 0
    assert not is_imported(mark)


def test_agreement_in_a_column_of_a_strangers_kind_is_unknown_in_one_sentence_until_it_is_trusted(
    trained, mark, tmp_path, capsys
):
    run = sent(trained, tmp_path / "theirs", "similarity", "similarities.json")
    root, note = (
        str(run.root),
        "greement of column 'kind' is not known: its kind evilmod:Kind is not imported without --trust",
    )
    pages = {
        "report": [root, "--out", str(tmp_path / "r.html")],
        "explore": [root, "--no-open", "--out", str(tmp_path / "e.html")],
    }
    for trusted in (False, True):
        word = ["--trust"] if trusted else []
        for verb, arguments in pages.items():
            assert main([verb, *arguments, *word]) == 0
            assert (note in html.unescape(Path(arguments[-1]).read_text("utf-8"))) != trusted
            assert is_imported(mark) == trusted
        capsys.readouterr()
        assert main(["search", root, "--query", "0", "--json", *word]) == 0
        hits = json.loads(capsys.readouterr().out)
        assert [text for text in hits["notes"] if note in text] == ([] if trusted else hits["notes"])
        words = {hit["agreement"]["kind"] for hit in hits["hits"]}
        assert words == ({"same", "different"} if trusted else {"unknown"})


def test_beginning_with_the_weights_of_a_run_imports_nothing_of_it(trained, table, mark, tmp_path):
    theirs = sent(trained, tmp_path / "theirs", *PLACES)
    recipe = tmp_path / "mine.toml"
    recipe.write_text(RECIPE.replace('name = "linear"', f'name = "linear"\nstart_from = "{theirs.root}"'))
    assert main(["train", str(recipe), "--table", str(table), "--out", str(tmp_path / "mine")]) == 0
    # The same once more by resume: without a checkpoint it begins with those weights too.
    shutil.rmtree(tmp_path / "mine" / "checkpoints")
    assert main(["resume", str(tmp_path / "mine")]) == 0
    assert not is_imported(mark)


@pytest.fixture
def signed_run(table, mark, tmp_path):
    """A run of this user's, with a class of theirs."""
    run = fit(recipes.parse(RECIPE, ["heads.name=evilmod:Heads"]), read_table(table), tmp_path / "own", progress=False)
    assert is_imported(mark)
    return run


@pytest.mark.parametrize("verb", VERBS)
def test_a_run_that_was_trained_here_needs_no_word_wherever_it_lies(signed_run, table, mark, tmp_path, verb):
    root = signed_run.root.rename(tmp_path / "elsewhere")
    assert main([*map(str, arguments(verb, root, table, tmp_path))]) == 0
    assert is_imported(mark)


@pytest.mark.parametrize("name", ["recipe.toml", "similarities.json"])
def test_a_byte_changed_is_a_run_of_somebody_else(signed_run, mark, name):
    path = signed_run.root / name
    rewrite(path, path.read_bytes() + b"\n")
    with pytest.raises(RunError, match="evilmod:Heads"):
        probe(Run.open(signed_run.root), progress=False)
    assert not is_imported(mark)
    rewrite(path, path.read_bytes()[:-1])
    probe(Run.open(signed_run.root), progress=False)
    assert is_imported(mark)


def test_bytes_do_not_move_from_one_signed_file_to_the_next(signed_run):
    assert trust.signature([b"ab", b"c"]) != trust.signature([b"a", b"bc"])


@pytest.mark.parametrize(
    "content", [b"", b"\xff", b"[]", b"null", b"{}", b'{"hmac_sha256": 3}', b'{"hmac_sha256": "\\ud800\xc3\xa4"}']
)
def test_what_is_no_signature_is_none(signed_run, content):
    rewrite(signed_run.root / "signature.json", content)
    with pytest.raises(RunError, match="--trust"):
        _ = Run.open(signed_run.root).read_recipe()


@pytest.mark.parametrize("key", [None, b"", b"short", b"x" * 33])
def test_another_key_or_none_makes_no_signature_valid(signed_run, tmp_path, monkeypatch, key):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    if key is not None:
        (tmp_path / "state" / "mscon").mkdir(parents=True)
        (tmp_path / "state" / "mscon" / "key").write_bytes(key)
    with pytest.raises(RunError, match="--trust"):
        _ = Run.open(signed_run.root).read_recipe()
    assert (tmp_path / "state").exists() == (key is not None)  # to read never makes a key


def test_names_as_deep_as_json_can_be_nested_are_found():
    nested: object = {"name": "evilmod:Kind"}
    for _ in range(10_000):
        nested = [nested]
    assert trust.foreign_code({}, nested) == {"evilmod:Kind"}


def test_a_run_resumed_with_other_settings_stays_signed_and_one_of_somebody_else_unsigned(
    signed_run, trained, tmp_path
):
    theirs = sent(trained, tmp_path / "theirs", "heads")
    for run in (signed_run, Run.open(theirs.root, trust=True)):
        resume(run, progress=False, overrides=["train.epochs=3"])
    assert Run.open(signed_run.root).read_recipe().train.epochs == 3
    with pytest.raises(RunError, match="--trust"):
        _ = Run.open(theirs.root).read_recipe()


def test_a_run_that_replaces_another_brings_its_signature(signed_run, table, mark):
    again = fit(recipes.parse(RECIPE, ["heads.name=evilmod:Heads"]), read_table(table), signed_run.root, overwrite=True)
    assert again.root == signed_run.root and Run.open(signed_run.root).is_signed


# The key ------------------------------------------------------------------------------------------


def test_the_key_is_for_its_owner_only(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert trust.signature([b""]) == trust.signature([b""])
    (key,) = (tmp_path / "state").rglob("*key*")
    assert (key.stat().st_mode & 0o777, key.parent.stat().st_mode & 0o777) == (0o600, 0o700)
    assert len(key.read_bytes()) == 32


def test_a_folder_named_relative_to_the_current_one_holds_no_key(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", "state")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    assert trust.signature([b""])
    assert not (tmp_path / "state").exists() and (tmp_path / "home/.local/state/mscon/key").is_file()


def test_all_who_sign_first_at_once_have_one_key(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    begin, signatures = threading.Barrier(8), []

    def sign():
        begin.wait()
        signatures.append(trust.signature([b"same"]))

    threads = [threading.Thread(target=sign) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(signatures) == 8 and len(set(signatures)) == 1
    assert [path.name for path in (tmp_path / "mscon").iterdir()] == ["key"]


def test_without_a_place_for_a_key_runs_are_trained_all_the_same(table, mark, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    recipe = recipes.parse(RECIPE, ["heads.name=evilmod:Heads"])
    run = fit(recipe, read_table(table), tmp_path / "run", progress=False)
    assert not (run.root / "signature.json").exists()
    probe(run, progress=False)  # who trained it just now goes on
    with pytest.raises(RunError, match="--trust"):
        probe(Run.open(run.root), progress=False)
    # An experiment knows its own finished runs: it was asked for the same code.
    planned = runs.Planned(recipe, run.root)
    assert runs.is_finished(planned, hashlib.sha256(table.read_bytes()).hexdigest())


def test_a_run_in_the_place_of_a_planned_one_is_not_asked_what_it_is_by_importing(trained, mark, tmp_path):
    run = sent(trained, tmp_path / "theirs", "objective")
    assert not runs.is_finished(runs.Planned(recipes.parse(RECIPE), run.root), "")
    assert not is_imported(mark)


# The current folder -------------------------------------------------------------------------------


def in_folder(folder, *arguments, flags=(), path=()):
    """`python -m mscon` with a folder as the current one."""
    where = os.pathsep.join([*path, str(Path(mscon.__file__).parent.parent)])
    return subprocess.run(
        [sys.executable, *flags, "-m", "mscon", *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": where},
        capture_output=True,
        text=True,
    )


def test_modules_in_the_current_folder_are_not_imported(trained, tmp_path):
    run, mark = sent(trained, tmp_path / "theirs"), tmp_path / "imported"
    for name in ("timm", "torch", "numpy", "polars"):
        (run.root / f"{name}.py").write_text(f"from pathlib import Path\nPath({str(mark)!r}).touch()\n")
    process = in_folder(run.root, "probe", ".")
    assert process.returncode == 0, process.stderr
    assert not mark.exists()


def test_a_class_in_the_current_folder_is_found_only_by_pythonpath(trained, tmp_path):
    run, mark = sent(trained, tmp_path / "theirs", "heads"), tmp_path / "imported"
    (run.root / "evilmod.py").write_text(EVIL.format(mark=str(mark)))
    out = str(tmp_path / "model.safetensors")
    export = ("export", ".", "--to", "safetensors", "--out", out, "--overwrite", "--trust")
    process = in_folder(run.root, *export)
    assert process.returncode == 2 and "cannot import heads 'evilmod:Heads'" in process.stderr
    assert not mark.exists()
    for flags in ([], ["-P"]):
        process = in_folder(run.root, *export, flags=flags, path=["."])
        assert process.returncode == 0, process.stderr
        assert is_imported(mark)
