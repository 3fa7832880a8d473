"""A table: what formats it is read from, which rows and columns of it are used."""
