"""Orders: custom models for enterprises, from a brief to an accepted quote, its invoices and the delivery.

Faces: `services`, `selectors`, `models`, `errors`, `states` (which step may follow which), `pricing` (the sums of a
quote), `wire` (an order on the wire), `papers` (terms and data-processing documents), `feasibility` (learning curves).
"""
