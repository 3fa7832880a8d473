"""Trust: what code from outside mscon a run or a model names, and whether this user trained that run here.

"pkg.mod:Class" in a recipe is imported, and to import is to execute. So whoever sends a folder must not decide what is
imported. A run that was trained by this user on this machine carries a signature by a secret key of theirs: nobody
else can make one, and it holds only as long as the signed files are what they were.

This module reads plain values. It imports nothing that they name.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import secrets
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from mscon.errors import RunError, first_few

_KEY_BYTES = 32


def foreign_code(recipe: Mapping[str, Any], similarities: Any = ()) -> frozenset[str]:
    """What a recipe names from outside mscon: classes ("pkg.mod:Class"), and the sentence encoder it chooses.

    Args:
        recipe: as plain values, whatever sections there are.
        similarities: what a run keeps of its similarities, as plain JSON values.
    """
    classes = {name for name in (*_names(recipe), *_names(similarities), *_probe_kinds(recipe)) if ":" in name}
    # What encodes sentences is a model of yet another place, loaded by a library with formats of its own.
    data = recipe.get("data")
    text_model = data.get("text_model") if isinstance(data, Mapping) else None
    return frozenset(classes | ({f"text_model {text_model}"} if text_model else set()))


def need_trust(source: str, foreign: frozenset[str], trust: bool) -> None:
    """Raise if there is code from outside mscon that the caller has not said to trust.

    Args:
        source: what names it, for the message.
        foreign: see `foreign_code`.

    Raises:
        RunError: naming the code.
    """
    if foreign and not trust:
        raise RunError(
            f"{source} names code from outside mscon: {first_few([repr(name) for name in sorted(foreign)])}. To import "
            "is to execute it, so it is not.\n"
            "  If it is your own, or you have read it, pass --trust, in Python trust=True. A run that you trained on "
            "this machine needs no --trust\n  as long as its recipe.toml and similarities.json have not been changed."
        )


def signature(contents: Sequence[bytes]) -> str | None:
    """HMAC-SHA256 of some contents by this user's key, as hexadecimal; the key is made where there is none yet.

    Returns:
        None where no key can be kept.
    """
    try:
        path = _key_path()
        key = _read_key(path) or _make_key(path)
    except (OSError, RuntimeError):  # no folder that can be written; no home
        return None
    return None if key is None else _hmac(key, contents)


def is_signature(value: object, contents: Sequence[bytes]) -> bool:
    """Whether something is the signature of some contents by this user's key."""
    try:
        key = _read_key(_key_path())
    except (OSError, RuntimeError):
        return False
    return (
        key is not None
        and isinstance(value, str)
        and value.isascii()  # compare_digest raises for other text
        and hmac.compare_digest(value, _hmac(key, contents))
    )


# Under these stands the name of a class; of a part of a similarity's own it may stand there without a table.
_NAMES = ("name", "objective", "heads")


def _names(values: Any) -> Iterator[str]:
    """Whatever names a class, at any depth."""
    waiting = [values]  # a stack: a stranger's JSON may be nested deeper than functions can call themselves
    while waiting:
        value = waiting.pop()
        if isinstance(value, Mapping):
            yield from (name for key in _NAMES if isinstance(name := value.get(key), str))
            waiting.extend(value.values())
        elif isinstance(value, list | tuple):
            waiting.extend(value)


def _probe_kinds(recipe: Mapping[str, Any]) -> Iterator[str]:
    """[probe] kinds, where a kind without settings is a name by itself: column = "pkg.mod:Class"."""
    probe = recipe.get("probe")
    kinds = probe.get("kinds") if isinstance(probe, Mapping) else None
    if isinstance(kinds, Mapping):
        yield from (kind for kind in kinds.values() if isinstance(kind, str))


def _hmac(key: bytes, contents: Sequence[bytes]) -> str:
    # Hashes are of one length, so that no byte can move from one content to the next.
    digests = b"".join(hashlib.sha256(content).digest() for content in contents)
    return hmac.new(key, b"mscon run, version 1\n" + digests, hashlib.sha256).hexdigest()


def _key_path() -> Path:
    """Raises RuntimeError where there is no home."""
    # A relative one is to be ignored (XDG Base Directory Specification), and could lie in a folder of someone else's.
    state = Path(os.environ.get("XDG_STATE_HOME", ""))
    return (state if state.is_absolute() else Path.home() / ".local" / "state") / "mscon" / "key"


def _read_key(path: Path) -> bytes | None:
    """The key; None if there is none, or what is there is none."""
    try:
        key = path.read_bytes()
    except FileNotFoundError:
        return None
    return key if len(key) == _KEY_BYTES else None


def _make_key(path: Path) -> bytes | None:
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(prefix=".key.", dir=path.parent)  # readable by its owner only
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(secrets.token_bytes(_KEY_BYTES))
            file.flush()
            os.fsync(file.fileno())
        # Unlike a move, a link never replaces the key that another process has just made.
        with contextlib.suppress(FileExistsError):
            os.link(name, path)
    finally:
        os.unlink(name)
    return _read_key(path)
