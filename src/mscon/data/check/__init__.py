"""`mscon check`: what a recipe will use of a table."""
