"""What may start, who makes room, and why a job waits.

`next_start`   work-conserving: the first in turn that fits on the host. A job that needs several places at once (a
               gang) and finds too few has the host's next places promised to it; others may start before it only if
               they will be gone by then (EASY backfill, with a margin on their estimate).
`preemptions`  a job within its tenant's guarantee never waits behind somebody's borrowed place: it is asked back, with
               a checkpoint, from whoever has had most. Who gives way keeps its own guarantee, so it cannot ask back,
               and no two tenants can take places from each other for ever (Kueue shipped that loop several times).
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from training.scheduling.fairness import PREEMPTIBLE
from training.scheduling.picture import Head, Picture, Place, Run

MIN_RUN_SECONDS = 600.0
"""A run is not taken away before: its work would be mostly start-up."""
MOST_PREEMPTIONS = 3
"""Then a job is left alone."""
BACKFILL_MARGIN = 1.2


@dataclass(frozen=True, slots=True)
class Start:
    """This job, on these places."""

    head: Head
    places: tuple[Place, ...]


@dataclass(frozen=True, slots=True)
class Preemption:
    """Ask this run to make room; its places are kept for the tenant until it comes."""

    run: Run
    places: tuple[Place, ...]
    tenant: Any


def next_start(picture: Picture, host: Any) -> Start | None:
    """The next job to start on a host; None when nothing may."""
    here = [place for place in picture.places if place.host == host]
    free = [place for place in here if place.job is None]
    if not free:
        return None
    promised: float | None = None
    """Seconds until a gang that waits gets its places of this host."""
    for head in in_turn(picture):
        found = picture.usable(head, free)
        if len(found) >= head.width:
            if promised is None or head.seconds * BACKFILL_MARGIN <= promised:
                return Start(head, tuple(found[: head.width]))
        elif promised is None and head.width > 1:
            promised = _comes_free(picture, head, here)
    return None


def in_turn(picture: Picture) -> Iterator[Head]:
    """Those within their plan's parallel jobs, next first. Most callers need only the first few, so nothing is
    sorted."""
    order = [(picture.turn(head), number) for number, head in enumerate(picture.heads) if picture.within_limit(head)]
    heapq.heapify(order)
    while order:
        yield picture.heads[heapq.heappop(order)[1]]


def _comes_free(picture: Picture, head: Head, here: list[Place]) -> float | None:
    """Seconds until a host has enough places for a gang; None when it never will, or another host has them sooner."""
    when = {}
    by_host: dict[Any, list[Place]] = defaultdict(list)
    for place in picture.places:
        by_host[place.host].append(place)
    for host, places in by_host.items():
        usable = picture.usable(head, places)
        if len(usable) >= head.width:
            waits = sorted(map(picture.left, usable))
            when[host] = waits[head.width - 1]
    mine = when.get(here[0].host)
    return mine if mine is not None and mine <= min(when.values()) else None


def preemptions(picture: Picture) -> list[Preemption]:
    """Runs to ask for room, now.

    Of a tenant below its guarantee the picture may hold several jobs of a kind, so that all of them get room at once.
    """
    room = _Room(picture)
    asking = [head for head in picture.heads if head.lane != PREEMPTIBLE and room.could_help(head)]
    for head in sorted(asking, key=picture.turn):
        if picture.within_limit(head, planned=room.planned[head.tenant]):
            room.make(head)
    return room.asked


class _Room:
    """The places, while it is worked out who gets which."""

    def __init__(self, picture: Picture) -> None:
        self.picture = picture
        self.asked: list[Preemption] = []
        self.planned: dict[Any, int] = defaultdict(int)
        """Places found for a tenant's waiting jobs so far."""
        self._open: dict[Any, list[Place]] = defaultdict(list)
        """Of each host, the places nobody holds and those being vacated, less those found for somebody."""
        self._held: dict[Any, list[Place]] = defaultdict(list)
        leaving = {job for job, run in picture.runs.items() if run.leaving}
        for place in picture.places:
            if place.job is not None:
                self._held[place.job].append(place)
            if place.job is None or place.kept_for is not None or place.job in leaving:
                self._open[place.host].append(place)
        self._spare = {tenant: share.firm - share.guaranteed for tenant, share in picture.shares.items()}
        """What each could lose without falling below its guarantee."""
        self._askable: dict[Any, list[Run]] = defaultdict(list)
        """Of each host, who may be asked, first to last."""
        for job, places in self._held.items():
            run = picture.runs.get(job)
            if run is not None and run.leaving:
                self._give_way(run)
            elif run is not None and run.preemptions < MOST_PREEMPTIONS and run.ran >= MIN_RUN_SECONDS:
                self._askable[places[0].host].append(run)
        for runs in self._askable.values():
            runs.sort(key=self._order)

    def could_help(self, head: Head) -> bool:
        """Whether there is anybody at all that might be asked on its behalf."""
        return any(
            run.lane == PREEMPTIBLE or self.picture.within_guarantee(head)
            for runs in self._askable.values()
            for run in runs[:1]
        )

    def make(self, head: Head) -> None:
        """Find room for a waiting job: what is free or being vacated for it, else what others can be asked for."""
        there = {host: self.picture.usable(head, places) for host, places in self._open.items()}
        fitting = [host for host, places in there.items() if len(places) >= head.width]
        # Rather where nothing is kept: those places were asked for on behalf of a job that may need them all at once.
        fits = min(
            fitting, key=lambda host: sum(one.kept_for is not None for one in there[host][: head.width]), default=None
        )
        if fits is not None:
            self._plan(head, fits, there[fits])
            return
        guaranteed = self.picture.within_guarantee(head, planned=self.planned[head.tenant])
        found = []
        for host in self._askable.keys() - head.avoids:
            runs = self._victims(head, host, head.width - len(there.get(host, ())), guaranteed)
            if runs:
                found.append((_cost(runs), host, runs))
        if not found:
            return
        _, host, runs = min(found)
        self._plan(head, host, there.get(host, []))
        for run in runs:
            self._askable[host].remove(run)
            self._give_way(run)
            self.asked.append(Preemption(run, tuple(self._held[run.job]), head.tenant))

    def _plan(self, head: Head, host: Any, places: list[Place]) -> None:
        for place in places[: head.width]:
            self._open[host].remove(place)
        self.planned[head.tenant] += head.width

    def _give_way(self, run: Run) -> None:
        if run.lane != PREEMPTIBLE:
            self._spare[run.tenant] -= len(self._held[run.job])

    def _victims(self, head: Head, host: Any, missing: int, guaranteed: bool) -> list[Run] | None:
        """Runs of a host that may be asked for so many places, just enough of them; None when they are not enough."""
        rank, spare = self.picture.shares[head.tenant].rank, self._spare
        chosen: list[Run] = []
        taken: dict[Any, int] = defaultdict(int)
        for run in self._askable[host]:
            if missing <= 0:
                break
            places = self._held[run.job]
            if run.tenant == head.tenant or places[0].rank > rank:
                continue
            if run.lane != PREEMPTIBLE:
                if not guaranteed:
                    break
                if spare[run.tenant] - taken[run.tenant] < len(places):
                    continue
                taken[run.tenant] += len(places)
            missing -= len(places)
            chosen.append(run)
        return chosen if missing <= 0 else None

    def _order(self, run: Run) -> tuple[bool, float, float, Any]:
        """First the preemptible lane, then whoever has had most, then the youngest."""
        return run.lane != PREEMPTIBLE, -self.picture.shares[run.tenant].served, run.ran, run.job


def _cost(runs: list[Run]) -> tuple[int, int, float]:
    """Fewest firm runs, then fewest, then the least work interrupted."""
    return sum(run.lane != PREEMPTIBLE for run in runs), len(runs), sum(run.ran for run in runs)


def why(picture: Picture, head: Head, *, position: int) -> str:
    """Why a waiting job does not run: `no_workers`, `tenant_limit`, `no_place` (none of a class it may have, or no host
    with so many), `resources` (it is next) or `priority` (others go first)."""
    if not picture.places:
        return "no_workers"
    if not picture.within_limit(head):
        return "tenant_limit"
    rank = picture.shares[head.tenant].rank
    hosts: dict[Any, int] = defaultdict(int)
    for place in picture.places:
        hosts[place.host] += place.rank <= rank and place.host not in head.avoids
    if max(hosts.values()) < head.width:
        return "no_place"
    return "resources" if position == 1 else "priority"
