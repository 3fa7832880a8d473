"""Label quality: which labels are probably wrong, and how large the share of wrong labels of a column is."""
