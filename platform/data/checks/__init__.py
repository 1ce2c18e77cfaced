"""Checks on the content of a dataset, one module per family; `codes` is the registry of everything they can say."""
