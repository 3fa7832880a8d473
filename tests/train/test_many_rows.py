"""Many rows of labels and vectors: one epoch, in memory that the vectors alone would not fit into."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import polars as pl
import pytest

from process import script

ROWS, DIM = 250_000, 384

# Labels and codes of all rows, the network, and what Python needs on the way: measured at 272 MB. The vectors
# would be 192 MB more as they lie in the file, 384 MB more in single precision.
MOST_MEGABYTES = 400

# Memory of the process's own: pages of mapped files are the system's, which takes them back when it needs them.
SCRIPT = """
import re, sys, threading, time
from pathlib import Path
import torch
torch.set_num_threads(1)
from mscon.run import recipe
from mscon.data.table.table import read_table
from mscon.train.fit import fit

def own():
    return int(re.search(r"RssAnon:\\s+(\\d+)", Path("/proc/self/status").read_text())[1]) / 1024

def watch():
    while True:
        seen.append(own())
        time.sleep(0.005)

folder = Path(sys.argv[1])
seen = [own()]
threading.Thread(target=watch, daemon=True).start()
run = fit(recipe.read(folder / "r.toml"), read_table(folder / "t.parquet"), folder / "run", progress=False)
print(max(seen) - seen[0], run.read_facts()["trained"]["steps"])
"""

RECIPE = """
[[similarity]]
column = "kind"
name = "categorical"
[[similarity]]
column = "shade"
name = "categorical"
[data]
input   = "vectors"
vectors = "x.npy"
[views]
count = 1
[encoder]
name     = "mlp"
settings = { units = 16, layers = 1 }
[heads]
name = "identity"
[objective]
name = "cross_entropy"
[weighting]
name = "equal"
[train]
epochs        = 1
batch_size    = 5_000
precision     = "float32"
channels_last = "no"
"""


@pytest.mark.skipif(
    not Path("/proc/self/status").is_file(), reason="only Linux tells how much memory is a process's own"
)
def test_many_rows_train_in_less_memory_than_their_vectors_take(tmp_path):
    row = np.arange(ROWS)
    vectors = np.lib.format.open_memmap(tmp_path / "x.npy", mode="w+", dtype=np.float16, shape=(ROWS, DIM))
    block = np.random.default_rng(0).normal(size=(1_000, DIM)).astype(np.float16)
    for start in range(0, ROWS, len(block)):
        vectors[start : start + len(block)] = block
    del vectors
    pl.DataFrame({"row": row}).select(
        split=pl.when(pl.col("row") < 240_000).then(pl.lit("train")).otherwise(pl.lit("test")),
        kind=pl.lit("k") + (pl.col("row") % 20).cast(pl.String),
        shade=pl.lit("s") + (pl.col("row") // 3 % 7).cast(pl.String),
    ).write_parquet(tmp_path / "t.parquet")
    (tmp_path / "r.toml").write_text(RECIPE)
    outcome = script(SCRIPT, tmp_path, cwd=tmp_path).wait()
    assert outcome.status == 0, outcome
    megabytes, steps = map(float, outcome.out.split())
    assert steps == 48
    assert megabytes < MOST_MEGABYTES
    (tmp_path / "x.npy").unlink()
