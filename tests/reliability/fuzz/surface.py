"""Surface: a way by which input of a stranger comes in, with its limits."""

from __future__ import annotations

import contextlib
import io
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

from hypothesis.strategies import SearchStrategy

from mscon.cli import main
from mscon.errors import MSConError, RunError


class Surface(ABC):
    """What is tried at one door of mscon.

    Attributes:
        tries: inputs of the full run.
        share: inputs of `make test`.
        seconds: that one input may take.
        megabytes: by which the memory of the process may grow.
        refusals: what may be raised, with one clear message.
        causes: audit events that the test itself causes.
    """

    tries: ClassVar[int]
    share: ClassVar[int]
    seconds: ClassVar[float] = 10.0
    megabytes: ClassVar[int] = 256
    refusals: ClassVar[tuple[type[Exception], ...]] = (MSConError,)
    causes: ClassVar[frozenset[str]] = frozenset()

    @abstractmethod
    def cases(self) -> SearchStrategy[Any]:
        """Inputs, as plain values that can be sent to another process and printed."""

    def write(self, folder: Path) -> None:
        """Write files that all inputs need, once; they must not change."""
        del folder

    def prepare(self, folder: Path) -> Any:
        """What all inputs need, made once in the worker; `attempt` gets it. It must not change either."""
        return folder

    @abstractmethod
    def attempt(self, scene: Any, case: Any, folder: Path) -> None:
        """Do with an input what mscon does.

        Args:
            scene: what `prepare` returned.
            case: of `cases`.
            folder: the current folder, which may hold files of earlier inputs.
        """


def verb(arguments: Sequence[str]) -> None:
    """Run a verb of the command line; where it refuses, its one message is raised.

    Raises:
        RunError: with that message.
    """
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        status = main(arguments)
    message = err.getvalue()
    assert status in (0, 2), f"status {status}: {message}"
    assert "Traceback" not in message + out.getvalue(), message
    if status == 2:
        assert message.count("mscon: ") - message.count("\n  mscon: ") == 1, message
        raise RunError(message)
