"""FAISS: a flat index of inner products for each space, which is exact."""

from __future__ import annotations

from pathlib import Path
from typing import final

import numpy as np

from mscon.deploy.databases.index_files import Blocks, IndexFiles
from mscon.deploy.vectors import FEATURES


@final
class Faiss(IndexFiles):
    """Features are stored at unit length, so that their inner product is the cosine too."""

    kind, packages, suffix = "FAISS folder", ("faiss",), ".faiss"

    def write_index(self, path: Path, space: str, dim: int, blocks: Blocks) -> None:
        import faiss

        index = faiss.IndexFlatIP(dim)
        for block in blocks:
            vectors = np.array(block, dtype=np.float32, order="C")
            if space == FEATURES:
                faiss.normalize_L2(vectors)
            index.add(vectors)
        faiss.write_index(index, str(path))
