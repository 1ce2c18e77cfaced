"""The queue, the runs and the places at one moment, as the rules look at them.

Ids of tenants, jobs, hosts and places are of any type that has an order: UUIDs in the ledger, numbers in the simulator.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from training.scheduling.fairness import LANE_WEIGHT, PREEMPTIBLE, STANDARD, Turn, score


@dataclass(slots=True)
class Share:
    """What a tenant may have, and what it has. Counts are places, not jobs: a job on two GPUs counts two."""

    tenant: Any
    guaranteed: int = 0
    """Places it gets whenever it asks, if need be from those who have more than theirs."""
    most: int = 1
    weight: int = 1
    rank: int = 0
    """The class of places its jobs may take, counted from the lowest; lower ones included."""
    used_ms: float = 0.0
    """Machine time as it counts now."""
    running: int = 0
    firm: int = 0
    """Of `running`, those outside the preemptible lane: only they count against the guarantee."""
    started_ago: float | None = None
    """Seconds since it last started a job; None if never."""
    shares_base: bool = False
    """Its jobs may train in one process with those of others."""

    @property
    def served(self) -> float:
        """Machine time for the weight: the higher, the sooner it gives way."""
        return self.used_ms / max(self.weight, 1)


@dataclass(slots=True)
class Head:
    """A waiting job that is the first of its tenant, lane and width."""

    job: Any
    tenant: Any
    seconds: float
    """How long it will likely run."""
    since: Any = 0
    """When it joined the queue."""
    waited: float = 0.0
    """Seconds since then."""
    lane: str = STANDARD
    width: int = 1
    """Places it needs, all on one host."""
    urgent: bool = False
    group: str = ""
    """Jobs of one group may train in one process; empty where this one may not."""
    avoids: frozenset[Any] = frozenset()
    """Hosts it is kept from: it may be their fault that it crashes."""


@dataclass(slots=True)
class Run:
    """A job that holds places."""

    job: Any
    tenant: Any
    lane: str = STANDARD
    ran: float = 0.0
    left: float = 0.0
    """Seconds it will likely go on for."""
    preemptions: int = 0
    leaving: bool = False
    """It was asked to make room, or goes by itself: nobody need be asked for its places."""


@dataclass(slots=True)
class Place:
    """One place to train on one host."""

    key: Any
    host: Any
    rank: int = 0
    number: int = 0
    """Which of its host's places it is."""
    job: Any = None
    kept_for: Any = None
    """The tenant that a preemption freed it for; nobody else may take it."""


@dataclass(slots=True)
class Picture:
    """Everything at one moment."""

    shares: dict[Any, Share] = field(default_factory=dict)
    heads: list[Head] = field(default_factory=list)
    runs: dict[Any, Run] = field(default_factory=dict)
    places: list[Place] = field(default_factory=list)

    def turn(self, head: Head) -> Turn:
        """The lowest goes first; no two are equal, so the order is one and the same wherever it is computed."""
        share = self.shares[head.tenant]
        tail = (head.since, head.tenant, head.lane, head.width)
        if head.urgent:
            return 0, 0.0, *tail
        if self.within_guarantee(head):
            return 1, share.firm / share.guaranteed, *tail
        waited = head.waited if share.started_ago is None else min(head.waited, share.started_ago)
        kind = 3 if head.lane == PREEMPTIBLE or not share.weight else 2
        return kind, score(share.used_ms, max(share.weight, 1) * LANE_WEIGHT[head.lane], waited), *tail

    def within_guarantee(self, head: Head, *, planned: int = 0) -> bool:
        """Whether starting it, after so many places for jobs before it, leaves its tenant with no more than the plan
        guarantees."""
        share = self.shares[head.tenant]
        return head.lane != PREEMPTIBLE and share.firm + planned + head.width <= share.guaranteed

    def within_limit(self, head: Head, *, planned: int = 0) -> bool:
        """Whether starting it, likewise, leaves its tenant within the plan's parallel jobs."""
        share = self.shares[head.tenant]
        return share.running + planned + head.width <= share.most

    def left(self, place: Place) -> float:
        """Seconds until a place comes free; 0 for one that is."""
        return self.runs[place.job].left if place.job in self.runs else 0.0

    def usable(self, head: Head, places: Iterable[Place]) -> list[Place]:
        """Those of a class the job may have, not on a host it is kept from, nor kept for somebody else; those kept for
        it first."""
        rank, tenant = self.shares[head.tenant].rank, head.tenant
        found = [place for place in places if place.rank <= rank and place.kept_for in (None, tenant)]
        if head.avoids:
            found = [place for place in found if place.host not in head.avoids]
        return sorted(found, key=lambda place: (place.kept_for is None, place.rank, place.key))
