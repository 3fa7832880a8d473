"""Settings of the whole suite."""

import gc
import os
import shutil
import tempfile
from collections.abc import Iterator
from typing import Any

# What is imported stays: it is not to be gone through again and again while more is, nor in any test.
gc.disable()

# Before anything heavy is loaded: machines that run tests are shared, and two threads on a busy core are far
# slower than one; a server has no screen; and there is no hub.
for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"):
    os.environ.setdefault(name, "1")
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
# Runs are signed by a key of the user: not by that of whoever runs the tests.
_state = tempfile.TemporaryDirectory(prefix="mscon-state-")
os.environ["XDG_STATE_HOME"] = _state.name
os.environ["MSCON_CACHE"] = os.path.join(_state.name, "cache")  # of decoded images, where a test has none of its own

import pytest
import torch
from hypothesis import settings

from shapes import check_once, unchecked_shapes

check_once()
torch.set_num_threads(1)

settings.register_profile("mscon", deadline=None, derandomize=True, max_examples=40)
settings.load_profile("mscon")


def pytest_collection_finish() -> None:
    gc.freeze()
    gc.enable()


def pytest_unconfigure() -> None:
    gc.unfreeze()  # libraries count at the end what is left of theirs


@pytest.fixture
def as_users_run_it():
    """Without the checks of shapes that this suite adds to every signature, and which would complain first."""
    with unchecked_shapes():
        yield


@pytest.fixture(scope="module")
def short_probes() -> Iterator[None]:
    """Probes try two penalties and maps take few steps: where what is tested comes after, or around them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mscon.evaluate.linear.GRID", (0.1, 0.001))
        patch.setattr("mscon.evaluate.page.maps._STEPS", 250)
        yield


@pytest.fixture(scope="session")
def browser() -> Iterator[Any]:
    """The only one of this process: playwright cannot be started twice."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium on this machine (tests/browser.py installs one)")
    flags = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--disable-background-networking", "--no-first-run"]
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=chromium, args=flags)
        yield opened
        opened.close()
