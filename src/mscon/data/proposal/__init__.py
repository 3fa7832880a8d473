"""`mscon init`: a recipe that fits a table."""
