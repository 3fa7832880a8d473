"""Comparison: methods trained and probed side by side on one table, and what that says. Knows no command line."""
