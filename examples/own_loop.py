"""mscon in a training loop of your own: three lines, marked below. Runs in seconds on a CPU."""

import torch
from torch import nn

from mscon import Categorical, Continuous, MSConLoss, MultiLabel

torch.manual_seed(0)

# Stand-ins for your data and network: 512 rows of 20 features and three label columns of different kinds. One label in
# five is missing: -1 where labels are classes, NaN where they are numbers, a row of zeros where they are sets.
inputs = torch.randn(512, 20)
missing = torch.rand(512, 3) < 0.2
labels = {
    "make": inputs[:, 0:3].argmax(dim=1).masked_fill(missing[:, 0], -1),
    "price": (20_000 + 8_000 * inputs[:, 3]).masked_fill(missing[:, 1], torch.nan),
    "extras": (inputs[:, 4:9] > 0.5) & ~missing[:, 2:],
}
encoder = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64))
heads = nn.ModuleDict({name: nn.Linear(64, 16) for name in labels})

similarities = [Categorical("make"), Continuous("price", width=2_000), MultiLabel("extras")]
criterion = MSConLoss(similarities, temperature=0.1, weighting="uncertainty")  # 1
parameters = [
    {"params": [*encoder.parameters(), *heads.parameters()]},
    {"params": criterion.parameters(), "lr": 1e-2, "weight_decay": 0.0},  # 2: it learns how far to trust each column
]
optimiser = torch.optim.AdamW(parameters, lr=1e-3)

for _epoch in range(10):
    for rows in torch.randperm(len(inputs)).split(128):
        features = encoder(inputs[rows])
        projections = {name: heads[name](features) for name in labels}
        loss = criterion(projections, {name: column[rows] for name, column in labels.items()})  # 3
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

for similarity in criterion.summary():
    print(
        f"{similarity.name:<10} loss {similarity.loss:.2f} nats (floor {similarity.floor:.2f})  "
        f"relative excess {similarity.relative_excess:.2f}  weight {similarity.weight:.2f}"
    )
