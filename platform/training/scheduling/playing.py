"""The rule of turns played forward: when each waiting job starts, if every run takes as long as it likely does."""

from __future__ import annotations

import bisect
import heapq
from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from training.scheduling.fairness import PREEMPTIBLE, Turn
from training.scheduling.picture import Head, Picture


@dataclass(frozen=True, slots=True)
class Played:
    """A waiting job in the play."""

    head: Head
    start: float | None
    """Seconds from now; None where no place that is up, or no limit of its tenant, will ever let it."""
    own: bool = False
    """The last it waited for was a run of its own tenant to end, not a place."""


def play(picture: Picture, lines: Iterable[list[Head]]) -> list[Played]:
    """Start the jobs of all lines one after another, each line in its order; the picture stays as it is.

    At any moment the first in turn starts whose tenant is within its parallel jobs and for which places are free. A
    gang has its places promised at its turn; the play lets nobody fill the time until then.
    """
    return _Play(picture, lines).run()


_Kind = tuple[int, int, frozenset[Any]]
"""What a job needs: up to which class of places, how many of one host, and which hosts it is kept from."""


@dataclass(slots=True)
class _Line:
    """What one tenant waits with in one lane and width, all kept from the same hosts, if any."""

    jobs: deque[Head]
    turn: Turn | None = None
    """Of its first job; None while its tenant's limit keeps it."""
    since: float = 0.0
    """From when on the limit has let it."""


@dataclass(slots=True)
class _Group:
    """Lines that can take the same places."""

    rank: int
    width: int
    avoids: frozenset[Any]
    order: list[tuple[Turn, int]] = field(default_factory=list)
    """A heap of turns; of a line whose turn has changed since, only the newest counts."""


class _Play:
    def __init__(self, picture: Picture, lines: Iterable[list[Head]]) -> None:
        shares = {tenant: replace(share) for tenant, share in picture.shares.items()}
        self.picture = replace(picture, shares=shares)
        self.hosts = _Hosts(picture)
        self.lines = [_Line(deque(line)) for line in lines]
        self.clock = 0.0
        self.played: list[Played] = []
        self.groups: dict[_Kind, _Group] = {}
        self.of: dict[Any, list[int]] = defaultdict(list)
        """The lines of each tenant."""
        for number, line in enumerate(self.lines):
            self.of[line.jobs[0].tenant].append(number)
        self.ends: list[tuple[float, Any, int, int]] = []
        """A heap of runs of those who wait: when each ends, whose it is, its places, and those that are firm."""
        held: dict[Any, int] = defaultdict(int)
        for place in picture.places:
            held[place.job] += 1
        for run in picture.runs.values():
            if run.tenant in self.of:
                self._will_end(run.left, run.tenant, run.lane, held[run.job] or 1)
        for tenant in self.of:
            self._look(tenant)

    def run(self) -> list[Played]:
        while True:
            found = self._next()
            if self.ends and (found is None or self.ends[0][0] <= found[0]):
                self._end()
            elif found is None:
                return self.played + self._never()
            else:
                self._start(found[0], found[1])

    def _next(self) -> tuple[float, int] | None:
        """When the next job could start, and of which line it is."""
        first: tuple[float, Turn, int] | None = None
        gang: tuple[Turn, int] | None = None
        for group in self.groups.values():
            order = group.order
            while order and self.lines[order[0][1]].turn != order[0][0]:
                heapq.heappop(order)
            soonest = self.hosts.soonest((group.rank, group.width, group.avoids)) if order else None
            if soonest is None:
                continue
            this = (max(soonest, self.clock), *order[0])
            first = this if first is None else min(first, this)
            if group.width > 1 and (gang is None or order[0] < gang):
                gang = order[0]
        if first is None:
            return None
        return first[0], gang[1] if gang is not None and gang < first[1:] else first[2]

    def _start(self, moment: float, number: int) -> None:
        line, self.clock = self.lines[number], moment
        head = line.jobs.popleft()
        share = self.picture.shares[head.tenant]
        start = self.hosts.take(head, share.rank, self.clock)
        self.played.append(Played(head, start, own=0 < line.since >= start))
        share.used_ms += 1000 * head.seconds * head.width
        share.running += head.width
        share.firm += head.width * (head.lane != PREEMPTIBLE)
        self._will_end(start + head.seconds, head.tenant, head.lane, head.width)
        self._look(head.tenant)

    def _will_end(self, moment: float, tenant: Any, lane: str, width: int) -> None:
        if any(self.lines[number].jobs for number in self.of[tenant]):
            heapq.heappush(self.ends, (moment, tenant, width, width * (lane != PREEMPTIBLE)))

    def _end(self) -> None:
        moment, tenant, width, firm = heapq.heappop(self.ends)
        self.clock = max(self.clock, moment)
        share = self.picture.shares[tenant]
        share.running -= width
        share.firm -= firm
        self._look(tenant)

    def _look(self, tenant: Any) -> None:
        """Whether the tenant's lines may go on, and when it is their turn, after something of its started or ended."""
        for number in self.of[tenant]:
            line = self.lines[number]
            if not line.jobs or not self.picture.within_limit(line.jobs[0]):
                line.turn = None
                continue
            head, before = line.jobs[0], line.turn
            if before is None:
                line.since = self.clock
            line.turn = self.picture.turn(head)
            if line.turn != before:
                key = (self.picture.shares[tenant].rank, head.width, head.avoids)
                group = self.groups.setdefault(key, _Group(*key))
                heapq.heappush(group.order, (line.turn, number))

    def _never(self) -> list[Played]:
        """Those that nothing we know of will let start, in turn."""
        order = [(self.picture.turn(line.jobs[0]), number) for number, line in enumerate(self.lines) if line.jobs]
        heapq.heapify(order)
        found = []
        while order:
            turn, number = heapq.heappop(order)
            jobs = self.lines[number].jobs
            if (turned := self.picture.turn(jobs[0])) != turn:  # another job of its tenant has gone before it
                heapq.heappush(order, (turned, number))
                continue
            head = jobs.popleft()
            self.picture.shares[head.tenant].used_ms += 1000 * head.seconds * head.width
            found.append(Played(head, None))
            if jobs:
                heapq.heappush(order, (self.picture.turn(jobs[0]), number))
        return found


class _Hosts:
    """When each place of each host comes free, in seconds from now."""

    def __init__(self, picture: Picture) -> None:
        self._ranks = {place.host: place.rank for place in picture.places}
        self._free: dict[Any, list[float]] = {host: [] for host in self._ranks}
        for place in picture.places:
            bisect.insort(self._free[place.host], picture.left(place))
        self._order: dict[_Kind, list[tuple[float, Any]]] = {}
        """By what a job needs, a heap of when hosts have so many places; of a host, only the true time counts."""

    def soonest(self, kind: _Kind) -> float | None:
        """When so many places of one host, up to a class, are free together; None where no host has them."""
        found = self._where(kind)
        return None if found is None else found[0]

    def take(self, head: Head, rank: int, moment: float) -> float:
        """When a job starts where it can soonest, and not before; its places are taken from then on."""
        found = self._where((rank, head.width, head.avoids))
        if found is None:
            raise LookupError("no host has so many places")
        start, free = max(found[0], moment), self._free[found[1]]
        free[: head.width] = [start + head.seconds] * head.width
        free.sort()
        for (up_to, width, avoids), order in self._order.items():
            if self._ranks[found[1]] <= up_to and found[1] not in avoids and len(free) >= width:
                heapq.heappush(order, (free[width - 1], found[1]))
        return start

    def _where(self, kind: _Kind) -> tuple[float, Any] | None:
        (rank, width, avoids), order = kind, self._order.get(kind)
        if order is None:
            may = [host for host, of in self._ranks.items() if of <= rank and host not in avoids]
            usable = [host for host in may if len(self._free[host]) >= width]
            order = self._order[kind] = [(self._free[host][width - 1], host) for host in usable]
            heapq.heapify(order)
        while order and self._free[order[0][1]][width - 1] != order[0][0]:
            heapq.heappop(order)
        return order[0] if order else None
