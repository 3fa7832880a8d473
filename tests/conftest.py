"""Settings of the whole suite."""

import os

import torch
from hypothesis import settings

# Before anything is drawn: a server without a screen, and no hub.
os.environ.setdefault("MPLBACKEND", "Agg")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

# Machines that run tests are shared: two threads on a busy core are far slower than one.
torch.set_num_threads(1)

settings.register_profile("mscon", deadline=None, derandomize=True)
settings.load_profile("mscon")
