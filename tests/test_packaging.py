"""What pyproject.toml allows and what is tested are the same; licences; and the wheel that is built of it."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from licences import EXCEPTIONS, installed, is_permissive, licence

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))


def test_the_lowest_versions_tested_are_the_lowest_allowed():
    project = PROJECT["project"]
    allowed = dict(re.fullmatch(r"([\w-]+)>=([\d.]+)", d).groups() for d in project["dependencies"])
    lines = (ROOT / "tests" / "lowest.txt").read_text("utf-8").splitlines()
    tested = dict(line.split("==") for line in lines if line and not line.startswith("#"))
    assert allowed.keys() <= tested.keys()
    for name, version in allowed.items():
        assert tested[name].split(".")[: version.count(".") + 1] == version.split("."), name


def test_the_oldest_python_is_one_number_everywhere_and_its_grammar_reads_every_file():
    oldest = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert PROJECT["tool"]["mypy"]["python_version"] == oldest
    assert f"Programming Language :: Python :: {oldest}" in PROJECT["project"]["classifiers"]
    assert str(tuple(map(int, oldest.split(".")))) in (ROOT / "Makefile").read_text("utf-8")
    assert f"Python {oldest}" in (ROOT / "README.md").read_text("utf-8")
    files = sorted((ROOT / "src").rglob("*.py"))
    assert files
    for path in files:
        ast.parse(path.read_text("utf-8"), str(path), feature_version=tuple(map(int, oldest.split("."))))


def test_the_pythons_named_are_those_that_make_versions_tests():
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["project"]["classifiers"]))
    (tested,) = re.findall(r"^VERSIONS := (.+)$", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
    assert named == tested.split()
    assert named[0] == PROJECT["project"]["requires-python"].removeprefix(">=")


def test_every_package_that_mscon_brings_in_has_a_permissive_licence_or_is_a_listed_exception():
    project = PROJECT["project"]
    extras = [r for name, rs in project["optional-dependencies"].items() if name != "dev" for r in rs]
    packages = {
        p.metadata["Name"].lower().replace("_", "-"): licence(p) for p in installed([*project["dependencies"], *extras])
    }
    assert len(packages) > 30
    excepted = {name for name in packages if any(re.fullmatch(pattern, name) for pattern in EXCEPTIONS)}
    assert {name: text for name, text in packages.items() if name not in excepted and not is_permissive(text)} == {}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("MIT", True),
        ("Apache-2.0 AND BSD-3-Clause", True),
        ("GPL-3.0-only OR MIT", True),
        ("Historical Permission Notice and Disclaimer (HPND)", True),
        ("MIT AND MPL-2.0", False),
        ("GNU General Public License v3 (GPLv3)", False),
        ("LicenseRef-NVIDIA-Proprietary", False),
        ("", False),
    ],
)
def test_what_is_permissive(text, expected):
    assert is_permissive(text) is expected


def test_a_wheel_holds_every_file_of_the_packages_and_installs_without_a_network(tmp_path):
    """Built and installed by pip with `--no-index`; what is installed runs by itself."""
    pytest.importorskip("hatchling")
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--no-input", "-q"]
    source = ["--no-build-isolation", "--no-deps", "--wheel-dir", str(tmp_path / "wheels"), str(ROOT)]
    subprocess.run([*pip, "wheel", "--no-index", *source], check=True, capture_output=True)
    (wheel,) = (tmp_path / "wheels").glob("mscon-*.whl")
    tracked = {
        path.relative_to(ROOT / "src").as_posix()
        for path in (ROOT / "src").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    names = {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name}
    assert names == tracked
    target = ["--no-deps", "--target", str(tmp_path / "installed"), "--find-links", str(tmp_path / "wheels")]
    subprocess.run([*pip, "install", "--no-index", *target, "mscon"], check=True, capture_output=True)
    code = f"import sys; sys.path.insert(0, {str(tmp_path / 'installed')!r}); import mscon; print(mscon.__file__)\n"
    code += "from mscon.cli import main; main(['list', 'recipes']); sys.exit(main(['--version']))"
    ended = subprocess.run([sys.executable, "-I", "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.startswith(str(tmp_path / "installed"))
    assert "glyphs" in ended.stdout
