"""What a recipe will see in a table."""
