"""Batches: a file of calls that may wait, answered within a day at half the price.

Faces: `services`, `selectors`, `models`, `errors`, `wire` (a batch on the wire), `credential` (what opens the gateway
for a line) and `endpoints` (which paths a batch may call: the gateway offers them).
"""
