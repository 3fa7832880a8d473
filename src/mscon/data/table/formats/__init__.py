"""Formats: one file for each way in which a table may lie on disk. They know files and lines, and no recipe."""
