"""USearch: an HNSW index for each space, which can also be searched exactly."""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np

from mscon.deploy.databases.index_files import Blocks, IndexFiles
from mscon.deploy.vectors import FEATURES


@final
class USearch(IndexFiles):
    """Vectors are stored as they are, in float32."""

    kind, packages, suffix = "USearch folder", ("usearch",), ".usearch"

    def write_index(self, path: Path, space: str, dim: int, blocks: Blocks) -> None:
        from usearch.index import Index

        index = Index(ndim=dim, metric="cos" if space == FEATURES else "ip", dtype="f32")
        for block in blocks:
            index.add(np.arange(len(index), len(index) + len(block)), np.ascontiguousarray(block))
        index.save(str(path))
