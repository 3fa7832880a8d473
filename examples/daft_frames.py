"""Vectors of a Daft data frame: images by their bytes in, one column of vectors a space out. Needs daft."""

import io
import sys
from pathlib import Path

import daft
import numpy as np
from PIL import Image

import mscon
from mscon.deploy import Rows

folder = Path(sys.argv[1])
generator = np.random.default_rng(0)
lines, contents = ["image,shade"], []
for number in range(48):
    pixels = generator.integers(0, 60, (12, 12), dtype=np.uint8) + 150 * (number % 2)
    content = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(content, "png")
    contents.append(content.getvalue())
    (folder / f"{number}.png").write_bytes(content.getvalue())
    lines.append(f"{number}.png,{'light' if number % 2 else 'dark'}")
(folder / "shades.csv").write_text("\n".join(lines) + "\n")
recipe = mscon.recipe.parse(
    'similarity = [{ column = "shade" }]\n'
    "data = { image_size = 12, channels = 1 }\nencoder = { width = 8 }\ntrain = { epochs = 1, batch_size = 16 }\n"
)
mscon.fit(folder / "shades.csv", recipe, folder / "run", overwrite=True, progress=False)

rows = Rows(str(folder / "run"), spaces=["projection_shade"])
size = rows.embedder.width("shade")


@daft.func.batch(return_dtype=daft.DataType.embedding(daft.DataType.float32(), size))
def shade(image: daft.Series) -> np.ndarray:
    return rows({"image": image.to_pylist()})["projection_shade"]


# In place of this frame: daft.read_parquet("s3://..."), or paths with daft.col("url").url.download().
frame = daft.from_pydict({"number": list(range(48)), "image": contents})
vectors = frame.with_column("vector", shade(daft.col("image"))).sort("number").to_pydict()["vector"]

expected = mscon.load(folder / "run").embed(contents, "shade")
assert np.allclose(np.stack(vectors), expected, atol=1e-5)
print(len(vectors), "vectors of", size, "numbers")
