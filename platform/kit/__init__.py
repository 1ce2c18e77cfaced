"""Bottom shelf: helpers that know no product words. Imports nothing of the house."""
