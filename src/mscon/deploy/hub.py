"""Hub: a model in a repository of the Hugging Face hub, and back. Only data travels: safetensors, JSON and a card."""

from __future__ import annotations

import os
import re
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mscon.deploy import packed
from mscon.errors import RunError
from mscon.run import atomic, outputs
from mscon.run.run import Run

_REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")


def lay_out(run: Run, card: str, folder: Path, checkpoint: str | None = None, include: Sequence[str] = ()) -> Path:
    """Write the content of a repository to a folder: model.safetensors, config.json, README.md. Nothing is sent.

    `mscon.load(folder)` takes it. It contains no table, no labels and no paths; but see `include`.

    Args:
        card: the model card.
        folder: must be empty, or not exist.
        checkpoint: "last" or "best"; None for the one that the run's recipe names.
        include: see `mscon.deploy.packed.pack`.

    Raises:
        RunError: if there is something in the folder, or the run has no such checkpoint.
    """
    advice = "Choose another folder."
    with outputs.writing(folder, advice):
        if os.path.lexists(folder) and (not folder.is_dir() or any(folder.iterdir())):
            raise RunError(f"'{folder}' exists and is not empty. {advice}")
        names = (packed.FILE_NAME, packed.CONFIG_NAME, "README.md")
        outputs.need_free([folder / name for name in names], reads=run.files, advice=advice)
        with atomic.new_folder(folder.resolve()) as new:
            config = packed.write(run, new / packed.FILE_NAME, checkpoint, include)
            atomic.write_json(new / packed.CONFIG_NAME, config)
            atomic.write_text(new / "README.md", card)
    return folder


def push(
    run: Run,
    repository: str,
    card: str,
    *,
    private: bool = False,
    checkpoint: str | None = None,
    include: Sequence[str] = (),
) -> str:
    """Make a repository if there is none, and upload the model of a run with its card, as one commit.

    The hub decides who may push: log in with `hf auth login`, or set the environment variable HF_TOKEN.

    Args:
        repository: "owner/name".
        private: whether a new repository is private.
        checkpoint, include: see `lay_out`.

    Returns:
        The address of the commit.

    Raises:
        RunError: for a name that is none, or if the hub refuses or cannot be reached, with its reason.
    """
    import huggingface_hub

    need_name(repository, whole=True)
    with tempfile.TemporaryDirectory() as temporary:
        folder = lay_out(run, card, Path(temporary) / "model", checkpoint, include)
        api = huggingface_hub.HfApi(library_name="mscon")
        try:
            api.create_repo(repository, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=repository, folder_path=str(folder), commit_message="Model, and the evidence for it"
            )
        except Exception as error:  # of huggingface_hub, or of the HTTP client that this version of it uses
            raise RunError(f"'{repository}' could not be pushed: {_reason(error)}") from None
    return str(commit)


def download(repository: str) -> Path:
    """The packed model of a repository, from the hub or its cache. One file of tensors, which cannot execute.

    Args:
        repository: "owner/name", or "owner/name@revision".

    Raises:
        RunError: if there is no such repository or no packed model in it, or the hub cannot be reached.
    """
    import huggingface_hub

    name, _, revision = repository.partition("@")
    need_name(name)
    try:
        return Path(huggingface_hub.hf_hub_download(name, packed.FILE_NAME, revision=revision or None))
    except Exception as error:  # of huggingface_hub, or of the HTTP client that this version of it uses
        raise RunError(
            f"'{repository}' could not be loaded from the hub: {_reason(error)}\n"
            f"  A model that was pushed by mscon is a repository with a file {packed.FILE_NAME}."
        ) from None


def need_name(repository: str, *, whole: bool = False) -> None:
    """That this may be the name of a repository.

    Args:
        repository: "owner/name"; the hub has some old ones without an owner.
        whole: the owner must be named, since others are to find it by this name.

    Raises:
        RunError: if not.
    """
    if not _REPOSITORY.fullmatch(repository) or (whole and "/" not in repository):
        raise RunError(f"'{repository}' is no repository of the hub: it is written 'owner/name'.")


def _reason(error: Exception) -> str:
    """Its first lines: the hub's own messages begin with a number of the request."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return " ".join(lines[:3]) or type(error).__name__
