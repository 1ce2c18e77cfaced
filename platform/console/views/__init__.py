"""The pages. Each view parses, calls one service or selector, and answers."""
