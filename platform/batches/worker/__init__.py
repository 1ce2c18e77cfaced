"""A worker's turns: claim a batch, check it or ask its lines, keep what comes, end it."""
