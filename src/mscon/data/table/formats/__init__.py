"""File formats of tables, one module each. They know files and lines, and no recipe."""
