"""What is installed, and `mscon doctor`, which says it."""

from __future__ import annotations

import importlib.metadata
import json
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from mscon.cli import main
from mscon.errors import RunError
from mscon.run import cache, installation
from mscon.run.locks import lock

PROJECT = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
KEY = "0123456789abcdef" * 2


@pytest.fixture
def requirements(monkeypatch):
    """What mscon is said to need, as a list to fill."""
    texts = ["numpy>=1.0", "Jinja2>=3"]
    monkeypatch.setattr(importlib.metadata, "requires", lambda name: texts)
    return texts


@pytest.fixture
def caches(tmp_path, monkeypatch):
    """A cache folder with 10 + 20 bytes in two of its folders, between files of somebody else."""
    monkeypatch.setenv("MSCON_CACHE", str(tmp_path / "cache"))
    images, unpacked = cache.cache_folder("images"), cache.cache_folder("unpacked") / KEY
    images.mkdir(parents=True)
    unpacked.mkdir(parents=True)
    (images / f"{KEY}.npy").write_bytes(bytes(10))
    (unpacked / "0.png").write_bytes(bytes(20))
    (images / "holiday.jpg").write_bytes(bytes(40))
    (images / f"{KEY}0.npy").write_bytes(bytes(80))
    return tmp_path / "cache"


def test_every_extra_for_users_is_explained():
    assert installation.EXTRAS.keys() == PROJECT["optional-dependencies"].keys() - {"dev"}


def test_packages_are_right_missing_or_of_another_version(requirements):
    requirements += ["mscon-no-such-package>=2", "msgspec>=999", 'pillow>=999; sys_platform == "no such system"']
    names = {package.name: package for package in installation.packages()}
    assert names["numpy"].is_right and names["numpy"].version == importlib.metadata.version("numpy")
    assert names["Jinja2"].is_right
    assert (names["mscon-no-such-package"].version, names["mscon-no-such-package"].is_right) == (None, False)
    assert not names["msgspec"].is_right and names["msgspec"].needed == ">=999"
    assert "pillow" not in names


def test_an_extra_names_what_it_lacks(requirements):
    requirements += ['mscon-no-such-package>=2; extra == "onnx"', 'numpy>=1; extra == "onnx"']
    onnx = {extra.name: extra for extra in installation.extras()}["onnx"]
    assert [package.name for package in onnx.packages] == ["mscon-no-such-package", "numpy"]
    assert [package.name for package in onnx.missing] == ["mscon-no-such-package"]
    assert "dev" not in {extra.name for extra in installation.extras()}


def test_mscon_that_is_not_installed_as_a_package_is_one_message(monkeypatch):
    def requires(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "requires", requires)
    with pytest.raises(RunError, match="pip install"):
        installation.packages()


def test_only_what_mscon_wrote_is_counted_and_removed(caches):
    sizes = {cached.folder.name: cached.size for cached in cache.caches()}
    assert sizes == {"images": 10, "features": 0, "remote": 0, "starts": 0, "text": 0, "unpacked": 20}
    for cached in cache.caches():
        cache.clear(cached)
    left = sorted(path.name for path in caches.rglob("*") if path.is_file())
    assert left == [f"{KEY}0.npy", "holiday.jpg"]


def test_files_that_somebody_named_by_digests_stay(caches, capsys, requirements):
    """Photographs often are; and where a folder holds something else besides caches, it is not mscon's alone."""
    photo = cache.cache_folder("images") / f"{KEY}.jpg"
    photo.write_bytes(bytes(7))
    for cached in cache.caches():
        cache.clear(cached)
    assert photo.exists()
    array = cache.cache_folder("images") / f"{KEY}.npy"
    array.write_bytes(bytes(7))
    (caches / "glyphs").mkdir()
    (caches / "products.csv").touch()
    assert main(["doctor", "--clean"]) == 2
    assert "products.csv" in capsys.readouterr().err and array.exists()


def test_what_a_process_is_writing_stays(caches):
    folder = cache.cache_folder("images")
    other = f"f{KEY[1:]}"
    (folder / f"{other}.npy").write_bytes(b"1")
    with (folder / f"{KEY}.lock").open("a") as file:
        assert lock(file.fileno()) == "ours"
        for cached in cache.caches():
            cache.clear(cached)
        assert (folder / f"{KEY}.npy").exists() and (folder / f"{KEY}.lock").exists()
        assert not (folder / f"{other}.npy").exists()


def test_a_link_among_the_entries_is_removed_and_not_what_it_leads_to(caches, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "a.jpg").write_bytes(bytes(5))
    (cache.cache_folder("unpacked") / f"a{KEY[1:]}").symlink_to(tmp_path / "photos")
    for cached in cache.caches():
        cache.clear(cached)
    assert (tmp_path / "photos" / "a.jpg").exists()
    assert not [*cache.cache_folder("unpacked").iterdir()]


def test_doctor_says_versions_extras_hardware_and_caches(requirements, caches, capsys):
    requirements.append('mscon-no-such-package>=2; extra == "onnx"')
    assert main(["doctor"]) == 0
    text = capsys.readouterr().out
    assert f"numpy {importlib.metadata.version('numpy')}" in text
    assert 'missing mscon-no-such-package; pip install "mscon[onnx]"' in text
    assert "trains on cpu" in text and 'precision "auto" of other encoders: ' in text
    assert f"caches in {caches}, where" in text and "images that lay within a table: 2e-05 MB" in text
    assert max(map(len, text.splitlines())) <= 100 + len(str(caches))


def test_doctor_cleans_after_it_has_listed(requirements, caches, capsys):
    assert main(["doctor", "--clean", "--json"]) == 0
    value = json.loads(capsys.readouterr().out)
    assert {one["folder"]: one["bytes"] for one in value["caches"]}[str(caches / "images")] == 10
    assert value["removed_bytes"] == 30
    assert sum(cached.size for cached in cache.caches()) == 0


def test_doctor_ends_with_2_and_one_message_if_a_package_is_missing(requirements, caches, capsys):
    requirements += ["mscon-no-such-package>=2", "numpy>=999"]
    assert main(["doctor"]) == 2
    printed = capsys.readouterr()
    assert "caches in" in printed.out
    assert printed.err.count("mscon: ") == 1
    assert "mscon-no-such-package (missing)" in printed.err and "(needs >=999)" in printed.err


def test_doctor_says_what_it_can_where_torch_does_not_load(requirements, caches, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    assert main(["doctor"]) == 2
    printed = capsys.readouterr()
    assert "torch does not load: ModuleNotFoundError" in printed.out and "caches in" in printed.out
    assert "torch does not load" in printed.err


def test_what_is_missing_can_be_said_where_nearly_everything_is():
    code = "import sys; from mscon.run import installation, cache; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "polars", "sklearn", "rich"} & set(loaded.stdout.split())
