"""The tables of training in memory: the same states, attempts, leases, shares and refusals as the database's.

Every write of a worker names its attempt and its token, and is refused once the lease is gone; every move of a job is
held to `training.states`. Time is handed in.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field

from training import states
from training.scheduling.dispatch import Preemption, Start
from training.scheduling.fairness import HALF_LIFE_SECONDS, PREEMPTIBLE, settled
from training.scheduling.picture import Head, Picture, Place, Run, Share
from training.simulator.loads import Ask, Load

LEASE_SECONDS, GRACE_SECONDS, KEPT_SECONDS = 60.0, 15.0, 60.0
VACATE_SECONDS = 120.0
"""The longest a run that was asked to make room may take; its places are kept for so long and KEPT_SECONDS more."""
MOST_RETRIES = 10


class Refused(Exception):
    """A write that the ledger does not take: the lease is gone, or the move is not allowed."""


@dataclass(slots=True)
class Row:
    """A job."""

    number: int
    ask: Ask
    state: str = states.QUEUED
    queued_at: float = 0.0
    attempt: int = 0
    token: int = 0
    worker: int = -1
    lease_until: float = 0.0
    began: float = 0.0
    """When the running attempt began."""
    done: float = 0.0
    """Seconds of work in the last durable checkpoint."""
    not_before: float = 0.0
    preemptions: int = 0
    asked_at: float | None = None
    """When it was asked to make room."""
    retries: int = 0
    finished_at: float | None = None
    first_start: float | None = None
    charged: float = 0.0
    spent: float = 0.0
    """Seconds of machine of all attempts."""
    ends: int = 0
    """Results published; more than one would be a fault."""
    places: tuple[int, ...] = ()

    @property
    def kind(self) -> tuple[int, str, int]:
        """Its line in the queue."""
        return self.ask.tenant, self.ask.lane, self.ask.width

    @property
    def order(self) -> tuple[float, int]:
        """Within its line."""
        return self.queued_at, self.number


@dataclass(slots=True)
class _Use:
    ms: float = 0.0
    at: float = 0.0
    started: float | None = None


@dataclass
class Ledger:
    """All of it, for a load."""

    load: Load
    rows: list[Row] = field(default_factory=list)
    spans: list[tuple[float, float, int]] = field(default_factory=list)
    """Of every attempt that has ended: from, to, and on how many places."""

    def __post_init__(self) -> None:
        self.picture = Picture()
        self._lines: dict[tuple[int, str, int], list[tuple[float, int]]] = {}
        self._heads: dict[tuple[int, str, int], Head | None] = {}
        """The first of each line, as far as it is known."""
        self._use = {tenant: _Use() for tenant in self.load.plans}
        self._kept_until: dict[int, float] = {}
        self._tokens = 0
        self.down: set[int] = set()
        """Hosts whose places have no heartbeat."""
        for tenant, plan in self.load.plans.items():
            self.picture.shares[tenant] = Share(tenant, plan.guaranteed, plan.most, plan.weight, plan.rank)
        number = 0
        for host, count in self.load.hosts.items():
            for _ in range(count):
                self.picture.places.append(Place(number, host, self.load.ranks.get(host, 0)))
                number += 1
        self.all_places = {place.key: place for place in self.picture.places}

    # ── what the rules look at ──

    def look(self, now: float) -> Picture:
        """The picture at a moment."""
        picture, waiting = self.picture, set()
        for key, until in list(self._kept_until.items()):
            if until <= now:
                del self._kept_until[key]
                self.all_places[key].kept_for = None
        picture.heads = []
        for line, head in self._heads.items():
            if head is None:
                head = self._heads[line] = self._head(line)
            if self.rows[head.job].not_before > now:
                head = self._ready(line, now)
                if head is None:
                    continue
            head.waited = now - head.since
            picture.heads.append(head)
            waiting.add(head.tenant)
        for tenant in waiting:
            use, share = self._use[tenant], picture.shares[tenant]
            share.used_ms = use.ms * 0.5 ** ((now - use.at) / HALF_LIFE_SECONDS)
            share.started_ago = None if use.started is None else now - use.started
        for run in picture.runs.values():
            row = self.rows[run.job]
            run.ran = now - row.began
            run.left = max(row.ask.estimate - row.done - run.ran, MINIMUM)
        picture.places = [place for place in self.all_places.values() if place.host not in self.down]
        return picture

    def _head(self, line: tuple[int, str, int], number: int | None = None) -> Head:
        """A job as the rules see it; the first of its line, or another."""
        row = self.rows[self._lines[line][0][1] if number is None else number]
        left = max(row.ask.estimate - row.done, MINIMUM)
        return Head(row.number, row.ask.tenant, left, row.queued_at, 0.0, row.ask.lane, row.ask.width)

    def _ready(self, line: tuple[int, str, int], now: float) -> Head | None:
        """The first of a line that does not wait for its next try."""
        ready = (number for _, number in self._lines[line] if self.rows[number].not_before <= now)
        number = next(ready, None)
        return None if number is None else self._head(line, number)

    @property
    def waiting(self) -> bool:
        """Whether any job waits, be it for a place or for its next try."""
        return bool(self._lines)

    # ── moves ──

    def submit(self, ask: Ask, now: float) -> Row:
        """Accepted: from here on it is never lost."""
        row = Row(len(self.rows), ask, queued_at=now)
        self.rows.append(row)
        self._line_up(row)
        return row

    def take(self, start: Start, worker: int, now: float) -> Row:
        """queued -> leased, on all of its places or on none."""
        row = self.rows[start.head.job]
        places = [self.all_places[place.key] for place in start.places]
        share = self.picture.shares[row.ask.tenant]
        if row.state != states.QUEUED or row.not_before > now or any(place.job is not None for place in places):
            raise Refused("somebody else was first")
        if share.running + row.ask.width > share.most or len(places) != row.ask.width:
            raise Refused("over the limit")
        self._leave_line(row)
        self._move(row, states.LEASED)
        self._tokens += 1
        row.attempt, row.token, row.worker = row.attempt + 1, self._tokens, worker
        row.began, row.lease_until, row.first_start = (
            now,
            now + LEASE_SECONDS,
            now if row.first_start is None else row.first_start,
        )
        row.places = tuple(place.key for place in places)
        for place in places:
            place.job, place.kept_for = row.number, None
            self._kept_until.pop(place.key, None)
        self.picture.runs[row.number] = Run(row.number, row.ask.tenant, row.ask.lane, preemptions=row.preemptions)
        self._count(row, +1)
        row.charged = start.head.seconds * row.ask.width
        use = self._use[row.ask.tenant]
        use.started = now
        self._charge(use, 1000 * row.charged, now)
        for state in (states.STARTING, states.RUNNING):
            self._move(row, state)
        return row

    def renew(self, row: Row, token: int, now: float) -> None:
        """A heartbeat."""
        self._held(row, token)
        row.lease_until = now + LEASE_SECONDS

    def checkpoint(self, row: Row, token: int, done: float) -> None:
        """Work that survives; it never gets less."""
        self._held(row, token)
        row.done = max(row.done, done)

    def succeed(self, row: Row, token: int, now: float) -> None:
        """running -> finishing -> succeeded."""
        self._held(row, token)
        if row.state == states.CANCELLING:
            self._end(row, states.CANCELLED, now)
            return
        self._move(row, states.FINISHING)
        self._end(row, states.SUCCEEDED, now)
        row.ends += 1

    def give_back(self, row: Row, token: int, now: float, *, preempted: bool, wait: float = 0.0) -> None:
        """The worker hands the job back."""
        self._held(row, token)
        self._requeue(row, now, counted=not preempted, wait=wait)

    def reclaim(self, row: Row, now: float) -> bool:
        """The sweeper's part: nobody renewed the lease."""
        if row.state not in states.HELD or row.lease_until + GRACE_SECONDS >= now:
            return False
        self._requeue(row, now, counted=True)
        return True

    def ask_for_room(self, asked: Preemption, now: float) -> Row:
        """A run is to end at its next checkpoint; its places are kept for whoever asked."""
        row = self.rows[asked.run.job]
        if row.state not in states.WORKING or row.asked_at is not None:
            raise Refused("it is leaving already")
        row.asked_at = now
        self.picture.runs[row.number].leaving = True
        for key in row.places:
            self.all_places[key].kept_for = asked.tenant
            self._kept_until[key] = now + VACATE_SECONDS + KEPT_SECONDS
        return row

    def cancel(self, row: Row, now: float) -> None:
        """At once while it waits, through its worker while it runs; Refused when it has ended."""
        if row.state in (states.QUEUED, states.BLOCKED):
            if row.state == states.QUEUED:
                self._leave_line(row)
            self._move(row, states.CANCELLED)
            row.finished_at = now
        elif row.state in states.WORKING:
            self._move(row, states.CANCELLING)
            self.picture.runs[row.number].leaving = True
        else:
            raise Refused("it has ended")

    def pause(self, row: Row, now: float) -> None:
        """Out of the queue until it is resumed."""
        self._leave_line(row)
        self._move(row, states.BLOCKED)

    def resume(self, row: Row, now: float) -> None:
        """Back into the queue, at its end: what was paused did not wait."""
        self._move(row, states.QUEUED)
        row.queued_at = now
        self._line_up(row)

    # ── inside ──

    def _held(self, row: Row, token: int) -> None:
        if row.state not in states.HELD or row.token != token:
            raise Refused("the lease is gone")

    def _move(self, row: Row, state: str) -> None:
        if state not in states.NEXT[row.state]:
            raise Refused(f"{row.state} cannot become {state}")
        row.state = state

    def _requeue(self, row: Row, now: float, *, counted: bool, wait: float = 0.0) -> None:
        if row.state == states.CANCELLING:
            self._end(row, states.CANCELLED, now)
            return
        if counted:
            row.retries += 1
        else:
            row.preemptions += row.asked_at is not None
        if row.retries > MOST_RETRIES:
            self._end(row, states.FAILED, now)
            return
        self._move(row, states.QUEUED)
        self._release(row, now, keep=row.asked_at is not None)
        row.not_before = now + wait
        self._line_up(row)

    def _end(self, row: Row, state: str, now: float) -> None:
        self._move(row, state)
        row.finished_at = now
        self._release(row, now, keep=row.asked_at is not None)

    def _release(self, row: Row, now: float, *, keep: bool) -> None:
        for key in row.places:
            place = self.all_places[key]
            place.job = None
            if keep and place.kept_for is not None:
                self._kept_until[key] = now + KEPT_SECONDS
        spent = (now - row.began) * row.ask.width
        self.spans.append((row.began, now, row.ask.width))
        row.spent += spent
        use = self._use[row.ask.tenant]
        self._charge(use, settled(1000 * row.charged, 1000 * spent), now)
        self._count(row, -1)
        del self.picture.runs[row.number]
        row.places, row.token, row.worker, row.asked_at = (), 0, -1, None

    def _count(self, row: Row, sign: int) -> None:
        share = self.picture.shares[row.ask.tenant]
        share.running += sign * row.ask.width
        if row.ask.lane != PREEMPTIBLE:
            share.firm += sign * row.ask.width

    def _charge(self, use: _Use, ms: float, now: float) -> None:
        use.ms = max(0.0, use.ms * 0.5 ** ((now - use.at) / HALF_LIFE_SECONDS) + ms)
        use.at = now

    def _line_up(self, row: Row) -> None:
        bisect.insort(self._lines.setdefault(row.kind, []), row.order)
        self._heads[row.kind] = None

    def _leave_line(self, row: Row) -> None:
        if row.state != states.QUEUED:
            raise Refused("it does not wait")
        line = self._lines[row.kind]
        del line[bisect.bisect_left(line, row.order)]
        self._heads[row.kind] = None
        if not line:
            del self._lines[row.kind], self._heads[row.kind]


MINIMUM = 1.0
