"""Customers: what staff note about an organisation, and what the two say to each other.

Faces: `services`, `selectors`, `models`, `errors`, `limits` (how much may be written and attached) and `states` (who is
to write next in a thread).
"""
