"""The log-sum-exp over candidates behind the contrastive losses. Objectives call it, nobody else."""

from mscon.method.kernels.dispatch import contrast as contrast
