"""Whose turn it is.

1. Jobs that staff have called urgent.
2. Jobs within their plan's guarantee, the least filled guarantee first.
3. Everybody else, by the machine time they have had lately, divided by the weight of their plan. Machine time fades:
   what was used one half-life ago counts half. A job is charged with its estimate when it starts and corrected when it
   ends, so that a burst cannot slip in before its use is known (the entry penalty of Kueue's admission fair sharing).
   Waiting takes some of it off, up to a cap: without the cap whoever queues most would win.
4. The preemptible lane, and plans of weight 0: on what is left.

A free place is never kept from anybody who may have it: the rule orders, the plan's limit of parallel jobs bounds.
"""

from __future__ import annotations

from typing import Any

HALF_LIFE_SECONDS = 24 * 3600.0
AGEING_SECONDS = 3600.0
"""The most that waiting takes off, as machine time."""
STANDARD, PREEMPTIBLE, PRIORITY = "standard", "preemptible", "priority"
LANES = (STANDARD, PREEMPTIBLE, PRIORITY)
LANE_WEIGHT = {STANDARD: 1, PREEMPTIBLE: 1, PRIORITY: 2}

Turn = tuple[int, float, Any, Any, str, int]


def faded(used_ms: float, seconds: float) -> float:
    """What is left of machine time `seconds` after it was counted, in ms."""
    return float(used_ms * 0.5 ** (max(seconds, 0.0) / HALF_LIFE_SECONDS))


def settled(charged_ms: float, spent_ms: float) -> float:
    """What an attempt's end adds to its tenant's machine time (or takes off, below zero), in ms: what it was charged at
    its start has faded since, and what it spent was spent half-way through, on average."""
    seconds = spent_ms / 1000
    return faded(spent_ms, seconds / 2) - faded(charged_ms, seconds)


def score(used_ms: float, weight: float, waited_seconds: float) -> float:
    """Machine time for the weight, less what waiting takes off, in ms; the lowest goes first."""
    return used_ms / max(weight, 1.0) - 1000 * min(max(waited_seconds, 0.0), AGEING_SECONDS)
