"""Overwrite: what lies in a folder before and after, byte for byte."""

from __future__ import annotations

import os
from pathlib import Path

def tree(folder: Path) -> dict[str, bytes | str]:
    """Content of each file under a folder, and where each link points to, by its path there."""
    files = {}
    for path in sorted(folder.rglob("*")):
        name = str(path.relative_to(folder))
        if path.is_symlink():
            files[name] = os.readlink(path)
        elif path.is_file():
            files[name] = path.read_bytes()
    return files
