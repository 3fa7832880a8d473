"""The hub, as far as huggingface_hub: what is sent, what is asked for, and what is made of refusals."""

from __future__ import annotations

import json
import shutil

import huggingface_hub
import numpy as np
import pytest

import mscon
from mscon.cli import main
from mscon.deploy import hub
from mscon.errors import RunError
from mscon.evaluate.report.card import model_card


class FakeHub:
    """Repositories as folders."""

    def __init__(self, folder):
        self.folder, self.calls = folder, []

    def api(self, **kwargs):
        return self

    def create_repo(self, repository, private=False, exist_ok=False):
        self.calls.append(("create", repository, private, exist_ok))

    def upload_folder(self, *, repo_id, folder_path, commit_message):
        self.calls.append(("upload", repo_id))
        shutil.copytree(folder_path, self.folder / repo_id, dirs_exist_ok=True)
        return f"https://hub/{repo_id}/commit/1"

    def download(self, name, file, revision=None):
        self.calls.append(("download", name, file, revision))
        path = self.folder / name / file
        if not path.is_file():
            raise huggingface_hub.errors.LocalEntryNotFoundError(f"404 Client Error.\nno {file} in {name}")
        return str(path)


@pytest.fixture
def fake(tmp_path, monkeypatch):
    fake = FakeHub(tmp_path / "hub")
    monkeypatch.setattr(huggingface_hub, "HfApi", fake.api)
    monkeypatch.setattr(huggingface_hub, "hf_hub_download", fake.download)
    return fake


def test_what_is_pushed_can_be_loaded_anywhere(run, fake, pictures, capsys):
    expected = mscon.load(run.root).embed(pictures / "1.png", "colour")
    assert main(["push", str(run.root), "owner/bars", "--private"]) == 0
    assert capsys.readouterr().out == "https://hub/owner/bars/commit/1\n"
    assert fake.calls[0] == ("create", "owner/bars", True, True)
    shutil.rmtree(run.root)
    model = mscon.load("hf:owner/bars@v1")
    assert fake.calls[-1] == ("download", "owner/bars", "model.safetensors", "v1")
    np.testing.assert_array_equal(model.embed(pictures / "1.png", "colour"), expected)


def test_only_data_travels_and_nothing_of_the_table(run, fake, tmp_path, pictures):
    hub.push(run, "owner/bars", model_card(run))
    sent = fake.folder / "owner/bars"
    assert {p.name for p in sent.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    everything = b"".join(p.read_bytes() for p in sent.iterdir())
    for private in (str(tmp_path), "new.csv", "boots", "1.png"):
        assert private.encode() not in everything
    assert json.loads((sent / "config.json").read_text())["similarities"] == ["kind", "colour"]


def test_a_dry_run_writes_what_would_be_sent_and_sends_nothing(run, fake, tmp_path, capsys):
    folder = tmp_path / "upload"
    assert main(["push", str(run.root), "owner/bars", "--dry-run", str(folder)]) == 0
    assert {p.name for p in folder.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    assert 'mscon.load("hf:owner/bars")' in (folder / "README.md").read_text()
    assert not fake.calls
    assert mscon.load(folder).similarities == ("kind", "colour")
    assert main(["push", str(run.root), "owner/bars", "--dry-run", str(folder)]) == 2
    assert "exists and is not empty" in capsys.readouterr().err


def test_the_card_is_sent_as_its_owner_left_it(run, fake):
    assert main(["card", str(run.root)]) == 0
    path = run.root / "README.md"
    path.write_text(path.read_text().replace("# license: to be filled in, such as apache-2.0", "license: mit"))
    assert main(["push", str(run.root), "owner/bars"]) == 0
    sent = (fake.folder / "owner/bars/README.md").read_text()
    assert "\nlicense: mit\n" in sent
    assert "hf:owner/bars" in sent


def test_the_hubs_refusal_is_one_message(run, fake, monkeypatch, capsys):
    def refuse(*args, **kwargs):
        raise OSError("403 Forbidden\n\nYou may not write here.\nTraceback and more\nand more")

    monkeypatch.setattr(fake, "create_repo", refuse)
    assert main(["push", str(run.root), "owner/bars"]) == 2
    assert "'owner/bars' could not be pushed: 403 Forbidden You may not write here." in capsys.readouterr().err


def test_a_repository_without_a_model_is_said_to_have_none(fake):
    with pytest.raises(RunError, match=r"could not be loaded from the hub: 404.*no model.safetensors.*\n.*is a repo"):
        mscon.load("hf:owner/nothing")


@pytest.mark.parametrize("name", ["", "owner/", "a/b/c", "../secrets", "owner/na me", "/etc"])
def test_what_is_no_name_of_a_repository_never_reaches_the_hub(run, fake, name):
    with pytest.raises(RunError, match="is no repository"):
        mscon.load(f"hf:{name}")
    with pytest.raises(RunError, match="is no repository"):
        hub.push(run, name, "card")
    assert not fake.calls


def test_offline_is_said(monkeypatch):
    """The suite has no hub: the real client says so."""
    with pytest.raises(RunError, match="'owner/bars' could not be loaded from the hub"):
        mscon.load("hf:owner/bars")


def test_a_dry_run_refuses_a_name_that_the_hub_would(run, tmp_path, capsys):
    assert main(["push", str(run.root), "no name/x", "--dry-run", str(tmp_path / "up")]) == 2
    assert "'no name/x' is no repository of the hub" in capsys.readouterr().err
    assert not (tmp_path / "up").exists()


def test_a_push_names_the_owner_since_others_are_to_find_it(run, fake, tmp_path, capsys):
    with pytest.raises(RunError, match="'bars' is no repository of the hub: it is written 'owner/name'"):
        hub.push(run, "bars", "card")
    assert not fake.calls
    assert main(["push", str(run.root), "bars", "--dry-run", str(tmp_path / "up")]) == 2
    assert "is written 'owner/name'" in capsys.readouterr().err
