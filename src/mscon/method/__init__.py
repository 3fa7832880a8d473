"""The method: similarities, pairs, objectives, weightings, and the loss that puts them together."""
