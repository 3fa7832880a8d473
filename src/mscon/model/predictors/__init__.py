"""Predictors: features to cells of a column, with a confidence or an interval. They know no file and no table."""
