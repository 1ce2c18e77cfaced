"""How many engines a dedicated deployment should have: pure, from what its engines report.

Up after `up_s` of more calls than `target` for each engine; down, one at a time, after `down_s` of so few that one less
would do; to `least` after `idle_s` without a call. A call to a deployment with none wakes it at once.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Policy:
    """The bounds and delays; seconds, and calls under way for each engine."""

    least: int = 0
    most: int = 1
    idle_s: float = 900.0
    target: int = 8
    up_s: float = 10.0
    down_s: float = 300.0

    def __post_init__(self) -> None:
        if not (0 <= self.least <= self.most and self.most >= 1 and self.target >= 1):
            raise ValueError("A deployment needs 0 <= least <= most, one engine at the most and a target of one call.")


@dataclass(frozen=True, slots=True)
class Seen:
    """A moment: calls under way over all engines, and how long ago the last call came."""

    at: float
    load: int
    idle_s: float


@dataclass(frozen=True, slots=True)
class Scale:
    """What is wanted, and since when more or fewer would be right."""

    wanted: int = 0
    above_since: float | None = None
    below_since: float | None = None


def decide(policy: Policy, scale: Scale, seen: Seen) -> Scale:
    """What is wanted from this moment on."""
    need = -(-seen.load // policy.target)
    wanted = min(max(scale.wanted, policy.least), policy.most)
    idle = seen.load == 0 and seen.idle_s >= policy.idle_s
    if idle:
        return Scale(policy.least)
    if wanted == 0:
        return Scale(min(max(need, 1), policy.most))
    if need > wanted:
        since = seen.at if scale.above_since is None else scale.above_since
        if seen.at - since >= policy.up_s:
            return Scale(min(need, policy.most))
        return Scale(wanted, above_since=since)
    if need < wanted and wanted > max(policy.least, 1):
        since = seen.at if scale.below_since is None else scale.below_since
        if seen.at - since >= policy.down_s:
            return Scale(wanted - 1)
        return Scale(wanted, below_since=since)
    return Scale(wanted)
