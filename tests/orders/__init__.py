"""Orders of custom models."""
