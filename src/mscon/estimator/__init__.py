"""Estimators: what is both fitted and applied, by calling the rooms for training, evaluation, search and deployment."""
