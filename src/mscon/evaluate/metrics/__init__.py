"""Measures of predictions and of neighbours, with their intervals."""
