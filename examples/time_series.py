"""Time series with a small convolutional encoder and two label columns: waveform and period. Seconds on a CPU."""

import torch
from torch import Tensor, nn

from mscon import Continuous, MSConLoss, cores

torch.manual_seed(0)
WAVES = {"sine": torch.sin, "square": lambda t: torch.sin(t).sign(), "saw": lambda t: (t / torch.pi) % 2 - 1}


def series(count: int, share_missing: float = 0.2) -> tuple[Tensor, dict[str, Tensor]]:
    """[rows, channels, steps] with noise, of any phase, and their labels."""
    shape, period = torch.randint(3, (count,)), 8 + 24 * torch.rand(count)
    time = 2 * torch.pi * (torch.arange(128) / period[:, None] + torch.rand(count, 1))
    values = torch.stack([list(WAVES.values())[int(s)](t) for s, t in zip(shape, time, strict=True)])
    missing = torch.rand(2, count) < share_missing
    labels = {"shape": shape.masked_fill(missing[0], -1), "period": period.masked_fill(missing[1], torch.nan)}
    return (values + 0.5 * torch.randn(count, 128))[:, None], labels


encoder = nn.Sequential(
    *(nn.Conv1d(1, 32, 7, 2, 3), nn.BatchNorm1d(32), nn.ReLU(), nn.Conv1d(32, 64, 7, 2, 3), nn.BatchNorm1d(64)),
    *(nn.ReLU(), nn.Conv1d(64, 64, 7, 2, 3), nn.ReLU(), nn.AdaptiveAvgPool1d(1), nn.Flatten()),
)
heads = nn.ModuleDict({name: nn.Linear(64, 16) for name in ("shape", "period")})
criterion = MSConLoss(["shape", Continuous("period", width=2.0)], temperature=0.1)
optimiser = torch.optim.AdamW([*encoder.parameters(), *heads.parameters()], lr=3e-3)
inputs, labels = series(1024)
for _epoch in range(10):
    for rows in torch.randperm(len(inputs)).split(128):
        # A view that hides one step in five, by gates that are not learned here; `cores.augmenter_loss` teaches them.
        gates = cores.hard_concrete(torch.full((len(rows), 1, 128), 1.4), noise=torch.rand(len(rows), 1, 128))
        features = encoder(inputs[rows] * gates)
        loss = criterion({n: heads[n](features) for n in heads}, {n: labels[n][rows] for n in heads})
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

encoder.eval()
known, queries = series(1024, share_missing=0.0), series(256, share_missing=0.0)
with torch.no_grad():
    for name, head in heads.items():
        cosines = torch.cosine_similarity(head(encoder(queries[0]))[:, None], head(encoder(known[0])), dim=2)
        apart = (known[1][name][cosines.argmax(dim=1)] - queries[1][name]).abs().float()
        print(
            f"{name}: the nearest series differs by {apart.mean():.1f} steps"
            if name == "period"
            else f"{name}: the nearest series is of the same waveform in {(apart == 0).float().mean():.0%} of cases"
        )
