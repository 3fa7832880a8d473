"""mscon in the Trainer of Hugging Face: a model that returns the loss, learned weights, and validation.

Needs: pip install transformers accelerate
"""

import sys

import torch
from torch import nn
from transformers import Trainer, TrainingArguments

from mscon import Categorical, Continuous, MSConLoss

torch.manual_seed(0)
inputs = torch.randn(2_560, 20)  # your data: two label columns, in which -1 and NaN are missing labels
make = inputs[:, 0:3].argmax(dim=1).masked_fill(torch.rand(2_560) < 0.2, -1)
price = (20_000 + 8_000 * inputs[:, 3]).masked_fill(torch.rand(2_560) < 0.2, torch.nan)
rows = [{"inputs": inputs[n], "make": make[n], "price": price[n]} for n in range(2_560)]


class Encoder(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(20, 64), nn.ReLU(), nn.Linear(64, 64))
        self.heads = nn.ModuleDict({name: nn.Linear(64, 16) for name in ("make", "price")})
        self.criterion = MSConLoss([Categorical("make"), Continuous("price", width=2_000)], weighting="uncertainty")

    def forward(self, inputs: torch.Tensor, make: torch.Tensor, price: torch.Tensor) -> dict[str, torch.Tensor]:
        features = self.encoder(inputs)
        projections = {name: head(features) for name, head in self.heads.items()}
        return {"loss": self.criterion(projections, {"make": make, "price": price}), "features": features}


class WeightingTrainer(Trainer):
    """Adam would pull the log-variances of learned weights towards 0, so they have a group without weight decay."""

    def get_decay_parameter_names(self, model: nn.Module) -> list[str]:
        return [name for name in super().get_decay_parameter_names(model) if not name.startswith("criterion.")]


arguments = TrainingArguments(
    output_dir=sys.argv[1] if len(sys.argv) > 1 else "runs/hf",
    num_train_epochs=8,
    per_device_train_batch_size=128,  # the loss compares the rows of a batch, so batches are large
    per_device_eval_batch_size=128,
    learning_rate=1e-3,
    disable_tqdm=True,
    weight_decay=1e-4,
    eval_strategy="epoch",
    label_names=["make", "price"],  # without it `evaluate` computes no loss
    prediction_loss_only=True,
    dataloader_drop_last=True,
    save_strategy="no",
    report_to="none",
    use_cpu=True,
)
trainer = WeightingTrainer(Encoder(), arguments, train_dataset=rows[:2_048], eval_dataset=rows[2_048:])
trainer.train()
print(trainer.evaluate()["eval_loss"], {s.name: round(s.relative_excess, 2) for s in trainer.model.criterion.summary()})
