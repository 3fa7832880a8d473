"""Vectors of a large table by Ray Data: each worker loads the model once, and batches stream through. Needs ray."""

import sys
from pathlib import Path

import numpy as np
import polars as pl
import ray

import mscon
from mscon.deploy import Rows

folder = Path(sys.argv[1])
generator = np.random.default_rng(0)
width, height = generator.uniform(1, 9, 96), generator.uniform(1, 9, 96)
table = pl.DataFrame(
    {"key": np.arange(96), "width": width, "height": height, "shape": np.where(width > height, "w", "h")}
)

run = mscon.fit(table, ["shape"], folder / "run", numbers=["width", "height"], overwrite=True, progress=False)

# On a cluster: the run on a disk that all machines see, and ray.data.read_parquet("s3://...") in place of this table.
ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, object_store_memory=80_000_000)
vectors = ray.data.from_arrow(table.to_arrow()).map_batches(
    Rows,
    fn_constructor_args=(str(folder / "run"),),
    fn_constructor_kwargs={"with_columns": ["key"]},
    concurrency=1,  # workers; each is constructed once
    batch_format="numpy",
    batch_size=32,
)
one_by_one = sorted(vectors.take_all(), key=lambda row: row["key"])
ray.shutdown()

expected = mscon.load(folder / "run").embed(table)
assert np.allclose(np.stack([row["features"] for row in one_by_one]), expected, atol=1e-5)
print(len(one_by_one), "rows,", {name: np.shape(value) for name, value in one_by_one[0].items()})
