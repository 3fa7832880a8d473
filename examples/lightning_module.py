"""mscon in a LightningModule: rows of rare classes as often as others, learned weights, validation.

Needs: pip install lightning
"""

import lightning
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset, WeightedRandomSampler

from mscon import Categorical, Continuous, MSConLoss

torch.manual_seed(0)
inputs = torch.randn(2_560, 20)  # your data: two label columns, in which -1 and NaN are missing labels
make = inputs[:, 0:3].argmax(dim=1).masked_fill(torch.rand(2_560) < 0.2, -1)
price = (20_000 + 8_000 * inputs[:, 3]).masked_fill(torch.rand(2_560) < 0.2, torch.nan)
columns = (inputs, make, price)
train, validation = (
    TensorDataset(*(column[part] for column in columns)) for part in (slice(2_048), slice(2_048, None))
)


class Encoder(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64))
        self.heads = nn.ModuleDict({name: nn.Linear(64, 16) for name in ("make", "price")})
        self.criterion = MSConLoss([Categorical("make"), Continuous("price", width=2_000)], weighting="uncertainty")

    def loss(self, batch: list[torch.Tensor]) -> torch.Tensor:
        features = self.encoder(batch[0])
        projections = {name: head(features) for name, head in self.heads.items()}
        return self.criterion(projections, {"make": batch[1], "price": batch[2]})

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        loss = self.loss(batch)
        self.log_dict({f"weight/{s.name}": s.weight for s in self.criterion.summary()})
        return loss

    def validation_step(self, batch: list[torch.Tensor]) -> None:
        self.loss(batch)  # of each similarity: 0 at the lowest loss that these labels allow, 1 by chance
        self.log_dict({f"validation/{s.name}": s.relative_excess for s in self.criterion.summary()})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        network = {"params": [*self.encoder.parameters(), *self.heads.parameters()]}
        weights = {"params": self.criterion.parameters(), "lr": 1e-2, "weight_decay": 0.0}
        return torch.optim.AdamW([network, weights], lr=1e-3)


quiet = {"logger": False, "enable_checkpointing": False, "enable_progress_bar": False, "enable_model_summary": False}
trainer = lightning.Trainer(max_epochs=8, accelerator="cpu", **quiet)
_, classes, counts = make[:2_048].unique(return_inverse=True, return_counts=True)
sampler = WeightedRandomSampler(1 / counts[classes], num_samples=2_048)
# The loss compares the rows of a batch, so batches are large, and a short last one is left out.
batches = DataLoader(train, batch_size=128, sampler=sampler, drop_last=True)
trainer.fit(Encoder(), batches, DataLoader(validation, batch_size=128))
print({name: round(float(value), 2) for name, value in trainer.callback_metrics.items()})
