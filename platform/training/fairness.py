"""Whose job goes next: one rule, for the claim and for the positions people are shown. No Django, no clock.

Tenants take turns by the machine time they have had lately, divided by the weight of their plan; whoever has had least
goes first, and among equals the one whose job has waited longest. Machine time fades: what was used one half-life ago
counts half. A job is charged with its estimate when it starts and corrected when it ends, so that a burst cannot slip
in before its use is known (the entry penalty of Kueue's admission fair sharing). A free place is never kept from
anybody who may have it: the rule orders, the plan's limit of parallel jobs bounds.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

HALF_LIFE_SECONDS = 24 * 3600.0


def faded(used_ms: float, seconds: float) -> float:
    """What is left of machine time `seconds` after it was counted, in ms."""
    return float(used_ms * 0.5 ** (max(seconds, 0.0) / HALF_LIFE_SECONDS))


def settled(charged_ms: float, spent_ms: float) -> float:
    """What an attempt's end adds to its tenant's machine time (or takes off, below zero), in ms: what it was charged at
    its start has faded since, and what it spent was spent half-way through, on average."""
    seconds = spent_ms / 1000
    return faded(spent_ms, seconds / 2) - faded(charged_ms, seconds)


@dataclass(frozen=True, slots=True)
class Claimant:
    """A tenant with a waiting job. `tenant` and `since` are of any type that has an order."""

    tenant: Any
    used_ms: float
    """Machine time as it counts now."""
    weight: int
    since: Any
    """When its longest-waiting job joined the queue."""

    @property
    def turn(self) -> tuple[float, Any, Any]:
        """The lowest goes first; no two are equal, so the order is one and the same wherever it is computed."""
        return self.used_ms / max(self.weight, 1), self.since, self.tenant

    def after_start(self, charged_ms: float, since: Any) -> Claimant:
        """The same tenant when a job has started; `since` is the next one's."""
        return replace(self, used_ms=self.used_ms + charged_ms, since=since)
