"""A run and what it depends on: its recipe, its directory, how files are written and checked."""
