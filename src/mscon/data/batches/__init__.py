"""Which rows come together in a batch."""
