"""Pictures and texts in one space: characters and their Unicode names, an encoder each. 30 seconds on a CPU core."""

import sys
import unicodedata
import zlib
from pathlib import Path

import matplotlib
import torch
from matplotlib.ft2font import FT2Font
from PIL import Image, ImageDraw, ImageFont
from torch import Tensor, nn
from torch.nn.functional import normalize
from torchvision.transforms.functional import pil_to_tensor

from mscon import cores

torch.manual_seed(0)
count, epochs = (600, 1) if "tiny" in sys.argv else (6_000, 20)
path = str(Path(matplotlib.get_data_path()) / "fonts" / "ttf" / "DejaVuSans.ttf")
font = ImageFont.truetype(path, 22, layout_engine=ImageFont.Layout.BASIC)


def picture(character: str) -> Tensor:
    canvas = Image.new("L", (32, 32))
    ImageDraw.Draw(canvas).text((16, 16), character, fill=255, font=font, anchor="mm")
    return pil_to_tensor(canvas) / 255


def pieces(name: str) -> Tensor:
    """Which of 4,096 words and runs of three letters a name has, numbered by a hash."""
    parts = [*name.split(), *(name[at : at + 3] for at in range(len(name) - 2))]
    return torch.zeros(4096).index_fill(0, torch.tensor([zlib.crc32(part.encode()) % 4096 for part in parts]), 1.0)


named = [chr(code) for code in FT2Font(path).get_charmap() if unicodedata.name(chr(code), "")]
characters = [named[at] for at in torch.randperm(len(named))[:count]]
pictures = torch.stack([picture(character) for character in characters])
texts = torch.stack([pieces(unicodedata.name(character)) for character in characters])

blocks = [(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.ReLU()) for a, b in ((1, 32), (32, 64), (64, 128))]
image_tower = nn.Sequential(*sum(blocks, ()), nn.Flatten(), nn.Linear(2048, 128))
text_tower = nn.Sequential(nn.Linear(4096, 128), nn.ReLU(), nn.Linear(128, 128))
scale = nn.Parameter(torch.tensor(2.5))  # the logarithm of 1 / temperature
training = len(texts) * 9 // 10  # the others are new to both towers
optimiser = torch.optim.AdamW([*image_tower.parameters(), *text_tower.parameters(), scale], lr=2e-3)
for rows in (batch for _epoch in range(epochs) for batch in torch.randperm(training).split(256)):
    loss = cores.clip(image_tower(pictures[rows]), text_tower(texts[rows]), temperature=(-scale).exp()).mean()
    optimiser.zero_grad()
    loss.backward()
    optimiser.step()

with torch.no_grad():
    vectors = normalize(image_tower.eval()(pictures[training:]), dim=1)
    queries = text_tower(torch.stack([*texts[training:], pieces("RIGHTWARDS ARROW")]))
*nearest, arrows = (queries @ vectors.T).topk(10, dim=1).indices.tolist()
recall = sum(row in rows for row, rows in enumerate(nearest)) / len(nearest)
print("RIGHTWARDS ARROW:", *(characters[training + row] for row in arrows[:5]))
print(f"recall@10 of {len(nearest)} new characters by their names: {recall:.2f}, by chance {10 / len(nearest):.2f}")
