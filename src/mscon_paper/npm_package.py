"""A package of the npm registry: its published archive, downloaded once and checked against its published hash.

Nothing of it is executed, and nothing is unpacked to the disk. npm itself is not needed.
"""

from __future__ import annotations

import base64
import hashlib
import io
import os
import re
import sys
import tarfile
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.parse import urlsplit

from mscon.errors import TableError
from mscon.run import atomic, outputs

REGISTRY = "https://registry.npmjs.org"
"""Where npm looks unless `npm_config_registry` in the environment names another registry."""

_TIMEOUT_S = 60


@dataclass(frozen=True, slots=True)
class NpmPackage:
    """One version of a package.

    Attributes:
        name: such as "@scope/name".
        version: exactly.
        sha512: of the archive, in base64, as the registry states it under `integrity`.
        size: of the archive, in bytes. No more is read.
    """

    name: str
    version: str
    sha512: str
    size: int

    @property
    def file_name(self) -> str:
        """What `npm pack` calls the archive."""
        return f"{self.name.removeprefix('@').replace('/', '-')}-{self.version}.tgz"

    @property
    def address(self) -> str:
        """Where the archive is published, at the registry that npm is set up to use."""
        # npm takes this name in upper and in lower case.
        configured = [value for name, value in os.environ.items() if name.lower() == "npm_config_registry" and value]
        registry = configured[0] if configured else REGISTRY
        return f"{registry.rstrip('/')}/{self.name}/-/{self.name.rpartition('/')[2]}-{self.version}.tgz"

    def fetch(self, folder: Path) -> Mapping[str, bytes]:
        """Files of the package by their path in it, from the archive in `folder`, or downloaded to there.

        Proxies are those of the environment (`https_proxy`, `no_proxy`).

        Raises:
            TableError: if the archive cannot be downloaded, or is not the published one; the message says which file to
                put where. A file of another content is never replaced.
            RunError: if the archive cannot be written to the folder.
        """
        path = folder / self.file_name
        try:
            content = self._start_of(path)
        except FileNotFoundError:
            outputs.need_free([path], advice="Name another folder than ROOT.")
            content = self._download(path)
            with outputs.writing(path, "Name another folder than ROOT."):
                atomic.write_bytes(path, content)
        except OSError as error:
            raise TableError(f"'{path}' cannot be read: {error.strerror or error}.") from None
        else:
            if fault := self._fault(content):
                raise TableError(
                    f"'{path}' is not {self.name} {self.version} as it was published: {fault}.\n"
                    "  Remove that file, to have it downloaded again."
                )
        with tarfile.open(fileobj=io.BytesIO(content), mode="r:gz") as archive:
            files = {member.name: archive.extractfile(member) for member in archive if member.isfile()}
            return {name.partition("/")[2]: file.read() for name, file in files.items() if file is not None}

    def _start_of(self, path: Path) -> bytes:
        """The whole of a file that has the size it should have, and one byte more of a larger one."""
        with path.open("rb") as file:
            return file.read(self.size + 1)

    def _download(self, path: Path) -> bytes:
        address = re.sub(r"//[^/@]*@", "//", self.address)  # a registry's password is for no terminal
        print(f"downloading {address} ({self.size / 1e6:.1f} MB)", file=sys.stderr)
        try:
            if urlsplit(self.address).scheme not in ("https", "http"):
                raise ValueError("the registry's address must begin with https:// or http://")
            with urllib.request.urlopen(self.address, timeout=_TIMEOUT_S) as response:
                content: bytes = response.read(self.size + 1)
            fault = self._fault(content)
        except (OSError, HTTPException, ValueError) as error:
            fault = str(error) or type(error).__name__
        if fault:
            raise TableError(
                f"{self.name} {self.version} cannot be downloaded from {address}: {fault}.\n"
                f"  Download it elsewhere, with a browser or by `npm pack {self.name}@{self.version}`, and save it as "
                f"'{path}'."
            )
        return content

    def _fault(self, content: bytes) -> str:
        """Why this is not the published archive; empty if it is."""
        if len(content) != self.size:
            more = "more than " if len(content) > self.size else ""
            return f"{more}{min(len(content), self.size):,} bytes instead of {self.size:,}"
        digest = base64.b64encode(hashlib.sha512(content).digest()).decode()
        return "" if digest == self.sha512 else "its sha512 is another one"
