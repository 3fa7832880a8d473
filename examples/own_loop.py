"""mscon in a training loop of your own: three lines, marked below. Runs in seconds on a CPU."""

import torch
from torch import nn

from mscon import MSConLoss

torch.manual_seed(0)
names = ["category", "closure", "gender"]

# Stand-ins for your data and network: 512 rows of 20 features, three label columns, one in five cells missing.
inputs = torch.randn(512, 20)
labels = torch.stack([(inputs[:, i : i + 3].argmax(dim=1)) for i in (0, 3, 6)], dim=1)
labels[torch.rand(labels.shape) < 0.2] = -1
encoder = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64))
heads = nn.ModuleDict({name: nn.Linear(64, 16) for name in names})

criterion = MSConLoss(names, temperature=0.1, weighting="uncertainty")  # 1
optimiser = torch.optim.AdamW(
    [
        {"params": [*encoder.parameters(), *heads.parameters()]},
        {
            "params": criterion.parameters(),
            "lr": 1e-2,
            "weight_decay": 0.0,
        },  # 2: it learns how far to trust each column
    ],
    lr=1e-3,
)

for _epoch in range(10):
    for rows in torch.randperm(len(inputs)).split(128):
        features = encoder(inputs[rows])
        loss = criterion({name: heads[name](features) for name in names}, labels[rows])  # 3
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

for similarity in criterion.summary():
    print(
        f"{similarity.name:<10} loss {similarity.loss:.2f} nats (floor {similarity.floor:.2f})  "
        f"relative excess {similarity.relative_excess:.2f}  weight {similarity.weight:.2f}"
    )
