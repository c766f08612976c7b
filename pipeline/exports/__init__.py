"""Exports: versioned data sets. The same query on the same data gives the same bytes."""
