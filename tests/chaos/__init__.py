"""Faults done to a whole installation of real processes, and what must hold after each of them."""
