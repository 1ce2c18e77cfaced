"""What can be trained of a base. Pure words, which every door and rule of this room shares."""

FULL, LORA, HEAD = "full", "lora", "head"
METHODS = (FULL, LORA, HEAD)
RANK = "x_lora_rank"
DEFAULT_METHOD = LORA
"""Adapters share one base in memory, so they cost nothing while idle; within a point of full tuning on most data."""
