"""Bills out of rated lines: the pure part of the ledger. No database access."""
